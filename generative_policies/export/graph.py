"""An ONNX graph in the making: nodes, constants, and the names of both."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generative_policies.export.recording import Batched, Constant, ExportError, Recording, Size, Value, values

# What a graph is made of, and all that a file may hold that is loaded: operators of the standard, none of which reads a
# file, loops or calls code of anybody's.
OPERATORS = frozenset(
    {"Abs", "Add", "Cast", "Concat", "Conv", "Cos", "Div", "Elu", "Equal", "Erf", "Exp", "Expand", "Gather", "Gelu"}
    | {"Gemm", "Greater", "GreaterOrEqual", "Identity", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log"}
    | {"MatMul", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"}
    | {"Relu", "Reshape", "Shape", "Sigmoid", "Sin", "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Sub", "Tanh"}
    | {"Transpose", "Unsqueeze", "Where"}
)
TYPES = {torch.float32: 1, torch.uint8: 2, torch.int64: 7, torch.bool: 9}  # ONNX's numbers for them


class Node(NamedTuple):
    """One operator of ONNX.

    Attributes:
        operator: Its name.
        inputs: Names of what it takes; empty where an optional input is left out.
        outputs: Names of what it gives.
        attributes: Its settings.
        name: Torch's operation and the node's number, for messages. No two are alike, as some runtimes want it.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    name: str


class Graph:
    """Nodes in the order of their computation, and the constants that they take.

    Args:
        inputs: The names of the inputs, whose values bear the numbers from 0 on.
        recording: What is to become of it, for the number of times that a value is used.

    Attributes:
        operation: The name of torch's operation that the next nodes are made of.
    """

    def __init__(self, inputs: Sequence[str], recording: Recording) -> None:
        self.inputs = tuple(inputs)
        self.operation = ""
        self._nodes: dict[str, Node] = {}  # by the name of their first output
        self.constants: dict[str, NDArray[Any]] = {}
        self._names = dict(enumerate(inputs))
        self._known: dict[Any, str] = {}
        self._alive: list[Tensor] = []  # an address is that of one tensor for as long as it lives
        self._number = count()
        taken = [argument for operation in recording.operations for argument in operation.arguments.values()]
        self._uses = Counter(value.number for value in values([*taken, recording.output]))

    @property
    def nodes(self) -> list[Node]:
        """All nodes."""
        return list(self._nodes.values())

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; return the name of its output, or a list of several.

        Args:
            operator: The operator's name.
            inputs: Names of its inputs.
            outputs: Number of its outputs.
            attributes: Its settings.
        """
        assert operator in OPERATORS
        number = next(self._number)
        names = tuple(f"{operator}_{number}" if k == 0 else f"{operator}_{number}_{k}" for k in range(outputs))
        self._nodes[names[0]] = Node(operator, inputs, names, attributes, f"{self.operation}.{names[0]}")
        return names[0] if outputs == 1 else list(names)

    def bind(self, value: Value, name: str) -> None:
        """Let a value of the recording be what a node gives."""
        self._names[value.number] = name

    def same(self, item: Any, again: Value) -> str:
        """Return the name of a value that another one only repeats, and count the uses of both as one's."""
        if isinstance(item, Value):
            self._uses[again.number] += self._uses[item.number] - 1
        return self.name(item)

    def is_used(self, value: Value) -> bool:
        """Return whether something takes a value."""
        return self._uses[value.number] > 0

    def name(self, item: Value | Constant | float, dtype: torch.dtype | None = None) -> str:
        """Return the name of a value, of a constant, or of a number as a constant.

        Args:
            item: One of these.
            dtype: The type to convert it to; its own by default, float for a number.
        """
        if isinstance(item, Value):
            name = self._names[item.number]
            return name if dtype in (None, item.dtype) else str(self.add("Cast", name, to=TYPES[dtype]))
        if isinstance(item, Constant):
            tensor = item.tensor if dtype is None else item.tensor.to(dtype)
            key: Any = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
            if key not in self._known:
                self._alive.append(tensor)
                self._known[key] = self.constant(tensor.cpu().contiguous().numpy())
            return self._known[key]
        return self.constant(torch.tensor(item, dtype=dtype or torch.float32).numpy())

    def constant(self, array: NDArray[Any]) -> str:
        """Return the name of a constant; equal ones are one, and infinity is the largest number.

        Raises:
            ExportError: If it holds NaN.
        """
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            if np.isnan(array).any():
                raise ExportError(f"a constant of torch's operation {self.operation!r} holds NaN")
            array = np.nan_to_num(array)  # such as a mask before a softmax
        key = array.tobytes(), array.shape, array.dtype.str
        if key not in self._known:
            self._known[key] = f"constant_{len(self.constants)}"
            self.constants[self._known[key]] = array
        return self._known[key]

    def integers(self, *numbers: int) -> str:
        """Return the name of a list of integers as a constant."""
        return self.constant(np.asarray(numbers, dtype=np.int64))

    def maker(self, item: Any, operator: str) -> Node | None:
        """Return the node of that operator that gives a value which nothing else uses, to be made one with the next."""
        if not isinstance(item, Value) or self._uses[item.number] != 1:
            return None
        node = self._nodes.get(self._names[item.number])
        return node if node is not None and node.operator == operator else None

    def drop(self, node: Node) -> None:
        """Take back a node that has become part of another."""
        del self._nodes[node.outputs[0]]

    def replace(self, node: Node) -> str:
        """Put a node in the place of the one with the same outputs; return the name of the first."""
        self._nodes[node.outputs[0]] = node
        return node.outputs[0]

    def finish(self, answer: str, output: str) -> None:
        """Give the answer the name of the graph's output."""
        if answer in self.inputs:
            answer = self.add("Identity", answer)
        self._nodes = {
            name: node._replace(
                inputs=tuple(output if taken == answer else taken for taken in node.inputs),
                outputs=tuple(output if given == answer else given for given in node.outputs),
            )
            for name, node in self._nodes.items()
        }

    def used_constants(self) -> dict[str, NDArray[Any]]:
        """Return the constants that are left, by name."""
        used = {name for node in self._nodes.values() for name in node.inputs}
        return {name: array for name, array in self.constants.items() if name in used}

    def vector(self, name: str) -> NDArray[Any] | None:
        """Return a constant of one axis, ``None`` for all else."""
        array = self.constants.get(name)
        return array if array is not None and array.ndim == 1 else None


def sizes(shape: Sequence[Size]) -> list[int]:
    """Return a shape as ONNX's Reshape takes it, -1 for what follows from the others.

    Raises:
        ExportError: If more than one size depends on the batch.
    """
    numbers = [-1 if isinstance(size, Batched) else size for size in shape]
    if numbers.count(-1) > 1:
        raise ExportError(f"only one axis may depend on the batch, got the shape {tuple(shape)}")
    return numbers
