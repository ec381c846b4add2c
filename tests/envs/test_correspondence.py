"""States of two arms that mean the same."""

from typing import Any

import numpy as np
import pytest

from generative_policies.envs import ARMS, ArmPushEnv, ArmReachEnv, corresponding_state, get_state, set_state


@pytest.mark.parametrize("cls", [ArmReachEnv, ArmPushEnv])
@pytest.mark.parametrize(("links", "other_links"), [(2, 3), (3, 2), (4, 2), (2, 2)])
def test_the_task_part_of_corresponding_states_is_the_same(cls: Any, links: int, other_links: int) -> None:
    env, other = cls(links, proprioception=False), cls(other_links, proprioception=False)
    env.reset(seed=1)
    compared = 0
    for seed in range(10):
        other.reset(seed=seed)
        other.action_space.seed(seed)
        for _ in range(10):
            observation, *_ = other.step(0.3 * other.action_space.sample())
        state, position_gap, velocity_gap = corresponding_state(env, other, get_state(other))
        if position_gap > 1e-9 or velocity_gap > 1e-9:
            continue  # at the edge of what the arm reaches
        set_state(env, state)
        assert np.allclose(env.observation(env.data.qpos, env.data.qvel, env.goal), observation, atol=1e-6)
        angles = env.data.qpos[: env.arm.num_joints]
        assert (angles >= env.arm.joint_low).all() and (angles <= env.arm.joint_high).all()
        assert env.data.time == other.data.time
        compared += 1
    assert compared >= 8


def test_there_and_back_is_the_identity_on_two_links() -> None:
    """Two links with a one-sided elbow have one way to be somewhere."""
    source, target = ArmReachEnv(2), ArmReachEnv(3)
    source.reset(seed=0)
    source.set_state(np.array([0.3, 1.2]), np.array([0.5, -0.4]))  # type: ignore[no-untyped-call]
    state = get_state(source)
    there = corresponding_state(target, source, state).state
    back = corresponding_state(source, target, there).state
    set_state(target, there)
    set_state(source, back)
    assert np.allclose(source.data.qpos, [0.3, 1.2], atol=1e-7)
    assert np.allclose(source.data.qvel, [0.5, -0.4], atol=1e-6)


def test_angles_stay_near_to_those_asked_for() -> None:
    source, target = ArmReachEnv(2), ArmReachEnv(3)
    source.reset(seed=0)
    state = get_state(source)
    for near in (np.array([-1.4, 1.9, 1.2]), np.array([-1.0, 1.0, 2.0])):
        found = corresponding_state(target, source, state, near).state
        set_state(target, found)
        assert np.abs(target.data.qpos - near).max() < 0.8


def test_neither_env_moves_and_what_cannot_be_reached_is_told() -> None:
    source, target = ArmReachEnv(2), ArmReachEnv(4)
    source.reset(seed=0)
    target.reset(seed=1)
    before = get_state(source), get_state(target)
    source.set_state(np.array([-2.8, 0.1]), np.zeros(2))  # type: ignore[no-untyped-call]  # stretched backwards
    moved = get_state(source)
    corresponding_state(target, source, moved)
    assert np.array_equal(get_state(target), before[1]) and np.array_equal(get_state(source), moved)
    short = {name: getattr(ARMS[2], name) for name in ("gear", "damping", "joint_low", "joint_high", "home")}
    small = ArmReachEnv({"link_lengths": (0.2, 0.2), "link_masses": (0.1, 0.1), **short})
    assert corresponding_state(small, source, moved).position_gap == pytest.approx(0.4, abs=0.01)


def test_other_tasks_and_shapes_are_refused() -> None:
    reach, push = ArmReachEnv(2), ArmPushEnv(2)
    reach.reset(seed=0)
    with pytest.raises(ValueError, match="ArmPushEnv and ArmReachEnv"):
        corresponding_state(push, reach, get_state(reach))
    with pytest.raises(ValueError, match="of the other arm"):
        corresponding_state(reach, reach, np.zeros(3))
