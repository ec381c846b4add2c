"""Ways of breaking a graph of ONNX that stays one, and arrays of HDF5 that stay some."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
from onnx import helper, numpy_helper

from generative_policies.export.graph import OPERATORS

Rng = np.random.Generator
FOREIGN_OPERATORS = ("If", "Loop", "Scan", "ConstantOfShape", "Range", "Tile", "Resize", "SequenceMap", "StringConcat")


def mutate_graph(file: Path, rng: Rng) -> str:
    """Change one thing in an exported model; return what."""
    model = onnx.load(file)
    names = list(GRAPH_MUTATIONS)
    name = names[rng.integers(len(names))]
    GRAPH_MUTATIONS[name](model.graph, rng)
    file.write_bytes(model.SerializeToString())
    return name


def _operator(graph: Any, rng: Rng) -> None:
    node = graph.node[rng.integers(len(graph.node))]
    known = sorted(OPERATORS)
    node.op_type = str(rng.choice([*known, *FOREIGN_OPERATORS]))
    if rng.random() < 0.1:
        node.domain = "com.evil"


def _wires(graph: Any, rng: Rng) -> None:
    node = graph.node[rng.integers(len(graph.node))]
    names = [*(name for other in graph.node for name in other.output), *(x.name for x in graph.initializer), "", "x"]
    if node.input:
        node.input[rng.integers(len(node.input))] = str(rng.choice(names))


def _attribute(graph: Any, rng: Rng) -> None:
    nodes = [node for node in graph.node if node.attribute]
    if not nodes:
        return
    node = nodes[rng.integers(len(nodes))]
    attribute = node.attribute[rng.integers(len(node.attribute))]
    odd: Any = [0, -1, 1, 7, 2**31, -(2**63), 0.0, float("nan"), [0], [-1, 0], [2**40] * 4, "x", []]
    value = odd[rng.integers(len(odd))]
    name = attribute.name
    node.attribute.remove(attribute)
    if value != []:
        node.attribute.append(helper.make_attribute(name, value))


def _constant(graph: Any, rng: Rng) -> None:
    """Change the numbers of a constant; those of integers are shapes and indices."""
    tensors = list(graph.initializer)
    integers = [tensor for tensor in tensors if tensor.data_type == onnx.TensorProto.INT64]
    chosen = integers if integers and rng.random() < 0.7 else tensors
    tensor = chosen[rng.integers(len(chosen))]
    values = np.array(numpy_helper.to_array(tensor))
    if values.size:
        odd = [0, -1, 1, -2, 7, 1_000, 10**6, 2**31, 10**12, 2**62, -(2**63)]
        values.reshape(-1)[rng.integers(values.size)] = odd[rng.integers(len(odd))]
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _dims(graph: Any, rng: Rng) -> None:
    tensor = graph.initializer[rng.integers(len(graph.initializer))]
    odd = [0, -1, 1, 10**6, 10**12, 2**62]
    if tensor.dims:
        tensor.dims[rng.integers(len(tensor.dims))] = odd[rng.integers(len(odd))]
    if rng.random() < 0.3:
        tensor.data_type = int(rng.integers(24))


def _external(graph: Any, rng: Rng) -> None:
    """Let a constant lie in another file."""
    tensor = graph.initializer[rng.integers(len(graph.initializer))]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(rng.choice(["../../../../etc/passwd", "/etc/passwd", "x"])))


def _bomb(graph: Any, rng: Rng) -> None:
    """Unfold a few bytes to terabytes: by one Expand, or by doubling a constant forty times."""
    first = graph.node[0].input[0]
    if rng.random() < 0.5:
        size = int(rng.choice([10**5, 10**6, 10**9]))
        graph.initializer.append(numpy_helper.from_array(np.array([size, size]), "bomb_shape"))
        graph.initializer.append(numpy_helper.from_array(np.ones((1, 1), np.float32), "bomb_0"))
        nodes = [helper.make_node("Expand", ["bomb_0", "bomb_shape"], ["bomb"])]
    else:
        graph.initializer.append(numpy_helper.from_array(np.ones((1, 8), np.float32), "bomb_0"))
        nodes = [helper.make_node("Concat", [f"bomb_{k}"] * 2, [f"bomb_{k + 1}"], axis=1) for k in range(40)]
        nodes.append(helper.make_node("Identity", ["bomb_40"], ["bomb"]))
    nodes.append(helper.make_node("ReduceSum", ["bomb"], ["bomb_sum"], keepdims=0))
    nodes.append(helper.make_node("Add", [first, "bomb_sum"], ["bombed"]))
    for node in graph.node:
        for k, name in enumerate(node.input):
            if name == first:
                node.input[k] = "bombed"
    for node in reversed(nodes):
        graph.node.insert(0, node)


def _remove(graph: Any, rng: Rng) -> None:
    part = [graph.node, graph.initializer, graph.input, graph.output][rng.choice(4, p=[0.5, 0.3, 0.1, 0.1])]
    del part[rng.integers(len(part))]


def _signature(graph: Any, rng: Rng) -> None:
    values = [*graph.input, *graph.output]
    value = values[rng.integers(len(values))]
    kind = value.type.tensor_type
    if rng.random() < 0.5 and kind.shape.dim:
        kind.shape.dim[rng.integers(len(kind.shape.dim))].dim_value = int(rng.choice([0, -1, 1, 10**12]))
    else:
        kind.elem_type = int(rng.integers(24))


GRAPH_MUTATIONS = {
    "operator changed": _operator,
    "inputs of a node changed": _wires,
    "attribute changed": _attribute,
    "constant changed": _constant,
    "constant's shape changed": _dims,
    "constant in another file": _external,
    "constant that unfolds": _bomb,
    "part of the graph removed": _remove,
    "input or output changed": _signature,
}


def mutate_arrays(file: Path, rng: Rng) -> str:
    """Change one array or group of a file of HDF5; return what was done."""
    names: list[str] = []
    with h5py.File(file, "r+") as opened:
        opened.visit(names.append)
        name = names[rng.integers(len(names))]
        item = opened[name]
        parent, last = item.parent, name.rpartition("/")[2]
        kinds = list(ARRAY_MUTATIONS)
        kind = kinds[rng.integers(len(kinds))]
        if kind == "values not finite":
            if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and item.size:
                item[(0,) * item.ndim] = float(rng.choice([np.nan, np.inf, 1e308]))
            return kind
        del parent[last]
        ARRAY_MUTATIONS[kind](parent, last, rng)
    return kind


def _odd_array(parent: Any, name: str, rng: Rng) -> None:
    odd: Any = [
        np.zeros((0, 3)),
        np.zeros(5),
        np.float64(1.0),
        np.zeros((101, 10)),
        np.zeros((50, 2), complex),
        np.zeros((51, 2, 2)),
        np.array(["x"] * 50, dtype=h5py.string_dtype()),
        np.zeros(50, dtype=[("a", float), ("b", int)]),
        np.zeros(51, dtype=np.float16),
    ]
    parent[name] = odd[rng.integers(len(odd))]


def _huge(parent: Any, name: str, rng: Rng) -> None:
    """An array of terabytes without a byte in the file, or packed to a thousandth."""
    if rng.random() < 0.5:
        parent.create_dataset(name, shape=(10**6, 10**6), dtype="f8", chunks=(1_000, 1_000))
    else:
        data = parent.create_dataset(name, (4_000_000,), "f8", chunks=(1_000_000,), compression="gzip")
        data[:] = 0.0


def _link(parent: Any, name: str, rng: Rng) -> None:
    links: Any = [
        h5py.SoftLink("/"),
        h5py.SoftLink(f"{parent.name}/{name}"),
        h5py.SoftLink("/episode_0"),
        h5py.ExternalLink("/etc/passwd", "/"),
        h5py.ExternalLink("main_data.hdf5", "/"),
        h5py.ExternalLink("../../../../etc/passwd", "x"),
    ]
    parent[name] = links[rng.integers(len(links))]


def _loop(parent: Any, name: str, rng: Rng) -> None:
    parent[name] = parent.file["/"] if rng.random() < 0.5 else parent


def _elsewhere(parent: Any, name: str, rng: Rng) -> None:
    if rng.random() < 0.5:
        parent.create_dataset(name, (50,), "u1", external=[("/etc/passwd", 0, 50)])
    else:
        layout = h5py.VirtualLayout((50, 2), "f8")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", (50, 2))
        parent.create_virtual_dataset(name, layout)


ARRAY_MUTATIONS: dict[str, Any] = {
    "array or group removed": lambda parent, name, rng: None,
    "array of another kind": _odd_array,
    "array of terabytes": _huge,
    "link to another place": _link,
    "group inside of itself": _loop,
    "array in another file": _elsewhere,
    "group for an array": lambda parent, name, rng: parent.create_group(name),
    "values not finite": None,
}
