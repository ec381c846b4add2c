"""Tests between arms whose episodes are paired by reset seed.

Source: McNemar 1947; Holm 1979.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest, permutation_test

from generative_policies.rollouts.intervals import (
    FloatArray,
    Interval,
    percentile_interval,
    pigeonhole_bootstrap_means,
)


class PairedDifference(NamedTuple):
    """Mean of paired differences with its interval and the p-value of no difference.

    Args:
        difference: Mean of ``a - b``, in units of the return.
        low: Lower end of its interval.
        high: Upper end of its interval.
        p: Two-sided p-value.
    """

    difference: float
    low: float
    high: float
    p: float


def mcnemar(a: ArrayLike, b: ArrayLike) -> float:
    """Return the exact two-sided p-value that two arms succeed equally often, from the episodes where they differ.

    With several training seeds each (seed, episode) is a pair, and an arm without training is repeated for each seed.
    This takes the pairs as independent given the trained policies: it says nothing of further training seeds, and p is
    too small where a reset seed decides the outcome for all training seeds alike.

    Args:
        a: ``(seeds, episodes)`` or ``(episodes,)``, whether each episode succeeded.
        b: The same of the other arm; a row an arm without training.

    Returns:
        The p-value, 1 where the arms never differ.

    Raises:
        ValueError: If the arms cannot be paired.

    Example:
        >>> mcnemar([True] * 6 + [False], [False] * 6 + [False])
        0.03125
    """
    successes_a, successes_b = _pair(a, b)
    only_a = int(np.sum(successes_a > successes_b))
    discordant = int(np.sum(successes_a != successes_b))
    return float(binomtest(only_a, discordant).pvalue) if discordant else 1.0


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    rng: np.random.Generator,
    confidence: float = 0.95,
    num_resamples: int = 9_999,
) -> PairedDifference:
    """Return how much more one arm earns than another on the same episodes.

    The percentile bootstrap interval resamples episodes and training seeds. The p-value is that of a sign-flip
    permutation test of the episodes' differences, averaged over training seeds: exact for a symmetric difference and
    these trained policies. With few training seeds the interval is the more cautious of the two.

    Args:
        a: ``(seeds, episodes)`` or ``(episodes,)``, returns.
        b: The same of the other arm; an arm without training is repeated for each seed, else equal rows are pairs.
        rng: Source of the resamples and of the flips.
        confidence: Probability that the interval holds the true difference.
        num_resamples: Number of resamples and of flips; no p-value is below 2 / (num_resamples + 1).

    Raises:
        ValueError: If the arms cannot be paired.

    Example:
        >>> result = paired_difference([3.0, 9.0, 5.0], [1.0, 7.0, 3.0], np.random.default_rng(0))
        >>> result.difference, result.low, result.high, result.p
        (2.0, 2.0, 2.0, 0.25)
    """
    returns_a, returns_b = _pair(a, b)
    differences = returns_a - returns_b  # (S, E)
    low, high = percentile_interval(pigeonhole_bootstrap_means(differences, rng, num_resamples), confidence)
    test = permutation_test(
        (differences.mean(axis=0),),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=num_resamples,
        alternative="two-sided",
        rng=rng,
    )
    return PairedDifference(float(differences.mean()), low, high, float(test.pvalue))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's adjusted p-values of several comparisons, in the order given.

    Args:
        p_values: The p-value of each comparison.

    Returns:
        The adjusted ones: of all that are at most 0.05, a false one is found with probability 0.05 at most.

    Example:
        >>> holm({"mlp": 0.01, "flow": 0.5, "random": 0.25})
        {'mlp': 0.03, 'flow': 0.5, 'random': 0.5}
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def separated(interval_a: Interval, interval_b: Interval) -> bool:
    """Return whether two intervals have no point in common.

    Intervals that cross are not separated, though a paired test may still tell their arms apart.

    Example:
        >>> separated((0.1, 0.4), (0.5, 0.9)), separated((0.1, 0.6), (0.5, 0.9))
        (True, False)
    """
    return interval_a[1] < interval_b[0] or interval_b[1] < interval_a[0]


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return both arms as ``(seeds, episodes)``, an arm without training repeated for each seed."""
    rows_a, rows_b = (np.atleast_2d(np.asarray(arm, dtype=np.float64)) for arm in (a, b))
    seeds = {len(rows_a), len(rows_b)}
    if rows_a.shape[1] != rows_b.shape[1] or (len(seeds) > 1 and 1 not in seeds):
        raise ValueError(
            "expected arms of the same episodes, and of as many training seeds or one row, "
            f"got (seeds, episodes) = {rows_a.shape} and {rows_b.shape}"
        )
    rows_a, rows_b = np.broadcast_arrays(rows_a, rows_b)
    return rows_a, rows_b
