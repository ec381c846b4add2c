"""Permuted, mirrored and fewer motors against the plain env that gets the corresponding actions."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from generative_policies.envs import (
    DynamicsShift,
    ExactDynamics,
    ExactInverseDynamics,
    RewiredMotorsWrapper,
    get_state,
    make_env,
)

CHEETAH = "HalfCheetah-v5"
MOTORS, SIGNS = (3, 4, 5, 0, 1, 2), (1, -1, 1, -1, 1, 1)
WIRING = np.zeros((6, 6))  # motors = WIRING @ action
WIRING[MOTORS, range(6)] = SIGNS


class Recorder(gymnasium.Env[Any, Any]):
    """Keeps the action it got."""

    observation_space = Box(-1, 1, (1,))

    def __init__(self, action_space: Any) -> None:
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.got = action
        return np.zeros(1, np.float32), 0.0, False, False, {}


def rewired_cheetah() -> gymnasium.Env[Any, Any]:
    return make_env(CHEETAH, "G", motors=MOTORS, motor_signs=SIGNS)


def trajectory(env: gymnasium.Env[Any, Any], actions: np.ndarray) -> np.ndarray:
    env.reset(seed=0)
    rows = []
    for action in actions:
        observation, reward, *_ = env.step(action)
        rows.append([*observation, reward])
    return np.array(rows)


def random_actions(dim: int, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (60, dim)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_permuted_and_mirrored_actions_make_the_same_trajectory(dtype: Any) -> None:
    actions = random_actions(6, dtype)
    plain = trajectory(make_env(CHEETAH, "G"), actions @ WIRING.T.astype(dtype))
    assert np.array_equal(trajectory(rewired_cheetah(), actions), plain)
    assert not np.allclose(trajectory(make_env(CHEETAH, "G"), actions), plain)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_motors_in_order_are_the_plain_env(dtype: Any) -> None:
    actions = random_actions(6, dtype)
    env = make_env(CHEETAH, motors=range(6))
    assert env.action_space == make_env(CHEETAH).action_space
    assert np.array_equal(trajectory(env, actions), trajectory(make_env(CHEETAH), actions))


def test_motors_that_are_not_named_get_zero() -> None:
    actions = random_actions(2)
    wired = np.zeros((60, 6), np.float32)
    wired[:, [4, 0]] = actions * np.float32([1, -1])
    fewer = make_env(CHEETAH, motors=(4, 0), motor_signs=(1, -1))
    assert np.array_equal(trajectory(fewer, actions), trajectory(make_env(CHEETAH), wired))


def test_bounds_are_mirrored_and_idle_motors_stay_within_theirs() -> None:
    space = Box(np.float32([-1, 0.5, -3, -4]), np.float32([2, 1.5, -2, 4]))
    env = RewiredMotorsWrapper(Recorder(space), motors=[3, 0], signs=[1, -1])
    assert env.action_space == Box(np.float32([-4, -2]), np.float32([4, 1]))
    env.step(np.float32([0.25, 0.75]))
    got = env.unwrapped.got  # type: ignore[attr-defined]
    assert got.tolist() == [-0.75, 0.5, -2, 0.25] and got.dtype == space.dtype and got in space


def test_rewirings_compose() -> None:
    twice = RewiredMotorsWrapper(RewiredMotorsWrapper(gymnasium.make(CHEETAH), (5, 3, 1), (1, -1, -1)), (2, 1), (-1, 1))
    once = RewiredMotorsWrapper(gymnasium.make(CHEETAH), (1, 3), (1, -1))
    actions = random_actions(2)
    assert np.array_equal(trajectory(twice, actions), trajectory(once, actions))
    state, action = get_state(once), actions[0]
    assert np.array_equal(ExactDynamics(twice).step(state, action), ExactDynamics(once).step(state, action))


def test_the_spec_rebuilds_the_robot() -> None:
    actions = random_actions(6)
    for signs in (SIGNS, None):
        env = make_env(CHEETAH, "G", motors=np.array(MOTORS), motor_signs=signs)  # type: ignore[arg-type]
        expected = trajectory(env, actions)
        assert env.spec is not None
        for spec in (env.spec, EnvSpec.from_json(env.spec.to_json())):
            rebuilt = gymnasium.make(spec)
            assert rebuilt.spec == env.spec and np.array_equal(trajectory(rebuilt, actions), expected)


def test_success_is_still_reported() -> None:
    env = make_env("Pusher-v5", "P1", motors=(1, 0, 2), motor_signs=(1, -1, 1))
    assert env.action_space.shape == (3,) and env.reset(seed=0)[1]["is_success"] is False


@pytest.mark.parametrize("env_id", ["Pusher-v5", CHEETAH])
def test_the_checkers_of_gymnasium_and_sb3_pass(env_id: str) -> None:
    for check in (check_env, sb3_check_env):
        check(make_env(env_id, motors=(2, 0), motor_signs=(-1, 1)), skip_render_check=True)


def test_exact_dynamics_take_the_robots_own_actions() -> None:
    env = rewired_cheetah()
    dynamics = ExactDynamics(env)
    env.reset(seed=0)
    actions = random_actions(6)
    for action in actions:
        state = get_state(env)
        env.step(action)
        assert np.array_equal(dynamics.step(state, action), get_state(env))
        assert dynamics.cycle_error(state, action[None], get_state(env)) < 1e-15
        assert np.array_equal(dynamics.action_of(dynamics.controls(action)), action)
    with pytest.raises(ValueError, match="action must have shape"):
        ExactDynamics(make_env(CHEETAH, motors=(0, 1))).step(state, action)


def test_the_inverse_recovers_the_action_of_a_rewired_robot() -> None:
    env = rewired_cheetah()
    inverse = ExactInverseDynamics(env)
    env.reset(seed=0)
    for action in random_actions(6)[:5]:
        state = get_state(env)
        env.step(action)
        solution = inverse.solve(state, get_state(env))
        assert solution.residual < 1e-6 and np.allclose(solution.action, action, atol=1e-3)


def test_the_bounds_of_the_inverse_are_the_robots_own() -> None:
    env = gymnasium.make(CHEETAH)
    low = np.float32([-1, -1, -1, -0.25, -1, -1])
    env.unwrapped.model.actuator_ctrlrange[:, 0] = low  # type: ignore[attr-defined]
    env.unwrapped.action_space = Box(low, np.ones(6, np.float32))
    dynamics = ExactDynamics(RewiredMotorsWrapper(env, MOTORS, [-1] * 6))
    assert dynamics.low.tolist() == [-1] * 6 and dynamics.high.tolist() == [0.25, 1, 1, 1, 1, 1]


def test_fewer_motors_come_as_near_as_any_of_their_actions() -> None:
    plain, fewer = make_env(CHEETAH), make_env(CHEETAH, motors=(3, 4), motor_signs=(-1, 1))
    inverse = ExactInverseDynamics(fewer, num_starts=3)
    plain.reset(seed=0)
    state = get_state(plain)
    plain.step(random_actions(6)[0])
    solution = inverse.solve(state, get_state(plain))
    others = np.random.default_rng(1).uniform(-1, 1, (500, 2))
    assert solution.action.shape == (2,) and np.abs(solution.action).max() <= 1
    assert 0.01 < solution.residual <= inverse.dynamics.cycle_error(state, others, get_state(plain)).min()


def test_the_shift_is_below_the_wiring() -> None:
    env = make_env(CHEETAH, DynamicsShift(gear=0.5), motors=(0,))
    assert [wrapper.name for wrapper in env.spec.additional_wrappers] == [  # type: ignore[union-attr]
        "DynamicsShiftWrapper",
        "RewiredMotorsWrapper",
    ]


@pytest.mark.parametrize(
    ("motors", "signs", "error", "message"),
    [
        ((0, 0), None, ValueError, r"0 to 5, each once; got \[0, 0\]"),
        ((0, 6), None, ValueError, r"0 to 5, each once; got \[0, 6\]"),
        ((-1,), None, ValueError, "0 to 5"),
        ((), None, ValueError, "at least one"),
        ((0, 1), (1,), ValueError, r"2 of \+1 and -1, one a motor; got \[1\]"),
        ((0, 1), (1, 2), ValueError, r"\+1 and -1"),
        ((0.0, 1.0), None, TypeError, "motors must be a sequence of integers"),
        ("01", None, TypeError, "motors must be a sequence of integers, got '01'"),
        (3, None, TypeError, "motors must be a sequence of integers, got 3"),
        ((0, 1), (True, True), TypeError, "signs must be a sequence of integers"),
    ],
)
def test_bad_arguments_are_named(motors: Any, signs: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_env(CHEETAH, motors=motors, motor_signs=signs)


@pytest.mark.parametrize("space", [Discrete(3), Box(-1, 1, (2, 2)), Box(-np.inf, 1, (2,))])
def test_other_action_spaces_are_refused(space: Any) -> None:
    with pytest.raises(TypeError, match="bounded Box with one axis"):
        RewiredMotorsWrapper(Recorder(space), [0])


def test_signs_need_motors_and_actions_their_shape() -> None:
    with pytest.raises(ValueError, match=r"motor_signs=.* need motors"):
        make_env(CHEETAH, motor_signs=(1,) * 6)
    env = make_env(CHEETAH, motors=(0, 1))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action must have shape \(2,\), got \(1,\)"):
        env.step(np.zeros(1))
