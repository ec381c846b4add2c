"""Steering a frozen policy by the noise that it starts from."""

import os
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Space
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from generative_policies.models.dimensions import check_number
from generative_policies.policies import ChunkPolicy
from generative_policies.policies.observation_map import Rows
from generative_policies.wrappers.recording import from_record, record_model
from generative_policies.wrappers.transform_wrapper import TransformWrapper
from generative_policies.wrappers.transforms import ActionTransform, bounded_box, loaded_policy


class LatentAction(ActionTransform):
    """The starting noise of a policy's plan becomes actions, see ``LatentActionWrapper``."""

    def __init__(
        self,
        observation_space: Space[Any],
        action_space: Space[Any],
        policy: ChunkPolicy | BaseAlgorithm | str | os.PathLike[str],
        limit: float,
        block: int,
    ) -> None:
        target = bounded_box("the env's action space", action_space)
        kind = "a ChunkPolicy, such as a FlowPolicy"
        self.policy = loaded_policy(policy, ChunkPolicy, kind, observation_space, target)
        if self.policy.noise_dim == 0:
            raise ValueError(f"{type(self.policy).__name__} takes no noise, there is nothing to steer it by")
        limit = check_number("limit", limit, positive=True, below=float(np.finfo(np.float32).max))
        self.steps_per_action = self.policy.replan_interval
        self._taken = 0
        self._plan: NDArray[Any] | None = None
        self._history: tuple[NDArray[Any], ...] | None = None
        self._next: tuple[NDArray[Any], tuple[NDArray[Any], ...]] | None = None
        super().__init__(observation_space, target, Box(-limit, limit, (self.policy.noise_dim,), np.float32), block)

    def respond(
        self, observations: Rows, actions: NDArray[Any], noise: NDArray[Any] | None, starts: NDArray[np.bool_]
    ) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """Take the next step of the plan that starts from the noise; the plan is made at its first."""
        policy, starts = self.policy, self._pad(starts)
        rows, _ = policy.observation_rows(observations)
        history = self._history
        if history is None:
            history = policy.no_history(len(actions))
        seen = policy.remember(rows, starts, history)
        if starts.all():
            self._taken = 0
        plan = self._plan
        if plan is None or self._taken == 0:
            plan = policy.plan_rows(seen, actions)
        self._next = plan, tuple(seen.values()) if policy.history > 1 else ()
        return policy.env_actions(policy.act(rows, plan[:, self._taken])), {}

    def commit(self) -> None:
        """Count the step, and keep what was seen."""
        assert self._next is not None  # an answer was given
        self._plan, self._history = self._next
        self._taken = (self._taken + 1) % self.steps_per_action


class LatentActionWrapper(TransformWrapper, RecordConstructorArgs):
    """Takes the noise that a frozen policy's plan starts from, and takes the steps of the plan.

    An algorithm such as SB3's SAC, as it is, then improves the policy by reward without leaving what its flow can do.
    The noise lies in [-limit, limit]; under a standard normal, 87 % of the numbers lie within 1.5.

    Where the policy takes several steps of a plan (its ``replan_interval``), so does one step here: rewards are summed,
    the observation is that after the last, and an episode that ends cuts the plan off. ``info`` is the last step's,
    with their number as ``"steps"``, and the last action that the env got as ``"target_action"``.

    Source: Wagenmaker et al. 2025, Steering Your Diffusion Policy with Latent Space Reinforcement Learning.

    Args:
        env: An env with a flat, bounded action space.
        policy: A ``FlowPolicy`` or another ``ChunkPolicy`` that takes noise, for this env, the algorithm
            that has it, or the folder of one that ``generative_policies.policies.save_policy`` wrote. A path makes
            ``env.spec`` recordable.
        limit: Bound of the noise.
        block: The policy sees a batch padded to this many rows; 1 is fastest.

    Raises:
        TypeError: If the action space is not a Box, or ``policy`` is something else.
        ValueError: If the policy is for other spaces or takes no noise, the action space is unbounded, or ``limit`` is
            not positive.

    Example:
        >>> from generative_policies.policies import FlowPolicy
        >>> env = gymnasium.make("Pendulum-v1")
        >>> env = LatentActionWrapper(env, FlowPolicy(env.observation_space, env.action_space, horizon=4))
        >>> env.action_space
        Box(-1.5, 1.5, (4,), float32)
        >>> observation, info = env.reset(seed=0)
        >>> env.step(env.action_space.sample())[4]["steps"]
        4
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, NDArray[Any]],
        policy: ChunkPolicy | BaseAlgorithm | str | os.PathLike[str],
        limit: float = 1.5,
        *,
        block: int = 16,
    ) -> None:
        RecordConstructorArgs.__init__(
            self,
            policy=record_model(policy, "generative_policies.policies.save_policy"),
            limit=limit,
            block=block,
            _disable_deepcopy=True,
        )
        transform = LatentAction(env.observation_space, env.action_space, from_record(policy), limit, block)
        TransformWrapper.__init__(self, env, transform)
        self.policy = transform.policy

    def step(self, action: NDArray[Any]) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take the steps of the plan that starts from the noise, see ``TransformWrapper.step``."""
        total, steps, over = 0.0, 0, False
        while steps < self.transform.steps_per_action and not over:
            observation, reward, terminated, truncated, info = super().step(action)
            total += float(reward)
            steps += 1
            over = terminated or truncated
        return observation, total, terminated, truncated, info | {"steps": steps}
