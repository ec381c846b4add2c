"""``LatentActionWrapper`` for Gymnasium's vector envs."""

import os
from typing import Any

from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm

from generative_policies.policies import ChunkPolicy
from generative_policies.wrappers.latent_action import LatentAction
from generative_policies.wrappers.transforms import require_single_steps
from generative_policies.wrappers.vector.transform_wrapper import TransformVectorWrapper


class LatentActionWrapper(TransformVectorWrapper):
    """Takes the noise that a frozen policy starts from, and sends many envs its actions.

    Arguments and behaviour are those of ``wrappers.LatentActionWrapper`` around each env, bit for bit.

    Args:
        env: A vector env.
        policy: As there, with a ``replan_interval`` of 1: envs whose episodes end amid a plan would fall out of step.
        limit: As there.
        block: As there.

    Raises:
        ValueError: If the policy takes several steps of a plan.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        policy: ChunkPolicy | BaseAlgorithm | str | os.PathLike[str],
        limit: float = 1.5,
        *,
        block: int = 16,
    ) -> None:
        transform = LatentAction(env.single_observation_space, env.single_action_space, policy, limit, block)
        require_single_steps(transform)
        super().__init__(env, transform)
        self.policy = transform.policy
