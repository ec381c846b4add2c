"""Exact dynamics against the envs themselves, and their inverse against both."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.spaces import Box

from generative_policies.envs import DynamicsShift, ExactDynamics, ExactInverseDynamics, get_state, set_state

Steps = tuple[np.ndarray, np.ndarray, np.ndarray]
IDS = ["HalfCheetah-v5", "Pusher-v5", "Reacher-v5", "Ant-v5", "generative_policies/ArmPush3-v0"]


def random_steps(env: gymnasium.Env[Any, Any], n: int, seed: int) -> Steps:
    """States, in-bounds actions and next states, some steps apart, along random episodes."""
    rng = np.random.default_rng(seed)
    env.action_space.seed(seed)
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    over = True
    while len(rows) < n:
        if over:
            env.reset(seed=int(rng.integers(10_000)))
        for _ in range(int(rng.integers(1, 10))):
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if not (over := terminated or truncated):
            state, action = get_state(env), env.action_space.sample()
            _, _, terminated, truncated, _ = env.step(action)
            rows.append((state, action, get_state(env)))
            over = terminated or truncated
    states, actions, next_states = (np.stack(column) for column in zip(*rows, strict=True))
    return states, actions, next_states


@pytest.mark.parametrize("env_id", IDS)
def test_the_step_is_the_envs_own_bit_for_bit(env_id: str) -> None:
    env = gymnasium.make(env_id)
    dynamics = ExactDynamics(env)
    for state, action, next_state in zip(*random_steps(env, 20, 0), strict=True):
        assert np.array_equal(dynamics.step(state, action), next_state)
        assert dynamics.cycle_error(state, action[None], next_state) < 1e-15  # rotations


@pytest.mark.parametrize("env_id", IDS)
def test_a_restored_state_goes_on_as_before(env_id: str) -> None:
    env, other = gymnasium.make(env_id), gymnasium.make(env_id)
    other.reset(seed=5)
    states, actions, next_states = random_steps(env, 3, 1)
    for state, action, next_state in zip(states, actions, next_states, strict=True):
        set_state(other, state)
        assert np.array_equal(get_state(other), state)
        other.step(action)
        assert np.array_equal(get_state(other), next_state)


def test_solving_leaves_the_env_alone() -> None:
    env = gymnasium.make("HalfCheetah-v5")
    states, _, next_states = random_steps(env, 2, 2)
    before = get_state(env)
    ExactInverseDynamics(env).solve(states[0], next_states[0])
    assert np.array_equal(get_state(env), before)


@pytest.mark.slow  # 30 s
def test_the_inverse_makes_99_in_100_random_steps_to_a_millionth() -> None:
    env = gymnasium.make("HalfCheetah-v5")
    inverse = ExactInverseDynamics(env)
    states, actions, next_states = random_steps(env, 1_000, 3)
    solution = inverse.solve_batch(states, next_states, num_threads=2)
    assert np.mean(solution.residual <= 1e-6) >= 0.99  # the rest stick at contacts, which are not smooth
    for k in (
        0,
        500,
        999,
    ):  # the residual is the cycle error of the action, and the action mostly the one that was taken
        assert solution.residual[k] == inverse.dynamics.cycle_error(states[k], solution.action[[k]], next_states[k])
    assert np.mean(np.abs(solution.action - actions).max(axis=1) < 1e-3) > 0.9


@pytest.mark.slow  # 40 s
def test_where_no_action_makes_the_step_none_of_ten_thousand_is_better_and_the_residual_tells() -> None:
    """The steps of a robot with motors twice as strong."""
    env, strong = gymnasium.make("HalfCheetah-v5"), DynamicsShift(gear=2.0).apply(gymnasium.make("HalfCheetah-v5"))
    states, _, _ = random_steps(env, 20, 4)
    rng = np.random.default_rng(0)
    inverse, stronger = ExactInverseDynamics(env), ExactDynamics(strong)
    wanted = rng.choice([-1.0, 1.0], (20, 6)) * rng.uniform(0.8, 1.0, (20, 6))
    next_states = np.stack([stronger.step(state, action) for state, action in zip(states, wanted, strict=True)])
    solution = inverse.solve_batch(states, next_states, num_threads=2)
    assert (np.abs(solution.action) <= 1).all()

    def best_of_many(k: int) -> float:
        others = np.random.default_rng(k).uniform(-1, 1, (10_000, 6))
        return float(inverse.dynamics.cycle_error(states[k], others, next_states[k]).min())

    with ThreadPoolExecutor(2) as pool:
        best = np.array(list(pool.map(best_of_many, range(20))))
    assert (solution.residual <= best).all()
    assert np.sum(solution.residual > 0.01) >= 18


def test_a_good_guess_is_kept_and_threads_do_not_matter() -> None:
    env = gymnasium.make("generative_policies/ArmPush2-v0")
    inverse = ExactInverseDynamics(env, num_starts=1)
    states, actions, next_states = random_steps(env, 10, 5)
    for state, action, next_state in zip(states, actions, next_states, strict=True):
        assert inverse.solve(state, next_state, guess=action).residual < 1e-9
    one, two = (inverse.solve_batch(states, next_states, num_threads=n) for n in (1, 2))
    assert np.array_equal(one.action, two.action) and np.array_equal(one.residual, two.residual)
    assert one.action.shape == (10, 2) and (one.residual < 1e-6).all()


def test_the_error_is_in_units_of_the_step() -> None:
    """Standing still in place of a step is an error of one."""
    env = gymnasium.make("Reacher-v5")
    dynamics = ExactDynamics(env)
    env.reset(seed=0)
    state = get_state(env)
    state[1 : 1 + env.unwrapped.model.nq] = 0.1  # type: ignore[attr-defined]
    state[1 + env.unwrapped.model.nq : 1 + 2 * env.unwrapped.model.nq] = 0.0  # type: ignore[attr-defined]
    moved = dynamics.step(state, np.array([1.0, -1.0]))
    assert dynamics.cycle_error(state, np.zeros((1, 2)), moved)[0] == pytest.approx(1.0, abs=1e-6)


def test_other_envs_and_shapes_are_refused() -> None:
    with pytest.raises(TypeError, match="MuJoCo env"):
        ExactDynamics(gymnasium.make("Pendulum-v1"))
    env = gymnasium.make("HalfCheetah-v5")
    env.reset(seed=0)
    dynamics, state = ExactDynamics(env), get_state(env)
    with pytest.raises(ValueError, match="action must have shape"):
        dynamics.step(state, np.zeros(5))
    with pytest.raises(ValueError, match=r"actions must have shape \(batch, 6\)"):
        dynamics.cycle_error(state, np.zeros(6), state)
    with pytest.raises(ValueError, match="next_state must be an mjSTATE_INTEGRATION"):
        ExactInverseDynamics(env).solve(state, state[:-1])
    with pytest.raises(ValueError, match="state must be an mjSTATE_INTEGRATION"):
        set_state(env, state[:-1])
    with pytest.raises(ValueError, match="as many rows"):
        ExactInverseDynamics(env).solve_batch(state[None], np.stack([state, state]))
    with pytest.raises(ValueError, match="num_starts"):
        ExactInverseDynamics(env, num_starts=0)
    env.unwrapped.action_space = gymnasium.spaces.Box(-1, 1, (4,))
    with pytest.raises(TypeError, match="the 6 controls of its model"):
        ExactDynamics(env)


def test_an_env_that_scales_its_actions_itself_is_refused() -> None:
    class Scaled(HalfCheetahEnv):
        """Its actions in [-2, 2] are twice the controls."""

        def _set_action_space(self) -> Box:
            self.action_space = Box(-2.0, 2.0, (6,), np.float32)
            return self.action_space

    with pytest.raises(TypeError, match="scales its actions"):
        ExactDynamics(Scaled())
