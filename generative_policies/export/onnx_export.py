"""Writing a model of the library as one file of ONNX."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from generative_policies.atomic_files import write_file
from generative_policies.checkpoints import CheckpointError
from generative_policies.export.graph import TYPES, Graph
from generative_policies.export.graph_check import METADATA
from generative_policies.export.interface import DTYPES, Input, Interface
from generative_policies.export.kinds import check_dtype, interface
from generative_policies.export.onnx_session import OnnxSession, require
from generative_policies.export.record import record
from generative_policies.export.recording import ExportError
from generative_policies.export.translation import OPSET, TRANSLATIONS, translate
from generative_policies.models.arrays import evaluating, parameter_like

IR_VERSION = 9  # of ONNX 1.15, which brought OPSET
# Rows that a graph is compared for. Each column may differ by so much of its spread over the rows, and by so much of
# its largest value, of which float32 holds seven digits; beyond it a graph is wrong.
ROWS = 32
OF_SPREAD, OF_VALUE = 1e-5, 5e-6


def export_onnx(
    model: nn.Module, path: str | os.PathLike[str], *, num_steps: int | None = None, solver: str | None = None
) -> None:
    """Write what a model's ``predict`` computes as one file of ONNX; one that is there already is replaced.

    The file holds the normalisers and all steps of the solver. Its inputs have a batch axis of any size, and the noise
    is one of them: nothing of a seed is in the file. ``OnnxModel.load`` gives back an object with the model's
    ``predict``. The file is one of ONNX's standard operators for ONNX Runtime 1.24 and later, in any of its languages:
    before, it took no scale and shift of each row in a normalisation, as the networks with FiLM have them.

    A network of your own is exported as long as it is made of common operations and does not look at the values of its
    inputs, to branch on them for one. What is written is compared with the model first.

    Args:
        model: A generative model, an ``MlpRegressor``, an action translator, or an inverse or forward dynamics, in
            ``torch.float32``.
        path: The file, whose name ends with ``.onnx``; its folders are made.
        num_steps: Steps of the solver; the model's own number by default, 100 for a flow that has none.
        solver: Name of the solver; the model's own by default. Not ``"sde"``, which draws at every step.

    Raises:
        ExportError: If the model draws noise on the way, looks at values, or uses an operation that the export does
            not know, or if its own ``predict`` does more than the library's; nothing is written.
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

    with _plain_torch(like.device), evaluating(model, rows_are_checked=True):
        recording = record(function, examples, TRANSLATIONS)
        graph = translate(recording, [given.name for given in described.inputs], described.output)
        content = _serialized(onnx, described, graph)
        _verify(_session(content, described), function, examples)
    write_file(path, content)


@contextmanager
def _plain_torch(device: torch.device) -> Iterator[None]:
    """Without the modes of whoever calls, under which other operations run than those that ``predict`` runs."""
    with torch.inference_mode(False), torch.autocast(device.type, enabled=False):
        yield


def _example(given: Input, batch: int, generator: torch.Generator) -> Tensor:
    """Any rows that an input takes: of both signs and beyond one, but for images."""
    shape = batch, *given.shape
    if given.dtype == "uint8":
        return torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    if len(given.shape) >= 3:
        return torch.rand(shape, generator=generator, dtype=torch.float32)
    return 3 * torch.randn(shape, generator=generator, dtype=torch.float32)


def _serialized(onnx: Any, described: Interface, graph: Graph) -> bytes:
    helper = onnx.helper

    def value(given: Input) -> Any:
        return helper.make_tensor_value_info(given.name, TYPES[DTYPES[given.dtype]], ["batch", *given.shape])

    onnx_graph = helper.make_graph(
        [
            helper.make_node(node.operator, node.inputs, node.outputs, node.name, **node.attributes)
            for node in graph.nodes
        ],
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
    return bytes(model.SerializeToString())


def _session(content: bytes, described: Interface) -> OnnxSession:
    """A graph that ONNX Runtime takes.

    Raises:
        ExportError: If it does not; its message names the node, and a node's name begins with torch's operation.
    """
    try:
        require("onnx").checker.check_model(content)
        return OnnxSession(content, f"the export of {described.model}")
    except (CheckpointError, require("onnx").checker.ValidationError) as error:
        raise ExportError(f"ONNX Runtime does not take the graph: {error.__cause__ or error}") from error


def _run(session: OnnxSession, tensors: Sequence[Tensor]) -> Tensor:
    try:
        return session.run(tensors)
    except Exception as error:  # what ONNX Runtime raises has no other base
        raise ExportError(f"ONNX Runtime does not run the graph: {error}") from error


def _verify(session: OnnxSession, function: Callable[..., Tensor], examples: Callable[[int], Sequence[Tensor]]) -> None:
    """Compare a graph with its model, for other numbers of rows than those that it was recorded with.

    Raises:
        ExportError: If they differ.
    """
    many = examples(ROWS)
    expected = function(*[tensor.clone() for tensor in many]).cpu()
    finite = expected.flatten(1).isfinite().all(1)  # such as the logarithm of what is never negative
    if finite.sum() < 2:
        raise ExportError("the model's answers are not finite, to examples that are standard normal times three")
    many, expected = [tensor[finite.to(tensor.device)] for tensor in many], expected[finite]
    spread, largest = expected.std(0), expected.abs().amax(0)
    for rows in (slice(None), slice(0, 1)):
        tensors = [tensor[rows].clone() for tensor in many]
        found = _run(session, [tensor[rows].cpu() for tensor in many])
        expected = function(*tensors).cpu()
        if found.shape != expected.shape:
            raise ExportError(
                f"the graph answers {len(expected)} rows with the shape {tuple(found.shape)}, the model with "
                f"{tuple(expected.shape)}"
            )
        difference, allowed = (found - expected).abs(), OF_SPREAD * spread + OF_VALUE * largest
        if not (difference <= allowed).all():
            worst = int((difference - allowed).amax(0).argmax())
            raise ExportError(
                f"the graph's answers to {len(expected)} rows differ from the model's by "
                f"{difference.amax(0).flatten()[worst]:.2g}, in a column that varies by {spread.flatten()[worst]:.2g}"
            )
