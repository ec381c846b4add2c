"""Priors."""

import pytest
import torch

from generative_policies.models import GaussianPrior, LiftedSourcePrior, Normalizer, SourcePrior


def test_gaussian_prior_is_the_noise() -> None:
    noise = torch.randn(4, 2)
    assert torch.equal(GaussianPrior(2).x_0(noise, None, Normalizer(2)), noise)


def test_source_prior_is_the_normalised_source_with_noise_of_its_scale(generator: torch.Generator) -> None:
    source, noise = (torch.randn(20_000, 2, generator=generator) for _ in range(2))
    normalizer = Normalizer(2)
    normalizer.fit(5 * source + 3)
    x_0 = SourcePrior(2, noise_scale=0.3).x_0(noise, source, normalizer)
    # Four standard errors of a standard deviation from 40,000 numbers.
    assert (x_0 - normalizer.normalize(source)).std().item() == pytest.approx(0.3, abs=4 * 0.3 / (2 * 40_000) ** 0.5)
    assert torch.equal(SourcePrior(2, noise_scale=0.0).x_0(noise, source, Normalizer(2)), source)


def test_lift_is_the_least_squares_map_to_the_normalised_target(generator: torch.Generator) -> None:
    source = torch.randn(500, 3, generator=generator) + 5
    target = source @ torch.tensor([[1.0, 2.0], [0.0, -3.0], [4.0, 0.0]]) + torch.tensor([10.0, -20.0])
    normalizer, prior = Normalizer(2), LiftedSourcePrior(2, 3, noise_scale=0.0)
    normalizer.fit(target)
    prior.fit(source, target, normalizer)
    x_0 = prior.x_0(torch.zeros(500, 2), source, normalizer)
    assert torch.allclose(normalizer.denormalize(x_0), target, atol=1e-3)
    assert not list(prior.parameters())  # fixed: the flow's loss does not train it
    assert set(prior.state_dict()) == {"weight", "bias"}  # and it is saved


def test_redundant_source_entries_do_not_blow_up(generator: torch.Generator) -> None:
    source = torch.randn(500, 2, generator=generator)
    redundant = torch.cat([source, 0.1 * source[:, :1] + 0.3 * source[:, 1:]], dim=1)  # but for rounding
    prior, normalizer = LiftedSourcePrior(2, 3, noise_scale=0.0), Normalizer(2)
    prior.fit(redundant, source, normalizer)
    assert prior.weight.abs().max() < 5
    assert torch.allclose(prior.x_0(torch.zeros(500, 2), redundant, normalizer), source, atol=1e-4)


def test_lift_of_chunks_and_of_sources_that_do_not_vary() -> None:
    prior, normalizer = LiftedSourcePrior(2, 3), Normalizer(2)
    source = torch.randn(50, 4, 3)
    source[..., 1] = 7.0
    prior.fit(source, source[..., :2] * 2, normalizer)
    assert torch.isfinite(prior.weight).all()
    assert prior.x_0(torch.zeros(50, 4, 2), source, normalizer).shape == (50, 4, 2)


@pytest.mark.parametrize("scale", [-0.1, float("nan"), float("inf")])
def test_noise_scale_is_checked(scale: float) -> None:
    with pytest.raises(ValueError, match="noise_scale"):
        SourcePrior(2, noise_scale=scale)
    with pytest.raises(ValueError, match="noise_scale"):
        LiftedSourcePrior(2, 3, noise_scale=scale)
