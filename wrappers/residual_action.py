"""A bounded correction on top of a policy."""

import os
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Space
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from generative_policies.models.dimensions import check_number
from generative_policies.policies import EpisodicPolicy
from generative_policies.policies.observation_map import Rows
from generative_policies.wrappers.recording import from_record, record_model
from generative_policies.wrappers.transform_wrapper import TransformWrapper
from generative_policies.wrappers.transforms import ActionTransform, bounded_box, loaded_policy


class Residual(ActionTransform):
    """Bounded corrections are added to a policy's own actions, see ``ResidualActionWrapper``."""

    def __init__(
        self,
        observation_space: Space[Any],
        action_space: Space[Any],
        policy: BasePolicy | BaseAlgorithm | str | os.PathLike[str],
        scale: float,
        block: int,
    ) -> None:
        target = bounded_box("the env's action space", action_space)
        self.policy = loaded_policy(policy, BasePolicy, "one of SB3", observation_space, target)
        scale = check_number("scale", scale, positive=True)
        half_range = 0.5 * (target.high.astype(np.float64) - target.low)
        self.reach = scale * half_range
        self.state: tuple[NDArray[Any], ...] | None = None
        self._next_state: tuple[NDArray[Any], ...] | None = None
        super().__init__(observation_space, target, Box(-1.0, 1.0, target.shape, np.float32), block)

    def respond(
        self, observations: Rows, actions: NDArray[Any], noise: NDArray[Any] | None, starts: NDArray[np.bool_]
    ) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """Add the correction; ``info`` holds the policy's own action."""
        starts, state = self._pad(starts), self.state
        if state is None and isinstance(self.policy, EpisodicPolicy):
            state = self.policy.initial_state([0] * len(starts))  # it draws nothing, acting deterministically
        own, self._next_state = self.policy.predict(observations, state, starts, deterministic=True)
        return own + self.reach * actions, {"policy_action": own}

    def commit(self) -> None:
        """Keep the policy's state."""
        self.state = self._next_state


class ResidualActionWrapper(TransformWrapper, RecordConstructorArgs):
    """Takes a correction in [-1, 1] and sends the env the policy's own action with the correction added.

    The env gets ``policy(observation) + scale * half the action range * correction``, clipped to its bounds; a
    correction of zero is the policy itself. ``info`` holds the policy's own action as ``"policy_action"`` and the sum
    as ``"target_action"``.

    The policy acts deterministically. One with a state (recurrent, or with action chunks) keeps it along an episode.

    Args:
        env: An env with a flat, bounded action space.
        policy: A policy or algorithm of SB3 for this env, or the folder of one that
            ``generative_policies.policies.save_policy`` wrote. A path makes ``env.spec`` recordable.
        scale: Size of the largest correction, as a share of half the action range.
        block: The policy sees a batch padded to this many rows; 1 is fastest.

    Raises:
        TypeError: If the action space is not a Box, or ``policy`` is something else.
        ValueError: If the policy is for other spaces, the action space is unbounded, or ``scale`` is not positive.

    Example:
        >>> from stable_baselines3 import PPO
        >>> env = ResidualActionWrapper(gymnasium.make("Pendulum-v1"), PPO("MlpPolicy", "Pendulum-v1"), scale=0.2)
        >>> env.action_space
        Box(-1.0, 1.0, (1,), float32)
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, NDArray[Any]],
        policy: BasePolicy | BaseAlgorithm | str | os.PathLike[str],
        scale: float = 0.1,
        *,
        block: int = 16,
    ) -> None:
        RecordConstructorArgs.__init__(
            self,
            policy=record_model(policy, "generative_policies.policies.save_policy"),
            scale=scale,
            block=block,
            _disable_deepcopy=True,
        )
        transform = Residual(env.observation_space, env.action_space, from_record(policy), scale, block)
        TransformWrapper.__init__(self, env, transform)
        self.policy = transform.policy
