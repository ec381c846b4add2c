"""The ids of this library's envs, registered when ``generative_policies.envs`` is imported."""

from collections.abc import Mapping
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator

from generative_policies.envs.dynamics_shift import DynamicsShift, DynamicsShiftWrapper
from generative_policies.envs.success import SUCCESS_CRITERIA, SuccessWrapper

NAMESPACE = "generative_policies"
LINKS = (2, 3, 4)
# Env steps of 0.05 s.
REACH_STEPS, PUSH_STEPS, OBSTACLE_STEPS = 50, 100, 60

SHIFTED: Mapping[str, str | DynamicsShift] = {
    "HalfCheetah-v5": "A",
    "Pusher-v5": "P1",
    "Reacher-v5": "weak",
    "Hopper-v5": "weak",
    "Walker2d-v5": "weak",
    "Ant-v5": "published",
    "InvertedPendulum-v5": "published",
    "InvertedDoublePendulum-v5": "strong",
}
"""Gymnasium ids with a shifted twin, and the shift that it has by default."""


def make_shifted(
    env_id: str, shift: str | Mapping[str, Any] | DynamicsShift, **env_arguments: Any
) -> gymnasium.Env[Any, Any]:
    """Make a Gymnasium env with another dynamics, and with success in ``info`` where a criterion for it is known.

    The entry point of the ids ``generative_policies/...Shifted-v0``; time limits and checks are added by
    ``gymnasium.make``.

    Args:
        env_id: A Gymnasium id of a MuJoCo env.
        shift: A name, the fields as a mapping, or a ``DynamicsShift``, which JSON does not know.
        **env_arguments: The env's own arguments.
    """
    entry_point = gymnasium.spec(env_id).entry_point
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    assert creator is not None  # Gymnasium's own ids have one
    bare = creator(**env_arguments)
    assert isinstance(bare, gymnasium.Env)  # and that is none of a vector
    env: gymnasium.Env[Any, Any] = DynamicsShiftWrapper(bare, shift)
    criterion = SUCCESS_CRITERIA.get(env_id)
    return env if criterion is None else SuccessWrapper(env, *criterion)


def register_envs() -> None:
    """Register all ids; a second call changes nothing."""
    if f"{NAMESPACE}/ArmReach2-v0" in gymnasium.registry:
        return
    for links in LINKS:
        for name, steps in (("Reach", REACH_STEPS), ("Push", PUSH_STEPS)):
            gymnasium.register(
                f"{NAMESPACE}/Arm{name}{links}-v0",
                entry_point=f"generative_policies.envs.arm_envs:Arm{name}Env",
                max_episode_steps=steps,
                kwargs={"arm": links},
            )
    gymnasium.register(
        f"{NAMESPACE}/ArmObstacle-v0",
        entry_point="generative_policies.envs.obstacle:ArmObstacleEnv",
        max_episode_steps=OBSTACLE_STEPS,
    )
    for env_id, shift in SHIFTED.items():
        spec = gymnasium.spec(env_id)
        gymnasium.register(
            f"{NAMESPACE}/{env_id.removesuffix('-v5')}Shifted-v0",
            entry_point="generative_policies.envs.registration:make_shifted",
            max_episode_steps=spec.max_episode_steps,
            kwargs={**spec.kwargs, "env_id": env_id, "shift": shift},
        )
