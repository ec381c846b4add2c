"""Recording a function for batches of any size.

Everything that does not depend on the inputs (time embeddings, transposed weights, statistics) is computed while it is
recorded, and stands in the list as a constant. The function runs twice, with batches of different sizes: what differs
between the two is the batch, and everything else is a number. ``torch.export`` cannot do this for models that look at
``len(x)``, as all of the library's checks do: it takes the number of rows for a constant.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from generative_policies.export.recorder import Given, Recorder
from generative_policies.export.recording import (
    Batched,
    Constant,
    ExportError,
    Operation,
    Recording,
    Size,
    Value,
    values,
)

# Two batches; sizes that differ between them are multiples of the batch.
BATCHES = (2, 3)


def record(
    function: Callable[..., Tensor], examples: Callable[[int], Sequence[Tensor]], known: Collection[str] = ()
) -> Recording:
    """Record a function of tensors whose first axis is the batch.

    Args:
        function: Called with as many tensors as ``examples`` gives; it must not draw random numbers, nor look at the
            values of what it computes.
        examples: Gives inputs of a number of rows.
        known: Names of operations that are kept as they are; others are taken apart where torch knows their parts.

    Raises:
        ExportError: If the function does one of these things, or treats batches of different sizes differently.

    Example:
        >>> recording = record(lambda x: 2 * x + torch.ones(3), lambda batch: [torch.zeros(batch, 3)])
        >>> [operation.name for operation in recording.operations], recording.output.shape
        (['mul', 'add'], (Batched(factor=1), 3))
    """
    small, large = (Recorder(function, examples(batch), known) for batch in BATCHES)
    if [entry.name for entry in small.entries] != [entry.name for entry in large.entries]:
        raise ExportError("the model computes batches of different sizes in different ways")
    merge = _Merge()
    operations = []
    for first, second in zip(small.entries, large.entries, strict=True):
        name = first.name
        arguments = {key: merge(value, second.arguments[key], name) for key, value in first.arguments.items()}
        answers = merge(first.answers, second.answers, name)
        outputs = tuple(answer if isinstance(answer, Value) else None for answer in answers)
        operations.append(Operation(name, arguments, outputs))
    inputs = tuple(merge(a, b, "the inputs") for a, b in zip(small.inputs, large.inputs, strict=True))
    output = merge(small.output, large.output, "the answer")
    return Recording(inputs, tuple(_needed(operations, output)), output)


class _Merge:
    """What the same thing is in both recordings."""

    def __init__(self) -> None:
        self._constants: dict[tuple[int, int], Constant] = {}

    def __call__(self, small: Any, large: Any, where: str) -> Any:
        if isinstance(small, Given) and isinstance(large, Given):
            return self._tensor(small, large, where)
        if isinstance(small, list) and isinstance(large, list):
            if len(small) != len(large):
                raise ExportError(f"the model takes the batch apart into its rows, in {where}")
            return [self(a, b, where) for a, b in zip(small, large, strict=True)]
        if type(small) is int and type(large) is int:
            return self._size(small, large, where)
        if small != large:
            raise ExportError(
                f"the model computes batches of different sizes in different ways, in {where}: {small!r}, {large!r}"
            )
        return small

    def _tensor(self, small: Given, large: Given, where: str) -> Value | Constant:
        first, second = small.tensor, large.tensor
        if small.number != large.number or first.ndim != second.ndim or first.dtype != second.dtype:
            raise ExportError(f"the model computes batches of different sizes in different ways, in {where}")
        shape = tuple(self._size(a, b, where) for a, b in zip(first.shape, second.shape, strict=True))
        if small.number is not None:
            return Value(small.number, shape, first.dtype)
        key = id(first), id(second)
        if key not in self._constants:
            axes = [axis for axis, size in enumerate(shape) if isinstance(size, Batched)]
            one = first
            for axis in axes:
                one = one.narrow(axis, 0, 1)
            if first.data_ptr() != second.data_ptr() and not (_repeats(one, first) and _repeats(one, second)):
                raise ExportError(f"the model has constants that depend on the batch, in {where}")
            self._constants[key] = Constant(one.detach(), shape)
        return self._constants[key]

    def _size(self, small: int, large: int, where: str) -> Size:
        if small == large:
            return small
        factor, rest = divmod(small, BATCHES[0])
        if rest or large != factor * BATCHES[1]:
            raise ExportError(f"the model computes batches of different sizes in different ways, in {where}")
        return Batched(factor)


def _repeats(one: Tensor, tensor: Tensor) -> bool:
    """Whether a tensor repeats one row, but for its rounding: a product of more rows may be rounded in another way."""
    row, rows = one.expand_as(tensor).double(), tensor.double()
    largest = float(rows.where(rows.isfinite(), 0).abs().max()) if rows.numel() else 0.0
    return torch.allclose(row, rows, rtol=0, atol=1e-5 * largest, equal_nan=True)


def _needed(operations: Sequence[Operation], output: Value | Constant) -> list[Operation]:
    """The operations that the answer depends on."""
    needed = {value.number for value in values(output)}
    kept: list[Operation] = []
    for operation in reversed(operations):
        if any(value is not None and value.number in needed for value in operation.outputs):
            kept.append(operation)
            needed |= {value.number for argument in operation.arguments.values() for value in values(argument)}
    return kept[::-1]
