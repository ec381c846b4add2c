"""Confidence intervals of success rates and returns.

Source: Wilson 1927 (score interval); Agarwal et al. 2021 (interquartile mean).
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest, bootstrap, trim_mean

Interval = tuple[float, float]


def wilson_interval(successes: Sequence[bool], confidence: float = 0.95) -> Interval:
    """Return Wilson's interval of a success rate.

    Args:
        successes: One entry an episode, at least one.
        confidence: Probability that the interval holds the true rate.

    Example:
        >>> low, high = wilson_interval([True] * 45 + [False] * 5)
        >>> round(low, 3), round(high, 3)
        (0.786, 0.957)
    """
    interval = binomtest(int(np.sum(successes)), len(successes)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def interquartile_mean(values: ArrayLike) -> float:
    """Return the mean of the middle half: as robust as the median, less noisy."""
    return float(trim_mean(np.asarray(values, dtype=np.float64), 0.25))


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[[ArrayLike], float],
    rng: np.random.Generator,
    confidence: float = 0.95,
    num_resamples: int = 2_000,
) -> Interval:
    """Return the percentile bootstrap interval of a statistic.

    Args:
        values: ``(n,)``; a single value, or equal ones, give an interval of width zero.
        statistic: A function of an array.
        rng: Source of the resamples.
        confidence: Probability that the interval holds the true statistic.
        num_resamples: Number of resamples.
    """
    values = np.asarray(values, dtype=np.float64)
    if np.ptp(values) == 0:
        return statistic(values), statistic(values)
    result = bootstrap(
        (values,),
        statistic,
        n_resamples=num_resamples,
        confidence_level=confidence,
        method="percentile",
        vectorized=False,
        rng=rng,
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
