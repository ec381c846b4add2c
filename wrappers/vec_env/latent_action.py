"""``LatentActionWrapper`` for the ``VecEnv`` of Stable-Baselines3."""

import os

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from generative_policies.policies import ChunkPolicy
from generative_policies.wrappers.latent_action import LatentAction
from generative_policies.wrappers.transforms import require_single_steps
from generative_policies.wrappers.vec_env.transform_wrapper import TransformVecEnvWrapper


class LatentActionWrapper(TransformVecEnvWrapper):
    """Takes the noise that a frozen policy starts from, and sends the envs of a ``VecEnv`` its actions.

    Arguments and behaviour are those of ``wrappers.LatentActionWrapper`` around each env, bit for bit.

    Args:
        venv: The envs.
        policy: As there, with a ``replan_interval`` of 1: envs whose episodes end amid a plan would fall out of step.
        limit: As there.
        block: As there.

    Raises:
        ValueError: If the policy takes several steps of a plan.
    """

    def __init__(
        self,
        venv: VecEnv,
        policy: ChunkPolicy | BaseAlgorithm | str | os.PathLike[str],
        limit: float = 1.5,
        *,
        block: int = 16,
    ) -> None:
        transform = LatentAction(venv.observation_space, venv.action_space, policy, limit, block)
        require_single_steps(transform)
        super().__init__(venv, transform)
        self.policy = transform.policy
