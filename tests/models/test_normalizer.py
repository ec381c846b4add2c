"""Normalizer: identity until fitted, standardising after, constants left alone."""

import pytest
import torch

from generative_policies.models import Normalizer


def test_identity_until_fitted() -> None:
    x = torch.randn(5, 3)
    assert torch.equal(Normalizer(3).normalize(x), x)
    assert torch.equal(Normalizer(3).denormalize(x), x)


def test_fitted_data_has_zero_mean_and_unit_spread() -> None:
    x = torch.randn(1000, 3) * torch.tensor([0.01, 1.0, 100.0]) + torch.tensor([1e3, 0.0, -1e3])
    normalizer = Normalizer(3)
    normalizer.fit(x)
    z = normalizer.normalize(x)
    assert torch.allclose(z.mean(0), torch.zeros(3), atol=1e-2)
    assert torch.allclose(z.std(0, correction=0), torch.ones(3), atol=1e-2)
    assert torch.allclose(normalizer.denormalize(z), x, rtol=1e-4)


def test_chunks_are_normalised_by_their_last_axis() -> None:
    normalizer = Normalizer(2)
    normalizer.fit(torch.randn(50, 8, 2) * torch.tensor([1.0, 7.0]))
    assert normalizer.std[1] / normalizer.std[0] == pytest.approx(7, rel=0.15)


@pytest.mark.parametrize("value", [0.0, 0.323, -1e6])
def test_a_constant_feature_keeps_its_scale(value: float) -> None:
    normalizer = Normalizer(1)
    normalizer.fit(torch.full((1000, 1), value))
    assert normalizer.normalize(torch.tensor([[value + 1.0]])).item() == pytest.approx(1.0, rel=0.1)


def test_statistics_travel_in_the_state_dict() -> None:
    normalizer, copy = Normalizer(2), Normalizer(2)
    normalizer.fit(torch.randn(10, 2) + 5)
    copy.load_state_dict(normalizer.state_dict())
    assert torch.equal(copy.mean, normalizer.mean)
    assert set(normalizer.state_dict()) == {"mean", "std"}


@pytest.mark.parametrize("shape", [(0, 3), (5, 2), (3,)])
def test_wrong_shapes_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(\.\.\., 3\)"):
        Normalizer(3).fit(torch.zeros(shape))
