from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.conditional_mixture import (
    COND_DIM,
    LATENT_DIM,
    RADIUS,
    SEPARATION,
    STD,
    TARGET_DIM,
    WEIGHTS,
    Chance,
    ConditionalMixture,
    Quality,
    QualityTest,
    Sampler,
    equal_quality,
)

MIXTURE = ConditionalMixture()
TEST = QualityTest(draws=5, conditions=16, chance_draws=50)


def fresh(seed: int) -> Sampler:
    rng = np.random.default_rng(seed)
    return lambda conditions, noise: MIXTURE.samples(conditions, rng)


@pytest.fixture(scope="module")
def chance() -> Chance:
    return TEST.chance()


@pytest.fixture(scope="module")
def real() -> Quality:
    return TEST.measure(fresh(0))


def test_the_mixture_is_always_the_same_and_as_described() -> None:
    rng = np.random.default_rng(0)
    conditions = MIXTURE.conditions(50_000, rng)
    samples, centers = MIXTURE.samples(conditions, rng), MIXTURE.centers(conditions)
    assert conditions.shape == (50_000, COND_DIM) and samples.shape == (50_000, TARGET_DIM)
    assert conditions.dtype == samples.dtype == np.float32
    assert np.linalg.matrix_rank(conditions, tol=1e-3) == LATENT_DIM
    np.testing.assert_array_equal(ConditionalMixture().centers(conditions), centers)
    np.testing.assert_allclose(np.linalg.norm(centers[:, 0] - centers[:, 1], axis=1), SEPARATION)
    assert SEPARATION > 2 * RADIUS  # a sample is near one mode at most
    radii = np.linalg.norm(samples[:, None] - centers, axis=2)
    assert np.mean(radii[:, 0] < radii[:, 1]) == pytest.approx(WEIGHTS[0], abs=0.01)  # five standard errors
    assert np.mean(radii.min(1) <= RADIUS) == pytest.approx(0.999, abs=0.001)
    assert np.sqrt(np.mean(radii.min(1) ** 2) / TARGET_DIM) == pytest.approx(STD, rel=0.01)
    # The centres move by more than a mode is wide, and not along lines.
    half = [MIXTURE.centers((s * conditions[:1_000]).astype(np.float32)) for s in (0.0, 0.5, 1.0)]
    assert np.abs(half[2] - half[0]).mean() > STD
    assert np.abs(half[1] - (half[0] + half[2]) / 2).mean() > 0.3 * STD


def test_joint_coordinates_keep_distances() -> None:
    rng = np.random.default_rng(0)
    conditions = MIXTURE.conditions(2, rng)
    joint = MIXTURE.joint(conditions, np.zeros((2, TARGET_DIM), np.float32))
    distance = np.linalg.norm(conditions[0] - conditions[1])
    assert np.linalg.norm(joint[0] - joint[1]) == pytest.approx(distance, rel=1e-6)


def test_fresh_data_pass(real: Quality, chance: Chance) -> None:
    # The mean of five draws against one draw's 99 % quantile, twice: a false alarm in some 10,000 seeds.
    other = TEST.measure(fresh(1))
    assert equal_quality(real, other, chance) and equal_quality(other, real, chance)
    assert abs(real.energy_distance) <= chance.energy_distance.quantile_99
    assert real.sliced_wasserstein <= chance.sliced_wasserstein.quantile_99
    assert real.near_a_mode == pytest.approx(0.999, abs=0.002)
    assert real.lighter_mass == pytest.approx(0.3, abs=0.02)
    assert real.spread == pytest.approx(1, abs=0.02)
    assert real.conditions_covered == 1
    assert real.conditional_error < 0.1


def test_a_sampler_that_ignores_the_condition_fails(real: Quality, chance: Chance) -> None:
    rng = np.random.default_rng(0)
    other = MIXTURE.conditions(TEST.n * TEST.draws, rng)
    found = TEST.measure(lambda conditions, noise: MIXTURE.samples(other[: len(conditions)], rng))
    assert not equal_quality(found, real, chance)
    assert found.near_a_mode < 0.9 and found.conditions_covered < 0.9 and found.conditional_error > 0.3


def altered(change: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float64]]) -> Quality:
    """The quality of data, changed by a function of them and of the conditions."""
    sampler = fresh(2)
    return TEST.measure(lambda c, noise: change(sampler(c, noise), c).astype(np.float32))


def test_a_sampler_that_collapses_modes_fails(real: Quality, chance: Chance) -> None:
    mean = altered(lambda samples, c: np.tensordot(MIXTURE.centers(c), WEIGHTS, (1, 0)))
    assert not equal_quality(mean, real, chance)
    assert mean.conditions_covered == 0 and mean.conditional_error < 1e-4
    heavier = altered(lambda samples, c: MIXTURE.centers(c)[:, 1])
    assert not equal_quality(heavier, real, chance)
    assert heavier.lighter_mass == 0 and heavier.near_a_mode == 1 and heavier.conditions_covered == 0


def test_a_blurred_sampler_fails(real: Quality, chance: Chance) -> None:
    rng = np.random.default_rng(0)
    blurred = altered(lambda samples, c: samples + 2 * STD * rng.standard_normal(samples.shape))
    assert not equal_quality(blurred, real, chance)
    slightly = altered(lambda samples, c: samples + 0.5 * STD * rng.standard_normal(samples.shape))
    assert slightly.spread > 1.05 and slightly.near_a_mode < 0.995  # which energy distance does not see


def test_wrong_masses_fail(real: Quality, chance: Chance) -> None:
    rng = np.random.default_rng(0)

    def even(samples: NDArray[np.float32], conditions: NDArray[np.float32]) -> NDArray[np.float64]:
        modes = rng.integers(0, 2, len(samples))
        return MIXTURE.centers(conditions)[np.arange(len(samples)), modes] + STD * rng.standard_normal(samples.shape)

    found = altered(even)
    assert not equal_quality(found, real, chance)
    assert found.lighter_mass == pytest.approx(0.5, abs=0.02)
