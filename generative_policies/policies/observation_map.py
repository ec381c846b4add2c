"""What a source policy sees of another robot's observation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Space
from numpy.typing import NDArray

from generative_policies.data.arrays import as_array

Rows = NDArray[Any] | dict[str, NDArray[Any]]
"""A batch of observations: an array ``(batch, ...)``, or one an entry of a dictionary."""


class ObservationMap:
    """What a policy sees of an observation: its leading part, some of its entries, or a function of it.

    Args:
        source: A number of leading entries, a slice, indices, or a function of one observation.

    Raises:
        TypeError: If it is something else.
        ValueError: If it is no array of indices, but of rows of different lengths.
    """

    def __init__(self, source: Any) -> None:
        self.function: Callable[[Any], Any] | None = None
        self.index: Any = None
        if isinstance(source, bool):
            raise TypeError("source_observation names True or False, which selects nothing")
        if isinstance(source, int | np.integer):
            self.index = slice(int(source))
        elif isinstance(source, slice):
            self.index = source
        elif callable(source):
            self.function = source
        elif isinstance(source, Sequence | np.ndarray) and as_array("source_observation", source).dtype.kind in "iu":
            self.index = np.asarray(source)
        else:
            raise TypeError(
                f"source_observation must be a function, or name a number of leading entries, a slice or indices; "
                f"got {source!r}"
            )

    def space(self, observation_space: Space[Any]) -> Space[Any]:
        """Return the space of what is seen; bounds of a function's values are not known."""
        if self.function is not None:
            return _unbounded(self.function(observation_space.sample()))
        if not isinstance(observation_space, Box) or len(observation_space.shape) != 1:
            raise TypeError(f"entries are selected from a Box with one axis, got {observation_space}")
        width = observation_space.shape[0]
        if isinstance(self.index, slice) and self.index.stop is not None and not 0 < self.index.stop <= width:
            raise ValueError(f"source_observation ends at entry {self.index.stop} of an observation with {width}")
        if isinstance(self.index, np.ndarray):
            outside = self.index.size == 0 or self.index.min() < -width or self.index.max() >= width
            if outside or self.index.ndim != 1:
                raise ValueError(
                    f"source_observation must name some entries of an observation with {width}, "
                    f"got {self.index.tolist()}"
                )
        low, high = observation_space.low[self.index], observation_space.high[self.index]
        return Box(low, high, dtype=observation_space.dtype.type)

    def __call__(self, observations: Rows) -> Rows:
        """Return what is seen of each row."""
        if self.function is None:
            assert isinstance(observations, np.ndarray)  # a Box, as space checked
            return np.array(observations[:, self.index])
        count = len(next(iter(observations.values()))) if isinstance(observations, dict) else len(observations)
        rows = [self.function(take_row(observations, k)) for k in range(count)]
        if isinstance(rows[0], Mapping):
            return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return np.stack(rows)


def map_rows(function: Callable[[NDArray[Any]], Any], observations: Any) -> Any:
    """Apply a function to an array, or to every array of a dictionary."""
    if isinstance(observations, np.ndarray) or not isinstance(observations, Mapping):
        return function(observations)
    return {name: function(values) for name, values in observations.items()}


def take_row(observations: Any, row: int) -> Any:
    """Return one observation of a batch, in memory of its own."""
    return map_rows(lambda values: np.array(values[row]), observations)


def _unbounded(value: Any) -> Space[Any]:
    """The space of arrays like a value."""
    if isinstance(value, Mapping):
        return Dict({name: _unbounded(entry) for name, entry in value.items()})
    array = np.asarray(value)
    if np.issubdtype(array.dtype, np.floating):
        return Box(-np.inf, np.inf, array.shape, array.dtype.type)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"source_observation must give arrays of numbers, got {array.dtype}")
    information = np.iinfo(array.dtype)
    return Box(information.min, information.max, array.shape, array.dtype.type)
