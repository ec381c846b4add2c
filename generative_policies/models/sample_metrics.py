"""How far samples are from data: energy distance, sliced Wasserstein-2, mode masses, and what chance alone gives.

Source: Szekely & Rizzo 2013 (energy distance); Bonneel et al. 2015 (sliced Wasserstein distance).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist, pdist

Floats = NDArray[np.float64]


def energy_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Return ``2 E|X - Y| - E|X - X'| - E|Y - Y'|``, zero exactly where the distributions agree.

    Args:
        x: ``(n, dim)``, at least two rows.
        y: ``(m, dim)``, at least two rows.

    Returns:
        The unbiased estimate, in the data's units; near zero it may be negative.
    """
    x, y = _samples(x, y)
    return float(2 * cdist(x, y).mean() - pdist(x).mean() - pdist(y).mean())


def sliced_wasserstein(x: ArrayLike, y: ArrayLike, num_projections: int = 128, seed: int = 0) -> float:
    """Return the Wasserstein-2 distance of one-dimensional projections, root mean square over fixed directions.

    Args:
        x: ``(n, dim)``.
        y: ``(n, dim)``, as many rows.
        num_projections: Number of directions; one dimension needs a single one.
        seed: Seed of the directions, so that figures are comparable.
    """
    x, y = _samples(x, y)
    if len(x) != len(y):
        raise ValueError(f"expected as many samples in both, got {len(x)} and {len(y)}")
    directions = np.random.default_rng(seed).standard_normal((x.shape[1], num_projections))
    directions /= np.linalg.norm(directions, axis=0)
    gaps = np.sort(x @ directions, axis=0) - np.sort(y @ directions, axis=0)
    return float(np.sqrt(np.mean(gaps**2)))


def mode_masses(samples: ArrayLike, centers: ArrayLike, radius: float) -> Floats:
    """Return the share of samples whose nearest mode is each one and lies within a radius.

    Args:
        samples: ``(n, dim)``.
        centers: ``(modes, dim)``.
        radius: Distance within which a sample counts for a mode.

    Returns:
        ``(modes,)``; one minus its sum is the share of samples between the modes.
    """
    samples, centers = _samples(samples, centers)
    distances = cdist(samples, centers)
    nearest = distances.argmin(axis=1)[distances.min(axis=1) <= radius]
    return np.bincount(nearest, minlength=len(centers)) / len(samples)


def modes_covered(masses: ArrayLike, expected: ArrayLike) -> int:
    """Return how many modes hold at least half of the mass that they should.

    Args:
        masses: ``(modes,)``, shares of the samples, such as ``mode_masses`` returns.
        expected: ``(modes,)``, shares that they should be, or one for all.
    """
    return int(np.sum(np.asarray(masses) >= 0.5 * np.asarray(expected)))


class RealVersusReal(NamedTuple):
    """What a statistic gives between two fresh draws of the same distribution.

    Attributes:
        median: Its median.
        quantile_99: Its 99 % quantile: a perfect sampler stays below it 99 times in 100.
    """

    median: float
    quantile_99: float


def real_versus_real(
    statistic: Callable[[Floats, Floats], float],
    draw: Callable[[int, np.random.Generator], Floats],
    n: int,
    rng: np.random.Generator,
    num_draws: int = 50,
) -> RealVersusReal:
    """Return the distribution of a statistic between two independent draws of the data.

    Args:
        statistic: A function of two sample arrays ``(n, dim)``.
        draw: ``draw(n, rng)`` gives ``(n, dim)`` fresh samples of the data's distribution.
        n: Samples a draw.
        rng: Source of randomness.
        num_draws: Number of pairs.
    """
    values = [statistic(draw(n, rng), draw(n, rng)) for _ in range(num_draws)]
    return RealVersusReal(float(np.median(values)), float(np.quantile(values, 0.99)))


def _samples(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 1:
        raise ValueError(f"expected two arrays of shapes (n, dim) and (m, dim), got {x.shape} and {y.shape}")
    return x, y
