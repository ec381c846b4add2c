"""What a function of the library computes, as a list of torch's own operations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor


class ExportError(ValueError):
    """A model that cannot be exported; the message says what stands in the way."""


class Batched(NamedTuple):
    """A size that is a multiple of the number of rows.

    Attributes:
        factor: The multiple, such as the history of an encoder's frames.
    """

    factor: int


Size = int | Batched


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the inputs.

    Attributes:
        number: Its own, in the order of their computation.
        shape: Its sizes.
        dtype: Its type.
    """

    number: int
    shape: tuple[Size, ...]
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Constant:
    """A tensor that does not depend on the inputs.

    Attributes:
        tensor: The tensor; an axis of the batch, along which it does not vary, has one entry.
        shape: Its sizes, those of the batch included.
    """

    tensor: Tensor
    shape: tuple[Size, ...]

    @property
    def dtype(self) -> torch.dtype:
        """Its type."""
        return self.tensor.dtype


@dataclass(frozen=True)
class Operation:
    """One of torch's operations.

    Attributes:
        name: Its name, such as ``"addmm"``.
        arguments: By the names of torch's schema; tensors are a ``Value`` or a ``Constant``, sizes may be ``Batched``.
        outputs: Its answers; ``None`` for what is no tensor.
    """

    name: str
    arguments: Mapping[str, Any]
    outputs: tuple[Value | None, ...]


class Recording(NamedTuple):
    """A function as a list of operations.

    Attributes:
        inputs: One value an input.
        operations: Those that the answer needs, in the order of their computation.
        output: The answer.
    """

    inputs: tuple[Value, ...]
    operations: tuple[Operation, ...]
    output: Value | Constant


def values(argument: Any) -> list[Value]:
    """Return the values in an argument of an operation."""
    if isinstance(argument, list):
        return [value for item in argument for value in values(item)]
    return [argument] if isinstance(argument, Value) else []
