"""What every inverse dynamics offers."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from generative_policies.inverse_dynamics.transition_encoders import FeatureChangeEncoder, ObservationChangeEncoder
from generative_policies.models.arrays import Array, as_caller, as_rows, check_rows, evaluating, parameter_like
from generative_policies.models.dimensions import check_dim, check_part
from generative_policies.models.encoders import Condition, Encoder
from generative_policies.models.normalizer import Normalizer


class InverseDynamics(nn.Module, ABC):
    """Which action leads from one observation to the next, (s, s') -> a.

    Networks see the observation beside the *change* to the next one, see ``transition_encoders``.

    Args:
        action_dim: Width of the action.
        obs_dim: Width of the observation; with an encoder, of its features.
        next_obs_dim: Width of the next observation where only its leading part is known; ``obs_dim`` by default.
        encoder: Maps an observation to ``obs_dim`` features. Wherever ``obs`` and ``next_obs`` stand, they are then
            what the encoder takes, such as dictionaries.

    Raises:
        ValueError: If a dimension is not positive, ``next_obs_dim`` exceeds ``obs_dim``, or an encoder gives other than
            ``obs_dim`` features or meets a ``next_obs_dim``.

    Attributes:
        noise_dim: Width of the noise that a prediction takes, 0 for a deterministic one.
    """

    noise_dim: int

    def __init__(
        self, action_dim: int, obs_dim: int, next_obs_dim: int | None = None, encoder: Encoder | None = None
    ) -> None:
        super().__init__()
        if encoder is not None:
            check_part("encoder", encoder, Encoder)
        if encoder is not None and (encoder.output_dim != obs_dim or next_obs_dim is not None):
            raise ValueError(
                f"an encoder must give obs_dim={obs_dim} features of the whole next observation, "
                f"got {encoder.output_dim} features and next_obs_dim={next_obs_dim}"
            )
        self.action_dim = check_dim("action_dim", action_dim)
        self.obs_dim = check_dim("obs_dim", obs_dim)
        self.next_obs_dim = obs_dim if next_obs_dim is None else check_dim("next_obs_dim", next_obs_dim)
        if self.next_obs_dim > obs_dim:
            raise ValueError(f"next_obs_dim must be at most obs_dim={obs_dim}, got {next_obs_dim}")

    @abstractmethod
    def forward(
        self, obs: Condition, next_obs: Condition, actions: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the training loss, in normalised units.

        Args:
            obs: ``(batch, obs_dim)``.
            next_obs: ``(batch, next_obs_dim)``.
            actions: ``(batch, action_dim)``.
            generator: Source of the randomness of the loss, where it has any.

        Returns:
            A scalar with gradients.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong.
        """

    @abstractmethod
    def actions(
        self,
        obs: Condition,
        next_obs: Condition,
        *,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Return actions ``(batch, action_dim)`` in raw units, differentiable in parameters and inputs.

        Args:
            obs: ``(batch, obs_dim)``.
            next_obs: ``(batch, next_obs_dim)``.
            generator: Source of the noise.
            noise: ``(batch, noise_dim)``, the noise itself.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong, or noise comes where none is taken.
        """

    @abstractmethod
    def fit_normalizers(self, obs: Condition, next_obs: Condition, actions: Tensor) -> None:
        """Fit the statistics from training data, shaped as in the loss."""

    def predict(
        self,
        obs: Condition,
        next_obs: Condition,
        *,
        generator: torch.Generator | None = None,
        noise: Array | None = None,
    ) -> Any:  # a numpy array or a tensor, as obs is
        """Return actions without gradients, in the kind, rank and dtype of ``obs``.

        Args:
            obs: ``(obs_dim,)`` or ``(batch, obs_dim)``.
            next_obs: ``(next_obs_dim,)`` or ``(batch, next_obs_dim)``.
            generator: Source of the noise.
            noise: ``(noise_dim,)`` or ``(batch, noise_dim)``, the noise itself.

        Returns:
            ``(action_dim,)`` or ``(batch, action_dim)``, not clipped to any bounds.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong, or noise comes where none is taken.
        """
        return self._shell(obs, next_obs, noise, partial(self.actions, generator=generator))

    @property
    @abstractmethod
    def transition_encoder(self) -> Encoder:
        """The encoder of a transition, which owns its statistics."""

    @property
    def observation_encoder(self) -> Encoder | None:
        """The encoder of one observation, ``None`` where observations are vectors."""
        encoder = self.transition_encoder
        return encoder.observation_encoder if isinstance(encoder, FeatureChangeEncoder) else None

    @property
    def observation_normalizer(self) -> Normalizer | None:
        """The statistics ``(obs_dim,)`` of observations that are vectors, ``None`` for others."""
        encoder = self.transition_encoder
        return encoder.encoder.normalizer_1 if isinstance(encoder, ObservationChangeEncoder) else None

    @property
    def change_normalizer(self) -> Normalizer | None:
        """The statistics ``(next_obs_dim,)`` of one-step changes of vectors, ``None`` for other observations."""
        encoder = self.transition_encoder
        return encoder.encoder.normalizer_2 if isinstance(encoder, ObservationChangeEncoder) else None

    def check_transitions(
        self, obs: Condition, next_obs: Condition, actions: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Check the shapes of a batch, and return the inputs of the transition's encoder.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong, or training data are empty.
        """
        like, encoder = parameter_like(self), self.observation_encoder
        if encoder is None:
            check_rows("obs", cast(Tensor, obs), (self.obs_dim,), like=like)
            inputs: tuple[Tensor, ...] = (cast(Tensor, obs), cast(Tensor, next_obs))
            batch = len(inputs[0])
            check_rows("next_obs", inputs[1], (self.next_obs_dim,), batch, like)
        else:
            inputs = (*encoder.check(obs, "obs"), *encoder.check(next_obs, "next_obs"))
            batch, last = len(inputs[0]), len(encoder.input_shapes) - 1
            check_rows(encoder.input_name(last, "next_obs"), inputs[-1], encoder.input_shapes[last], batch)
        if actions is not None:
            check_rows("actions", actions, (self.action_dim,), batch, like)
            if batch == 0:
                raise ValueError("training needs at least one row, got none")
        return inputs

    def _shell(self, obs: Condition, next_obs: Condition, noise: Array | None, actions: Callable[..., Tensor]) -> Any:
        """Call ``actions(obs, next_obs, noise=...)`` on a caller's arrays without gradients."""
        like = parameter_like(self)
        encoder = self.observation_encoder
        rows: tuple[Condition, Condition]
        if encoder is None:
            vectors = cast(Array, obs), cast(Array, next_obs)
            rows = (
                as_rows("obs", vectors[0], (self.obs_dim,), like),
                as_rows("next_obs", vectors[1], (self.next_obs_dim,), like),
            )
            reference, single = vectors[0], vectors[0].ndim == 1
        else:
            rows = encoder.rows(obs, "obs"), encoder.rows(next_obs, "next_obs")
            reference, single = encoder.reference(obs)
        noise_rows = None if noise is None else as_rows("noise", noise, (self.noise_dim,), like)
        with evaluating(self, rows_are_checked=True, inference=True):
            answer = actions(*rows, noise=noise_rows)
        return as_caller(answer, reference, single)
