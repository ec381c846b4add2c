"""Registered ids: every one of them is a well-behaved env, and its spec rebuilds it."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import stable_baselines3.common.env_checker
from gymnasium.utils.env_checker import check_env

from generative_policies.envs import SHIFTS, DynamicsShift, make_env, register_envs
from generative_policies.envs.registration import SHIFTED

IDS = sorted(name for name in gymnasium.registry if name.startswith("generative_policies/"))


def trajectory(env: gymnasium.Env[Any, Any], steps: int = 30) -> np.ndarray:
    env.action_space.seed(0)
    observations = [env.reset(seed=0)[0]]
    observations += [env.step(env.action_space.sample())[0] for _ in range(steps)]
    return np.stack(observations)


def test_the_ids_are_there() -> None:
    register_envs()  # again, to no effect
    assert len(IDS) == 7 + len(SHIFTED)


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.filterwarnings("ignore")
def test_gymnasiums_and_sb3s_checks_pass(env_id: str) -> None:
    env = gymnasium.make(env_id)
    check_env(env if "Shifted" in env_id else env.unwrapped, skip_render_check=True)
    stable_baselines3.common.env_checker.check_env(env, skip_render_check=True)


@pytest.mark.parametrize("env_id", IDS)
def test_seeds_and_specs_give_the_same_physics(env_id: str) -> None:
    env = gymnasium.make(env_id)
    assert env.spec is not None
    expected = trajectory(env)
    assert np.array_equal(trajectory(env), expected)  # a reset with the seed is exact
    for spec in (env.spec, gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())):
        assert np.array_equal(trajectory(gymnasium.make(spec)), expected)


@pytest.mark.parametrize("env_id", IDS)
def test_answers_share_no_memory_with_the_simulator(env_id: str) -> None:
    env = gymnasium.make(env_id)
    observation, _ = env.reset(seed=0)
    data = env.unwrapped.data  # type: ignore[attr-defined]
    for answer in (observation, env.step(env.action_space.sample())[0]):
        assert not any(np.shares_memory(answer, x) for x in (data.qpos, data.qvel, data.mocap_pos))


@pytest.mark.parametrize("env_id", SHIFTED)
def test_shifted_ids_are_the_env_under_its_shift(env_id: str) -> None:
    shifted = gymnasium.make(f"generative_policies/{env_id.removesuffix('-v5')}Shifted-v0")
    bare = gymnasium.make(env_id)
    shift = SHIFTS[type(bare.unwrapped).__name__][str(SHIFTED[env_id])]
    assert np.array_equal(trajectory(shifted), trajectory(shift.apply(gymnasium.make(env_id))))
    assert not np.array_equal(trajectory(shifted), trajectory(bare))
    assert shifted.spec is not None and bare.spec is not None
    assert shifted.spec.max_episode_steps == bare.spec.max_episode_steps


@pytest.mark.parametrize("shift", ["E", {"gear": 0.5}, DynamicsShift(gear=0.5)])
def test_another_shift_and_arguments_of_the_env_are_taken(shift: Any) -> None:
    env = gymnasium.make("generative_policies/HalfCheetahShifted-v0", shift=shift, reset_noise_scale=0.0)
    expected = make_env("HalfCheetah-v5", shift, reset_noise_scale=0.0)
    assert np.array_equal(trajectory(env), trajectory(expected))
