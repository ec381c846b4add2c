"""What stands in an env's spec for things that JSON does not know."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box

DTYPES = tuple(np.dtype(kind).name for kind in "efdbhilBHIL")


class InMemory(dict[str, Any]):
    """An object of this process in a spec: ``gymnasium.make(env.spec)`` takes it as it is, JSON refuses it.

    It is a dictionary because those are what a spec's ``to_json`` looks into, so that it can say what to do. The object
    is never copied.

    Args:
        value: The object.
        instruction: What to pass instead.
    """

    def __init__(self, value: Any, instruction: str) -> None:
        super().__init__(instruction=instruction)
        self.value = value

    def items(self) -> Any:
        """Refuse to be written.

        Raises:
            TypeError: Always, with the instruction.
        """
        raise TypeError(f"{type(self.value).__name__} is in memory alone and cannot be written: {self['instruction']}")

    def __deepcopy__(self, memo: dict[int, Any]) -> "InMemory":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return InMemory, (self.value, self["instruction"])  # not by its items


def record_model(model: Any, save: str) -> Any:
    """Return what a spec records of a model: its path, one that holds in every folder, or the model in memory.

    Args:
        model: A model or a path.
        save: The function that writes one, for the instruction.
    """
    if isinstance(model, str | os.PathLike):
        return str(Path(model).absolute())
    return model if isinstance(model, InMemory) else InMemory(model, f"save it with {save} and pass the path")


def record_box(name: str, space: Any) -> Any:
    """Return a Box, or a mapping that stands for one, in plain lists and words; ``None`` as it is.

    Args:
        name: The argument's name, for messages.
        space: The Box, or the mapping.
    """
    box = as_box(name, space)
    if not isinstance(box, Box):
        return box
    return {"low": box.low.tolist(), "high": box.high.tolist(), "dtype": np.dtype(box.dtype).name}


def as_box(name: str, space: Any) -> Any:
    """Return the Box of a mapping of its ``low``, ``high`` and ``dtype``; anything else as it is.

    Args:
        name: The argument's name, for messages.
        space: The Box, or the mapping.

    Raises:
        TypeError: If the dtype is no word.
        ValueError: If a bound is missing, or a name is another, or the dtype is, or the bounds make no Box.
    """
    if not isinstance(space, Mapping):
        return space
    if not {"low", "high"} <= set(space) <= {"low", "high", "dtype"}:
        raise ValueError(f"{name} is described by its low and high, and a dtype; got {list(space)!r:.200}")
    dtype: Any = space.get("dtype", "float32")
    if not isinstance(dtype, str | np.dtype | type):
        raise TypeError(f"the dtype of {name} is a word such as float32, got {dtype!r:.50}")
    # A string's own length is part of its type, of gigabytes if it likes.
    if isinstance(dtype, str) and dtype not in DTYPES:
        raise ValueError(f"the dtype of {name} is one of {', '.join(DTYPES)}; got {dtype!r:.50}")
    dtype = np.dtype(dtype)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large becomes infinite, and is refused later
            low, high = (np.asarray(space[bound], dtype=dtype) for bound in ("low", "high"))
        return Box(low, high, dtype=dtype.type)
    except (AssertionError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{name} is described by numbers as its low and high: {error}") from error


def from_record(value: Any) -> Any:
    """Return what a recorded value stands for."""
    return value.value if isinstance(value, InMemory) else value
