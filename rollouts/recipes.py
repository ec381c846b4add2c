"""How the source experts are trained: the algorithm and settings that solve each env."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Recipe:
    """Settings of a training with SB3; what is not here is SB3's own default.

    Attributes:
        algorithm: ``"PPO"``, whose learning rate falls linearly to zero, or ``"SAC"`` at a constant one.
        total_timesteps: Env steps.
        num_envs: Envs in step.
        learning_rate: At the start.
        batch_size: Rows of a gradient step.
        net_arch: Hidden widths of policy and value function or critics.
        num_steps: PPO's env steps an env between two updates.
        log_std_init: PPO's logarithm of its noise at the start.
        gradient_steps: SAC's gradient steps after each step of all envs.
        learning_starts: SAC's random env steps at the start.
        gamma: Discount factor.
        normalize_reward: Whether rewards are divided by a running spread of returns, in training alone.
        action_limit: Share of the action range that the policy may use, so that motors keep headroom for a
            translator to the target.
        env_arguments: Of ``gymnasium.make``.
    """

    algorithm: Literal["PPO", "SAC"] = "PPO"
    total_timesteps: int = 2_000_000
    num_envs: int = 8
    learning_rate: float = 3e-4
    batch_size: int = 64
    net_arch: tuple[int, ...] = (64, 64)
    num_steps: int = 1_024
    log_std_init: float = 0.0
    gradient_steps: int = 4
    learning_starts: int = 5_000
    gamma: float = 0.99
    normalize_reward: bool = False
    action_limit: float = 1.0
    env_arguments: Mapping[str, Any] = field(default_factory=dict)


# The task part of an arm's observation alone: it means the same on every arm, so that the expert can act through
# another arm's eyes.
TASK_ALONE = {"proprioception": False}

RECIPES: Mapping[str, Recipe] = {
    "Pusher-v5": Recipe(),
    # PPO stays 4 cm from the goal, where random motion comes as close.
    "Reacher-v5": Recipe(
        algorithm="SAC",
        total_timesteps=150_000,
        learning_rate=1e-3,
        batch_size=256,
        net_arch=(128, 128),
    ),
    "InvertedDoublePendulum-v5": Recipe(total_timesteps=400_000),
    # A bang-bang policy cannot be matched by weaker motors or a heavier body: limited to half of the range.
    "HalfCheetah-v5": Recipe(
        algorithm="SAC",
        total_timesteps=300_000,
        learning_rate=1e-3,
        batch_size=256,
        net_arch=(128, 128),
        action_limit=0.5,
    ),
    "Hopper-v5": Recipe(
        total_timesteps=1_500_000,
        num_envs=16,
        num_steps=512,
        batch_size=512,
        learning_rate=1e-3,
        net_arch=(128, 128),
        log_std_init=-1.0,
        normalize_reward=True,
        action_limit=0.8,
    ),
    "generative_policies/ArmReach2-v0": Recipe(total_timesteps=400_000, action_limit=0.6, env_arguments=TASK_ALONE),
    "generative_policies/ArmReach3-v0": Recipe(total_timesteps=400_000, action_limit=0.6, env_arguments=TASK_ALONE),
    "generative_policies/ArmPush2-v0": Recipe(env_arguments=TASK_ALONE),
    "generative_policies/ArmPush3-v0": Recipe(env_arguments=TASK_ALONE),
}
"""The recipes that made the shipped experts; for other envs ``Recipe()`` is a start."""
