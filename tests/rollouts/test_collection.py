import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import RescaleAction

import generative_policies.envs  # noqa: F401
from generative_policies.envs import DynamicsShift, get_state, make_env
from generative_policies.rollouts import collect_random

SEEDS = [3, 7, 11]
ENVS = [
    "HalfCheetah-v5",
    "Pusher-v5",
    "Reacher-v5",
    "Ant-v5",
    "InvertedDoublePendulum-v5",
    "generative_policies/ArmReach3-v0",
    "generative_policies/ArmPush2-v0",
]


@pytest.mark.parametrize("env_id", ENVS)
def test_collected_transitions_are_those_of_the_env_stepped_with_the_same_actions(env_id):
    episodes = collect_random(lambda: gymnasium.make(env_id), SEEDS, 40, num_threads=2)
    data = episodes.transitions(gymnasium.make(env_id))
    env = gymnasium.make(env_id).unwrapped
    for k, seed in enumerate(SEEDS):
        rows = data.episodes == k
        observation, _ = env.reset(seed=seed)
        for t, action in enumerate(episodes.actions[k]):
            np.testing.assert_allclose(data.obs[rows][t], observation, rtol=0, atol=1e-9)
            observation = env.step(action.astype(np.float32))[0]
            np.testing.assert_allclose(data.next_obs[rows][t], observation, rtol=0, atol=1e-9 if t < 10 else 1e-6)
        np.testing.assert_allclose(episodes.states[k, -1, 1 : 1 + env.model.nq], env.data.qpos, rtol=0, atol=1e-9)


def test_the_number_of_threads_does_not_matter():
    one = collect_random(lambda: gymnasium.make("HalfCheetah-v5"), range(5), 30, num_threads=1)
    two = collect_random(lambda: gymnasium.make("HalfCheetah-v5"), range(5), 30, num_threads=2)
    np.testing.assert_array_equal(one.states, two.states)
    np.testing.assert_array_equal(one.actions, two.actions)


def test_actions_fill_their_bounds_and_differ_between_seeds():
    episodes = collect_random(lambda: gymnasium.make("Pusher-v5"), range(10), 200)
    space = gymnasium.make("Pusher-v5").action_space
    assert (episodes.actions >= space.low).all() and (episodes.actions <= space.high).all()
    middle, half = (space.high + space.low) / 2, (space.high - space.low) / 2
    unit = (episodes.actions - middle) / half
    # A uniform share of [-1, 1] has mean 0 and standard deviation 1 / sqrt(3); four standard errors over 2,000 rows.
    np.testing.assert_allclose(unit.mean(axis=(0, 1)), 0, atol=4 * 0.577 / np.sqrt(2_000))
    np.testing.assert_allclose(unit.std(axis=(0, 1)), 1 / np.sqrt(3), atol=0.04)
    assert not np.array_equal(episodes.actions[0], episodes.actions[1])


def test_a_shifted_env_is_collected_with_its_own_physics():
    def shifted():
        return DynamicsShift(mass=2.0).apply(gymnasium.make("HalfCheetah-v5"))

    home = collect_random(lambda: gymnasium.make("HalfCheetah-v5"), [0], 20)
    away = collect_random(shifted, [0], 20)
    np.testing.assert_array_equal(home.states[:, 0], away.states[:, 0])
    env = shifted()
    env.reset(seed=0)
    for action in away.actions[0]:
        env.step(action.astype(np.float32))
    np.testing.assert_allclose(away.states[0, -1, 1:10], env.unwrapped.data.qpos, rtol=0, atol=1e-9)
    assert np.abs(away.states[0, -1] - home.states[0, -1]).max() > 0.01


def test_the_initial_state_is_the_envs():
    episodes = collect_random(lambda: gymnasium.make("generative_policies/ArmPush3-v0"), SEEDS, 2)
    env = gymnasium.make("generative_policies/ArmPush3-v0")
    for k, seed in enumerate(SEEDS):
        env.reset(seed=seed)
        np.testing.assert_array_equal(episodes.initial_states[k], get_state(env))


@pytest.mark.parametrize(
    ("seeds", "arguments", "message"),
    [([], (5,), "0 seeds"), ([0], (0,), "num_steps=0"), ([0], (5, 0), "num_threads=0")],
)
def test_nothing_to_collect_is_refused(seeds, arguments, message):
    num_steps, *threads = arguments
    with pytest.raises(ValueError, match=message):
        collect_random(
            lambda: gymnasium.make("Pusher-v5"), seeds, num_steps, num_threads=threads[0] if threads else None
        )


def test_envs_without_a_simulator_are_refused():
    with pytest.raises(TypeError, match="MuJoCo env"):
        collect_random(lambda: gymnasium.make("Pendulum-v1"), [0], 5)


def test_wrappers_that_change_actions_are_refused():
    with pytest.raises(TypeError, match="wrappers"):
        collect_random(
            lambda: RescaleAction(gymnasium.make("HalfCheetah-v5"), np.float32(-0.5), np.float32(0.5)), [0], 5
        )
    # Of the same bounds as the plain env, and yet another.
    with pytest.raises(TypeError, match="wrappers"):
        collect_random(lambda: make_env("HalfCheetah-v5", motors=(5, 4, 3, 2, 1, 0)), [0], 5)
