"""Planar arms: the compiled model is what the spec says, and the closed form is what the model does."""

from dataclasses import asdict, replace
from typing import Any

import mujoco
import numpy as np
import pytest

from generative_policies.envs.planar_arm import ARMS, FINGER_MASS, ArmSpec, arm_spec, build_arm

SPECS = {**{f"{n} links": spec for n, spec in ARMS.items()}, "servos": replace(ARMS[3], actuator="position")}


@pytest.fixture(params=SPECS)
def spec(request: pytest.FixtureRequest) -> ArmSpec:
    return SPECS[request.param]


def test_the_model_has_the_links_limits_motors_and_masses_of_the_spec(spec: ArmSpec) -> None:
    model = build_arm(spec).compile()
    n = len(spec.link_lengths)
    assert (model.nq, model.nv, model.nu) == (n, n, n)
    for k in range(n):
        joint, body, actuator = model.joint(f"joint_{k + 1}"), model.body(f"link_{k + 1}"), model.actuator(k)
        assert joint.range.tolist() == pytest.approx([spec.joint_low[k], spec.joint_high[k]])
        assert bool(joint.limited) and joint.damping == pytest.approx(spec.damping[k])
        assert body.mass == pytest.approx(spec.link_masses[k])
        assert actuator.trnid[0] == joint.id
        following = model.body(f"link_{k + 2}" if k + 1 < n else "finger")
        assert following.pos[0] == pytest.approx(spec.link_lengths[k])
    assert model.body_mass.sum() == pytest.approx(sum(spec.link_masses) + FINGER_MASS)


def test_gear_is_the_largest_torque(spec: ArmSpec) -> None:
    model = build_arm(spec).compile()
    data = mujoco.MjData(model)
    data.qpos[:] = spec.home
    data.ctrl[:] = model.actuator_ctrlrange[:, 1]
    mujoco.mj_forward(model, data)
    assert np.allclose(data.qfrc_actuator, spec.gear)


def test_forward_kinematics_agree_with_the_simulator(spec: ArmSpec, rng: np.random.Generator) -> None:
    model = build_arm(spec).compile()
    data = mujoco.MjData(model)
    for _ in range(20):
        data.qpos[:] = rng.uniform(spec.joint_low, spec.joint_high)
        data.qvel[:] = rng.standard_normal(spec.num_joints)
        mujoco.mj_forward(model, data)
        jacobian = np.zeros((3, model.nv))
        mujoco.mj_jacSite(model, data, jacobian, None, model.site("tip").id)
        assert np.allclose(spec.tip_position(data.qpos), data.site("tip").xpos[:2], atol=1e-12)
        assert np.allclose(spec.tip_jacobian(data.qpos), jacobian[:2], atol=1e-12)
        assert np.allclose(spec.tip_velocity(data.qpos, data.qvel), jacobian[:2] @ data.qvel, atol=1e-12)


def test_kinematics_take_batches(spec: ArmSpec, rng: np.random.Generator) -> None:
    angles, velocities = rng.standard_normal((2, 4, 5, spec.num_joints))
    assert spec.tip_position(angles).shape == (4, 5, 2)
    assert np.allclose(spec.tip_velocity(angles, velocities)[3, 2], spec.tip_velocity(angles[3, 2], velocities[3, 2]))


def test_angles_at_is_the_inverse_and_stays_near(spec: ArmSpec, rng: np.random.Generator) -> None:
    for _ in range(20):
        angles = rng.uniform(spec.joint_low, spec.joint_high)
        near = np.clip(angles + 0.05 * rng.standard_normal(spec.num_joints), spec.joint_low, spec.joint_high)
        found, gap = spec.angles_at(spec.tip_position(angles), near)
        assert gap < 1e-6 and np.allclose(spec.tip_position(found), spec.tip_position(angles), atol=1e-6)
        assert (found >= spec.joint_low).all() and (found <= spec.joint_high).all()
        assert np.abs(found - near).max() < 0.5


def test_a_point_out_of_reach_leaves_a_gap(spec: ArmSpec) -> None:
    _, gap = spec.angles_at(np.array([1.0, 0.0]), np.array(spec.home))
    assert gap == pytest.approx(1.0 - 0.8, abs=0.01)  # all arms are 0.8 m long


def test_specs_survive_json_and_numbers_of_links(spec: ArmSpec) -> None:
    listed = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(spec).items()}
    assert arm_spec(listed) == arm_spec(asdict(spec)) == spec
    assert arm_spec(3) is ARMS[3]


BAD: dict[str, dict[str, Any]] = {
    "link_lengths": {"link_lengths": (0.0, 0.4)},
    "link_masses": {"link_masses": (-1.0, 0.4)},
    "gear": {"gear": (float("nan"), 1.0)},
    "damping": {"damping": (0.1,)},
    "joint_low": {"joint_low": (3.0, 0.1)},
    "joint_high": {"joint_high": (float("inf"), 1.0)},
    "home": {"home": (0.0, 0.0)},
    "actuator": {"actuator": "muscle"},
}


@pytest.mark.parametrize("field", BAD)
def test_bad_entries_are_refused_by_name(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        replace(ARMS[2], **BAD[field])


@pytest.mark.parametrize("value", [None, 3.0, "0.4", (True, 0.4), ("0.4", 0.4), ()])
def test_other_types_are_refused_by_name(value: Any) -> None:
    with pytest.raises(ValueError, match="gear"):
        replace(ARMS[2], gear=value)


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"links": 2}, "no field 'links'"),
        ({"gear": (1.0,)}, "needs the field"),
        (5, "got 5"),
        (True, "True"),
        (None, "None"),
    ],
)
def test_bad_arms_are_refused(arm: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arm_spec(arm)
