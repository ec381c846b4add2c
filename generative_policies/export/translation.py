"""Torch's operations as operators of ONNX, none but the standard's own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from generative_policies.export.graph import Graph, Node, sizes
from generative_policies.export.recording import ExportError, Recording, Value
from generative_policies.export.shape_translation import SHAPE_TRANSLATIONS, Arguments, Translation

OPSET = 20
TYPES = {torch.float32: 1, torch.uint8: 2, torch.int64: 7, torch.bool: 9}  # ONNX's numbers for them
UNARY = {
    "neg": "Neg",
    "abs": "Abs",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "reciprocal": "Reciprocal",
    "sin": "Sin",
    "cos": "Cos",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "relu": "Relu",
    "erf": "Erf",
}
BINARY = {"div": "Div", "maximum": "Max", "minimum": "Min"}
REDUCTIONS = {"mean": "ReduceMean", "sum": "ReduceSum", "amax": "ReduceMax", "amin": "ReduceMin"}


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
        names = function(graph, dict(operation.arguments), operation.outputs)
        for value, name in zip(operation.outputs, names if isinstance(names, list) else [names], strict=False):
            if value is not None:
                graph.bind(value, name)
    if not isinstance(recording.output, Value):
        raise ExportError("the model's answer does not depend on its inputs")
    graph.finish(graph.name(recording.output), output)
    return graph


def _binary(operator: str) -> Translation:
    def combine(graph: Graph, a: Arguments, outputs: Any) -> Any:
        if a.get("rounding_mode") is not None:
            raise ExportError("the export knows no division that rounds")
        return graph.add(operator, graph.name(a["self"]), graph.name(a["other"]))

    return combine


def _unary(operator: str) -> Translation:
    return lambda graph, a, outputs: graph.add(operator, graph.name(a["self"]))


def _reduce(operator: str) -> Translation:
    def reduce(graph: Graph, a: Arguments, outputs: Any) -> Any:
        dims = a.get("dim")
        axes = list(range(len(a["self"].shape))) if dims in (None, []) else dims if isinstance(dims, list) else [dims]
        keepdims = int(a.get("keepdim", False))
        return graph.add(operator, graph.name(a["self"]), graph.integers(*axes), keepdims=keepdims)

    return reduce


def _mul(graph: Graph, a: Arguments, outputs: Any) -> Any:
    factor, product = a["other"], graph.maker(a["self"], "Gemm")
    if product is not None and isinstance(factor, float):  # a solver's step times the velocity
        scaled = {key: factor * product.attributes[key] for key in ("alpha", "beta")}
        return graph.replace(product._replace(attributes=scaled))
    return graph.add("Mul", graph.name(a["self"]), graph.name(factor))


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
    return _linear_combination("Add")(graph, a, outputs)


def _is_plain(product: Node) -> bool:
    return len(product.inputs) == 3 and product.attributes == {"alpha": 1.0, "beta": 1.0}


def _linear_combination(operator: str) -> Translation:
    def combine(graph: Graph, a: Arguments, outputs: Any) -> Any:
        other = graph.name(a["other"])
        if a.get("alpha", 1) != 1:
            other = graph.add("Mul", other, graph.name(float(a["alpha"])))
        return graph.add(operator, graph.name(a["self"]), other)

    return combine


def _rsub(graph: Graph, a: Arguments, outputs: Any) -> Any:
    return _linear_combination("Sub")(graph, a | {"self": a["other"], "other": a["self"]}, outputs)


def _to_copy(graph: Graph, a: Arguments, outputs: Any) -> Any:
    if a.get("dtype") is None:
        return graph.same(a["self"], outputs[0])
    if a["dtype"] not in TYPES:
        raise ExportError(f"the model computes in {a['dtype']}, an export in torch.float32")
    return graph.add("Cast", graph.name(a["self"]), to=TYPES[a["dtype"]])


def _silu(graph: Graph, a: Arguments, outputs: Any) -> Any:
    x = graph.name(a["self"])
    return graph.add("Mul", x, graph.add("Sigmoid", x))


def _gelu(graph: Graph, a: Arguments, outputs: Any) -> Any:
    return graph.add("Gelu", graph.name(a["self"]), approximate=a.get("approximate", "none"))


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
    return graph.add("Add", graph.add("Mul", graph.name(a["tensor1"]), graph.name(a["tensor2"])), graph.name(a["self"]))


def _layer_norm(graph: Graph, a: Arguments, outputs: Any) -> Any:
    weight, bias = a.get("weight"), a.get("bias")
    shape = tuple(a["normalized_shape"])
    scale = graph.constant(np.ones(shape, np.float32)) if weight is None else graph.name(weight)
    names = [scale] if bias is None else [scale, graph.name(bias)]
    return [graph.add("LayerNormalization", graph.name(a["input"]), *names, axis=-len(shape), epsilon=float(a["eps"]))]


def _group_norm(graph: Graph, a: Arguments, outputs: Any) -> Any:
    shape = a["input"].shape
    x = graph.add("Reshape", graph.name(a["input"]), graph.integers(0, a["group"], -1))
    ones, zeros = (graph.constant(np.full(a["group"], fill, np.float32)) for fill in (1, 0))
    x = graph.add("InstanceNormalization", x, ones, zeros, epsilon=float(a["eps"]))
    x = graph.add("Reshape", x, graph.integers(*sizes(shape)))
    for operator, part in (("Mul", a.get("weight")), ("Add", a.get("bias"))):
        if part is not None:
            x = graph.add(operator, x, graph.constant(part.tensor.cpu().numpy().reshape(-1, *[1] * (len(shape) - 2))))
    return [x]


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
    scale = a.get("scale") or a["query"].shape[-1] ** -0.5
    keys = graph.add("Transpose", k, perm=[0, 1, 3, 2])
    scores = graph.add("MatMul", graph.add("Mul", q, graph.name(float(scale))), keys)
    return [graph.add("MatMul", graph.add("Softmax", scores, axis=-1), v)]


TRANSLATIONS: dict[str, Translation] = {
    **{name: _unary(operator) for name, operator in UNARY.items()},
    **{name: _binary(operator) for name, operator in BINARY.items()},
    **{name: _reduce(operator) for name, operator in REDUCTIONS.items()},
    **SHAPE_TRANSLATIONS,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_softmax": _softmax,
    "_to_copy": _to_copy,
    "add": _add,
    "addcmul": _addcmul,
    "addmm": _addmm,
    "baddbmm": _baddbmm,
    "bmm": _bmm,
    "convolution": _convolution,
    "gelu": _gelu,
    "mm": _mm,
    "mul": _mul,
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
    "rsub": _rsub,
    "silu": _silu,
    "sub": _linear_combination("Sub"),
}
