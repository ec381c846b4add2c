"""Planar arms: what one is made of, its closed-form kinematics, and its MuJoCo model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from generative_policies.data.arrays import as_float

Floats = NDArray[np.float64]

ACTUATORS = ("torque", "position")
ARM_HEIGHT = 0.1  # [m]
LINK_RADIUS = 0.02  # [m]
FINGER_RADIUS = 0.015  # [m]
FINGER_MASS = 0.02  # [kg]
# What touches what: only the finger meets pucks and obstacles; links pass above them.
FINGER_CONTACT, OBJECT_CONTACT = 1, 2
# A position servo gives its full torque at this error [rad], and damps at this share of its stiffness [s].
SERVO_FULL_TORQUE_AT, SERVO_DAMPING = 0.2, 0.1


@dataclass(frozen=True)
class ArmSpec:
    """A planar arm with a finger at its end; one entry a joint, from the base on.

    Args:
        link_lengths: [m].
        link_masses: [kg].
        gear: Largest torque [N·m], of torque and of position actuators.
        damping: [N·m·s/rad].
        joint_low: Lower joint limits [rad].
        joint_high: Upper joint limits [rad].
        home: Joint angles at the start of an episode [rad].
        actuator: ``"torque"``: the action is a share of ``gear``; ``"position"``: a joint angle that a servo goes to.

    Raises:
        ValueError: If an entry is missing, no number, not finite or out of its range; the message names the field.

    Example:
        >>> ArmSpec(link_lengths=(0.5, 0.4), link_masses=(1.0, 1.0), gear=(2.0, 1.0), damping=(0.4, 0.2),
        ...         joint_low=(-2.0, 0.0), joint_high=(2.0, 2.5), home=(0.0, 1.0)).num_joints
        2
    """

    link_lengths: tuple[float, ...]
    link_masses: tuple[float, ...]
    gear: tuple[float, ...]
    damping: tuple[float, ...]
    joint_low: tuple[float, ...]
    joint_high: tuple[float, ...]
    home: tuple[float, ...]
    actuator: Literal["torque", "position"] = "torque"

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name == "actuator":
                continue
            entries = getattr(self, field.name)
            if isinstance(entries, str) or not isinstance(entries, Sequence):
                raise ValueError(f"{field.name} must be a sequence of numbers, one a joint, got {entries!r}")
            for entry in entries:
                if isinstance(entry, bool) or not isinstance(entry, int | float) or not math.isfinite(as_float(entry)):
                    raise ValueError(f"{field.name} must hold finite numbers, got {entry!r:.100}")
            # A JSON round trip makes lists of tuples.
            object.__setattr__(self, field.name, tuple(float(entry) for entry in entries))
            if len(getattr(self, field.name)) != len(self.link_lengths) or not entries:
                raise ValueError(
                    f"{field.name} must have one entry a link, of {len(self.link_lengths)}, got {entries!r}"
                )
        for name in ("link_lengths", "link_masses", "gear", "damping"):
            if min(getattr(self, name)) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for low, home, high in zip(self.joint_low, self.home, self.joint_high, strict=True):
            if not low < high:
                raise ValueError(f"joint_low must lie below joint_high, got {self.joint_low} and {self.joint_high}")
            if not low <= home <= high:
                raise ValueError(f"home must lie between joint_low and joint_high, got {self.home}")
        if self.actuator not in ACTUATORS:
            raise ValueError(f"actuator must be one of {', '.join(ACTUATORS)}; got {self.actuator!r}")

    @property
    def num_joints(self) -> int:
        """Number of joints, as of links."""
        return len(self.link_lengths)

    def tip_position(self, angles: Floats) -> Floats:
        """Return where the finger is [m], ``(..., 2)``, at joint angles ``(..., num_joints)`` [rad]."""
        total = np.cumsum(angles, axis=-1)
        lengths = np.array(self.link_lengths)
        return np.stack([(lengths * np.cos(total)).sum(-1), (lengths * np.sin(total)).sum(-1)], axis=-1)

    def tip_jacobian(self, angles: Floats) -> Floats:
        """Return the finger's position differentiated by the angles, ``(..., 2, num_joints)`` [m/rad]."""
        total = np.cumsum(angles, axis=-1)
        lengths = np.array(self.link_lengths)
        # A joint turns all links from its own on.
        outward = [
            np.cumsum((lengths * turned)[..., ::-1], axis=-1)[..., ::-1] for turned in (np.sin(total), np.cos(total))
        ]
        return np.stack([-outward[0], outward[1]], axis=-2)

    def tip_velocity(self, angles: Floats, velocities: Floats) -> Floats:
        """Return the velocity of the finger [m/s], ``(..., 2)``."""
        velocity: Floats = np.einsum("...ij,...j->...i", self.tip_jacobian(angles), velocities)
        return velocity

    def angles_at(self, tip: Floats, near: Floats) -> tuple[Floats, float]:
        """Return joint angles inside the limits that bring the finger to a point, close to given ones.

        Args:
            tip: ``(2,)`` [m].
            near: ``(num_joints,)``, where the search starts [rad].

        Returns:
            The angles ``(num_joints,)`` [rad], and the distance that is left [m], zero where the point is reached.
        """
        low, high = np.array(self.joint_low), np.array(self.joint_high)
        near = np.clip(near, low, high)
        # Of all angles that reach the point the nearest ones: a little weight on the way there, then none.
        angles = near
        for weight in (1e-2, 1e-4, 0.0):

            def residual(q: Floats, weight: float = weight) -> Floats:
                return np.concatenate([self.tip_position(q) - tip, weight * (q - near)])

            def jacobian(q: Floats, weight: float = weight) -> Floats:
                return np.concatenate([self.tip_jacobian(q), weight * np.eye(self.num_joints)])

            start = np.clip(angles, low + 1e-9, high - 1e-9)
            bounds = (low, high)
            angles = least_squares(residual, start, jac=jacobian, bounds=bounds, xtol=1e-14, ftol=1e-14, gtol=1e-14).x
        return angles, float(np.linalg.norm(self.tip_position(angles) - tip))


ARMS: Mapping[int, ArmSpec] = {
    2: ArmSpec(
        link_lengths=(0.4, 0.4),
        link_masses=(0.6, 0.4),
        gear=(2.0, 1.0),
        damping=(0.4, 0.2),
        joint_low=(-2.8, 0.1),
        joint_high=(2.8, 2.8),
        home=(-1.25, 2.5),
    ),
    3: ArmSpec(
        link_lengths=(0.32, 0.26, 0.22),
        link_masses=(0.5, 0.3, 0.2),
        gear=(2.0, 1.2, 0.6),
        damping=(0.4, 0.25, 0.12),
        joint_low=(-2.8, 0.05, 0.05),
        joint_high=(2.8, 2.4, 2.4),
        home=(-1.46, 1.85, 1.3),
    ),
    4: ArmSpec(
        link_lengths=(0.25, 0.2, 0.2, 0.15),
        link_masses=(0.4, 0.3, 0.2, 0.1),
        gear=(2.0, 1.4, 0.8, 0.4),
        damping=(0.4, 0.3, 0.16, 0.08),
        joint_low=(-2.8, 0.05, 0.05, 0.05),
        joint_high=(2.8, 2.2, 2.2, 2.2),
        home=(-1.74, 1.46, 1.16, 0.87),
    ),
}
"""Arms of two, three and four links, all 0.8 m long, by their number of links."""


def arm_spec(arm: ArmSpec | Mapping[str, Any] | int) -> ArmSpec:
    """Return a spec from itself, from its fields as a mapping (as JSON has them), or from a number of links.

    Raises:
        ValueError: If a field is unknown, missing or bad, or there is no arm of that number of links.
    """
    if isinstance(arm, ArmSpec):
        return arm
    if isinstance(arm, Mapping):
        names = {field.name for field in fields(ArmSpec)}
        if unknown := sorted(set(arm) - names):
            raise ValueError(f"an arm has no field {', '.join(map(repr, unknown))}; it has {', '.join(sorted(names))}")
        if missing := sorted(names - {"actuator"} - set(arm)):
            raise ValueError(f"an arm needs the field {', '.join(map(repr, missing))}")
        return ArmSpec(**arm)
    if type(arm) is not int or arm not in ARMS:
        raise ValueError(f"arm must be an ArmSpec, a mapping of its fields or one of {sorted(ARMS)} links, got {arm!r}")
    return ARMS[arm]


def build_arm(spec: ArmSpec) -> mujoco.MjSpec:
    """Return the model of an arm over a table, base at the origin, with the camera ``task``; it has no objects yet.

    Joints are ``joint_1`` on, their actuators likewise, bodies ``link_1`` on and ``finger``, with a site ``tip``.
    """
    model = mujoco.MjSpec()
    model.compiler.degree = False
    model.option.timestep = 0.01
    model.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    world = model.worldbody
    model.visual.headlight.ambient = [0.35, 0.35, 0.35]
    model.visual.headlight.diffuse = [0.25, 0.25, 0.25]
    model.visual.quality.shadowsize = 4096
    world.add_light(
        diffuse=[0.45, 0.45, 0.45], pos=[0, 0, 2.0], dir=[0, 0, -1], type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    )
    world.add_camera(name="task", pos=[0.36, -0.72, 1.25], xyaxes=[1, 0, 0, 0, 0.87, 0.5], fovy=40)
    world.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[2, 2, 0.1],
        rgba=[0.93, 0.92, 0.89, 1],
        contype=0,
        conaffinity=0,
    )
    world.add_geom(
        name="base",
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        size=[0.04, ARM_HEIGHT / 2, 0],
        pos=[0, 0, ARM_HEIGHT / 2],
        rgba=[0.3, 0.3, 0.33, 1],
        contype=0,
        conaffinity=0,
    )
    body, reach = world, 0.0
    for k in range(spec.num_joints):
        length, position = spec.link_lengths[k], [reach, 0, ARM_HEIGHT if k == 0 else 0]
        body = body.add_body(name=f"link_{k + 1}", pos=position)
        body.add_joint(
            name=f"joint_{k + 1}",
            type=mujoco.mjtJoint.mjJNT_HINGE,
            axis=[0, 0, 1],
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            range=[spec.joint_low[k], spec.joint_high[k]],
            damping=spec.damping[k],
            armature=0.01,
        )
        body.add_geom(
            name=f"link_{k + 1}",
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            size=[LINK_RADIUS, 0, 0],
            fromto=[0, 0, 0, length, 0, 0],
            mass=spec.link_masses[k],
            rgba=[0.0, 0.35 + 0.12 * k, 0.7, 1],
            contype=0,
            conaffinity=0,
        )
        _add_actuator(model, spec, k)
        reach = length
    finger = body.add_body(name="finger", pos=[reach, 0, 0])
    finger.add_geom(
        name="finger",
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        size=[FINGER_RADIUS, 0, 0],
        fromto=[0, 0, 0, 0, 0, FINGER_RADIUS + 0.005 - ARM_HEIGHT],
        mass=FINGER_MASS,
        rgba=[0.15, 0.15, 0.15, 1],
        contype=FINGER_CONTACT,
        conaffinity=OBJECT_CONTACT,
    )
    finger.add_site(name="tip", pos=[0, 0, 0], size=[0.005, 0, 0])
    return model


def _add_actuator(model: mujoco.MjSpec, spec: ArmSpec, k: int) -> None:
    name, torque = f"joint_{k + 1}", spec.gear[k]
    actuator = model.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    actuator.ctrllimited = mujoco.mjtLimited.mjLIMITED_TRUE
    if spec.actuator == "torque":
        actuator.gear = [torque, 0, 0, 0, 0, 0]
        actuator.ctrlrange = [-1, 1]
        return
    stiffness = torque / SERVO_FULL_TORQUE_AT
    actuator.gainprm = [stiffness] + 9 * [0]
    actuator.biastype = mujoco.mjtBias.mjBIAS_AFFINE
    actuator.biasprm = [0, -stiffness, -SERVO_DAMPING * stiffness] + 7 * [0]
    actuator.ctrlrange = [spec.joint_low[k], spec.joint_high[k]]
    actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
    actuator.forcerange = [-torque, torque]
