"""Torch's operations of one entry at a time as operators of ONNX, with torch's types.

ONNX converts nothing by itself: what is combined takes the type that torch's answer has.
"""

from typing import Any

import torch

from generative_policies.export.graph import Graph
from generative_policies.export.recording import Constant, ExportError, Value
from generative_policies.export.shape_translation import Arguments, Translation

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
COMPARISONS = {"gt": "Greater", "ge": "GreaterOrEqual", "lt": "Less", "le": "LessOrEqual", "eq": "Equal"}


def linear_combination(operator: str) -> Translation:
    """Return what translates a sum or a difference."""

    def combine(graph: Graph, a: Arguments, outputs: Any) -> Any:
        dtype = outputs[0].dtype
        other = graph.name(a["other"], dtype)
        if a.get("alpha", 1) != 1:
            other = graph.add("Mul", other, graph.name(a["alpha"], dtype))
        return graph.add(operator, graph.name(a["self"], dtype), other)

    return combine


def _unary(operator: str) -> Translation:
    return lambda graph, a, outputs: graph.add(operator, graph.name(a["self"], outputs[0].dtype))


def _binary(operator: str) -> Translation:
    def combine(graph: Graph, a: Arguments, outputs: Any) -> Any:
        if a.get("rounding_mode") is not None:
            raise ExportError("the export knows no division that rounds")
        dtype = outputs[0].dtype
        return graph.add(operator, graph.name(a["self"], dtype), graph.name(a["other"], dtype))

    return combine


def _comparison(operator: str) -> Translation:
    def compare(graph: Graph, a: Arguments, outputs: Any) -> Any:
        both = a["self"], a["other"]
        floats = any(
            item.dtype.is_floating_point if isinstance(item, Value | Constant) else isinstance(item, float)
            for item in both
        )
        dtype = torch.float32 if floats else torch.int64
        return graph.add(operator, *[graph.name(item, dtype) for item in both])

    return compare


def _rsub(graph: Graph, a: Arguments, outputs: Any) -> Any:
    return linear_combination("Sub")(graph, a | {"self": a["other"], "other": a["self"]}, outputs)


def _rsqrt(graph: Graph, a: Arguments, outputs: Any) -> Any:
    return graph.add("Reciprocal", graph.add("Sqrt", graph.name(a["self"], outputs[0].dtype)))


def _pow(graph: Graph, a: Arguments, outputs: Any) -> Any:
    dtype = outputs[0].dtype
    base = graph.name(a["self"], dtype)
    if a["exponent"] == 2:
        return graph.add("Mul", base, base)
    return graph.add("Pow", base, graph.name(a["exponent"], dtype))


def _where(graph: Graph, a: Arguments, outputs: Any) -> Any:
    dtype = outputs[0].dtype
    condition = graph.name(a["condition"], torch.bool)
    return graph.add("Where", condition, graph.name(a["self"], dtype), graph.name(a["other"], dtype))


def _clamp(graph: Graph, a: Arguments, outputs: Any) -> Any:
    dtype = outputs[0].dtype
    x = graph.name(a["self"], dtype)
    for operator, names in (("Max", ("min", "min_val")), ("Min", ("max", "max_val"))):
        for bound in (a.get(name) for name in names):
            if bound is not None:
                x = graph.add(operator, x, graph.name(bound, dtype))
    return x


def _silu(graph: Graph, a: Arguments, outputs: Any) -> Any:
    x = graph.name(a["self"])
    return graph.add("Mul", x, graph.add("Sigmoid", x))


def _gelu(graph: Graph, a: Arguments, outputs: Any) -> Any:
    return graph.add("Gelu", graph.name(a["self"]), approximate=a.get("approximate", "none"))


def _leaky_relu(graph: Graph, a: Arguments, outputs: Any) -> Any:
    return graph.add("LeakyRelu", graph.name(a["self"]), alpha=float(a["negative_slope"]))


def _elu(graph: Graph, a: Arguments, outputs: Any) -> Any:
    if a["input_scale"] != 1:
        raise ExportError("the export knows torch's elu without input_scale only")
    x = graph.add("Elu", graph.name(a["self"]), alpha=float(a["alpha"]))
    return x if a["scale"] == 1 else graph.add("Mul", x, graph.name(float(a["scale"])))


def _softplus(graph: Graph, a: Arguments, outputs: Any) -> Any:
    if a["threshold"] < 20:  # above it torch answers with the input itself; from 20 on float32 shows no difference
        raise ExportError(f"the export knows softplus with a threshold of at least 20 only, got {a['threshold']}")
    x = graph.name(a["self"])
    if a["beta"] == 1:
        return graph.add("Softplus", x)
    beta = graph.name(float(a["beta"]))
    return graph.add("Div", graph.add("Softplus", graph.add("Mul", x, beta)), beta)


POINTWISE_TRANSLATIONS: dict[str, Translation] = {
    **{name: _unary(operator) for name, operator in UNARY.items()},
    **{name: _binary(operator) for name, operator in BINARY.items()},
    **{name: _comparison(operator) for name, operator in COMPARISONS.items()},
    "clamp": _clamp,
    "elu": _elu,
    "gelu": _gelu,
    "hardtanh": _clamp,
    "leaky_relu": _leaky_relu,
    "pow": _pow,
    "rsqrt": _rsqrt,
    "rsub": _rsub,
    "silu": _silu,
    "softplus": _softplus,
    "sub": linear_combination("Sub"),
    "where": _where,
}
