"""Dynamics shifts of real MuJoCo envs."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from generative_policies.envs import PUSHER_P1, PUSHER_P2, DynamicsShift

ENVS = ["Pusher-v5", "HalfCheetah-v5", "Ant-v5", "Reacher-v5"]


def model(env: gymnasium.Env[Any, Any]) -> Any:
    return env.unwrapped.model  # type: ignore[attr-defined]


def trajectory(env: gymnasium.Env[Any, Any], steps: int = 40) -> np.ndarray:
    env.action_space.seed(0)
    observations = [env.reset(seed=0)[0]]
    observations += [env.step(env.action_space.sample())[0] for _ in range(steps)]
    return np.stack(observations)


@pytest.mark.parametrize("env_id", ENVS)
def test_identity_shift_is_bit_exact(env_id: str) -> None:
    bare = trajectory(gymnasium.make(env_id))
    assert np.array_equal(trajectory(DynamicsShift().apply(gymnasium.make(env_id))), bare)


@pytest.mark.parametrize("env_id", ENVS)
def test_factors_reach_the_model(env_id: str) -> None:
    bare = model(gymnasium.make(env_id))
    shifted = model(DynamicsShift(mass=2.0, friction=1.5, gear=0.9, damping=1.5).apply(gymnasium.make(env_id)))
    assert shifted.body_mass.sum() == pytest.approx(2 * bare.body_mass.sum())
    assert np.allclose(shifted.body_inertia, 2 * bare.body_inertia)
    assert np.allclose(shifted.geom_friction, 1.5 * bare.geom_friction)
    assert np.allclose(shifted.actuator_gear, 0.9 * bare.actuator_gear)
    assert np.allclose(shifted.dof_damping, 1.5 * bare.dof_damping)
    assert shifted.dof_damping.shape == (bare.nv,)  # every degree of freedom, of which a free joint has six


def test_derived_constants_follow() -> None:
    bare, shifted = (model(shift.apply(gymnasium.make("Ant-v5"))) for shift in (DynamicsShift(), DynamicsShift(mass=2)))
    assert np.allclose(shifted.body_subtreemass, 2 * bare.body_subtreemass)
    assert not np.allclose(shifted.dof_invweight0, bare.dof_invweight0)


def test_a_shift_does_not_leak_into_other_envs() -> None:
    bare = trajectory(gymnasium.make("Pusher-v5"))
    shifted = PUSHER_P1.apply(gymnasium.make("Pusher-v5"))
    assert np.array_equal(trajectory(gymnasium.make("Pusher-v5")), bare)
    assert not np.allclose(trajectory(shifted), bare)


def test_the_spec_rebuilds_the_same_physics() -> None:
    env = PUSHER_P2.apply(gymnasium.make("Pusher-v5"))
    assert env.spec is not None
    for spec in (env.spec, gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())):
        assert np.array_equal(
            trajectory(gymnasium.make(spec)), trajectory(PUSHER_P2.apply(gymnasium.make("Pusher-v5")))
        )


def test_shifts_compose() -> None:
    once = DynamicsShift(mass=3.0, gear=0.5).apply(gymnasium.make("Reacher-v5"))
    twice = DynamicsShift(mass=1.5).apply(DynamicsShift(mass=2.0, gear=0.5).apply(gymnasium.make("Reacher-v5")))
    assert np.allclose(model(once).body_mass, model(twice).body_mass)
    assert np.allclose(trajectory(once), trajectory(twice), atol=1e-6)


def test_named_shifts_are_those_of_the_documentation() -> None:
    assert DynamicsShift(mass=2, friction=1.5, gear=0.9, damping=1.5) == PUSHER_P1
    assert DynamicsShift(mass=2, friction=1.5, gear=0.7, damping=2) == PUSHER_P2


@pytest.mark.parametrize("field", ["mass", "friction", "gear", "damping"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), "2", True, None])
def test_bad_factors_are_named(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        DynamicsShift(**{field: value})


def test_an_env_without_mujoco_is_refused() -> None:
    with pytest.raises(TypeError, match="MuJoCo model"):
        DynamicsShift(mass=2).apply(gymnasium.make("CartPole-v1"))
