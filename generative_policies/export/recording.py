"""What a function of the library computes, as a list of torch's own operations.

Everything that does not depend on the inputs (time embeddings, transposed weights, statistics) is computed while it is
recorded, and stands in the list as a constant. The function runs twice, with batches of different sizes: what differs
between the two is the batch, and everything else is a number. ``torch.export`` cannot do this for models that look at
``len(x)``, as all of the library's checks do: it takes the number of rows for a constant.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Two batches; sizes that differ between them are multiples of the batch.
BATCHES = (2, 3)
# Operations whose answer has the shape of an argument, and nothing of its values.
SHAPE_ONLY = {"new_full", "new_zeros", "new_ones", "zeros_like", "ones_like", "full_like"}


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
    """

    number: int
    shape: tuple[Size, ...]


@dataclass(frozen=True)
class Constant:
    """A tensor that does not depend on the inputs.

    Attributes:
        tensor: The tensor; an axis of the batch, along which it does not vary, has one entry.
        shape: Its sizes, those of the batch included.
    """

    tensor: Tensor
    shape: tuple[Size, ...]


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


def record(function: Callable[..., Tensor], examples: Callable[[int], Sequence[Tensor]]) -> Recording:
    """Record a function of tensors whose first axis is the batch.

    Args:
        function: Called with as many tensors as ``examples`` gives; it must not draw random numbers, change a tensor in
            place, or compute with numbers that it has read out of one.
        examples: Gives inputs of a number of rows.

    Raises:
        ExportError: If the function does one of these things, or treats batches of different sizes differently.

    Example:
        >>> recording = record(lambda x: 2 * x + torch.ones(3), lambda batch: [torch.zeros(batch, 3)])
        >>> [operation.name for operation in recording.operations], recording.output.shape
        (['mul', 'add'], (Batched(factor=1), 3))
    """
    small, large = (_Recorder(function, examples(batch)) for batch in BATCHES)
    if [entry[0] for entry in small.entries] != [entry[0] for entry in large.entries]:
        raise ExportError("the model computes batches of different sizes in different ways")
    merge = _Merge(small.numbers, large.numbers)
    operations = [
        Operation(
            name,
            {key: merge(value, arguments[key], name) for key, value in first.items()},
            tuple(merge(a, b, name) if isinstance(a, Tensor) else None for a, b in zip(answers, others, strict=True)),
        )
        for (name, first, answers), (_, arguments, others) in zip(small.entries, large.entries, strict=True)
    ]
    inputs = tuple(merge(a, b, "the inputs") for a, b in zip(small.inputs, large.inputs, strict=True))
    output = merge(small.output, large.output, "the answer")
    return Recording(inputs, tuple(_needed(operations, output)), output)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Runs a function once and keeps what it computes from its inputs."""

    def __init__(self, function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.inputs = tuple(inputs)
        self.numbers = {id(tensor): number for number, tensor in enumerate(inputs)}
        # They keep all tensors alive: an id is that of one object for as long as the object lives.
        self.entries: list[tuple[str, dict[str, Any], list[Any]]] = []
        with self:
            self.output = function(*inputs)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and keep it where it depends on the inputs; ``Any`` as torch calls it."""
        schema = func._schema
        name = schema.name.removeprefix("aten::")
        given = dict(zip([argument.name for argument in schema.arguments], args, strict=False)) | (kwargs or {})
        defaults = {argument.name: argument.default_value for argument in schema.arguments}
        arguments = defaults | given
        if torch.Tag.nondeterministic_seeded in func.tags and arguments.get("dropout_p") != 0:
            raise ExportError(
                f"the model draws random numbers as it samples ({name}): in an exported model all noise must be an "
                f"input"
            )
        if schema.is_mutable:
            raise ExportError(f"the model changes a tensor in place ({name}); compute a new one instead")
        answer = func(*args, **(kwargs or {}))
        if name not in SHAPE_ONLY and any(id(tensor) in self.numbers for tensor in _tensors(arguments.values())):
            self._keep(name, arguments, answer)
        return answer

    def _keep(self, name: str, arguments: dict[str, Any], answer: Any) -> None:
        answers = list(answer) if isinstance(answer, tuple | list) else [answer]
        if name == "_local_scalar_dense":
            # A truth is what a check of values asks for. A number would be a constant of the graph.
            if not isinstance(answer, bool):
                raise ExportError("the model computes with a number that it reads out of its inputs")
            return
        for tensor in answers:
            if isinstance(tensor, Tensor) and id(tensor) not in self.numbers:
                self.numbers[id(tensor)] = len(self.numbers)
        self.entries.append((name, arguments, answers))


class _Merge:
    """What the same thing is in both recordings."""

    def __init__(self, small: Mapping[int, int], large: Mapping[int, int]) -> None:
        self._numbers = small, large
        self._constants: dict[tuple[int, int], Constant] = {}

    def __call__(self, small: Any, large: Any, where: str) -> Any:
        if isinstance(small, Tensor):
            return self._tensor(small, large, where)
        if isinstance(small, list | tuple):
            return [self(a, b, where) for a, b in zip(small, large, strict=True)]
        if type(small) is int and small != large:
            return self._size(small, large, where)
        if small != large:
            raise ExportError(f"the model computes batches of different sizes in different ways: {small!r}, {large!r}")
        return small

    def _tensor(self, small: Tensor, large: Tensor, where: str) -> Value | Constant:
        numbers = tuple(found.get(id(tensor)) for found, tensor in zip(self._numbers, (small, large), strict=True))
        if numbers[0] != numbers[1] or small.ndim != large.ndim:
            raise ExportError(f"the model computes batches of different sizes in different ways, in {where}")
        shape = tuple(self._size(a, b, where) for a, b in zip(small.shape, large.shape, strict=True))
        if numbers[0] is not None:
            return Value(numbers[0], shape)
        key = id(small), id(large)
        if key not in self._constants:
            axes = [axis for axis, size in enumerate(shape) if isinstance(size, Batched)]
            one = small
            for axis in axes:
                one = one.narrow(axis, 0, 1)
            # A product of more rows may be rounded in another way.
            if small.data_ptr() != large.data_ptr() and not all(
                torch.allclose(one.expand_as(tensor).double(), tensor.double(), rtol=1e-4, atol=1e-5)
                for tensor in (small, large)
            ):
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


def _tensors(arguments: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for value in arguments:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def values(argument: Any) -> list[Value]:
    """Return the values in an argument of an operation."""
    if isinstance(argument, list):
        return [value for item in argument for value in values(item)]
    return [argument] if isinstance(argument, Value) else []


def _needed(operations: Sequence[Operation], output: Value | Constant) -> list[Operation]:
    """The operations that the answer depends on."""
    needed = {value.number for value in values(output)}
    kept: list[Operation] = []
    for operation in reversed(operations):
        if any(value is not None and value.number in needed for value in operation.outputs):
            kept.append(operation)
            needed |= {value.number for argument in operation.arguments.values() for value in values(argument)}
    return kept[::-1]
