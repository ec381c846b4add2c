"""Torch's operations that change no value, such as views, parts and joins, as operators of ONNX."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from generative_policies.export.graph import Graph, sizes
from generative_policies.export.recording import Batched, Constant, ExportError, Value

Arguments = dict[str, Any]
"""What an operation is given, by the names of torch's schema."""
Translation = Callable[[Graph, Arguments, Any], Any]
"""Adds an operation to a graph, given its arguments and the values that it answers with; returns the answers' names."""

RESHAPES = ("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze")
COPIES = ("clone", "alias", "detach", "contiguous", "lift_fresh")


def _reshape(graph: Graph, a: Arguments, outputs: Any) -> Any:
    (answer,) = outputs
    if a["self"].shape == answer.shape:
        return graph.same(a["self"], answer)
    return graph.add("Reshape", graph.name(a["self"]), graph.integers(*sizes(answer.shape)))


def _copy(graph: Graph, a: Arguments, outputs: Any) -> str:
    return graph.same(a["self"], outputs[0])


def _permutation(graph: Graph, a: Arguments, perm: list[int]) -> Any:
    return graph.add("Transpose", graph.name(a["self"]), perm=[axis % len(perm) for axis in perm])


def _transpose(graph: Graph, a: Arguments, outputs: Any) -> Any:
    rank = len(a["self"].shape)
    perm = list(range(rank))
    first, second = a["dim0"] % rank, a["dim1"] % rank
    perm[first], perm[second] = second, first
    return _permutation(graph, a, perm)


def _cat(graph: Graph, a: Arguments, outputs: Any) -> Any:
    names = [_whole(graph, item, outputs[0].dtype) for item in a["tensors"]]
    return graph.add("Concat", *names, axis=a.get("dim", 0))


def _stack(graph: Graph, a: Arguments, outputs: Any) -> Any:
    axis = graph.integers(a.get("dim", 0))
    rows = [graph.add("Unsqueeze", _whole(graph, item, outputs[0].dtype), axis) for item in a["tensors"]]
    return graph.add("Concat", *rows, axis=a.get("dim", 0))


def _whole(graph: Graph, item: Value | Constant, dtype: torch.dtype) -> str:
    """A tensor with all rows of the batch; constants have one."""
    if isinstance(item, Value) or not any(isinstance(size, Batched) for size in item.shape):
        return graph.name(item, dtype)
    rows = graph.add("Shape", graph.inputs[0], start=0, end=1)
    parts = [
        graph.integers(size)
        if not isinstance(size, Batched)
        else rows
        if size.factor == 1
        else graph.add("Mul", rows, graph.integers(size.factor))
        for size in item.shape
    ]
    return str(graph.add("Expand", graph.name(item, dtype), graph.add("Concat", *parts, axis=0)))


def _expand(graph: Graph, a: Arguments, outputs: Any) -> Any:
    # Where the size is the input's own, Expand takes a one.
    after, before = outputs[0].shape, a["self"].shape
    before = (1,) * (len(after) - len(before)) + tuple(before)
    wanted = [1 if new == old else new for new, old in zip(after, before, strict=True)]
    if any(isinstance(size, Batched) for size in wanted):
        raise ExportError("the model repeats what is not of the batch once a row")
    return graph.add("Expand", graph.name(a["self"]), graph.integers(*wanted))


def _split(graph: Graph, a: Arguments, outputs: Any) -> Any:
    axis = a.get("dim", 0)
    parts = [part.shape[axis] for part in outputs]
    if any(isinstance(part, Batched) for part in parts):
        raise ExportError("the model splits the batch")
    names = graph.add("Split", graph.name(a["self"]), graph.integers(*parts), outputs=len(parts), axis=axis)
    return names if isinstance(names, list) else [names]


def _unbind(graph: Graph, a: Arguments, outputs: Any) -> Any:
    axis = a.get("dim", 0)
    x = graph.name(a["self"])
    return [graph.add("Gather", x, graph.constant(np.asarray(k)), axis=axis) for k in range(len(outputs))]


def _select(graph: Graph, a: Arguments, outputs: Any) -> Any:
    return graph.add("Gather", graph.name(a["self"]), graph.constant(np.asarray(a["index"])), axis=a["dim"])


def _slice(graph: Graph, a: Arguments, outputs: Any) -> Any:
    axis, end = a.get("dim", 0), a.get("end")
    start = a.get("start") or 0
    if any(isinstance(number, Batched) for number in (start, end)):
        raise ExportError("the model takes a part of the batch")
    numbers = (start, 2**62 if end is None else end, axis, a.get("step", 1))
    return graph.add("Slice", graph.name(a["self"]), *[graph.integers(number) for number in numbers])


def _index(graph: Graph, a: Arguments, outputs: Any) -> Any:
    given = [(axis, index) for axis, index in enumerate(a["indices"]) if index is not None]
    if len(given) != 1 or not isinstance(given[0][1], Constant):
        raise ExportError("the export knows indices along one axis only, which do not depend on the inputs")
    (axis, index), *_ = given
    if any(isinstance(size, Batched) for size in (*index.shape, a["self"].shape[axis])):
        raise ExportError("the model picks rows of the batch")
    if index.dtype != torch.bool:
        return graph.add("Gather", graph.name(a["self"]), graph.name(index), axis=axis)
    if index.tensor.ndim != 1:
        raise ExportError("the export knows masks of one axis only")
    return graph.add("Gather", graph.name(a["self"]), graph.integers(*index.tensor.nonzero()[:, 0].tolist()), axis=axis)


SHAPE_TRANSLATIONS: dict[str, Translation] = {
    **dict.fromkeys(RESHAPES, _reshape),
    **dict.fromkeys(COPIES, _copy),
    "cat": _cat,
    "expand": _expand,
    "index": _index,
    "permute": lambda graph, a, outputs: _permutation(graph, a, a["dims"]),
    "select": _select,
    "slice": _slice,
    "split": _split,
    "split_with_sizes": _split,
    "stack": _stack,
    "t": lambda graph, a, outputs: _permutation(graph, a, [1, 0]),
    "transpose": _transpose,
    "unbind": _unbind,
}
