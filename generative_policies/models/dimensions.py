"""Checks of what constructors and samplers take, by the name of the argument."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

MAX_LAYERS = 1_000
MAX_BLOCK = 4_096  # rows that a single one is padded to
MAX_NUM_STEPS = 10_000  # of a model's own: one that is loaded answers within seconds


def check_net_arch(net_arch: Sequence[int], minimum: int = 1, name: str = "net_arch") -> tuple[int, ...]:
    """Return hidden widths as a tuple.

    Raises:
        TypeError: If it is no sequence.
        ValueError: If there are none, too many, or one of them is not a positive integer.
    """
    if not isinstance(net_arch, Sequence | np.ndarray) or isinstance(net_arch, str):
        raise TypeError(f"{name} must be a sequence of widths, got {net_arch!r}")
    widths = tuple(net_arch)
    if not minimum <= len(widths) <= MAX_LAYERS:
        raise ValueError(f"{name} must hold {minimum} to {MAX_LAYERS} widths, got {len(widths)}")
    return tuple(check_dim(f"a width in {name}", width) for width in widths)


def check_number(name: str, value: float, *, positive: bool = False, below: float = math.inf) -> float:
    """Return a finite number that is not negative.

    Args:
        name: The argument's name, for the message.
        value: The number.
        positive: Whether zero is refused, too.
        below: What it must be smaller than.

    Raises:
        TypeError: If it is no real number.
        ValueError: If it is another.
    """
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond all floats
        number = math.inf
    if not (number > 0 if positive else number >= 0) or not number < below:  # NaN is neither
        least = "positive" if positive else "at least 0"
        raise ValueError(
            f"{name} must be {least} and {'finite' if below == math.inf else f'below {below}'}, got {value!r:.100}"
        )
    return number


def check_flag(name: str, value: bool) -> bool:
    """Return a flag.

    Raises:
        TypeError: If it is neither true nor false, but a number or a word.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r:.100}")
    return bool(value)


def check_part(name: str, part: Any, *kinds: type[Any]) -> None:
    """Check that a part of a model, or a model that another is built of, is of one of its kinds.

    Raises:
        TypeError: If it is of another.
    """
    if not isinstance(part, kinds):
        words = [f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}" for kind in kinds]
        raise TypeError(f"{name} must be {' or '.join(words)}, got {type(part).__name__}")


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


def check_block(block: int) -> int:
    """Return the number of rows that batches are padded to a multiple of.

    Raises:
        ValueError: If it is not an integer from 1 to ``MAX_BLOCK``.
    """
    if check_dim("block", block) > MAX_BLOCK:
        raise ValueError(f"block must be at most {MAX_BLOCK}, got {block}")
    return int(block)
