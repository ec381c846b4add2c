"""How good samples of a known distribution are, and the bounds that a learned sampler of it has to keep."""

import numpy as np

from generative_policies.models.experiments.distributions import Floats, Mixture, Spiral
from generative_policies.models.experiments.experiment import Bound
from generative_policies.models.sample_metrics import (
    energy_distance,
    mode_masses,
    modes_covered,
    real_versus_real,
    sliced_wasserstein,
)

# By how much a learned sampler may exceed what chance gives to a perfect one.
ENERGY_MARGIN = 0.002
WASSERSTEIN_MARGIN = 0.02

Judgement = tuple[dict[str, float], list[Bound]]


def judge(
    samples: Floats, distribution: Mixture | Spiral, rng: np.random.Generator, num_draws: int = 100
) -> tuple[dict[str, dict[str, float]], list[Bound]]:
    """Compare samples with fresh data, beside data with data.

    Args:
        samples: ``(n, 2)``.
        distribution: What they should be drawn from.
        rng: Source of the fresh data.
        num_draws: Pairs of fresh draws behind the quantile.

    Returns:
        The table, with the row ``samples``, and the bounds that a good sampler keeps.
    """
    real = distribution.draw(len(samples), rng)
    table: dict[str, dict[str, float]] = {"samples": {}, "real versus real, median": {}, "real versus real, 99 %": {}}
    bounds: list[Bound] = []
    for name, statistic, margin in (
        ("energy distance", energy_distance, ENERGY_MARGIN),
        ("sliced Wasserstein-2", sliced_wasserstein, WASSERSTEIN_MARGIN),
    ):
        table["samples"][name] = statistic(samples, real)
        chance = real_versus_real(statistic, distribution.draw, len(samples), rng, num_draws)
        table["real versus real, median"][name] = chance.median
        table["real versus real, 99 %"][name] = chance.quantile_99
        bounds.append(Bound("samples", name, -1, chance.quantile_99 + margin))
    if isinstance(distribution, Mixture):
        known, kept = _modes(samples, distribution)
    else:
        known, kept = _curve(samples, distribution)
    table["samples"] |= known
    return table, bounds + kept


def _modes(samples: Floats, mixture: Mixture) -> Judgement:
    """How the modes of a mixture are met; a sample further than four standard deviations is between them."""
    masses = mode_masses(samples, mixture.centers, radius=4 * mixture.std)
    modes = len(mixture.masses)
    return {
        "modes covered": modes_covered(masses, mixture.masses),
        "largest error of a mode's mass / mass": float(np.abs(masses / mixture.masses - 1).max()),
        "share between modes": float(1 - masses.sum()),
        "std within a mode / true": std_within_modes(samples, mixture) / mixture.std,
    }, [
        Bound("samples", "modes covered", modes, modes),
        Bound("samples", "largest error of a mode's mass / mass", 0, 0.3),
        Bound("samples", "share between modes", 0, 0.02),
        Bound("samples", "std within a mode / true", 0.85, 1.15),
    ]


def std_within_modes(samples: Floats, mixture: Mixture) -> float:
    """Return the standard deviation of samples around the mean of their mode, over the samples near a mode."""
    distances = np.linalg.norm(samples[:, None] - mixture.centers, axis=-1)  # (n, modes)
    nearest = np.where(distances.min(axis=1) <= 4 * mixture.std, distances.argmin(axis=1), -1)
    groups = [samples[nearest == k] for k in range(len(mixture.centers))]
    residuals = np.concatenate([group - group.mean(axis=0) for group in groups if len(group)])
    return float(np.sqrt(np.mean(residuals**2)))


def _curve(samples: Floats, spiral: Spiral) -> Judgement:
    """How well samples keep to a curve; further than four standard deviations is off it."""
    distances = spiral.distances(samples)
    return {
        "distance to the curve / true": float(np.sqrt(np.mean(distances**2))) / spiral.std,
        "share off the curve": float(np.mean(distances > 4 * spiral.std)),
    }, [
        Bound("samples", "distance to the curve / true", 0.8, 1.25),
        Bound("samples", "share off the curve", 0, 0.02),
    ]
