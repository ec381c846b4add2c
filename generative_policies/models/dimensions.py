"""Checks of the sizes that constructors and samplers take."""

from collections.abc import Sequence

import numpy as np

MAX_LAYERS = 1_000
MAX_NUM_STEPS = 10_000  # of a model's own: one that is loaded answers within seconds


def check_net_arch(net_arch: Sequence[int], minimum: int = 1) -> tuple[int, ...]:
    """Return hidden widths as a tuple.

    Raises:
        TypeError: If it is no sequence.
        ValueError: If there are none, too many, or one of them is not a positive integer.
    """
    if not isinstance(net_arch, Sequence | np.ndarray) or isinstance(net_arch, str):
        raise TypeError(f"net_arch must be a sequence of widths, got {net_arch!r}")
    widths = tuple(net_arch)
    if not minimum <= len(widths) <= MAX_LAYERS:
        raise ValueError(f"net_arch must hold {minimum} to {MAX_LAYERS} widths, got {len(widths)}")
    return tuple(check_dim("a width in net_arch", width) for width in widths)


def check_num_steps(num_steps: int) -> int:
    """Return a model's own number of solver steps.

    Raises:
        ValueError: If it is not an integer from 1 to ``MAX_NUM_STEPS``.
    """
    if check_dim("num_steps", num_steps) > MAX_NUM_STEPS:
        raise ValueError(f"num_steps must be at most {MAX_NUM_STEPS}, got {num_steps}")
    return int(num_steps)


def check_dim(name: str, value: int, minimum: int = 1) -> int:
    """Return a dimension.

    Raises:
        ValueError: If it is not an integer of at least ``minimum``.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")
    return int(value)
