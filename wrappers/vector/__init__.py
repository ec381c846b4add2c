"""The wrappers for Gymnasium's vector envs: one call of the model a step, an env's results as if it were alone."""

from generative_policies.wrappers.vector.action_translation import ActionTranslationWrapper
from generative_policies.wrappers.vector.inverse_dynamics import InverseDynamicsWrapper
from generative_policies.wrappers.vector.latent_action import LatentActionWrapper
from generative_policies.wrappers.vector.residual_action import ResidualActionWrapper

__all__ = ["ActionTranslationWrapper", "InverseDynamicsWrapper", "LatentActionWrapper", "ResidualActionWrapper"]
