"""Exported models, loaded: each has the ``predict`` of the model that it was made of."""

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, Self

import torch
from torch import Tensor, nn

from generative_policies.checkpoints import CheckpointError
from generative_policies.export.onnx_session import OnnxSession
from generative_policies.models.arrays import check_rows, standard_normal
from generative_policies.models.dimensions import check_dim

# The class that runs each kind of graph, imported when needed.
RUNNERS = {
    "flow": "generative_policies.export.flow_runner.OnnxFlow",
    "forward_dynamics": "generative_policies.export.regression_runners.OnnxForwardDynamics",
    "inverse_dynamics": "generative_policies.export.inverse_dynamics_runner.OnnxInverseDynamics",
    "regressor": "generative_policies.export.regression_runners.OnnxRegressor",
    "translator": "generative_policies.export.translator_runner.OnnxActionTranslator",
}


class OnnxModel(nn.Module):
    """A model that runs in ONNX Runtime, without gradients, from a file that ``export_onnx`` wrote.

    What ``load`` returns has the ``predict`` of the model that was exported, and is a translator or an inverse dynamics
    where that was one, so that wrappers and policies take it. It has no parameters, its differentiable functions refuse
    to work, and it stays in ``torch.float32`` on the CPU.

    Attributes:
        session: The graph.
        num_steps: Steps of the solver that the graph holds, ``None`` without one.
        solver: Its name.
    """

    session: OnnxSession
    num_steps: int | None
    solver: str | None
    like: Tensor  # of what the graph takes

    @staticmethod
    def load(path: str | os.PathLike[str], num_threads: int = 1) -> Any:  # the class is the file's
        """Read an exported model. A file runs no code of its own, so that one from a stranger is safe to load.

        Args:
            path: A file that ``export_onnx`` wrote.
            num_threads: Threads of an operation, at least one, which is fastest for small models and batches.

        Returns:
            The model, an ``OnnxModel``.

        Raises:
            CheckpointError: If the file is missing, truncated, foreign or of a newer format.
            ValueError: If ``num_threads`` is no positive number.
            ImportError: If the extra ``export`` is not installed.

        Example:
            >>> import tempfile
            >>> from generative_policies.action_translation import ActionTranslator, MlpActionTranslator
            >>> from generative_policies.export import export_onnx
            >>> file = f"{tempfile.mkdtemp()}/translator.onnx"
            >>> export_onnx(MlpActionTranslator(action_dim=2, obs_dim=3), file)
            >>> translator = OnnxModel.load(file)
            >>> isinstance(translator, ActionTranslator), translator.predict(torch.zeros(3), torch.ones(2))
            (True, tensor([1., 1.]))
        """
        check_dim("num_threads", num_threads)
        path = Path(path).absolute()
        try:
            if not path.is_file():  # a pipe or a device would never end
                raise FileNotFoundError("no such file")
            content = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        session = OnnxSession(content, str(path), num_threads)
        kind = session.interface.kind
        if kind not in RUNNERS:
            raise CheckpointError(f"{path} holds a model of the kind {kind!r}, known are {', '.join(RUNNERS)}")
        module, _, attribute = RUNNERS[kind].rpartition(".")
        try:
            return getattr(import_module(module), attribute)(session).eval()
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise CheckpointError(f"{path} has metadata that describe no model: {error!r}") from error

    @property
    def config(self) -> dict[str, Any]:
        """Refuse to be part of a checkpoint, for there are no weights.

        Raises:
            CheckpointError: Always.
        """
        raise CheckpointError(f"{self.session.name} is an exported model and no part of a checkpoint: keep the file")

    def hold(self, session: OnnxSession) -> None:
        """Keep a graph, once the module is built."""
        self.session, self.num_steps, self.solver = session, session.interface.num_steps, session.interface.solver
        self.register_buffer("like", torch.zeros((), dtype=torch.float32), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Leave everything where it is and as it is: the graph takes nothing else."""
        return self

    def check_solver(self, num_steps: int | None, solver: str | None) -> None:
        """Check that a caller asks for what the graph computes.

        Raises:
            ValueError: If the number of steps or the solver is another.
        """
        if num_steps not in (None, self.num_steps) or solver not in (None, self.solver):
            raise ValueError(
                f"this model was exported with num_steps={self.num_steps} and solver={self.solver!r} and knows no "
                f"other, got num_steps={num_steps} and solver={solver!r}; export it again with these"
            )

    def noise(
        self, batch: int, dim: int, generator: torch.Generator | None, noise: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Return the noise ``(batch, dim)`` that is given, or drawn as the model draws it; nothing where none is taken.

        Raises:
            ValueError: If its shape is wrong, or it comes where none is taken.
        """
        if noise is None:
            return (standard_normal((batch, dim), self.like, generator),) if dim else ()
        if dim == 0:
            raise ValueError(f"noise is superfluous: this model is deterministic, got {tuple(noise.shape)}")
        check_rows("noise", noise, (dim,), batch, self.like)
        return (noise,)

    def refuse(self) -> NoReturn:
        """Refuse what needs gradients or parameters.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            f"{self.session.name} is an exported model: it runs, it does not learn; use predict, or the model that it "
            f"was made of"
        )

    def check_gradients(self) -> None:
        """Refuse to be differentiated.

        Raises:
            NotImplementedError: Where gradients are recorded.
        """
        if torch.is_grad_enabled():
            self.refuse()
