"""Exported action translators."""

from typing import cast

import torch
from torch import Tensor

from generative_policies.action_translation import ActionTranslator
from generative_policies.export.input_shapes import input_encoder
from generative_policies.export.onnx_model import OnnxModel
from generative_policies.export.onnx_session import OnnxSession
from generative_policies.models.arrays import ArrayT
from generative_policies.models.dimensions import check_dim
from generative_policies.models.encoders import Condition, Encoder


class OnnxActionTranslator(OnnxModel, ActionTranslator):
    """An action translator that was exported, for wrappers and policies; ``OnnxModel.load`` makes it.

    Args:
        session: The graph and its interface.

    Example:
        >>> import tempfile
        >>> from generative_policies.action_translation import FlowActionPriorTranslator
        >>> from generative_policies.export import export_onnx
        >>> file = f"{tempfile.mkdtemp()}/translator.onnx"
        >>> export_onnx(FlowActionPriorTranslator(action_dim=7, obs_dim=23), file)
        >>> OnnxModel.load(file).predict(torch.zeros(8, 23), torch.zeros(8, 7)).shape
        torch.Size([8, 7])
    """

    def __init__(self, session: OnnxSession) -> None:
        described = session.interface
        arguments = described.arguments
        super().__init__(arguments["action_dim"], arguments["obs_dim"], arguments["source_action_dim"])
        self.hold(session)
        self.noise_dim = check_dim("noise_dim", arguments["noise_dim"], minimum=0)
        self._encoder = input_encoder(arguments["encoder"], described.inputs, self.obs_dim)
        noise = [(self.noise_dim,)] if self.noise_dim else []
        session.check_shapes((self.action_dim,), *self._encoder.input_shapes, (self.source_action_dim,), *noise)

    @property
    def observation_encoder(self) -> Encoder:
        """What takes the observation; the encoder itself is inside of the graph."""
        return self._encoder

    def translate(
        self,
        obs: Condition,
        source_actions: Tensor,
        *,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Return target actions without gradients, see ``ActionTranslator.translate``.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong, or noise comes where none is taken.
            NotImplementedError: Where gradients are recorded.
        """
        self.check_gradients()
        inputs = self.check_pairs(obs, source_actions)
        drawn = self.noise(len(source_actions), self.noise_dim, generator, noise)
        return self.session.run([*inputs, source_actions, *drawn])

    def predict(
        self,
        obs: Condition,
        source_actions: ArrayT,
        *,
        num_steps: int | None = None,
        solver: str | None = None,
        generator: torch.Generator | None = None,
        noise: ArrayT | None = None,
    ) -> ArrayT:
        """Return target actions, see ``ActionTranslator.predict``.

        Args:
            obs: ``(obs_dim,)`` or ``(batch, obs_dim)``.
            source_actions: ``(source_action_dim,)`` or ``(batch, source_action_dim)``.
            num_steps: Steps of the solver, which can only be those that were exported.
            solver: Its name, likewise.
            generator: Source of the noise.
            noise: ``(noise_dim,)`` or ``(batch, noise_dim)``, the noise itself.
        """
        self.check_solver(num_steps, solver)
        given = (*obs, source_actions) if isinstance(obs, tuple) else (obs, source_actions)
        answer = self.session.run_arrays(given, source_actions, generator, noise)
        if answer is not None:
            return cast(ArrayT, answer)
        return super().predict(obs, source_actions, generator=generator, noise=noise)

    def forward(
        self,
        obs: Condition,
        source_actions: Tensor,
        target_actions: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Refuse: an exported model does not learn."""
        self.refuse()

    def fit_normalizers(self, obs: Condition, source_actions: Tensor, target_actions: Tensor) -> None:
        """Refuse: the statistics are inside of the graph."""
        self.refuse()
