"""Gymnasium wrappers that put a learned model between a policy and an env.

Those here are for one env; ``wrappers.vector`` has their twins for Gymnasium's vector envs, ``wrappers.vec_env`` those
for the ``VecEnv`` of Stable-Baselines3, under the same names, with one call of the model a step. Models compute in
float32, whatever the env does. In worker processes, wrappers let torch use one thread.
"""

from generative_policies.wrappers import vec_env, vector
from generative_policies.wrappers.action_translation import ActionTranslationWrapper
from generative_policies.wrappers.check_wrapper import check_wrapper
from generative_policies.wrappers.inverse_dynamics import InverseDynamicsWrapper
from generative_policies.wrappers.latent_action import LatentActionWrapper
from generative_policies.wrappers.residual_action import ResidualActionWrapper
from generative_policies.wrappers.vec_env.as_sb3_vec_env import as_sb3_vec_env

__all__ = [
    "ActionTranslationWrapper",
    "InverseDynamicsWrapper",
    "LatentActionWrapper",
    "ResidualActionWrapper",
    "as_sb3_vec_env",
    "check_wrapper",
    "vec_env",
    "vector",
]
