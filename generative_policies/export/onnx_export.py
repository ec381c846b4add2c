"""Writing a model of the library as one file of ONNX."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from generative_policies.atomic_files import write_file
from generative_policies.export.graph import Graph
from generative_policies.export.interface import DTYPES, Input, Interface
from generative_policies.export.kinds import check_dtype, interface
from generative_policies.export.onnx_session import METADATA, OnnxSession, require
from generative_policies.export.recording import BATCHES, ExportError, record
from generative_policies.export.translation import OPSET, TYPES, translate
from generative_policies.models.arrays import evaluating, parameter_like

IR_VERSION = 9  # of ONNX 1.15, which brought OPSET; ONNX Runtime 1.17 and later read it
# Answers of ONNX Runtime lie within 1e-6 of torch's; beyond this a graph is wrong.
TOLERANCE = 1e-3


def export_onnx(
    model: nn.Module, path: str | os.PathLike[str], *, num_steps: int | None = None, solver: str | None = None
) -> None:
    """Write what a model's ``predict`` computes as one file of ONNX; one that is there already is replaced.

    The file holds the normalisers and all steps of the solver. Its inputs have a batch axis of any size, and the noise
    is one of them: nothing of a seed is in the file. ``OnnxModel.load`` gives back an object with the model's
    ``predict``; any other runtime of ONNX takes the file as well.

    A network of your own is exported as long as it is made of common operations and does not branch on the values of
    its inputs.

    Args:
        model: A generative model, an ``MlpRegressor``, an action translator, or an inverse or forward dynamics, in
            ``torch.float32``.
        path: The file, whose name ends with ``.onnx``; its folders are made.
        num_steps: Steps of the solver; the model's own number by default, 100 for a flow that has none.
        solver: Name of the solver; the model's own by default. Not ``"sde"``, which draws at every step.

    Raises:
        ExportError: If the model draws noise on the way, or uses an operation that the export does not know; nothing
            is written.
        TypeError: If it is no model of these.
        ImportError: If the extra ``export`` is not installed.
        OSError: If the file cannot be written; what was there before is still there.

    Example:
        >>> import tempfile
        >>> from generative_policies.export import OnnxModel
        >>> from generative_policies.models import ConditionalFlowModel
        >>> file = f"{tempfile.mkdtemp()}/flow.onnx"
        >>> export_onnx(ConditionalFlowModel(2, cond_dim=3), file, num_steps=4)
        >>> OnnxModel.load(file).predict(condition=torch.zeros(8, 3)).shape
        torch.Size([8, 2])
    """
    onnx = require("onnx")
    require("onnxruntime")
    path = Path(path).absolute()
    if path.suffix != ".onnx" or path.is_dir():
        raise ExportError(f"an exported model is one file with a name that ends with .onnx, got {path}")
    check_dtype(model)
    described, function = interface(model, num_steps, solver)
    like = parameter_like(model)
    generator = torch.Generator().manual_seed(0)  # of examples, whose values the graph does not hold

    def examples(batch: int) -> list[Tensor]:
        return [_example(given, batch, generator).to(like.device) for given in described.inputs]

    with evaluating(model, rows_are_checked=True):
        recording = record(function, examples)
        graph = translate(recording, [given.name for given in described.inputs], described.output)
        content = _serialized(onnx, described, graph)
        _verify(OnnxSession(content, f"the export of {described.model}"), function, examples)
    write_file(path, content)


def _example(given: Input, batch: int, generator: torch.Generator) -> Tensor:
    """Any rows that an input takes; float images lie in 0 to 1."""
    values = torch.rand((batch, *given.shape), generator=generator)
    return (255 * values).to(torch.uint8) if given.dtype == "uint8" else values


def _serialized(onnx: Any, described: Interface, graph: Graph) -> bytes:
    helper = onnx.helper

    def value(given: Input) -> Any:
        return helper.make_tensor_value_info(given.name, TYPES[DTYPES[given.dtype]], ["batch", *given.shape])

    onnx_graph = helper.make_graph(
        [helper.make_node(node.operator, node.inputs, node.outputs, **node.attributes) for node in graph.nodes],
        described.model,
        [value(given) for given in described.inputs],
        [value(Input(described.output, described.output_shape))],
        [onnx.numpy_helper.from_array(array, name) for name, array in graph.used_constants().items()],
    )
    model = helper.make_model(
        onnx_graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="generative-policies",
    )
    helper.set_model_props(model, {METADATA: described.to_json()})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _verify(session: OnnxSession, function: Callable[..., Tensor], examples: Callable[[int], Sequence[Tensor]]) -> None:
    """Compare a graph with its model, for other numbers of rows than those that it was recorded with.

    Raises:
        ExportError: If they differ.
    """
    for batch in (1, 1 + max(BATCHES)):
        tensors = examples(batch)
        expected, found = function(*tensors).cpu(), session.run([tensor.cpu() for tensor in tensors])
        error, scale = (found - expected).abs().max().item(), max(1.0, expected.abs().max().item())
        if not error <= TOLERANCE * scale:
            raise ExportError(
                f"the graph's answers to {batch} rows differ from the model's by {error:.2g}, of a scale of {scale:.2g}"
            )
