"""Known shifts recovered from recorded steps, and robots that no shift explains."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from generative_policies.envs import DynamicsShift, RewiredMotorsWrapper, get_state, identify_shift

CHEETAH, REACHER, PENDULUM = "HalfCheetah-v5", "Reacher-v5", "InvertedPendulum-v5"
Env = gymnasium.Env[Any, Any]


def make(env_id: str, **shift: float) -> Env:
    return DynamicsShift(**shift).apply(gymnasium.make(env_id).unwrapped)  # type: ignore[arg-type]  # no bodies


def recorded(robot: Env, rows: int, every: int = 50) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States, actions and next states of random actions, with a reset ``every`` so many steps."""
    rng, space = np.random.default_rng(0), robot.action_space
    actions = rng.uniform(space.low, space.high, (rows, *space.shape)).astype(space.dtype)  # type: ignore[attr-defined, misc]
    states, next_states = [], []
    for k, action in enumerate(actions):
        if k % every == 0:
            robot.reset(seed=k)
        states.append(get_state(robot))
        robot.step(action)
        next_states.append(get_state(robot))
    return np.stack(states), actions, np.stack(next_states)


def test_four_factors_of_the_cheetah_are_recovered_to_a_percent() -> None:
    names = ("mass", "friction", "gear", "damping")
    drawn = dict(zip(names, np.exp(np.random.default_rng(3).uniform(-0.5, 0.5, 4)).tolist(), strict=True))
    found = identify_shift(make(CHEETAH), *recorded(make(CHEETAH, **drawn), 300))
    for name in names:
        assert getattr(found.shift, name) == pytest.approx(drawn[name], rel=0.01)
    assert found.error < 1e-6 < found.error_before


def test_the_reachers_are_recovered_and_the_friction_of_what_touches_nothing_stays() -> None:
    found = identify_shift(make(REACHER), *recorded(make(REACHER, mass=1.4, gear=0.7, damping=2.0), 300))
    assert found.shift.friction == 1.0
    for name, factor in (("mass", 1.4), ("gear", 0.7), ("damping", 2.0)):
        assert getattr(found.shift, name) == pytest.approx(factor, rel=0.01)


def test_a_cart_without_rotor_inertia_tells_ratios_of_mass_gear_and_damping_alone() -> None:
    """Forces and inertia times one number make the same motion."""
    found = identify_shift(make(PENDULUM), *recorded(make(PENDULUM, mass=1.4, gear=0.7, damping=2.0), 100, every=10))
    assert found.error < 1e-6
    assert found.shift.gear / found.shift.mass == pytest.approx(0.5, rel=0.01)
    assert found.shift.damping / found.shift.mass == pytest.approx(2.0 / 1.4, rel=0.01)


def test_a_robot_like_the_simulator_has_factors_one() -> None:
    found = identify_shift(make(CHEETAH), *recorded(make(CHEETAH), 60))
    assert found.shift == DynamicsShift()
    assert found.error == found.error_before == 0.0


def test_factors_that_are_not_asked_for_stay_and_the_simulator_is_not_changed() -> None:
    simulator: Any = make(CHEETAH)
    before = simulator.unwrapped.model.actuator_gear.copy(), get_state(simulator)
    found = identify_shift(simulator, *recorded(make(CHEETAH, gear=0.8, damping=1.5), 60), ["damping", "gear"])
    assert found.shift.gear == pytest.approx(0.8, rel=0.01) and found.shift.damping == pytest.approx(1.5, rel=0.01)
    assert found.shift.mass == found.shift.friction == 1.0
    assert np.array_equal(simulator.unwrapped.model.actuator_gear, before[0])
    assert np.array_equal(get_state(simulator), before[1])


def test_a_shift_is_found_through_rewired_motors() -> None:
    wiring = ([3, 4, 0, 1], [1, -1, 1, -1])
    rewired, plain = RewiredMotorsWrapper(make(CHEETAH), *wiring), make(CHEETAH)
    rows = recorded(RewiredMotorsWrapper(make(CHEETAH, gear=0.8), *wiring), 60)
    found = identify_shift(rewired, *rows, ["gear"])
    assert found.shift.gear == pytest.approx(0.8, rel=0.01) and found.error < 1e-6
    with pytest.raises(ValueError, match="actions must have shape \\(rows, 6\\)"):
        identify_shift(plain, *rows, ["gear"])


@pytest.mark.parametrize("env_id", [CHEETAH, REACHER])
def test_a_robot_outside_of_the_family_leaves_an_error(env_id: str) -> None:
    found = identify_shift(make(env_id), *recorded(make(env_id, armature=2.0), 60), ["gear"])
    assert 1e-3 < found.error < found.error_before
    assert found.shift.gear < 1  # more inertia looks like a weaker motor


def test_what_cannot_be_fitted_is_refused() -> None:
    simulator = make(PENDULUM)
    states, actions, next_states = recorded(make(PENDULUM), 4)
    for factors in ([], ["gear", "gear"], ["bodies"], ["colour"]):
        with pytest.raises(ValueError, match="factors must be some of mass, friction"):
            identify_shift(simulator, states, actions, next_states, factors)
    for rows, name in (
        ((states[:, :-1], actions, next_states), "states"),
        ((states, actions[:-1], next_states), "actions"),
        ((states, np.zeros((4, 2)), next_states), "actions"),
        ((states, actions, next_states[:-1]), "next_states"),
        ((states[:0], actions[:0], next_states[:0]), "states"),
    ):
        with pytest.raises(ValueError, match=f"^{name} must have shape"):
            identify_shift(simulator, *rows)
    for k, name in enumerate(("states", "actions", "next_states")):
        broken = [states.copy(), actions.copy(), next_states.copy()]
        broken[k][2, 0] = np.nan
        with pytest.raises(ValueError, match=f"^{name} must be finite, but row 2"):
            identify_shift(simulator, *broken)
    with pytest.raises(ValueError, match="in no row does anything move"):
        identify_shift(simulator, states, actions, states)
    with pytest.raises(TypeError, match="MuJoCo"):
        identify_shift(gymnasium.make("Pendulum-v1"), states, actions, next_states)
