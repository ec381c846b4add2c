"""Intervals against closed forms and by simulated coverage."""

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from generative_policies.rollouts.intervals import (
    bootstrap_interval,
    interquartile_mean,
    percentile_interval,
    pigeonhole_bootstrap_means,
    recovered_interval,
    stratified_bootstrap_interval,
    wilson_interval,
)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (8, 10), (10, 10), (47, 50)])
def test_wilson_against_its_formula(k: int, n: int) -> None:
    z, p = 1.959963984540054, k / n
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = wilson_interval([True] * k + [False] * (n - k))
    assert (low, high) == (pytest.approx(center - half, abs=1e-9), pytest.approx(center + half, abs=1e-9))


def test_interquartile_mean_drops_a_quarter_on_both_sides() -> None:
    assert interquartile_mean([-1000, 1, 2, 3, 4, 5, 6, 1e6]) == pytest.approx(3.5)


def test_interquartile_mean_over_all_entries_or_an_axis() -> None:
    values = np.array([[-50.0, 1.0, 2.0, 99.0], [3.0, 3.0, 5.0, 5.0]])
    np.testing.assert_allclose(interquartile_mean(values, axis=1), [1.5, 4.0])
    assert interquartile_mean(values) == interquartile_mean(values.ravel()) == pytest.approx((2 + 3 + 3 + 5) / 4)


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


@pytest.mark.parametrize("statistic", [np.mean, interquartile_mean])
def test_one_stratum_agrees_with_scipy(statistic, rng: np.random.Generator) -> None:  # type: ignore[no-untyped-def]
    values = rng.exponential(10, 60)
    ours = stratified_bootstrap_interval(values[None], statistic, rng, num_resamples=20_000)
    theirs = bootstrap((values,), statistic, n_resamples=20_000, method="percentile", rng=rng).confidence_interval
    # An end of the interval is a 2.5 % quantile of resamples that are nearly normal: standard deviation
    # sqrt(0.025 * 0.975 / 20,000) / 0.058 = 0.019 of theirs. Five of the difference: a false alarm in a million.
    tolerance = 5 * math.sqrt(2) * 0.019 * (ours[1] - ours[0]) / (2 * 1.96)
    assert ours == pytest.approx(tuple(theirs), abs=tolerance)


def test_stratified_bootstrap_keeps_the_spread_between_training_seeds_out() -> None:
    values = np.repeat([[0.0], [5.0], [100.0]], 20, axis=1)
    for statistic in (np.mean, interquartile_mean):
        low, high = stratified_bootstrap_interval(values, statistic, np.random.default_rng(0))
        assert low == high == pytest.approx(float(statistic(values)))
    pooled = stratified_bootstrap_interval(values.reshape(1, -1), np.mean, np.random.default_rng(0))
    assert pooled[0] < 30 < 40 < pooled[1]


def test_stratified_bootstrap_draws_the_same_episodes_for_all_training_seeds(rng: np.random.Generator) -> None:
    values = np.repeat(rng.normal(0, 2, (1, 50)), 3, axis=0)
    low, high = stratified_bootstrap_interval(values, np.mean, rng, num_resamples=20_000)
    # Three times the same episodes tell no more than once. Monte-Carlo error of the width: 0.7 %; drawn for each
    # training seed on its own it would be narrower by sqrt(3).
    assert high - low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(50), rel=0.05)


def test_stratified_bootstrap_covers_the_mean(rng: np.random.Generator) -> None:
    offsets, spreads = np.array([[0.0], [5.0], [10.0]]), np.array([[1.0], [2.0], [3.0]])
    covered = 0
    for _ in range(300):
        values = offsets + spreads * rng.normal(size=(3, 40))
        low, high = stratified_bootstrap_interval(values, np.mean, rng, num_resamples=400)
        covered += low < 5 < high
    # Nominal 0.95, the percentile method at 40 episodes some 0.94: outside of 268 to 296 once in fifteen hundred.
    assert 268 <= covered <= 296


@pytest.mark.parametrize("value", [0.1, -3.7, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 50)])
def test_stratified_bootstrap_of_equal_values_has_no_width(value: float, shape: tuple[int, int]) -> None:
    for statistic in (np.mean, interquartile_mean):
        low, high = stratified_bootstrap_interval(np.full(shape, value), statistic, np.random.default_rng(0))
        assert low == high == pytest.approx(value)


def test_resamples_follow_their_generator(rng: np.random.Generator) -> None:
    values = rng.normal(size=(3, 10))
    floor, ceiling = rng.normal(-9, 1, 10), rng.normal(9, 1, 10)
    for interval in (
        lambda seed: stratified_bootstrap_interval(values, interquartile_mean, np.random.default_rng(seed)),
        lambda seed: recovered_interval(values, floor, ceiling, np.random.default_rng(seed)),
    ):
        assert interval(0) == interval(0) != interval(1)


def test_pigeonhole_bootstrap_has_the_variance_of_rows_and_columns(rng: np.random.Generator) -> None:
    rows, columns = np.array([[0.0], [3.0], [9.0]]), np.arange(20.0)
    means = pigeonhole_bootstrap_means(np.stack([rows + 0 * columns, 0 * rows + columns, rows + columns]), rng, 20_000)
    assert means.shape == (3, 20_000)
    np.testing.assert_allclose(means[2], means[0] + means[1])  # stacked arrays share their resamples
    # Relative standard deviation of a variance from 20,000 draws 0.01: five of them, a false alarm in a million.
    assert means[0].var() == pytest.approx(rows.var() / 3, rel=0.05)
    assert means[1].var() == pytest.approx(columns.var() / 20, rel=0.05)


def test_recovered_by_hand() -> None:
    floor, ceiling = np.array([0.0, 2.0]), np.array([10.0, 12.0])
    arm = np.stack([floor + 5, floor + 7])
    # (7 - 1) / (11 - 1). A resample holds training seeds (0, 0), (0, 1), (1, 0) or (1, 1): 0.5, 0.6, 0.6, 0.7.
    recovered = recovered_interval(arm, floor, ceiling, np.random.default_rng(0))
    assert recovered[:3] == pytest.approx((0.6, 0.5, 0.7)) and recovered.reason is None
    one_seed = recovered_interval(arm[1], floor, ceiling, np.random.default_rng(0))
    assert one_seed[:3] == pytest.approx((0.7, 0.7, 0.7)) and one_seed == recovered_interval(
        arm[1:], floor, ceiling, np.random.default_rng(0)
    )


def test_floor_recovers_nothing_and_ceiling_all(rng: np.random.Generator) -> None:
    floor, ceiling = rng.normal(0, 1, 30), rng.normal(3, 1, 30)
    assert recovered_interval(floor, floor, ceiling, rng) == (0.0, 0.0, 0.0, None)
    assert recovered_interval(ceiling, floor, ceiling, rng) == (1.0, 1.0, 1.0, None)


def test_recovered_does_not_depend_on_the_unit_of_the_return(rng: np.random.Generator) -> None:
    arm, floor, ceiling = rng.normal(2, 1, (3, 30)), rng.normal(0, 1, 30), rng.normal(4, 1, 30)
    first = recovered_interval(arm, floor, ceiling, np.random.default_rng(0))
    second = recovered_interval(8 * arm - 100, 8 * floor - 100, 8 * ceiling - 100, np.random.default_rng(0))
    assert first[:3] == pytest.approx(second[:3])


def test_recovered_is_undefined_where_nothing_was_lost(rng: np.random.Generator) -> None:
    values = rng.normal(size=20)
    for arm, floor, ceiling in (
        (values, values, values),  # no shift: the arm is the source by construction
        (values + 1, values, values),
        (values, values + 1, values),
        (np.array([True, False]), np.array([True, True]), np.array([True, False])),
    ):
        value, low, high, reason = recovered_interval(arm, floor, ceiling, rng)
        assert value is low is high is None
        assert reason is not None and "as good as at home" in reason


@pytest.mark.parametrize(("lost", "defined"), [(1, False), (2, False), (4, True), (8, True)])
def test_recovered_has_no_interval_where_the_gap_may_be_none(lost: int, defined: bool) -> None:
    # Eight episodes, `lost` of which fail untranslated: a resample misses all of them with probability
    # (1 - lost / 8)^8 = 0.34, 0.10, 0.004, 0; the limit is 0.025.
    ceiling, floor = np.ones(8, dtype=bool), np.arange(8) >= lost
    value, low, high, reason = recovered_interval(ceiling, floor, ceiling, np.random.default_rng(0))
    assert value == 1.0
    assert (low, high) == ((1.0, 1.0) if defined else (None, None))
    assert (reason is None) == defined


def test_recovered_has_no_interval_where_the_gap_may_be_negative() -> None:
    floor, ceiling = np.array([0.0, 0.0]), np.array([3.0, -1.0])  # both the second: probability 1 / 4
    recovered = recovered_interval(ceiling, floor, ceiling, np.random.default_rng(0))
    assert recovered[:3] == (1.0, None, None)
    assert recovered.reason is not None and "of the resamples" in recovered.reason


def test_mirrored_arm_has_the_mirrored_interval(rng: np.random.Generator) -> None:
    # Some 0.4 % of the resamples have no gap: they widen both ends alike.
    ceiling, floor, arm = np.ones(8), np.arange(8) >= 4, rng.random((3, 8))
    share = recovered_interval(arm, floor, ceiling, np.random.default_rng(0))
    mirrored = recovered_interval(floor + ceiling - arm, floor, ceiling, np.random.default_rng(0))
    assert None not in share[:3] and mirrored.low is not None and mirrored.high is not None
    assert share[1:3] == pytest.approx((1 - mirrored.high, 1 - mirrored.low))


def test_recovered_gains_from_paired_episodes(rng: np.random.Generator) -> None:
    difficulty = rng.normal(0, 5, 50)
    floor, ceiling = difficulty + rng.normal(0, 1, 50), difficulty + rng.normal(8, 1, 50)
    arm = difficulty + rng.normal(4, 1, (3, 50))
    paired = recovered_interval(arm, floor, ceiling, rng)
    shuffled = recovered_interval(rng.permutation(arm, axis=1), floor, rng.permutation(ceiling), rng)
    assert paired.value == pytest.approx(shuffled.value)
    assert None not in paired[:3] and None not in shuffled[:3]
    assert 2 * (paired.high - paired.low) < shuffled.high - shuffled.low  # type: ignore[operator]


def test_recovered_covers_the_share(rng: np.random.Generator) -> None:
    covered = 0
    for _ in range(300):
        difficulty = rng.normal(0, 2, 50)
        floor, ceiling, arm = (difficulty + rng.normal(mean, 1, 50) for mean in (0, 4, 2))
        recovered = recovered_interval(arm, floor, ceiling, rng, num_resamples=400)
        covered += recovered.low <= 0.5 <= recovered.high  # type: ignore[operator]
    assert 268 <= covered <= 296  # as above


def test_recovered_refuses_other_episodes(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="got 3, 2 and 3"):
        recovered_interval(np.zeros((2, 3)), np.zeros(2), np.ones(3), rng)


def test_percentile_interval_leaves_equal_tails_out() -> None:
    assert percentile_interval(np.arange(101.0), confidence=0.9) == pytest.approx((5, 95))
