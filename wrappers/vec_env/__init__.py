"""The wrappers for the ``VecEnv`` of Stable-Baselines3, and the adapter that makes one of Gymnasium's vector envs."""

from generative_policies.wrappers.vec_env.action_translation import ActionTranslationWrapper
from generative_policies.wrappers.vec_env.as_sb3_vec_env import as_sb3_vec_env
from generative_policies.wrappers.vec_env.inverse_dynamics import InverseDynamicsWrapper
from generative_policies.wrappers.vec_env.latent_action import LatentActionWrapper
from generative_policies.wrappers.vec_env.residual_action import ResidualActionWrapper

__all__ = [
    "ActionTranslationWrapper",
    "InverseDynamicsWrapper",
    "LatentActionWrapper",
    "ResidualActionWrapper",
    "as_sb3_vec_env",
]
