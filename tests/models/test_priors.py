"""Priors."""

import pytest
import torch

from generative_policies.models import GaussianPrior, SourcePrior


def test_gaussian_prior_is_the_noise() -> None:
    noise = torch.randn(4, 2)
    assert torch.equal(GaussianPrior(2).x_0(noise, None), noise)


def test_source_prior_is_the_source_with_noise_of_its_scale() -> None:
    source, noise = torch.randn(20_000, 2), torch.randn(20_000, 2)
    x_0 = SourcePrior(2, noise_scale=0.3).x_0(noise, source)
    # Four standard errors of a standard deviation from 40,000 numbers.
    assert (x_0 - source).std().item() == pytest.approx(0.3, abs=4 * 0.3 / (2 * 40_000) ** 0.5)
    assert torch.equal(SourcePrior(2, noise_scale=0.0).x_0(noise, source), source)


@pytest.mark.parametrize("scale", [-0.1, float("nan"), float("inf")])
def test_noise_scale_is_checked(scale: float) -> None:
    with pytest.raises(ValueError, match="noise_scale"):
        SourcePrior(2, noise_scale=scale)
