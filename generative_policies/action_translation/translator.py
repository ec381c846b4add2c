"""What every action translator offers."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from generative_policies.models.arrays import (
    ArrayT,
    as_caller,
    as_rows,
    check_rows,
    evaluating,
    parameter_like,
    rows_are_checked,
)
from generative_policies.models.dimensions import check_dim, check_part
from generative_policies.models.encoders import Condition, Encoder, IdentityEncoder
from generative_policies.models.normalizer import Normalizer


class ActionTranslator(nn.Module, ABC):
    """Carries actions of a source robot to a target robot, (s, a_source) -> a_target.

    Args:
        action_dim: Width of the target action.
        obs_dim: Width of the observation, the target's; with an encoder, of its features.
        source_action_dim: Width of the source action; ``action_dim`` by default.
        encoder: Maps the observation to ``obs_dim`` features; ``IdentityEncoder(obs_dim)`` by default. Wherever ``obs``
            stands, it is then what the encoder takes, such as a dictionary.

    Raises:
        ValueError: If a dimension is not positive, or the encoder gives other than ``obs_dim`` features.

    Attributes:
        noise_dim: Width of the noise that a translation takes, 0 for a deterministic translator. A caller who owns the
            noise (one generator an episode, say) draws ``(batch, noise_dim)`` standard normal numbers.
    """

    noise_dim: int

    def __init__(
        self, action_dim: int, obs_dim: int, source_action_dim: int | None = None, encoder: Encoder | None = None
    ) -> None:
        super().__init__()
        if encoder is not None:
            check_part("encoder", encoder, Encoder)
        if encoder is not None and encoder.output_dim != obs_dim:
            raise ValueError(f"encoder gives {encoder.output_dim} features, but obs_dim is {obs_dim}")
        self.action_dim = check_dim("action_dim", action_dim)
        self.obs_dim = check_dim("obs_dim", obs_dim)
        self.source_action_dim = (
            action_dim if source_action_dim is None else check_dim("source_action_dim", source_action_dim)
        )

    @abstractmethod
    def forward(
        self,
        obs: Condition,
        source_actions: Tensor,
        target_actions: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the training loss on paired actions, in normalised units.

        Args:
            obs: ``(batch, obs_dim)``.
            source_actions: ``(batch, source_action_dim)``.
            target_actions: ``(batch, action_dim)``.
            generator: Source of the randomness of the loss, where it has any.

        Returns:
            A scalar with gradients.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong.
        """

    @abstractmethod
    def translate(
        self,
        obs: Condition,
        source_actions: Tensor,
        *,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Return target actions ``(batch, action_dim)``, differentiable in parameters and inputs.

        Args:
            obs: ``(batch, obs_dim)``.
            source_actions: ``(batch, source_action_dim)``.
            generator: Source of the noise.
            noise: ``(batch, noise_dim)``, the noise itself.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong, or noise comes where none is taken.
        """

    @abstractmethod
    def fit_normalizers(self, obs: Condition, source_actions: Tensor, target_actions: Tensor) -> None:
        """Fit the statistics from training data, shaped as in the loss."""

    def predict(
        self,
        obs: Condition,
        source_actions: ArrayT,
        *,
        generator: torch.Generator | None = None,
        noise: ArrayT | None = None,
    ) -> ArrayT:
        """Return target actions without gradients, in the kind, rank and dtype of ``source_actions``.

        Args:
            obs: ``(obs_dim,)`` or ``(batch, obs_dim)``.
            source_actions: ``(source_action_dim,)`` or ``(batch, source_action_dim)``.
            generator: Source of the noise.
            noise: ``(noise_dim,)`` or ``(batch, noise_dim)``, the noise itself.

        Returns:
            ``(action_dim,)`` or ``(batch, action_dim)``, not clipped to any bounds.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong, or noise comes where none is taken.
        """
        return self._shell(obs, source_actions, noise, partial(self.translate, generator=generator))

    def check_pairs(
        self, obs: Condition, source_actions: Tensor, target_actions: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Check the shapes of a batch, and return the inputs of the observation's encoder.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong.
        """
        inputs = self.observation_encoder.check(obs, "obs")
        batch = len(inputs[0])
        if rows_are_checked() and batch == len(source_actions):
            return inputs
        like = parameter_like(self)
        check_rows("source_actions", source_actions, (self.source_action_dim,), batch, like)
        if target_actions is not None:
            check_rows("target_actions", target_actions, (self.action_dim,), batch, like)
            if batch == 0:
                raise ValueError("training needs at least one row, got none")
        return inputs

    @property
    def observation_encoder(self) -> Encoder:
        """The encoder of the observation; by default the observation is a vector and stays as it is."""
        return IdentityEncoder(self.obs_dim).to(parameter_like(self))

    def _shell(
        self, obs: Condition, source_actions: ArrayT, noise: ArrayT | None, translate: Callable[..., Tensor]
    ) -> ArrayT:
        """Call ``translate(obs, source_actions, noise=...)`` on a caller's arrays without gradients."""
        like = parameter_like(self)
        obs_rows = self.observation_encoder.rows(obs, "obs")
        source_rows = as_rows("source_actions", source_actions, (self.source_action_dim,), like)
        noise_rows = None if noise is None else as_rows("noise", noise, (self.noise_dim,), like)
        with evaluating(self, rows_are_checked=True, inference=True):
            rows = translate(
                obs_rows[0] if isinstance(obs, np.ndarray | Tensor) else obs_rows, source_rows, noise=noise_rows
            )
        return as_caller(rows, source_actions, single=source_actions.ndim == 1)


def fit_action_normalizers(
    source: Normalizer, target: Normalizer, source_actions: Tensor, target_actions: Tensor
) -> None:
    """Fit both action normalisers; where the widths agree they get the same statistics, those of both robots' actions.

    Args:
        source: Normaliser of the source actions.
        target: Normaliser of the target actions.
        source_actions: ``(batch, source_action_dim)``.
        target_actions: ``(batch, action_dim)``.
    """
    shared = source.dim == target.dim
    both = torch.cat([source_actions, target_actions]) if shared else None
    source.fit(source_actions if both is None else both)
    target.fit(target_actions if both is None else both)
