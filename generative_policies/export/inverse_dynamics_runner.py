"""Exported inverse dynamics."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from generative_policies.export.input_shapes import input_encoder
from generative_policies.export.onnx_model import OnnxModel
from generative_policies.export.onnx_session import OnnxSession
from generative_policies.inverse_dynamics import InverseDynamics
from generative_policies.models import Normalizer
from generative_policies.models.arrays import Array
from generative_policies.models.dimensions import check_dim
from generative_policies.models.encoders import Condition, Encoder


class OnnxInverseDynamics(OnnxModel, InverseDynamics):
    """An inverse dynamics that was exported, for wrappers and policies; ``OnnxModel.load`` makes it.

    Args:
        session: The graph and its interface.

    Example:
        >>> import tempfile
        >>> from generative_policies.export import export_onnx
        >>> from generative_policies.inverse_dynamics import MlpInverseDynamics
        >>> file = f"{tempfile.mkdtemp()}/inverse_dynamics.onnx"
        >>> export_onnx(MlpInverseDynamics(action_dim=7, obs_dim=23), file)
        >>> OnnxModel.load(file).predict(torch.zeros(8, 23), torch.zeros(8, 23)).shape
        torch.Size([8, 7])
    """

    def __init__(self, session: OnnxSession) -> None:
        described = session.interface
        arguments = described.arguments
        super().__init__(arguments["action_dim"], arguments["obs_dim"], arguments["next_obs_dim"])
        self.hold(session)
        self.noise_dim = check_dim("noise_dim", arguments["noise_dim"], minimum=0)
        encoder = arguments["encoder"]
        self._encoder = None if encoder is None else input_encoder(encoder, described.inputs, self.obs_dim)
        inputs = ((self.obs_dim,), (self.next_obs_dim,)) if self._encoder is None else 2 * self._encoder.input_shapes
        session.check_shapes((self.action_dim,), *inputs, *([(self.noise_dim,)] if self.noise_dim else []))
        self._observation = _normalizer(arguments["observation_statistics"], self.obs_dim)
        self._change = _normalizer(arguments["change_statistics"], self.next_obs_dim)

    @property
    def transition_encoder(self) -> Encoder:
        """Refuse: the encoder of a transition is inside of the graph."""
        self.refuse()

    @property
    def observation_encoder(self) -> Encoder | None:
        """What takes an observation, ``None`` where observations are vectors."""
        return self._encoder

    @property
    def observation_normalizer(self) -> Normalizer | None:
        """A copy of the statistics ``(obs_dim,)`` of observations, ``None`` where they are no vectors."""
        return self._observation

    @property
    def change_normalizer(self) -> Normalizer | None:
        """A copy of the statistics ``(next_obs_dim,)`` of one-step changes, ``None`` for others than vectors."""
        return self._change

    def actions(
        self,
        obs: Condition,
        next_obs: Condition,
        *,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Return actions without gradients, see ``InverseDynamics.actions``.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong, or noise comes where none is taken.
            NotImplementedError: Where gradients are recorded.
        """
        self.check_gradients()
        inputs = self.check_transitions(obs, next_obs)
        return self.session.run([*inputs, *self.noise(len(inputs[0]), self.noise_dim, generator, noise)])

    def predict(
        self,
        obs: Condition,
        next_obs: Condition,
        *,
        num_steps: int | None = None,
        solver: str | None = None,
        generator: torch.Generator | None = None,
        noise: Array | None = None,
    ) -> Any:  # a numpy array or a tensor, as obs is
        """Return actions, see ``InverseDynamics.predict``.

        Args:
            obs: ``(obs_dim,)`` or ``(batch, obs_dim)``.
            next_obs: ``(next_obs_dim,)`` or ``(batch, next_obs_dim)``.
            num_steps: Steps of the solver, which can only be those that were exported.
            solver: Its name, likewise.
            generator: Source of the noise.
            noise: ``(noise_dim,)`` or ``(batch, noise_dim)``, the noise itself.
        """
        self.check_solver(num_steps, solver)
        if self._encoder is None:
            answer = self.session.run_arrays((obs, next_obs), obs, generator, noise)
            if answer is not None:
                return answer
        return super().predict(obs, next_obs, generator=generator, noise=noise)

    def forward(
        self, obs: Condition, next_obs: Condition, actions: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Refuse: an exported model does not learn."""
        self.refuse()

    def fit_normalizers(self, obs: Condition, next_obs: Condition, actions: Tensor) -> None:
        """Refuse: the statistics are inside of the graph."""
        self.refuse()


def _normalizer(statistics: Mapping[str, Sequence[float]] | None, dim: int) -> Normalizer | None:
    """The statistics of an interface."""
    if statistics is None:
        return None
    normalizer = Normalizer(dim).float()
    for name, buffer in (("mean", normalizer.mean), ("std", normalizer.std)):
        values = torch.tensor(statistics[name], dtype=torch.float32)
        if values.shape != (dim,) or not torch.isfinite(values).all():
            raise ValueError(f"expected {dim} finite numbers as {name}, got {statistics[name]}")
        buffer.copy_(values)
    return normalizer
