"""Inverse dynamics by regression."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from generative_policies.inverse_dynamics.inverse_dynamics import InverseDynamics
from generative_policies.inverse_dynamics.transition_encoders import transition_encoder
from generative_policies.models.dimensions import check_net_arch
from generative_policies.models.encoders import Condition, Encoder
from generative_policies.models.mlp import Mlp
from generative_policies.models.normalizer import Normalizer


class MlpInverseDynamics(InverseDynamics):
    """The mean action that leads from an observation to the next.

    Args:
        action_dim: Width of the action.
        obs_dim: Width of the observation.
        net_arch: Hidden widths.
        next_obs_dim: Width of the next observation where only its leading part is known; ``obs_dim`` by default.
        encoder: Maps an observation to ``obs_dim`` features, see ``InverseDynamics``.

    Example:
        >>> model = MlpInverseDynamics(action_dim=7, obs_dim=64, net_arch=[32, 32])
        >>> obs, next_obs, actions = torch.randn(8, 64), torch.randn(8, 64), torch.randn(8, 7)
        >>> loss = model(obs, next_obs, actions)
        >>> model.predict(obs, next_obs).shape
        torch.Size([8, 7])
    """

    noise_dim = 0

    def __init__(
        self,
        action_dim: int,
        obs_dim: int,
        net_arch: Sequence[int] = (32, 32),
        next_obs_dim: int | None = None,
        *,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(action_dim, obs_dim, next_obs_dim, encoder)
        self.config = {
            "action_dim": action_dim,
            "obs_dim": obs_dim,
            "net_arch": check_net_arch(net_arch, minimum=0),
            "next_obs_dim": next_obs_dim,
            "encoder": encoder,
        }
        self.encoder = transition_encoder(obs_dim, self.next_obs_dim, encoder)
        self.action_normalizer = Normalizer(action_dim)
        self.network = Mlp(self.encoder.output_dim, action_dim, net_arch)

    def forward(
        self, obs: Condition, next_obs: Condition, actions: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the mean squared action error, see ``InverseDynamics.forward``."""
        predicted = self.network(self.encoder(*self.check_transitions(obs, next_obs, actions)))
        return nn.functional.mse_loss(predicted, self.action_normalizer.normalize(actions))

    def actions(
        self,
        obs: Condition,
        next_obs: Condition,
        *,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Return the mean actions, see ``InverseDynamics.actions``."""
        if noise is not None:
            raise ValueError(f"noise is superfluous: {type(self).__name__} is deterministic, got {tuple(noise.shape)}")
        predicted = self.network(self.encoder(*self.check_transitions(obs, next_obs)))
        return self.action_normalizer.denormalize(predicted)

    def fit_normalizers(self, obs: Condition, next_obs: Condition, actions: Tensor) -> None:
        """Fit the statistics from training data, shaped as in the loss."""
        self.encoder.fit_normalizers(*self.check_transitions(obs, next_obs, actions))
        self.action_normalizer.fit(actions)

    @property
    def transition_encoder(self) -> Encoder:
        """The encoder of a transition, which owns its statistics."""
        return self.encoder
