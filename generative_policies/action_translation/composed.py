"""Action translation by two models of single robots: what the source would reach, and how the target reaches it.

Source: Hanna & Stone 2017, grounded action transformation.
"""

import torch
from torch import Tensor, nn

from generative_policies.action_translation.translator import ActionTranslator
from generative_policies.forward_dynamics import MlpForwardDynamics
from generative_policies.inverse_dynamics import FlowInverseDynamics, InverseDynamics
from generative_policies.models.dimensions import check_part
from generative_policies.models.encoders import Condition
from generative_policies.models.normalizer import Normalizer


class ComposedActionTranslator(ActionTranslator):
    """The target's inverse dynamics of the source's next state, which needs no paired actions.

    The parts are fitted on their own, each on transitions of its robot. As a translator it can be tuned further on
    paired actions, with gradients in both parts.

    Args:
        inverse_dynamics: Which action of the target leads from one observation to the next.
        forward_dynamics: Which observation an action of the source leads to.

    Raises:
        ValueError: If the parts' observations differ in width, or the inverse dynamics has an encoder.
        TypeError: If a part is none, as when the two are swapped.

    Example:
        >>> from generative_policies.inverse_dynamics import MlpInverseDynamics
        >>> translator = ComposedActionTranslator(MlpInverseDynamics(6, 23), MlpForwardDynamics(23, 7))
        >>> translator.predict(torch.zeros(8, 23), torch.zeros(8, 7)).shape
        torch.Size([8, 6])
    """

    def __init__(self, inverse_dynamics: InverseDynamics, forward_dynamics: MlpForwardDynamics) -> None:
        check_part("inverse_dynamics", inverse_dynamics, InverseDynamics)
        check_part("forward_dynamics", forward_dynamics, MlpForwardDynamics)
        if inverse_dynamics.observation_encoder is not None:
            raise ValueError(
                "inverse_dynamics must take observations that are vectors, as the forward dynamics predicts them, "
                "got one with an encoder"
            )
        if inverse_dynamics.obs_dim != forward_dynamics.obs_dim:
            raise ValueError(
                f"both parts must have the same obs_dim, got {inverse_dynamics.obs_dim} of inverse_dynamics and "
                f"{forward_dynamics.obs_dim} of forward_dynamics"
            )
        super().__init__(inverse_dynamics.action_dim, inverse_dynamics.obs_dim, forward_dynamics.action_dim)
        self.config = {"inverse_dynamics": inverse_dynamics, "forward_dynamics": forward_dynamics}
        self.noise_dim = inverse_dynamics.noise_dim
        self.inverse_dynamics = inverse_dynamics
        self.forward_dynamics = forward_dynamics

    def forward(
        self,
        obs: Condition,
        source_actions: Tensor,
        target_actions: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the mean squared error of the target action, see ``ActionTranslator.forward``.

        It is in the units of the inverse dynamics' normalised actions; raw, where an ``InverseDynamics`` of your own
        has no ``action_normalizer``.
        """
        self.check_pairs(obs, source_actions, target_actions)
        translated = self.translate(obs, source_actions, generator=generator)
        normalizer = self._action_normalizer()
        if normalizer is not None:
            translated, target_actions = normalizer.normalize(translated), normalizer.normalize(target_actions)
        return nn.functional.mse_loss(translated, target_actions)

    def translate(
        self,
        obs: Condition,
        source_actions: Tensor,
        *,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Return target actions, see ``ActionTranslator.translate``."""
        (rows,) = self.check_pairs(obs, source_actions)
        # a_target = g_target(s, f_source(s, a_source))
        next_obs = self.forward_dynamics.next_state(rows, source_actions)[:, : self.inverse_dynamics.next_obs_dim]
        return self.inverse_dynamics.actions(rows, next_obs, generator=generator, noise=noise)

    def fit_normalizers(self, obs: Condition, source_actions: Tensor, target_actions: Tensor) -> None:
        """Do nothing: the parts are fitted on their own and keep the statistics of their robots."""

    def _action_normalizer(self) -> Normalizer | None:
        if isinstance(self.inverse_dynamics, FlowInverseDynamics):
            return self.inverse_dynamics.flow.target_normalizer
        normalizer = getattr(self.inverse_dynamics, "action_normalizer", None)
        return normalizer if isinstance(normalizer, Normalizer) else None
