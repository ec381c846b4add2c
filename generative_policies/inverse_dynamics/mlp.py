"""Inverse dynamics by regression."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from generative_policies.models.arrays import (
    ArrayT,
    as_caller,
    as_rows,
    check_rows,
    evaluating,
    parameter_like,
    same_batch,
)
from generative_policies.models.encoders import IdentityTwoInputEncoder
from generative_policies.models.mlp import Mlp, check_dim
from generative_policies.models.normalizer import Normalizer


class MlpInverseDynamics(nn.Module):
    """The mean action that leads from an observation to the next.

    The network sees the normalised observation beside the normalised *difference* to the next one: a single step
    changes an observation by little of its overall spread.

    Args:
        action_dim: Width of the action.
        obs_dim: Width of the observation.
        net_arch: Hidden widths.
        next_obs_dim: Width of the next observation where only its leading part is known; ``obs_dim`` by default.

    Raises:
        ValueError: If a dimension is not positive, or ``next_obs_dim`` exceeds ``obs_dim``.

    Example:
        >>> model = MlpInverseDynamics(action_dim=7, obs_dim=64, net_arch=[32, 32])
        >>> obs, next_obs, actions = torch.randn(8, 64), torch.randn(8, 64), torch.randn(8, 7)
        >>> loss = model(obs, next_obs, actions)
        >>> model.predict(obs, next_obs).shape
        torch.Size([8, 7])
    """

    def __init__(
        self, action_dim: int, obs_dim: int, net_arch: Sequence[int] = (32, 32), next_obs_dim: int | None = None
    ) -> None:
        super().__init__()
        self.action_dim = check_dim("action_dim", action_dim)
        self.obs_dim = check_dim("obs_dim", obs_dim)
        self.next_obs_dim = obs_dim if next_obs_dim is None else check_dim("next_obs_dim", next_obs_dim)
        if self.next_obs_dim > obs_dim:
            raise ValueError(f"next_obs_dim must be at most obs_dim={obs_dim}, got {next_obs_dim}")
        self.config = {
            "action_dim": action_dim,
            "obs_dim": obs_dim,
            "net_arch": tuple(net_arch),
            "next_obs_dim": next_obs_dim,
        }
        self.encoder = IdentityTwoInputEncoder(obs_dim, self.next_obs_dim)
        self.action_normalizer = Normalizer(action_dim)
        self.network = Mlp(self.encoder.output_dim, action_dim, net_arch)

    def forward(
        self, obs: Tensor, next_obs: Tensor, actions: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the mean squared action error, in normalised units.

        Args:
            obs: ``(batch, obs_dim)``.
            next_obs: ``(batch, next_obs_dim)``.
            actions: ``(batch, action_dim)``.
            generator: Every loss of the library takes one; regression draws nothing from it.

        Returns:
            A scalar with gradients.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong.
        """
        check_rows("actions", actions, (self.action_dim,))
        same_batch(obs=obs, next_obs=next_obs, actions=actions)
        predicted = self.network(self._features(obs, next_obs))
        return nn.functional.mse_loss(predicted, self.action_normalizer.normalize(actions))

    def actions(self, obs: Tensor, next_obs: Tensor) -> Tensor:
        """Return actions ``(batch, action_dim)`` in raw units, differentiable in parameters and inputs.

        Args:
            obs: ``(batch, obs_dim)``.
            next_obs: ``(batch, next_obs_dim)``.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong.
        """
        return self.action_normalizer.denormalize(self.network(self._features(obs, next_obs)))

    def predict(self, obs: ArrayT, next_obs: ArrayT) -> ArrayT:
        """Return actions without gradients, in the kind, rank and dtype of ``obs``.

        Args:
            obs: ``(obs_dim,)`` or ``(batch, obs_dim)``.
            next_obs: ``(next_obs_dim,)`` or ``(batch, next_obs_dim)``.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong.
        """
        like = parameter_like(self)
        obs_rows = as_rows("obs", obs, (self.obs_dim,), like)
        next_obs_rows = as_rows("next_obs", next_obs, (self.next_obs_dim,), like)
        with evaluating(self):
            rows = self.actions(obs_rows, next_obs_rows)
        return as_caller(rows, obs, single=obs.ndim == 1)

    def fit_normalizers(self, obs: Tensor, next_obs: Tensor, actions: Tensor) -> None:
        """Fit the statistics from training data, shaped as in the loss."""
        self.encoder.fit_normalizers(obs, next_obs - obs[:, : self.next_obs_dim])
        self.action_normalizer.fit(actions)

    def _features(self, obs: Tensor, next_obs: Tensor) -> Tensor:
        check_rows("obs", obs, (self.obs_dim,))
        check_rows("next_obs", next_obs, (self.next_obs_dim,), len(obs))
        features: Tensor = self.encoder(obs, next_obs - obs[:, : self.next_obs_dim])
        return features
