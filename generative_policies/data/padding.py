"""Padding that makes a row's result independent of the batch it came in with."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def pad_rows(rows: NDArray[Any], block: int = 16) -> NDArray[Any]:
    """Repeat the last row until the number of rows is a multiple of the block.

    Matrix products take other code paths for other batch sizes, with results that differ in the last bit; a simulator
    turns that into another trajectory. At multiples of 16 rows they agree.

    Args:
        rows: ``(batch, ...)``, at least one row.
        block: Number of rows to fill up to; 1 pads nothing.

    Returns:
        ``(padded, ...)``, the first ``batch`` rows being the given ones.

    Raises:
        ValueError: If there is no row or ``block`` is smaller than 1.

    Example:
        >>> pad_rows(np.ones((3, 2))).shape
        (16, 2)
    """
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    if len(rows) == 0:
        raise ValueError(f"expected at least one row, got shape {rows.shape}")
    missing = -len(rows) % block
    if not missing:
        return rows
    if len(rows) == 1:
        return rows.repeat(block, axis=0)
    padded = np.empty((len(rows) + missing, *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    padded[len(rows) :] = rows[-1]
    return padded
