"""What a file of ONNX must be before anything of it runs: what an export writes, of sizes that can be told."""

import math
from typing import Any

import numpy as np

from generative_policies.export.graph import OPERATORS
from generative_policies.export.interface import Input, Interface

METADATA = "generative_policies"  # the key of the interface in the file
# Entries of all constants that follow from others, and of all values of one row. A graph could else unfold a few bytes
# to any size.
MAX_CONSTANT_ENTRIES, MAX_ROW_ENTRIES = 2**24, 2**27


def checked_interface(onnx: Any, model: Any) -> Interface:  # neither has types that mypy could see
    """Return the interface that a file's metadata tell, of a file that holds what an export writes and nothing else.

    Raises:
        ValueError: If it is another.
    """
    graph = model.graph
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA not in metadata:
        raise ValueError("it was not written by generative_policies.export.export_onnx")
    if model.functions or graph.sparse_initializer or {entry.domain for entry in model.opset_import} != {""}:
        raise ValueError("it holds functions or operators beside ONNX's own")
    foreign = {node.op_type for node in graph.node if node.domain or node.op_type not in OPERATORS}
    if foreign:
        raise ValueError(f"it holds operators that no export writes: {', '.join(sorted(foreign))}")
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise ValueError(f"its constant {tensor.name!r} lies in another file")
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"its constant {tensor.name!r} holds other than finite numbers")
    interface = Interface.from_json(metadata[METADATA])
    expected = [*interface.inputs, Input(interface.output, interface.output_shape)]
    found = [_input(onnx, value) for value in (*graph.input, *graph.output)]
    if found != expected:
        raise ValueError(f"its metadata tell of {expected}, the graph has {found}")
    _check_sizes(onnx, model)
    return interface


def _check_sizes(onnx: Any, model: Any) -> None:
    """Check how large the values of a graph become, for one row, without computing one."""
    single = onnx.ModelProto()
    single.CopyFrom(model)
    del single.graph.value_info[:]  # what a file says of its own values would be believed
    for value in (*single.graph.input, *single.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(single, check_type=True, strict_mode=True, data_prop=True).graph
    sizes = {}
    for value in (*inferred.value_info, *inferred.output):
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims):
            sizes[value.name] = math.prod(dim.dim_value for dim in dims)
    constants = {tensor.name for tensor in model.graph.initializer}
    of_constants = of_rows = 0
    for node in model.graph.node:
        for name in filter(None, node.output):
            if name not in sizes:
                raise ValueError(f"the size of {name!r} cannot be told before it is computed")
            if constants.issuperset(filter(None, node.input)):
                constants.add(name)
                of_constants += sizes[name]
            else:
                of_rows += sizes[name]
    if of_constants > MAX_CONSTANT_ENTRIES or of_rows > MAX_ROW_ENTRIES:
        raise ValueError(
            f"its values unfold to {of_constants} constants and {of_rows} numbers a row, more than "
            f"{MAX_CONSTANT_ENTRIES} and {MAX_ROW_ENTRIES}"
        )


def _input(onnx: Any, value: Any) -> Input:
    """An input or output of a graph."""
    kind = value.type.tensor_type
    first, *rest = kind.shape.dim
    if first.HasField("dim_value"):
        raise ValueError(f"the batch of {value.name!r} is fixed to {first.dim_value}")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return Input(value.name, tuple(dim.dim_value for dim in rest), dtype)
