"""A caller's numbers as numpy takes them, refused by the argument's name where it does not."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_array(name: str, values: Any) -> NDArray[Any]:
    """Return values as an array, of whatever dtype they are.

    Args:
        name: The argument's name, for the message.
        values: An array, or sequences of numbers.

    Raises:
        ValueError: If they make no array, such as rows of different lengths.
    """
    try:
        return np.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be an array of numbers: {error}") from error


def as_float(value: Any) -> float:
    """Return a number as a float, infinite where it is an integer beyond all of them."""
    try:
        return float(value)
    except OverflowError:
        return math.inf
