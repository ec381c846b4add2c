"""Learning rates by the share of a training that remains, as Stable-Baselines3 takes them."""

import math

from generative_policies.models.dimensions import check_number


class CosineSchedule:
    """A learning rate by the share of the training that remains: a linear warm-up, then a cosine to zero.

    Args:
        peak: The largest learning rate.
        warmup: Share of the training in which it rises, below 1.

    Raises:
        TypeError: If one is no number.
        ValueError: If one is negative, or otherwise out of range.

    Example:
        >>> schedule = CosineSchedule(1e-3, warmup=0.1)
        >>> round(schedule(0.95), 6), round(schedule(0.9), 6), round(schedule(0.0), 6)
        (0.0005, 0.001, 0.0)
    """

    def __init__(self, peak: float = 1e-3, warmup: float = 0.03) -> None:
        self.peak = check_number("peak", peak)
        self.warmup = check_number("warmup", warmup, below=1)

    def __call__(self, progress_remaining: float) -> float:
        """Return the learning rate."""
        done = 1.0 - progress_remaining
        if done < self.warmup:
            return self.peak * done / self.warmup
        return self.peak * 0.5 * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup)))
