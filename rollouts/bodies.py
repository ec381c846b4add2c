"""Matching across bodies: the source plays its action from the state that corresponds to the target's."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from generative_policies.envs import ExactDynamics, PlanarArmEnv, corresponding_state
from generative_policies.envs.exact_dynamics import STATE
from generative_policies.rollouts.episodes import Episode
from generative_policies.rollouts.pairing import Floats, Steps, states_before, steps_of

# Fingers of corresponding states are apart by rounding errors, below 1e-9, or by ten micrometres and more: where the
# arm does not reach, and where a joint of the other is pressed a little beyond its limit.
REACHED, SAME_VELOCITY = 1e-6, 1e-6  # [m], [m/s]


class Matched(NamedTuple):
    """Steps of the source on its own body, as the target is asked to make them.

    Attributes:
        steps: ``obs`` is what the target observes, ``next_obs`` ``(rows, task_dim)`` the task part that the source
            reaches, ``actions`` the source's and ``states`` the target's. Which state the target's body should come to
            is left open: ``next_states`` is ``None``.
        reachable: ``(rows,)``, whether the source can be in the corresponding state. Elsewhere it started from as near
            as it gets, and the row is not to be learned from.
    """

    steps: Steps
    reachable: NDArray[np.bool_]


def played_on_another_body(
    episodes: Sequence[Episode],
    source_actions: NDArray[Any],
    source_env: gymnasium.Env[Any, Any],
    target_env: gymnasium.Env[Any, Any],
) -> Matched:
    """Return where source actions lead an arm of another number of links, from states that mean the same.

    Each step starts where the source's finger is in the place of the target's, with its velocity, the objects and the
    goal where they are; along an episode the source's angles stay near to those of the step before.

    Args:
        episodes: Of the target, with physics states.
        source_actions: ``(rows, source_action_dim)``, one a step, end to end; played inside the source's bounds.
        source_env: A planar arm, with or without proprioception.
        target_env: The planar arm that the episodes are of, in the same task.

    Raises:
        TypeError: If one is no planar arm.
        ValueError: If the tasks differ, states are missing or of another size, or actions have another shape.
    """
    source, target = check_bodies(source_env, target_env)
    dynamics, steps = ExactDynamics(source_env), steps_of(episodes)
    states = states_before(steps, ExactDynamics(target_env))
    if source_actions.shape != (expected := (len(states), len(dynamics.low))):
        raise ValueError(f"source_actions must have shape {expected}, one a step, got {source_actions.shape}")
    clipped = np.clip(source_actions, dynamics.low, dynamics.high).astype(np.float32)
    starts = set(np.cumsum([0] + [len(episode.actions) for episode in episodes]).tolist())
    data, near = mujoco.MjData(dynamics.model), None
    reached, reachable = [], []
    for row, state in enumerate(tqdm(states, desc="play on another body", unit="step")):
        found = corresponding_state(source, target, state, None if row in starts else near)
        mujoco.mj_setState(dynamics.model, data, found.state, STATE)
        near = np.array(data.qpos[: source.arm.num_joints])
        dynamics.advance(data, found.state, clipped[row])
        reached.append(source.task_observation(data.qpos, data.qvel, data.mocap_pos[0, :2]))
        reachable.append(found.position_gap < REACHED and found.velocity_gap < SAME_VELOCITY)
    matched = steps._replace(next_obs=np.stack(reached), actions=source_actions, next_states=None)
    return Matched(matched, np.array(reachable))


def task_cycle_error(env: gymnasium.Env[Any, Any], steps: Steps, labels: NDArray[Any]) -> Floats:
    """Return ``|f(s, a) - s'| / |s' - s|`` of the task part of each step, ``(rows,)``.

    For steps that were made on another body. Entries are metres and metres per second as they are, so that the
    velocities, which an action changes first, count most.

    Args:
        env: The planar arm whose actions the labels are.
        steps: With its physics states before each step, and the task part after it as the first of ``next_obs``.
        labels: ``(rows, action_dim)``, clipped to its bounds.

    Raises:
        TypeError: If it is no planar arm.
        ValueError: If states are missing or of another size.
    """
    arm, dynamics = _arm("env", env), ExactDynamics(env)
    data = mujoco.MjData(dynamics.model)
    reached = []
    for state, action in zip(states_before(steps, dynamics), np.clip(labels, dynamics.low, dynamics.high), strict=True):
        dynamics.advance(data, state, action)
        reached.append(arm.task_observation(data.qpos, data.qvel, data.mocap_pos[0, :2]))
    wanted = steps.next_obs[:, : arm.task_dim]
    missed = np.linalg.norm(np.stack(reached) - wanted, axis=1)
    errors: Floats = missed / np.maximum(np.linalg.norm(wanted - steps.obs[:, : arm.task_dim], axis=1), 1e-9)
    return errors


def check_bodies(
    source_env: gymnasium.Env[Any, Any], target_env: gymnasium.Env[Any, Any]
) -> tuple[PlanarArmEnv, PlanarArmEnv]:
    """Return the two arms, whose states correspond.

    Raises:
        TypeError: If one is no planar arm.
        ValueError: If the tasks differ.
    """
    source, target = _arm("source_env", source_env), _arm("target_env", target_env)
    if type(source) is not type(target):
        raise ValueError(f"both arms must have one task, got {type(source).__name__} and {type(target).__name__}")
    return source, target


def _arm(name: str, env: gymnasium.Env[Any, Any]) -> PlanarArmEnv:
    arm = env.unwrapped
    if not isinstance(arm, PlanarArmEnv):
        raise TypeError(f"{name} must be a planar arm, whose states correspond to another arm's; got {arm!r}")
    return arm
