"""``ResidualActionWrapper`` for Gymnasium's vector envs."""

import os
from typing import Any

from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from generative_policies.wrappers.residual_action import Residual
from generative_policies.wrappers.vector.transform_wrapper import TransformVectorWrapper


class ResidualActionWrapper(TransformVectorWrapper):
    """Takes corrections in [-1, 1] and sends many envs the policy's own actions with the corrections added.

    Arguments and behaviour are those of ``wrappers.ResidualActionWrapper`` around each env, bit for bit.

    Args:
        env: A vector env.
        policy: As there.
        scale: As there.
        block: As there.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        policy: BasePolicy | BaseAlgorithm | str | os.PathLike[str],
        scale: float = 0.1,
        *,
        block: int = 16,
    ) -> None:
        transform = Residual(env.single_observation_space, env.single_action_space, policy, scale, block)
        super().__init__(env, transform)
        self.policy = transform.policy
