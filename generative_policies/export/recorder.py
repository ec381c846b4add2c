"""One run of a function, and which of torch's operations it does with its inputs."""

from collections.abc import Callable, Collection, Sequence
from functools import cache
from itertools import count
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from generative_policies.export.recording import ExportError

# Operations whose answer has the shape of an argument, and nothing of its values.
SHAPE_ONLY = frozenset(
    {"empty_like", "full_like", "new_empty", "new_full", "new_ones", "new_zeros", "ones_like", "zeros_like"}
)
# Ways out of torch, where nothing can be followed any more.
EXITS = (Tensor.numpy, Tensor.tolist, Tensor.__array__)


class Given(NamedTuple):
    """A tensor as an operation was given it.

    Attributes:
        tensor: The tensor.
        number: That of its value, ``None`` for a constant.
    """

    tensor: Tensor
    number: int | None


class Entry(NamedTuple):
    """An operation as it was called.

    Attributes:
        name: Its name.
        arguments: By the names of torch's schema; tensors are ``Given``.
        answers: What it gave, likewise.
    """

    name: str
    arguments: dict[str, Any]
    answers: list[Any]


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Runs a function once and keeps what it computes from its inputs.

    An operation that changes a tensor in place is kept as the one that gives a new tensor, as long as nobody looks at
    the same memory through another tensor afterwards.

    Args:
        function: The function.
        inputs: What it is called with.
        known: Names of operations that are kept as they are; others are taken apart where torch knows their parts.

    Raises:
        ExportError: If it draws, reads numbers out of its inputs, or changes in place what is not its own.
    """

    def __init__(self, function: Callable[..., Tensor], inputs: Sequence[Tensor], known: Collection[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self._known = known
        self._number = count()
        self._numbers: dict[int, int] = {}  # of values, by the id of their tensor
        self._alive: list[Tensor] = []  # an id, or a place in memory, is that of one for as long as it lives
        self._sharing: dict[int, set[int]] = {}  # ids of the values in a place of memory
        self._outdated: set[int] = set()  # ids of values whose memory was changed through another tensor
        self._own: set[int] = set()  # memory that was taken while recording
        self._kept: set[int] = set()  # memory of constants that stand in entries
        self.entries: list[Entry] = []
        self.inputs = [self._value(tensor) for tensor in inputs]
        with _Exits(self._numbers), self:
            output = function(*inputs)
        self.output = self._given(output)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and keep it where it depends on the inputs; ``Any`` as torch calls it."""
        schema, kwargs = func._schema, kwargs or {}
        name = schema.name.removeprefix("aten::")
        given = dict(zip([argument.name for argument in schema.arguments], args, strict=False)) | kwargs
        defaults = {argument.name: argument.default_value for argument in schema.arguments}
        arguments = defaults | given
        if torch.Tag.nondeterministic_seeded in func.tags and arguments.get("dropout_p") != 0:
            raise ExportError(
                f"the model draws random numbers as it samples ({name}): in an exported model all noise must be an "
                f"input"
            )
        taken = _tensors(arguments.values())
        depends = any(id(tensor) in self._numbers for tensor in taken)
        if schema.is_mutable:
            return self._change(name, func, args, kwargs, arguments, depends)
        if not depends or name in SHAPE_ONLY:
            answer = func(*args, **kwargs)
            self._note(answer, () if name == "lift_fresh" else taken)
            return answer
        if name not in self._known:
            with self:
                answer = _decompositions().get(func, func.decompose)(*args, **kwargs)
            if answer is not NotImplemented:
                return answer
        self._check_reads(name, func, arguments)
        before = self._all_given(arguments)
        answer = func(*args, **kwargs)
        self._note(answer, taken)
        answers = [
            self._value(item) if isinstance(item, Tensor) else item
            for item in (answer if isinstance(answer, tuple | list) else [answer])
        ]
        self.entries.append(Entry(name, before, answers))
        return answer

    def _change(
        self, name: str, func: Any, args: Any, kwargs: Any, arguments: dict[str, Any], depends: bool
    ) -> Any:  # what torch answers
        """Run an operation that changes a tensor in place."""
        changed = _tensors(
            arguments[argument.name]
            for argument in func._schema.arguments
            if argument.alias_info is not None and argument.alias_info.is_write
        )
        if depends and not (name.endswith("_") and len(changed) == 1 and id(changed[0]) in self._numbers):
            _refuse_change(name, "parts of a tensor are set to what is computed from the inputs")
        memory = {_memory(tensor) for tensor in changed}
        if not depends and not memory <= self._own:
            _refuse_change(name, "it was there before")
        if memory & self._kept:
            _refuse_change(name, "it was used before")
        if not depends:
            return func(*args, **kwargs)
        (tensor,) = changed
        before, shape = self._all_given(arguments), tensor.shape
        answer = func(*args, **kwargs)
        if tensor.shape != shape:
            _refuse_change(name, "it has another shape then")
        self._outdated |= self._sharing[_memory(tensor)] - {id(tensor)}
        self.entries.append(Entry(name.removesuffix("_"), before, [self._value(tensor, anew=True)]))
        return answer

    def _check_reads(self, name: str, func: Any, arguments: dict[str, Any]) -> None:
        """Refuse what turns values into numbers, truths or sizes, which would be those of the example for ever."""
        reads = torch.Tag.data_dependent_output in func.tags or not any(
            "Tensor" in str(answer.type) for answer in func._schema.returns
        )
        if torch.Tag.dynamic_output_shape in func.tags:
            masks = [
                index for index in _tensors([arguments.get("indices")]) if index.dtype in (torch.bool, torch.uint8)
            ]
            reads = name != "index" or any(id(index) in self._numbers for index in masks)
        if reads:
            raise ExportError(
                f"the model looks at the values of its inputs ({name}) to branch, to choose or to compute with a "
                f"number that it reads out, and a graph would hold the answer for one example; use torch.where, or "
                f"compute with tensors"
            )

    def _value(self, tensor: Tensor, anew: bool = False) -> Given:
        """A tensor that depends on the inputs, with a number of its own."""
        if anew or id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = next(self._number)
        self._alive.append(tensor)
        self._sharing.setdefault(_memory(tensor), set()).add(id(tensor))
        return Given(tensor, self._numbers[id(tensor)])

    def _given(self, tensor: Tensor) -> Given:
        if id(tensor) in self._outdated:
            raise ExportError("the model changes a tensor in place and goes on with another that shares its memory")
        number = self._numbers.get(id(tensor))
        if number is None:
            self._kept.add(_memory(tensor))
        return Given(tensor, number)

    def _all_given(self, item: Any) -> Any:
        if isinstance(item, Tensor):
            return self._given(item)
        if isinstance(item, dict):
            return {key: self._all_given(value) for key, value in item.items()}
        return [self._all_given(value) for value in item] if isinstance(item, list | tuple) else item

    def _note(self, answer: Any, taken: Sequence[Tensor]) -> None:
        """Keep in mind whether the memory of an answer is new."""
        before = {_memory(tensor) for tensor in taken}
        for tensor in _tensors([answer]):
            self._alive.append(tensor)
            if _memory(tensor) not in before:
                self._own.add(_memory(tensor))


class _Exits(TorchFunctionMode):
    """Refuses to let values out of torch."""

    def __init__(self, numbers: dict[int, int]) -> None:
        super().__init__()
        self._numbers = numbers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch; ``Any`` as torch calls it."""
        if func in EXITS and id(args[0]) in self._numbers:
            raise ExportError(f"the model takes the values of its inputs out of torch ({func.__name__})")
        return func(*args, **(kwargs or {}))


def _refuse_change(name: str, why: str) -> NoReturn:
    raise ExportError(f"the model changes a tensor in place ({name}) and {why}; compute a new one instead")


def _memory(tensor: Tensor) -> int:
    """The place of a tensor's memory, which views of it share."""
    place: int = tensor.untyped_storage()._cdata
    return place


def _tensors(arguments: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for value in arguments:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


@cache
def _decompositions() -> Any:  # functions by torch's operations
    try:  # slow to import, and seldom needed
        from torch.export import default_decompositions
    except ImportError:  # before torch 2.6
        from torch._decomp import core_aten_decompositions as default_decompositions

    table = default_decompositions()  # a mapping that is filled when asked for; its get does not ask
    return {operation: table[operation] for operation in table}
