"""Torch's operations as operators of ONNX, none but the standard's own."""

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor

from generative_policies.export.graph import TYPES, Graph, Node, sizes
from generative_policies.export.pointwise_translation import POINTWISE_TRANSLATIONS, linear_combination
from generative_policies.export.recording import Batched, Constant, ExportError, Operation, Recording, Value, values
from generative_policies.export.shape_translation import SHAPE_TRANSLATIONS, Arguments, Translation

OPSET = 20
SIZES = {"N", "end", "start"}  # arguments that may depend on the batch
REDUCTIONS = {"mean": "ReduceMean", "sum": "ReduceSum", "amax": "ReduceMax", "amin": "ReduceMin"}
BROADCASTING = {*POINTWISE_TRANSLATIONS, "add", "addcmul", "mul"}


def translate(recording: Recording, inputs: Sequence[str], output: str) -> Graph:
    """Return the graph of a recording.

    Args:
        recording: What is computed.
        inputs: A name an input.
        output: The name of the answer.

    Raises:
        ExportError: If an operation is not among those that are known here.
    """
    graph = Graph(inputs, recording)
    for operation in recording.operations:
        function = TRANSLATIONS.get(operation.name)
        if function is None:
            raise ExportError(
                f"the model uses torch's operation {operation.name!r}, which the export does not know; "
                f"it knows {', '.join(sorted(TRANSLATIONS))}"
            )
        _check_sizes(operation)
        graph.operation = operation.name
        names = function(graph, dict(operation.arguments), operation.outputs)
        for value, name in zip_longest(operation.outputs, names if isinstance(names, list) else [names]):
            if name is not None and value is not None:
                graph.bind(value, name)
            elif value is not None and graph.is_used(value):
                raise ExportError(f"the export knows the first answer of torch's operation {operation.name!r} only")
    if not isinstance(recording.output, Value):
        raise ExportError("the model's answer does not depend on its inputs")
    graph.finish(graph.name(recording.output, torch.float32), output)
    return graph


def _check_sizes(operation: Operation) -> None:
    """Check that an operation has types that a graph has, and that its answers get their rows from the inputs.

    Raises:
        ExportError: If it does not: a constant has one row in a graph, whatever the batch.
    """
    taken = values(list(operation.arguments.values()))
    for key, argument in operation.arguments.items():
        if isinstance(argument, Batched) and key not in SIZES:
            raise ExportError(f"the model computes with the number of rows of the batch, in {operation.name}")
    for answer in operation.outputs:
        if answer is None:
            continue
        if answer.dtype not in TYPES:
            raise ExportError(f"the model computes in {answer.dtype}, an export in torch.float32, in {operation.name}")
        shapes = [value.shape for value in taken]
        lost = any(isinstance(size, Batched) for size in answer.shape) and not any(
            isinstance(size, Batched) for shape in shapes for size in shape
        )
        if operation.name in BROADCASTING:
            lost = any(
                isinstance(size, Batched)
                and not any(len(shape) >= k and isinstance(shape[-k], Batched) for shape in shapes)
                for k, size in enumerate(reversed(answer.shape), start=1)
            )
        if lost:
            raise ExportError(
                f"the model makes a row of each of the batch out of what has none, in {operation.name}: its answers "
                f"would mix rows"
            )


def _reduce(operator: str) -> Translation:
    def reduce(graph: Graph, a: Arguments, outputs: Any) -> Any:
        dims = a.get("dim")
        axes = list(range(len(a["self"].shape))) if dims in (None, []) else dims if isinstance(dims, list) else [dims]
        keepdims = int(a.get("keepdim", False))
        x = graph.name(a["self"], outputs[0].dtype)
        return graph.add(operator, x, graph.integers(*axes), keepdims=keepdims)

    return reduce


def _mul(graph: Graph, a: Arguments, outputs: Any) -> Any:
    factor, product = a["other"], graph.maker(a["self"], "Gemm")
    if product is not None and isinstance(factor, float):  # a solver's step times the velocity
        scaled = {key: factor * product.attributes[key] for key in ("alpha", "beta")}
        return graph.replace(product._replace(attributes=scaled))
    dtype = outputs[0].dtype
    return graph.add("Mul", graph.name(a["self"], dtype), graph.name(factor, dtype))


def _add(graph: Graph, a: Arguments, outputs: Any) -> Any:
    if a.get("alpha", 1) == 1:
        first, second = (graph.maker(a[key], "Gemm") for key in ("self", "other"))
        if first is not None and second is not None and _is_plain(first) and _is_plain(second):
            biases = [graph.vector(node.inputs[2]) for node in (first, second)]
            if biases[0] is not None and biases[1] is not None and biases[0].shape == biases[1].shape:
                # A layer beside another, such as a skip: the second adds to what the first gives.
                both = graph.constant(biases[0] + biases[1])
                before = graph.replace(first._replace(inputs=(*first.inputs[:2], both)))
                graph.drop(second)
                return graph.add("Gemm", *second.inputs[:2], before, **second.attributes)
    return linear_combination("Add")(graph, a, outputs)


def _is_plain(product: Node) -> bool:
    return len(product.inputs) == 3 and product.attributes == {"alpha": 1.0, "beta": 1.0}


def _to_copy(graph: Graph, a: Arguments, outputs: Any) -> Any:
    if a.get("dtype") is None:
        return graph.same(a["self"], outputs[0])
    return graph.name(a["self"], a["dtype"]) if a["dtype"] != a["self"].dtype else graph.same(a["self"], outputs[0])


def _softmax(graph: Graph, a: Arguments, outputs: Any) -> Any:
    return graph.add("Softmax", graph.name(a["self"]), axis=a["dim"])


def _addmm(graph: Graph, a: Arguments, outputs: Any) -> Any:
    names = [graph.name(a[key]) for key in ("mat1", "mat2", "self")]
    return graph.add("Gemm", *names, alpha=float(a.get("alpha", 1)), beta=float(a.get("beta", 1)))


def _mm(graph: Graph, a: Arguments, outputs: Any) -> Any:
    return graph.add("Gemm", graph.name(a["self"]), graph.name(a["mat2"]), alpha=1.0, beta=1.0)


def _bmm(graph: Graph, a: Arguments, outputs: Any) -> Any:
    return graph.add("MatMul", graph.name(a["self"]), graph.name(a["mat2"]))


def _baddbmm(graph: Graph, a: Arguments, outputs: Any) -> Any:
    if (a.get("alpha", 1), a.get("beta", 1)) != (1, 1):
        raise ExportError("the export knows torch.baddbmm without alpha and beta only")
    product = graph.add("MatMul", graph.name(a["batch1"]), graph.name(a["batch2"]))
    return graph.add("Add", product, graph.name(a["self"]))


def _addcmul(graph: Graph, a: Arguments, outputs: Any) -> Any:
    if a.get("value", 1) != 1:
        raise ExportError("the export knows torch.addcmul without value only")
    # A scale and a shift of each row, as FiLM has them, are part of ONNX's normalisation.
    for scale, x in (("tensor1", "tensor2"), ("tensor2", "tensor1")):
        norm = graph.maker(a[x], "LayerNormalization")
        ones = None if norm is None or len(norm.inputs) > 2 else graph.vector(norm.inputs[1])
        if norm is not None and ones is not None and (ones == 1).all() and outputs[0].shape == a[x].shape:
            graph.drop(norm)
            return graph.add(
                "LayerNormalization", norm.inputs[0], graph.name(a[scale]), graph.name(a["self"]), **norm.attributes
            )
    first, second, shift = (graph.name(a[key], outputs[0].dtype) for key in ("tensor1", "tensor2", "self"))
    return graph.add("Add", graph.add("Mul", first, second), shift)


def _layer_norm(graph: Graph, a: Arguments, outputs: Any) -> Any:
    weight, bias = a.get("weight"), a.get("bias")
    shape = tuple(a["normalized_shape"])
    scale = graph.constant(np.ones(shape, np.float32)) if weight is None else graph.name(weight)
    names = [scale] if bias is None else [scale, graph.name(bias)]
    return [graph.add("LayerNormalization", graph.name(a["input"]), *names, axis=-len(shape), epsilon=float(a["eps"]))]


def _group_norm(graph: Graph, a: Arguments, outputs: Any) -> Any:
    shape, groups = a["input"].shape, a["group"]
    rest = [size for size in shape[1:] if isinstance(size, int)]
    # ONNX's InstanceNormalization loses digits of numbers far from zero, its LayerNormalization does not.
    x = graph.add("Reshape", graph.name(a["input"]), graph.integers(0, groups, -1))
    ones = graph.constant(np.ones(math.prod(rest) // groups, np.float32))
    x = graph.add("LayerNormalization", x, ones, axis=-1, epsilon=float(a["eps"]))
    x = graph.add("Reshape", x, graph.integers(*sizes(shape)))
    return [_scaled(graph, x, a.get("weight"), a.get("bias"), len(shape))]


def _batch_norm(graph: Graph, a: Arguments, outputs: Any) -> Any:
    if a.get("training") or a["running_mean"] is None:
        raise ExportError("the export knows normalisation over a batch by running statistics only")
    mean, var = (_constant(a[key]).double() for key in ("running_mean", "running_var"))
    scale = (var + a["eps"]).rsqrt() * (1 if a["weight"] is None else _constant(a["weight"]))
    shift = (0 if a["bias"] is None else _constant(a["bias"])) - mean * scale
    weight, bias = (Constant(part.float(), tuple(part.shape)) for part in (scale, shift))
    return [_scaled(graph, graph.name(a["input"]), weight, bias, len(a["input"].shape))]


def _scaled(graph: Graph, x: str, weight: Any, bias: Any, rank: int) -> str:
    """A scale and a shift of each channel, where they are given."""
    for operator, part in (("Mul", weight), ("Add", bias)):
        if part is not None:
            x = graph.add(operator, x, graph.constant(_constant(part).numpy().reshape(-1, *[1] * (rank - 2))))
    return x


def _constant(item: Value | Constant) -> Tensor:
    if isinstance(item, Value):
        raise ExportError("the export knows normalisations with weights that do not depend on the inputs only")
    return item.tensor.cpu()


def _convolution(graph: Graph, a: Arguments, outputs: Any) -> Any:
    if a["transposed"]:
        raise ExportError("the export knows no transposed convolutions")
    names = [graph.name(a[key]) for key in ("input", "weight", "bias") if a[key] is not None]
    return graph.add(
        "Conv", *names, strides=a["stride"], pads=2 * a["padding"], dilations=a["dilation"], group=a["groups"]
    )


def _attention(graph: Graph, a: Arguments, outputs: Any) -> Any:
    if a.get("is_causal") or a.get("attn_mask") is not None:
        raise ExportError("the export knows attention without masks only")
    q, k, v = (graph.name(a[key]) for key in ("query", "key", "value"))
    scale = a["query"].shape[-1] ** -0.5 if a.get("scale") is None else a["scale"]
    keys = graph.add("Transpose", k, perm=[0, 1, 3, 2])
    scores = graph.add("MatMul", graph.add("Mul", q, graph.name(float(scale))), keys)
    return [graph.add("MatMul", graph.add("Softmax", scores, axis=-1), v)]


TRANSLATIONS: dict[str, Translation] = {
    **{name: _reduce(operator) for name, operator in REDUCTIONS.items()},
    **POINTWISE_TRANSLATIONS,
    **SHAPE_TRANSLATIONS,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_safe_softmax": _softmax,
    "_softmax": _softmax,
    "_to_copy": _to_copy,
    "add": _add,
    "addcmul": _addcmul,
    "addmm": _addmm,
    "baddbmm": _baddbmm,
    "bmm": _bmm,
    "convolution": _convolution,
    "mm": _mm,
    "mul": _mul,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "native_batch_norm": _batch_norm,
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
}
