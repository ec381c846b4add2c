"""A small file of ONNX stays small: what it would unfold to is known before anything is computed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from generative_policies.action_translation import MlpActionTranslator
from generative_policies.checkpoints import CheckpointError
from generative_policies.export import OnnxModel, export_onnx
from tests.export.stand_ins import trained


@pytest.fixture
def file(tmp_path: Path) -> Path:
    export_onnx(trained(MlpActionTranslator(2, 3, (8,))), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def unfold(graph: Any, nodes: list[Any], *constants: Any) -> None:
    """Add to the first input a zero that is a sum over what nodes unfold to."""
    for name, array in constants:
        graph.initializer.append(numpy_helper.from_array(array, name))
    nodes += [
        helper.make_node("Mul", ["bomb", "nothing"], ["emptied"]),
        helper.make_node("ReduceSum", ["emptied"], ["added"], keepdims=0),
        helper.make_node("Add", ["obs", "added"], ["obs with it"]),
    ]
    graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "nothing"))
    for node in graph.node:
        node.input[:] = ["obs with it" if name == "obs" else name for name in node.input]
    for node in reversed(nodes):
        graph.node.insert(0, node)


def expand(size: int) -> Callable[[Any], None]:
    return lambda graph: unfold(
        graph,
        [helper.make_node("Expand", ["one", "shape"], ["bomb"])],
        ("one", np.ones((1, 1), np.float32)),
        ("shape", np.array([size, size])),
    )


def double(times: int) -> Callable[[Any], None]:
    def apply(graph: Any) -> None:
        nodes = [helper.make_node("Concat", [f"part {k}"] * 2, [f"part {k + 1}"], axis=1) for k in range(times)]
        nodes.append(helper.make_node("Identity", [f"part {times}"], ["bomb"]))
        unfold(graph, nodes, ("part 0", np.ones((1, 8), np.float32)))

    return apply


def of_the_batch(size: int) -> Callable[[Any], None]:
    return lambda graph: unfold(
        graph,
        [
            helper.make_node("ReduceSum", ["obs"], ["sum"], keepdims=0),
            helper.make_node("Expand", ["sum", "shape"], ["bomb"]),
        ],
        ("shape", np.array([size, size])),
    )


@pytest.mark.parametrize("change", [expand(10), double(5), of_the_batch(100)])
def test_what_stays_small_is_taken(change: Callable[[Any], None], file: Path) -> None:
    rows = np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)
    expected = OnnxModel.load(file).predict(*rows)
    model = onnx.load(file)
    change(model.graph)
    onnx.save(model, file)
    np.testing.assert_allclose(OnnxModel.load(file).predict(*rows), expected, atol=1e-6)


@pytest.mark.parametrize("change", [expand(10**5), expand(10**9), double(40), of_the_batch(10**5)])
def test_what_unfolds_to_gigabytes_is_refused(change: Callable[[Any], None], file: Path) -> None:
    model = onnx.load(file)
    change(model.graph)
    onnx.save(model, file)
    with pytest.raises(CheckpointError, match=r"model\.onnx.*unfold"):
        OnnxModel.load(file)


def test_what_a_file_says_of_its_own_values_counts_for_nothing(file: Path) -> None:
    model = onnx.load(file)
    expand(10**5)(model.graph)
    model.graph.value_info.append(helper.make_tensor_value_info("bomb", onnx.TensorProto.FLOAT, [1, 1]))
    onnx.save(model, file)
    with pytest.raises(CheckpointError, match=r"model\.onnx"):
        OnnxModel.load(file)


def test_a_graph_that_answers_other_rows_is_refused(file: Path) -> None:
    model = onnx.load(file)
    last = model.graph.node[-1]
    last.output[0] = "whole"
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
    model.graph.node.append(helper.make_node("Gather", ["whole", "first"], [model.graph.output[0].name], axis=0))
    onnx.save(model, file)
    with pytest.raises(CheckpointError, match=r"model\.onnx.*answers"):
        OnnxModel.load(file)


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.onnx")
    with pytest.raises(CheckpointError, match="no such file"):
        OnnxModel.load(tmp_path / "model.onnx")
