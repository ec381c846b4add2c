"""A file of ONNX that is checked and ready to run."""

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generative_policies.checkpoints import CheckpointError
from generative_policies.export.graph_check import checked_interface
from generative_policies.export.interface import Interface
from generative_policies.models.arrays import CHUNK_ROWS, same_batch, standard_normal

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def require(module: str) -> Any:  # a module
    """Import a package of the extra ``export``.

    Raises:
        ImportError: If it is not installed; the message names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module} is needed to write and to run exported models and is not installed; "
            f"install the extra: pip install 'generative-policies[export]'"
        ) from error


class OnnxSession:
    """A graph in ONNX Runtime, which any number of threads may run at once.

    A session is never copied, and pickled as the content of its file.

    Args:
        content: The file.
        name: What it is called in messages.
        num_threads: Threads of an operation. One is fastest for small models, and alone leaves the other cores to
            whatever shares a robot's computer.

    Raises:
        CheckpointError: If the file is truncated or foreign, or holds what no export writes, or its graph does not
            compute what its metadata tell.
        ImportError: If ONNX Runtime or onnx is not installed.
    """

    def __init__(self, content: bytes, name: str, num_threads: int = 1) -> None:
        onnx, runtime = require("onnx"), require("onnxruntime")
        try:
            model = onnx.ModelProto.FromString(content)
            self.interface: Interface = checked_interface(onnx, model)
            options = runtime.SessionOptions()
            options.intra_op_num_threads = num_threads
            options.inter_op_num_threads = 1
            options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
            options.log_severity_level = 3  # errors
            # Threads that wait for work in a loop would take the time of whatever else a robot's computer does.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            _check_answer(session, self.interface)
        except Exception as error:  # what protobuf and ONNX Runtime raise has no other base
            raise CheckpointError(f"{name} is no exported model, it is truncated or foreign: {error}") from error
        self.name = name
        self._content, self._num_threads = content, num_threads
        self._run = session.run
        self._inputs = [given.name for given in self.interface.inputs]
        # Of dictionaries, the encoder's shell checks the names and the ranges of images.
        encoder = self.interface.arguments.get("encoder")
        self._takes_arrays = not (isinstance(encoder, dict) and "dictionary" in encoder)
        self._takes_noise = self._inputs[-1] == "noise"
        self._like = torch.zeros((), dtype=torch.float32)
        self._outputs = [self.interface.output]

    def check_shapes(self, output: tuple[int, ...], *inputs: tuple[int, ...]) -> None:
        """Check that the graph takes and gives rows of these shapes.

        Raises:
            ValueError: If it does not.
        """
        found = [given.shape for given in self.interface.inputs]
        if found != list(inputs) or self.interface.output_shape != output:
            raise ValueError(
                f"the graph leads from rows of {found} to {self.interface.output_shape}, its arguments say from "
                f"{list(inputs)} to {output}"
            )

    def run(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the graph's answer to checked rows, one tensor an input.

        Raises:
            ValueError: If their numbers of rows differ.
        """
        batch = len(tensors[0])
        for tensor in tensors:
            if len(tensor) != batch:
                same_batch(**dict(zip(self._inputs, tensors, strict=True)))
        if batch == 0:
            return torch.empty((0, *self.interface.output_shape), dtype=torch.float32)
        feed = {name: tensor.detach().numpy() for name, tensor in zip(self._inputs, tensors, strict=True)}
        return torch.from_numpy(self._answer(feed, batch))

    def run_arrays(
        self, arrays: Sequence[Any], reference: Any, generator: torch.Generator | None, noise: Any
    ) -> NDArray[Any] | None:
        """Return the answer to plain numpy arrays without the detour over tensors, a fifth of a small model's time.

        Args:
            arrays: What a caller gave for the inputs before the noise, in their order.
            reference: The one whose rank and dtype the answer takes.
            generator: Source of the noise, if the graph takes some and none is given.
            noise: What a caller gave as noise, or ``None``.

        Returns:
            The answer, or ``None`` where anything but finite floats of the right shapes was given: ``predict`` of the
            torch models then converts it, or says what is wrong with it.
        """
        inputs = self.interface.inputs
        if not self._takes_arrays or len(arrays) != len(inputs) - self._takes_noise:
            return None
        if noise is not None and not self._takes_noise:
            return None
        given = arrays if noise is None else (*arrays, noise)
        feed: dict[str, NDArray[Any]] = {}
        counts: set[int] = set()
        single = False
        for described, array in zip(inputs, given, strict=False):
            if type(array) is not np.ndarray or array.dtype not in FLOATS or described.dtype != "float32":
                return None
            is_row = array.shape == described.shape
            if not is_row and array.shape[1:] != described.shape:
                return None
            if array is reference:
                single = is_row
            with np.errstate(over="ignore", invalid="ignore"):  # what is too large becomes infinite
                rows = array.astype(np.float32, order="C", copy=False)
                finite = math.isfinite(np.add.reduce(rows, axis=None))
            if not finite:
                return None
            feed[described.name] = rows[None] if is_row else rows
            counts.add(1 if is_row else len(rows))
        if len(counts) != 1 or 0 in counts:
            return None
        if len(given) < len(inputs):
            shape = (*counts, *inputs[-1].shape)
            feed[inputs[-1].name] = standard_normal(shape, self._like, generator).numpy()
        answer = self._answer(feed, *counts)
        return (answer[0] if single else answer).astype(reference.dtype, copy=False)

    def _answer(self, feed: dict[str, NDArray[Any]], batch: int) -> NDArray[Any]:
        """Run the graph, on some rows at a time where there are many."""
        if batch <= CHUNK_ROWS:
            return self._run_rows(feed, batch)
        parts = [
            {name: rows[start : start + CHUNK_ROWS] for name, rows in feed.items()}
            for start in range(0, batch, CHUNK_ROWS)
        ]
        return np.concatenate(
            [self._run_rows(part, min(CHUNK_ROWS, batch - k * CHUNK_ROWS)) for k, part in enumerate(parts)]
        )

    def _run_rows(self, feed: dict[str, NDArray[Any]], batch: int) -> NDArray[Any]:
        """Run the graph, which answers a row for a row where the file is as it was written."""
        try:
            answer: NDArray[Any] = self._run(self._outputs, feed)[0]
        except Exception as error:  # ONNX Runtime's errors have no other base
            raise CheckpointError(f"{self.name} cannot be computed, its graph is damaged: {error}") from error
        if len(answer) != batch:
            raise CheckpointError(f"{self.name} is damaged: its graph answers {len(answer)} rows for {batch}")
        return answer

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnnxSession":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return OnnxSession, (self._content, self.name, self._num_threads)


def _check_answer(session: Any, interface: Interface) -> None:  # ONNX Runtime has no types
    """Check that a graph answers rows of zeros in the shape that its metadata tell.

    Raises:
        ValueError: If it does not.
    """
    feed = {given.name: np.zeros((3, *given.shape), given.dtype) for given in interface.inputs}
    answer = session.run([interface.output], feed)[0]
    if answer.shape != (3, *interface.output_shape) or answer.dtype != np.float32:
        raise ValueError(f"it answers three rows with {answer.dtype} of shape {answer.shape}")
