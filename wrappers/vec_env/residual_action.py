"""``ResidualActionWrapper`` for the ``VecEnv`` of Stable-Baselines3."""

import os

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from generative_policies.wrappers.residual_action import Residual
from generative_policies.wrappers.vec_env.transform_wrapper import TransformVecEnvWrapper


class ResidualActionWrapper(TransformVecEnvWrapper):
    """Takes corrections in [-1, 1] and sends many envs the policy's own actions with the corrections added.

    Arguments and behaviour are those of ``wrappers.ResidualActionWrapper`` around each env, bit for bit.

    Args:
        venv: The envs.
        policy: As there.
        scale: As there.
        block: As there.
    """

    def __init__(
        self,
        venv: VecEnv,
        policy: BasePolicy | BaseAlgorithm | str | os.PathLike[str],
        scale: float = 0.1,
        *,
        block: int = 16,
    ) -> None:
        transform = Residual(venv.observation_space, venv.action_space, policy, scale, block)
        super().__init__(venv, transform)
        self.policy = transform.policy
