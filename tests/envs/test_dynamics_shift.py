"""Dynamics shifts of real MuJoCo envs."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from generative_policies.envs import (
    PUSHER_P1,
    PUSHER_P2,
    SHIFTS,
    ArmReachEnv,
    ArmSpec,
    DynamicsShift,
    DynamicsShiftWrapper,
)

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


def test_named_shifts_are_found_by_the_kind_of_env() -> None:
    for name, shift in SHIFTS["HalfCheetahEnv"].items():
        wrapper = DynamicsShiftWrapper(gymnasium.make("HalfCheetah-v5"), name)
        assert wrapper.shift == shift
        assert wrapper.spec is not None and wrapper.spec.additional_wrappers[-1].kwargs == {"shift": name}
    with pytest.raises(ValueError, match=r"for PusherEnv one of \['P1', 'P2', 'published'\]; got 'A'"):
        DynamicsShiftWrapper(gymnasium.make("Pusher-v5"), "A")


def test_all_the_other_factors_reach_the_model() -> None:
    shift = DynamicsShift(armature=1.6, gravity=0.5, joint_range=0.5)
    bare, shifted = model(gymnasium.make("Ant-v5")), model(shift.apply(gymnasium.make("Ant-v5")))
    assert np.allclose(shifted.dof_armature, 1.6 * bare.dof_armature) and bare.dof_armature.any()
    assert np.allclose(shifted.opt.gravity, 0.5 * bare.opt.gravity)
    limited = np.flatnonzero(bare.jnt_limited)
    assert len(limited) == 8
    start = np.clip(bare.qpos0[bare.jnt_qposadr[limited]], *bare.jnt_range[limited].T)
    for side in (0, 1):  # half as far from where the joint starts
        assert np.allclose(shifted.jnt_range[limited, side] - start, 0.5 * (bare.jnt_range[limited, side] - start))


def test_mass_may_be_for_named_bodies_alone() -> None:
    bare = model(gymnasium.make("Pusher-v5"))
    shifted = model(DynamicsShift(mass=3.0, bodies=("object",)).apply(gymnasium.make("Pusher-v5")))
    for k in range(bare.nbody):
        factor = 3.0 if bare.body(k).name == "object" else 1.0
        assert shifted.body_mass[k] == pytest.approx(factor * bare.body_mass[k])
        assert np.allclose(shifted.body_inertia[k], factor * bare.body_inertia[k])
    with pytest.raises(ValueError, match=r"bodies names \['puck'\]"):
        DynamicsShift(mass=3.0, bodies=("puck",)).apply(gymnasium.make("Pusher-v5"))
    with pytest.raises(ValueError, match="bodies must be a sequence"):
        DynamicsShift(bodies="object")  # type: ignore[arg-type]


def arm_with_servos() -> gymnasium.Env[Any, Any]:
    spec = ArmSpec((0.4, 0.3), (0.5, 0.5), (2.0, 1.0), (0.2, 0.2), (-2.0, 0.0), (2.0, 2.0), (0.0, 1.0), "position")
    return ArmReachEnv(spec)


def test_servos_keep_their_set_points_and_their_force_scales() -> None:
    """A servo of any strength rests at its set-point, and pulls in proportion to its strength where it is not there."""
    forces = []
    for gear in (1.0, 0.5):
        env = DynamicsShift(gear=gear).apply(arm_with_servos())
        env.reset(seed=0)
        env.step(np.array([0.03, 1.02], np.float32))
        forces.append(env.unwrapped.data.actuator_force.copy())  # type: ignore[attr-defined]
        for _ in range(200):
            env.step(np.array([0.5, 1.5], np.float32))
        assert np.allclose(env.unwrapped.data.qpos, [0.5, 1.5], atol=1e-3)  # type: ignore[attr-defined]
    bare, shifted = model(arm_with_servos()), model(DynamicsShift(gear=0.5).apply(arm_with_servos()))
    assert np.array_equal(shifted.actuator_gear, bare.actuator_gear)
    assert np.allclose(shifted.actuator_gainprm, 0.5 * bare.actuator_gainprm)
    assert np.allclose(shifted.actuator_biasprm, 0.5 * bare.actuator_biasprm)
    assert np.allclose(shifted.actuator_forcerange, 0.5 * bare.actuator_forcerange)
    assert not np.allclose(forces[0], forces[1])


def test_muscles_are_refused_by_name() -> None:
    env = arm_with_servos()
    model(env).actuator_biastype[1] = 2  # mjBIAS_MUSCLE
    with pytest.raises(ValueError, match=r"the actuators \['joint_2'\] are muscles"):
        DynamicsShift(gear=0.5).apply(env)
    DynamicsShift(mass=2.0).apply(env)


def test_dictionaries_and_names_survive_a_json_round_trip() -> None:
    for shift in (DynamicsShift(mass=2.0, bodies=("object",)), {"mass": 2.0, "bodies": ("object",)}, "P1"):
        env = DynamicsShiftWrapper(gymnasium.make("Pusher-v5"), shift)
        assert env.spec is not None
        again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
        assert np.array_equal(trajectory(again), trajectory(env))


def test_unknown_fields_are_named() -> None:
    with pytest.raises(ValueError, match="no field 'gravty'"):
        DynamicsShiftWrapper(gymnasium.make("Pusher-v5"), {"gravty": 2.0})


@pytest.mark.parametrize("field", ["mass", "friction", "gear", "damping", "armature", "gravity", "joint_range"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), "2", True, None])
def test_bad_factors_are_named(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        DynamicsShift(**{field: value})


def test_an_env_without_mujoco_is_refused() -> None:
    with pytest.raises(TypeError, match="MuJoCo model"):
        DynamicsShift(mass=2).apply(gymnasium.make("CartPole-v1"))
