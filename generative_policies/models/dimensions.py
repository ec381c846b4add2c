"""Checks of the sizes that constructors and samplers take."""

from collections.abc import Sequence

import numpy as np

MAX_LAYERS = 1_000


def check_net_arch(net_arch: Sequence[int], minimum: int = 1) -> tuple[int, ...]:
    """Return hidden widths as a tuple.

    Raises:
        ValueError: If there are none, too many, or one of them is not a positive integer.
    """
    widths = tuple(net_arch)
    if not minimum <= len(widths) <= MAX_LAYERS:
        raise ValueError(f"net_arch must hold {minimum} to {MAX_LAYERS} widths, got {len(widths)}")
    return tuple(check_dim("a width in net_arch", width) for width in widths)


def check_dim(name: str, value: int, minimum: int = 1) -> int:
    """Return a dimension.

    Raises:
        ValueError: If it is not an integer of at least ``minimum``.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")
    return int(value)
