"""Confidence intervals of success rates, returns and recovered performance.

Source: Wilson 1927 (score interval); Agarwal et al. 2021 (interquartile mean, stratified bootstrap); Owen 2007
(pigeonhole bootstrap of rows and columns).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, bootstrap, trim_mean

FloatArray = NDArray[np.float64]
Interval = tuple[float, float]


class Recovered(NamedTuple):
    """Share of the lost performance that an arm gives back.

    Args:
        value: The share, which may lie outside [0, 1]; ``None`` where nothing was lost.
        low: Lower end of its interval, ``None`` where the interval is undefined.
        high: Upper end of its interval, ``None`` where the interval is undefined.
        reason: Why a figure is missing, ``None`` where none is.
    """

    value: float | None
    low: float | None
    high: float | None
    reason: str | None = None


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


@overload
def interquartile_mean(values: ArrayLike, axis: None = None) -> float: ...
@overload
def interquartile_mean(values: ArrayLike, axis: int) -> FloatArray: ...
def interquartile_mean(values: ArrayLike, axis: int | None = None) -> float | FloatArray:
    """Return the mean of the middle half: as robust as the median, less noisy.

    Args:
        values: Any shape.
        axis: The axis to average over; ``None`` for all entries.
    """
    means = trim_mean(np.asarray(values, dtype=np.float64), 0.25, axis=axis)
    return float(means) if axis is None else np.asarray(means, dtype=np.float64)


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


def percentile_interval(resampled: FloatArray, confidence: float = 0.95) -> Interval:
    """Return the interval that leaves out equal tails of a statistic's resamples, ``(num_resamples,)``."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def stratified_bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[[FloatArray, int], FloatArray],
    rng: np.random.Generator,
    confidence: float = 0.95,
    num_resamples: int = 2_000,
) -> Interval:
    """Return the percentile bootstrap interval of a statistic over all entries, stratified over training seeds.

    Each resample draws episodes with replacement, the same for all training seeds, which share the reset seeds and so
    their difficulty. The interval speaks of these trained policies, not of further training seeds.

    Args:
        values: ``(seeds, episodes)``; equal entries give an interval of width zero.
        statistic: A function of an array and an axis, such as ``np.mean`` or ``interquartile_mean``.
        rng: Source of the resamples.
        confidence: Probability that the interval holds the true statistic.
        num_resamples: Number of resamples.

    Example:
        >>> returns = np.array([[1.0, 2.0, 3.0], [7.0, 7.0, 7.0]])
        >>> low, high = stratified_bootstrap_interval(returns, np.mean, np.random.default_rng(0))
        >>> 4.0 <= low < 4.5 < high <= 5.0
        True
    """
    values = np.atleast_2d(np.asarray(values, dtype=np.float64))
    episodes = rng.integers(values.shape[1], size=(num_resamples, 1, values.shape[1]))
    resamples = np.take_along_axis(values[None], episodes, axis=2).reshape(num_resamples, -1)  # (R, S * E)
    return percentile_interval(statistic(resamples, 1), confidence)


def pigeonhole_bootstrap_means(values: ArrayLike, rng: np.random.Generator, num_resamples: int = 2_000) -> FloatArray:
    """Return the means of resamples that draw training seeds and episodes, both with replacement.

    An episode is drawn for all training seeds and all stacked arrays at once, so what is paired stays paired. With one
    training seed only episodes vary. With S of them their spread is understated by (S - 1) / S, as in any bootstrap.

    Args:
        values: ``(..., seeds, episodes)``.
        rng: Source of the resamples.
        num_resamples: Number of resamples.

    Returns:
        ``(..., num_resamples)``.
    """
    values = np.asarray(values, dtype=np.float64)
    num_seeds, num_episodes = values.shape[-2:]
    # How often each is drawn: as good as indices, and much smaller.
    seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=num_resamples)  # (R, S)
    episodes = rng.multinomial(num_episodes, np.full(num_episodes, 1 / num_episodes), size=num_resamples)  # (R, E)
    sums = np.sum((seeds.astype(np.float64) @ values) * episodes, axis=-1)  # (..., R)
    return np.asarray(sums / (num_seeds * num_episodes), dtype=np.float64)


def recovered_interval(
    arm: ArrayLike,
    untranslated: ArrayLike,
    source: ArrayLike,
    rng: np.random.Generator,
    confidence: float = 0.95,
    num_resamples: int = 2_000,
) -> Recovered:
    """Return (J - J_untranslated) / (J_source - J_untranslated) with its percentile bootstrap interval.

    J is the mean over training seeds and episodes. A resample draws the same episodes for the arm, the floor and the
    ceiling, and training seeds of the arm. Resamples whose gap is not positive count as minus infinity for the lower
    end and as infinity for the upper, so the interval is undefined where they outweigh its tails (2.5 % each at 95 %).

    Args:
        arm: ``(seeds, episodes)`` or ``(episodes,)``, returns or successes.
        untranslated: ``(episodes,)``, the source policy on the target as it is, with the same reset seeds.
        source: ``(episodes,)``, the source policy at home, with the same reset seeds.
        rng: Source of the resamples.
        confidence: Probability that the interval holds the true share.
        num_resamples: Number of resamples.

    Raises:
        ValueError: If the numbers of episodes differ.

    Example:
        >>> floor, ceiling = np.array([0.0, 2.0]), np.array([10.0, 12.0])
        >>> recovered_interval(floor + 5, floor, ceiling, np.random.default_rng(0))
        Recovered(value=0.5, low=0.5, high=0.5, reason=None)
    """
    arm = np.atleast_2d(np.asarray(arm, dtype=np.float64))
    floor, ceiling = (np.ravel(np.asarray(values, dtype=np.float64)) for values in (untranslated, source))
    if not arm.shape[1] == floor.size == ceiling.size:
        raise ValueError(
            "expected the same episodes for the arm, untranslated and source, "
            f"got {arm.shape[1]}, {floor.size} and {ceiling.size}"
        )
    gained_and_lost = np.stack([arm - floor, np.broadcast_to(ceiling - floor, arm.shape)])  # (2, S, E)
    gained, lost = gained_and_lost.mean(axis=(1, 2))
    if lost <= 0:
        return Recovered(None, None, None, "the untranslated policy is as good as at home: nothing to recover")
    value = float(gained / lost)

    gains, losses = pigeonhole_bootstrap_means(gained_and_lost, rng, num_resamples)
    defined = losses > 0
    tail = (1 - confidence) / 2
    shares = np.divide(gains, losses, where=defined, out=np.full(num_resamples, -np.inf))
    low = float(np.quantile(shares, tail, method="lower"))
    shares[~defined] = np.inf
    high = float(np.quantile(shares, 1 - tail, method="higher"))
    if not np.isfinite([low, high]).all():
        return Recovered(
            value,
            None,
            None,
            f"the untranslated policy is as good as at home in {np.mean(~defined):.1%} of the resamples: "
            "too small a gap for an interval, evaluate more episodes",
        )
    return Recovered(value, low, high)
