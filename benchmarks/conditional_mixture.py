"""A fixed conditional mixture, a 7-D sample given a 64-D condition, and how well a sampler draws from it.

The condition lies on a four-dimensional plane. The sample has two modes whose centres move with the condition along
curves, a constant distance apart. Samplers are compared by the energy distance of pairs of condition and sample: the
samples alone would not tell whether the condition was looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from generative_policies.models.sample_metrics import (
    Floats,
    RealVersusReal,
    energy_distance,
    mode_masses,
    modes_covered,
    real_versus_real,
    sliced_wasserstein,
)

TARGET_DIM, COND_DIM, LATENT_DIM = 7, 64, 4
WEIGHTS = (0.3, 0.7)
STD = 0.15  # of a mode, in every direction
SEPARATION = 1.8  # of the two centres
RADIUS = STD * float(np.sqrt(chi2.ppf(0.999, TARGET_DIM)))  # holds 99.9 % of a mode; two of them do not touch
SEED = 10

Sampler = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""Maps conditions ``(n, COND_DIM)`` and standard normal noise ``(n, TARGET_DIM)`` to samples ``(n, TARGET_DIM)``."""


class ConditionalMixture:
    """The distribution of conditions, and of samples given them; every instance is the same.

    Attributes:
        plane: ``(COND_DIM, LATENT_DIM)`` with orthonormal columns, where conditions lie.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(SEED)
        self.plane: Floats = np.linalg.qr(rng.standard_normal((COND_DIM, LATENT_DIM)))[0]
        self._middle_slopes, self._axis_slopes = rng.standard_normal((2, LATENT_DIM, TARGET_DIM))
        self._middle_phases, self._axis_phases = rng.uniform(-np.pi, np.pi, (2, TARGET_DIM))
        self._axis = rng.standard_normal(TARGET_DIM)

    def conditions(self, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw conditions ``(n, COND_DIM)``, uniform on a cube of side 2 in their plane."""
        latents: Floats = rng.uniform(-1, 1, (n, LATENT_DIM))
        conditions: NDArray[np.float32] = (latents @ self.plane.T).astype(np.float32)
        return conditions

    def centers(self, conditions: NDArray[np.float32]) -> Floats:
        """Return the centres of the lighter and the heavier mode, ``(n, 2, TARGET_DIM)``."""
        latents = conditions @ self.plane
        middle = 0.5 * np.sin(1.5 * latents @ self._middle_slopes + self._middle_phases)
        axis = self._axis + np.sin(latents @ self._axis_slopes + self._axis_phases)
        axis *= 0.5 * SEPARATION / np.linalg.norm(axis, axis=1, keepdims=True)
        return np.stack([middle - axis, middle + axis], axis=1)

    def samples(self, conditions: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw one sample of each condition, ``(n, TARGET_DIM)``."""
        modes = (rng.random(len(conditions)) >= WEIGHTS[0]).astype(int)
        centers = self.centers(conditions)[np.arange(len(conditions)), modes]
        samples: NDArray[np.float32] = (centers + STD * rng.standard_normal(centers.shape)).astype(np.float32)
        return samples

    def joint(self, conditions: NDArray[np.float32], samples: NDArray[np.float32]) -> Floats:
        """Return condition and sample side by side, ``(n, LATENT_DIM + TARGET_DIM)``.

        The condition is given in coordinates of its plane, which keep all distances.
        """
        return np.hstack([conditions @ self.plane, samples])

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw pairs of condition and sample, as ``joint`` gives them."""
        conditions = self.conditions(n, rng)
        return self.joint(conditions, self.samples(conditions, rng))


@dataclass(frozen=True)
class Quality:
    """How far a sampler's samples are from the data.

    Attributes:
        energy_distance: Of condition and sample to fresh data, the mean of the draws; unbiased, so that it may be
            negative.
        energy_distance_std: Standard deviation over the draws.
        sliced_wasserstein: Sliced Wasserstein-2 distance of the same, the mean of the draws.
        near_a_mode: Share of samples within ``RADIUS`` of a centre of their own condition; 0.999 of the data.
        lighter_mass: Share of samples near the lighter mode; 0.3 of the data.
        spread: Standard deviation of the samples near a mode, in units of the data's.
        conditions_covered: Share of single conditions of which both modes have at least half of their mass.
        conditional_error: Distance of a condition's mean sample from the true one, root mean square.
    """

    energy_distance: float
    energy_distance_std: float
    sliced_wasserstein: float
    near_a_mode: float
    lighter_mass: float
    spread: float
    conditions_covered: float
    conditional_error: float


class Chance(NamedTuple):
    """What two fresh draws of the data give.

    Attributes:
        energy_distance: Its distribution.
        sliced_wasserstein: Its distribution.
    """

    energy_distance: RealVersusReal
    sliced_wasserstein: RealVersusReal


@dataclass(frozen=True)
class QualityTest:
    """The conditions, noise and data that every sampler is judged by, the same for all.

    Attributes:
        n: Pairs of condition and sample a draw.
        draws: Number of draws.
        conditions: Single conditions, of which many samples each are drawn.
        repeats: Samples of each of them.
        seed: Seed of everything.
        chance_draws: Pairs of fresh draws of the data, whose 99 % quantile says what chance gives.
    """

    n: int = 2_000
    draws: int = 20
    conditions: int = 64
    repeats: int = 250
    seed: int = 1_000
    chance_draws: int = 1_000

    def measure(self, sampler: Sampler) -> Quality:
        """Return the quality of a sampler."""
        mixture = ConditionalMixture()
        conditions, noise, data = self._inputs(mixture)
        samples = sampler(conditions, noise)
        pairs = np.split(mixture.joint(conditions, samples), self.draws)
        distances = [energy_distance(x, y) for x, y in zip(pairs, data, strict=True)]
        slices = [sliced_wasserstein(x, y) for x, y in zip(pairs, data, strict=True)]
        from_centers = samples[:, None] - mixture.centers(conditions)  # (n, 2, TARGET_DIM)
        radii = np.linalg.norm(from_centers, axis=2)
        nearest, near = radii.argmin(1), radii.min(1) <= RADIUS
        covered, error = self._single_conditions(mixture, sampler)
        return Quality(
            energy_distance=float(np.mean(distances)),
            energy_distance_std=float(np.std(distances)),
            sliced_wasserstein=float(np.mean(slices)),
            near_a_mode=float(np.mean(near)),
            lighter_mass=float(np.mean(near & (nearest == 0))),
            spread=float(np.sqrt(np.mean(from_centers[near, nearest[near]] ** 2)) / STD) if near.any() else 0.0,
            conditions_covered=covered,
            conditional_error=error,
        )

    def chance(self) -> Chance:
        """Return what the distances are between fresh draws of the data, of which a perfect sampler's is one."""
        bands = [
            real_versus_real(
                statistic, ConditionalMixture().draw, self.n, np.random.default_rng(self.seed + 1), self.chance_draws
            )
            for statistic in (energy_distance, sliced_wasserstein)
        ]
        return Chance(*bands)

    def _inputs(self, mixture: ConditionalMixture) -> tuple[NDArray[np.float32], NDArray[np.float32], list[Floats]]:
        rng = np.random.default_rng(self.seed)
        conditions = mixture.conditions(self.draws * self.n, rng)
        noise = rng.standard_normal((len(conditions), TARGET_DIM), dtype=np.float32)
        return conditions, noise, [mixture.draw(self.n, rng) for _ in range(self.draws)]

    def _single_conditions(self, mixture: ConditionalMixture, sampler: Sampler) -> tuple[float, float]:
        """The share of conditions that are covered, and the error of the conditional mean."""
        rng = np.random.default_rng(self.seed + 2)
        conditions = mixture.conditions(self.conditions, rng)
        noise = rng.standard_normal((self.conditions * self.repeats, TARGET_DIM), dtype=np.float32)
        samples = sampler(np.repeat(conditions, self.repeats, axis=0), noise)
        groups = samples.reshape(self.conditions, self.repeats, TARGET_DIM)
        centers = mixture.centers(conditions)  # (conditions, 2, TARGET_DIM)
        covered = [
            modes_covered(mode_masses(group, pair, RADIUS), WEIGHTS) == len(WEIGHTS)
            for group, pair in zip(groups, centers, strict=True)
        ]
        errors = np.linalg.norm(groups.mean(1) - np.tensordot(centers, WEIGHTS, (1, 0)), axis=1)
        return float(np.mean(covered)), float(np.sqrt(np.mean(errors**2)))


def equal_quality(quality: Quality, reference: Quality, chance: Chance) -> bool:
    """Return whether a sampler's mean energy distance exceeds another's by less than one draw of the data's own.

    Energy distance is slow to notice what is small beside the distance of the modes, such as modes half as wide again:
    the other figures are for that.
    """
    return quality.energy_distance - reference.energy_distance <= chance.energy_distance.quantile_99
