"""Tests between arms: worked examples, agreement with scipy, and error rates by simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import false_discovery_control, fisher_exact, ttest_ind, ttest_rel

from generative_policies.rollouts.significance import holm, mcnemar, paired_difference, separated


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (6, 1), (1, 6), (3, 12), (5, 5), (0, 9)])
def test_mcnemar_by_binomial_coefficients(only_a: int, only_b: int) -> None:
    a = np.array([True] * only_a + [False] * only_b + [True] * 20 + [False] * 7)
    b = np.array([False] * only_a + [True] * only_b + [True] * 20 + [False] * 7)
    n = only_a + only_b
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1)) / 2**n
    assert mcnemar(a, b) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(a, b) == mcnemar(b, a) == mcnemar(~a, ~b)


def test_mcnemar_of_equal_arms_is_one(rng: np.random.Generator) -> None:
    a = rng.random((2, 9)) < 0.5
    assert mcnemar(a, a) == 1.0
    assert mcnemar([False], [False]) == 1.0


def test_mcnemar_repeats_the_arm_without_training(rng: np.random.Generator) -> None:
    a, b = rng.random((3, 30)) < 0.8, rng.random(30) < 0.5
    flat = mcnemar(a.ravel(), np.tile(b, 3))
    assert mcnemar(a, b) == mcnemar(a, b[None]) == mcnemar(b, a) == flat


def test_mcnemar_detects_what_an_unpaired_test_does_not() -> None:
    b = np.arange(100) < 70
    a = np.arange(100) < 78  # wins wherever b does, and eight times more
    assert mcnemar(a, b) == pytest.approx(2 / 2**8)
    assert fisher_exact([[78, 22], [70, 30]]).pvalue > 0.2


def test_sign_flips_by_enumeration() -> None:
    differences = np.array([3.0, 1.0, -0.5, 2.5, 4.0, 1.5])
    flipped = [abs(np.mean(differences * signs)) for signs in itertools.product((-1, 1), repeat=6)]
    p = np.mean(np.array(flipped) >= abs(differences.mean()) - 1e-12)
    result = paired_difference(differences + 7, np.full(6, 7.0), np.random.default_rng(0))
    assert result.p == pytest.approx(p)
    assert result.difference == pytest.approx(11.5 / 6)


def test_paired_difference_of_normal_returns_agrees_with_students(rng: np.random.Generator) -> None:
    b = rng.normal(0, 5, 80)
    a = b + rng.normal(0.25, 1, 80)
    result, student = paired_difference(a, b, rng), ttest_rel(a, b)
    interval = student.confidence_interval()
    # Monte-Carlo error: p some 0.003, an end of the interval some 0.02 of its width. Five of them, rounded up.
    assert result.p == pytest.approx(student.pvalue, abs=0.02)
    assert result.low == pytest.approx(interval.low, abs=0.1 * (interval.high - interval.low))
    assert result.high == pytest.approx(interval.high, abs=0.1 * (interval.high - interval.low))


def test_paired_difference_detects_what_an_unpaired_test_does_not(rng: np.random.Generator) -> None:
    b = rng.normal(0, 10, 50)
    a = b + rng.normal(1, 1, 50)
    result = paired_difference(a, b, rng)
    assert result.p < 0.001 and result.low > 0
    assert ttest_ind(a, b).pvalue > 0.2
    shuffled = paired_difference(a, rng.permutation(b), rng)
    assert shuffled.difference == pytest.approx(result.difference)
    assert shuffled.p > 0.05 and shuffled.low < 0 < shuffled.high


def test_paired_difference_changes_sign_with_its_arms(rng: np.random.Generator) -> None:
    a, b = rng.normal(1, 2, (3, 12)), rng.normal(0, 2, 12)
    forth = paired_difference(a, b, np.random.default_rng(0))
    back = paired_difference(b, a, np.random.default_rng(0))
    assert (back.difference, back.low, back.high) == pytest.approx((-forth.difference, -forth.high, -forth.low))
    assert back.p == pytest.approx(forth.p)


def test_paired_difference_of_training_seeds_that_disagree_is_wide() -> None:
    b = np.zeros(40)
    disagree = np.repeat([[-2.0], [0.0], [8.0]], 40, axis=1)
    result = paired_difference(disagree, b, np.random.default_rng(0))
    assert (result.low, result.high) == (-2.0, 8.0)  # all of the first: probability 1 / 27, more than the tail's 0.025
    agree = paired_difference(np.full((3, 40), 2.0), b, np.random.default_rng(0))
    assert (agree.low, agree.difference, agree.high) == (2.0, 2.0, 2.0)


def test_p_value_gains_nothing_from_equal_training_seeds(rng: np.random.Generator) -> None:
    a, b = rng.normal(1, 2, 10), rng.normal(0, 2, 10)  # 2^10 flips: enumerated
    once, thrice = paired_difference(a, b, rng), paired_difference(np.tile(a, (3, 1)), b, rng)
    assert once.p == pytest.approx(thrice.p)
    assert once.difference == pytest.approx(thrice.difference)


def test_equal_arms_do_not_differ(rng: np.random.Generator) -> None:
    a = rng.normal(size=(3, 20))
    assert paired_difference(a, a, rng) == (0.0, 0.0, 0.0, 1.0)


def test_paired_difference_follows_its_generator(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 30))
    first, again, other = (paired_difference(a, b, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first == again != other


def test_false_alarms_and_coverage_of_the_paired_difference(rng: np.random.Generator) -> None:
    alarms = covered = 0
    for _ in range(300):
        difficulty = rng.normal(0, 5, 40)
        a, b = difficulty + rng.exponential(1, 40), difficulty + rng.exponential(1, 40)
        result = paired_difference(a, b, rng, num_resamples=400)
        alarms += result.p <= 0.05
        covered += result.low <= 0 <= result.high
    # Expected 15 alarms; outside of 4 to 29 once in two thousand.
    # Coverage some 0.94: below 268 once in fifteen hundred.
    assert 4 <= alarms <= 29
    assert covered >= 268


@pytest.mark.parametrize("shapes", [((3, 5), (3, 6)), ((3, 5), (2, 5)), ((5,), (1,))])
def test_arms_that_cannot_be_paired_are_refused(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], rng: np.random.Generator
) -> None:
    a, b = (np.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match="expected arms of the same episodes"):
        paired_difference(a, b, rng)
    with pytest.raises(ValueError, match="expected arms of the same episodes"):
        mcnemar(a.astype(bool), b.astype(bool))


def test_holm_by_hand() -> None:
    # Sorted: 0.005, 0.01, 0.03, 0.04; times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04; never below the one before.
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(adjusted) == ["a", "b", "c", "d"]


def test_holm_keeps_order_and_bounds(rng: np.random.Generator) -> None:
    p_values = {str(i): float(p) for i, p in enumerate(rng.random(12) ** 3)}
    adjusted = holm(p_values)
    order = sorted(p_values, key=lambda name: p_values[name])
    assert [adjusted[name] for name in order] == sorted(adjusted.values())
    assert all(p_values[name] <= adjusted[name] <= min(1.0, 12 * p_values[name]) for name in p_values)
    # Stricter than Benjamini and Hochberg, which bounds less.
    assert np.all(np.array(list(adjusted.values())) >= false_discovery_control(list(p_values.values())) - 1e-12)


def test_holm_of_few() -> None:
    assert holm({}) == {}
    assert holm({"mlp": 0.2}) == {"mlp": 0.2}
    assert holm({"a": 0.9, "b": 0.9}) == {"a": 1.0, "b": 1.0}


def test_separated_intervals_share_no_point() -> None:
    for a, b, expected in (
        ((0.0, 1.0), (2.0, 3.0), True),
        ((0.0, 2.0), (1.0, 3.0), False),
        ((0.0, 9.0), (1.0, 3.0), False),
        ((0.0, 1.0), (1.0, 2.0), False),
        ((1.0, 1.0), (1.0, 1.0), False),
    ):
        assert separated(a, b) is separated(b, a) is expected
