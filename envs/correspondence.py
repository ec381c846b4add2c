"""States of two arms that mean the same: fingers, objects and goal in one place, with one velocity."""

from typing import NamedTuple

import mujoco
import numpy as np

from generative_policies.envs.arm_envs import PlanarArmEnv
from generative_policies.envs.planar_arm import Floats

STATE = mujoco.mjtState.mjSTATE_INTEGRATION


class Correspondence(NamedTuple):
    """The state of one arm that matches that of another.

    Attributes:
        state: ``(state_size,)``, ``mjSTATE_INTEGRATION`` of the arm that was asked for.
        position_gap: How far its finger is from the other's [m]; zero where the arm reaches so far.
        velocity_gap: The difference of the fingers' velocities [m/s]; not zero at the edge of the arm's reach.
    """

    state: Floats
    position_gap: float
    velocity_gap: float


def corresponding_state(
    env: PlanarArmEnv, other: PlanarArmEnv, state: Floats, near: Floats | None = None
) -> Correspondence:
    """Return the state of an arm whose task part matches that of another arm's state.

    Where an arm has more joints than the task needs, the angles nearest to given ones are taken, and the smallest joint
    velocities.

    Args:
        env: The env of the arm that is asked for.
        other: The env of the other arm, of the same task; neither env's own state changes.
        state: ``(state_size,)``, ``mjSTATE_INTEGRATION`` of ``other``.
        near: ``(num_joints,)`` angles to stay near to, the arm's home by default; those of the step before for a
            smooth motion [rad].

    Raises:
        ValueError: If the tasks differ, or ``state`` has another shape.
    """
    if type(env) is not type(other):
        raise ValueError(f"states correspond within one task, got {type(env).__name__} and {type(other).__name__}")
    expected = (mujoco.mj_stateSize(other.model, STATE),)
    if state.shape != expected:
        raise ValueError(
            f"state must be the mjSTATE_INTEGRATION of the other arm, of shape {expected}, got {state.shape}"
        )
    given, found = mujoco.MjData(other.model), mujoco.MjData(env.model)
    mujoco.mj_setState(other.model, given, state, STATE)
    n, m = env.arm.num_joints, other.arm.num_joints
    tip = other.arm.tip_position(given.qpos[:m])
    velocity = other.arm.tip_velocity(given.qpos[:m], given.qvel[:m])
    angles, position_gap = env.arm.angles_at(tip, np.array(env.arm.home) if near is None else near)
    jacobian = env.arm.tip_jacobian(angles)
    found.qpos[:n] = angles
    found.qvel[:n] = np.linalg.pinv(jacobian, rcond=1e-6) @ velocity
    found.qpos[n:], found.qvel[n:] = given.qpos[m:], given.qvel[m:]  # objects
    found.mocap_pos[:], found.mocap_quat[:] = given.mocap_pos, given.mocap_quat  # the goal
    found.time = given.time
    answer = np.empty(mujoco.mj_stateSize(env.model, STATE))
    mujoco.mj_getState(env.model, found, answer, STATE)
    velocity_gap = float(np.linalg.norm(jacobian @ found.qvel[:n] - velocity))
    return Correspondence(answer, position_gap, velocity_gap)
