"""Action translation by regression."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from generative_policies.action_translation.translator import ActionTranslator, fit_action_normalizers
from generative_policies.models.dimensions import check_net_arch
from generative_policies.models.encoders import Condition, Encoder, IdentityEncoder, ObservationAndVectorEncoder
from generative_policies.models.mlp import Mlp
from generative_policies.models.normalizer import Normalizer


class MlpActionTranslator(ActionTranslator):
    """The mean target action for an observation and a source action.

    Where both robots have as many motors it learns the *correction* of the source action and starts as the identity.

    Args:
        action_dim: Width of the target action.
        obs_dim: Width of the observation, the target's.
        net_arch: Hidden widths; ``()`` for a linear correction, which few data suffice for, see
            ``training.fit_ridge``.
        source_action_dim: Width of the source action; ``action_dim`` by default.
        encoder: Maps the observation to ``obs_dim`` features, see ``ActionTranslator``.

    Example:
        >>> translator = MlpActionTranslator(action_dim=7, obs_dim=23)
        >>> translator.predict(torch.zeros(23), torch.ones(7))
        tensor([1., 1., 1., 1., 1., 1., 1.])
    """

    noise_dim = 0

    def __init__(
        self,
        action_dim: int,
        obs_dim: int,
        net_arch: Sequence[int] = (32, 32),
        source_action_dim: int | None = None,
        *,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(action_dim, obs_dim, source_action_dim, encoder)
        self.config = {
            "action_dim": action_dim,
            "obs_dim": obs_dim,
            "net_arch": check_net_arch(net_arch, minimum=0),
            "source_action_dim": source_action_dim,
            "encoder": encoder,
        }
        self.residual = self.source_action_dim == action_dim
        self.encoder = ObservationAndVectorEncoder(encoder or IdentityEncoder(obs_dim), self.source_action_dim)
        self.action_normalizer = Normalizer(action_dim)
        self.network = Mlp(self.encoder.output_dim, action_dim, net_arch, zero_output=self.residual)

    def forward(
        self,
        obs: Condition,
        source_actions: Tensor,
        target_actions: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the mean squared error of the target action, see ``ActionTranslator.forward``."""
        inputs = self.check_pairs(obs, source_actions, target_actions)
        return nn.functional.mse_loss(
            self._normalized(inputs, source_actions), self.action_normalizer.normalize(target_actions)
        )

    def translate(
        self,
        obs: Condition,
        source_actions: Tensor,
        *,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Return target actions, see ``ActionTranslator.translate``."""
        if noise is not None:
            raise ValueError(f"noise is superfluous: {type(self).__name__} is deterministic, got {tuple(noise.shape)}")
        inputs = self.check_pairs(obs, source_actions)
        return self.action_normalizer.denormalize(self._normalized(inputs, source_actions))

    def fit_normalizers(self, obs: Condition, source_actions: Tensor, target_actions: Tensor) -> None:
        """Fit the statistics from training data, shaped as in the loss."""
        inputs = self.check_pairs(obs, source_actions, target_actions)
        self.observation_encoder.fit_normalizers(*inputs)
        fit_action_normalizers(self.encoder.normalizer, self.action_normalizer, source_actions, target_actions)

    @property
    def observation_encoder(self) -> Encoder:
        """The encoder of the observation."""
        return self.encoder.observation_encoder

    def _normalized(self, inputs: tuple[Tensor, ...], source_actions: Tensor) -> Tensor:
        correction: Tensor = self.network(self.encoder(*inputs, source_actions))
        return self.action_normalizer.normalize(source_actions) + correction if self.residual else correction
