"""Intervals against closed forms and by simulated coverage."""

import numpy as np
import pytest

from generative_policies.rollouts.intervals import bootstrap_interval, interquartile_mean, wilson_interval


@pytest.mark.parametrize(("k", "n"), [(0, 10), (8, 10), (10, 10), (47, 50)])
def test_wilson_against_its_formula(k: int, n: int) -> None:
    z, p = 1.959963984540054, k / n
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = wilson_interval([True] * k + [False] * (n - k))
    assert (low, high) == (pytest.approx(center - half, abs=1e-9), pytest.approx(center + half, abs=1e-9))


def test_interquartile_mean_drops_a_quarter_on_both_sides() -> None:
    assert interquartile_mean([-1000, 1, 2, 3, 4, 5, 6, 1e6]) == pytest.approx(3.5)


def test_bootstrap_covers_the_mean(rng: np.random.Generator) -> None:
    covered = 0
    for _ in range(100):
        low, high = bootstrap_interval(rng.normal(3, 2, 40), np.mean, rng, num_resamples=300)  # type: ignore[arg-type]
        covered += low < 3 < high
    assert covered >= 85  # nominal 95, percentile at n = 40 some 93; below 85 once in a thousand


def test_bootstrap_follows_its_generator_and_takes_equal_values() -> None:
    values = [1.0, 2.0, 5.0, 9.0]
    intervals = [bootstrap_interval(values, interquartile_mean, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert intervals[0] == intervals[1]
    assert bootstrap_interval([2.0, 2.0], interquartile_mean, np.random.default_rng(0)) == (2.0, 2.0)
    assert bootstrap_interval([2.0], interquartile_mean, np.random.default_rng(0)) == (2.0, 2.0)
