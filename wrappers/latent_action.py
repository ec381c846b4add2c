"""Steering a frozen policy by the noise that it starts from."""

import os
from typing import Any, SupportsFloat

import gymnasium
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from generative_policies.policies import ChunkPolicy
from generative_policies.wrappers.recording import from_record, record_model
from generative_policies.wrappers.transform_wrapper import TransformWrapper
from generative_policies.wrappers.transforms import LatentAction


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
        policy: A ``FlowPolicy`` or another ``ChunkPolicy`` that takes noise, for this env, or the folder of one that
            ``generative_policies.policies.save_policy`` wrote. A path makes ``env.spec`` recordable.
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
        policy: ChunkPolicy | str | os.PathLike[str],
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
