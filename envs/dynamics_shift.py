"""Changes of a robot's dynamics: heavier links, weaker motors, stiffer joints, other friction, gravity or limits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from generative_policies.data.arrays import as_float


@dataclass(frozen=True)
class DynamicsShift:
    """Factors on a MuJoCo model's dynamics; 1 leaves a quantity as it is.

    Args:
        mass: On mass and inertia of every body, manipulated objects included.
        friction: On all friction coefficients of every geom, and of explicit contact pairs.
        gear: On the force of every actuator: a motor's gear; a servo's gain, bias and force range, so that its
            set-point stays what it is; and the limits of actuator forces at joints.
        damping: On the damping of every degree of freedom.
        armature: On the rotor inertia of every degree of freedom.
        gravity: On the gravity vector.
        joint_range: On the distance of both limits of every limited joint from its angle in the model's initial pose.
        bodies: Names of the bodies that ``mass`` is for; all by default.

    Raises:
        ValueError: If a factor is not positive and finite; the message names it.

    Example:
        >>> env = DynamicsShift(mass=2.0, gear=0.9).apply(gymnasium.make("Pusher-v5"))
        >>> float(env.unwrapped.model.actuator_gear[0, 0])
        0.9
    """

    mass: float = 1.0
    friction: float = 1.0
    gear: float = 1.0
    damping: float = 1.0
    armature: float = 1.0
    gravity: float = 1.0
    joint_range: float = 1.0
    bodies: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            factor = getattr(self, field.name)
            if field.name == "bodies":
                continue
            if isinstance(factor, bool) or not isinstance(factor, int | float | np.floating):
                raise ValueError(f"{field.name} must be a number, got {factor!r}")
            if not (math.isfinite(as_float(factor)) and factor > 0):
                raise ValueError(f"{field.name} must be positive and finite, got {factor!r:.100}")
            object.__setattr__(self, field.name, float(factor))
        if self.bodies is not None:
            names = self.bodies
            if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(x, str) for x in names):
                raise ValueError(f"bodies must be a sequence of names, got {names!r}")
            object.__setattr__(self, "bodies", tuple(names))  # a JSON round trip makes lists of tuples

    def apply(self, env: gymnasium.Env[Any, Any]) -> "DynamicsShiftWrapper":
        """Return a wrapper around an env whose own model is scaled; two shifts compose.

        Args:
            env: A Gymnasium env whose ``unwrapped`` has a MuJoCo ``model``, before its first reset. Other envs of its
                class keep theirs.

        Raises:
            TypeError: If the env has no MuJoCo model.
            ValueError: If it has no body of a name in ``bodies``, or an actuator whose force cannot be scaled.
        """
        return DynamicsShiftWrapper(env, self)

    def scale(self, model: mujoco.MjModel) -> None:
        """Scale a model in place and recompute its derived constants.

        Raises:
            ValueError: If it has no body of a name in ``bodies``, or an actuator whose force cannot be scaled.
        """
        bodies = _body_ids(model, self.bodies)
        gain_scaled = _servos(model) if self.gear != 1.0 else np.zeros(model.nu, dtype=bool)
        model.body_mass[bodies] *= self.mass
        model.body_inertia[bodies] *= self.mass
        model.geom_friction *= self.friction
        model.pair_friction *= self.friction
        # The gear of a servo would move its set-point as well.
        model.actuator_gear[~gain_scaled] *= self.gear
        model.actuator_gainprm[gain_scaled, :3] *= self.gear
        model.actuator_biasprm[gain_scaled, :3] *= self.gear
        model.actuator_forcerange[gain_scaled] *= self.gear
        model.jnt_actfrcrange *= self.gear
        model.dof_damping *= self.damping
        if hasattr(model, "dof_dampingpoly"):
            model.dof_dampingpoly *= self.damping
        model.dof_armature *= self.armature
        model.opt.gravity *= self.gravity
        if self.joint_range != 1.0:
            _scale_joint_ranges(model, self.joint_range)
        # On scratch data: an env's own data stay bit-exact.
        mujoco.mj_setConst(model, mujoco.MjData(model))


class DynamicsShiftWrapper(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """An env with shifted dynamics, recorded in its spec: ``gym.make(env.spec)`` rebuilds the same physics.

    Args:
        env: A Gymnasium env whose ``unwrapped`` has a MuJoCo ``model``, before its first reset.
        shift: A ``DynamicsShift``, its fields as a mapping, or a name of ``SHIFTS`` for this kind of env.

    Raises:
        TypeError: If the env has no MuJoCo model.
        ValueError: If a field is unknown or not positive and finite, or nothing of the name is known; see
            ``DynamicsShift.apply``.

    Example:
        >>> env = DynamicsShiftWrapper(gymnasium.make("Pusher-v5"), {"mass": 2.0})
        >>> float(gymnasium.make(env.spec).unwrapped.model.body_mass.sum() / env.unwrapped.model.body_mass.sum())
        1.0
    """

    def __init__(self, env: gymnasium.Env[Any, Any], shift: DynamicsShift | Mapping[str, Any] | str) -> None:
        recorded = asdict(shift) if isinstance(shift, DynamicsShift) else shift
        # Lists, for a JSON round trip of the spec makes lists of tuples, and Gymnasium compares the two.
        if isinstance(recorded, Mapping):
            recorded = {name: list(value) if isinstance(value, tuple) else value for name, value in recorded.items()}
        RecordConstructorArgs.__init__(self, shift=recorded)
        gymnasium.Wrapper.__init__(self, env)
        model = getattr(env.unwrapped, "model", None)
        if not isinstance(model, mujoco.MjModel):
            raise TypeError(f"a dynamics shift needs an env with a MuJoCo model, got {env.unwrapped!r}")
        self.shift = dynamics_shift(shift, type(env.unwrapped).__name__)
        self.shift.scale(model)


SHIFTS: Mapping[str, Mapping[str, DynamicsShift]] = {
    "PusherEnv": {
        # Motors have torque to spare under P1; under P2 they are too weak at the start of an episode.
        "P1": DynamicsShift(mass=2.0, friction=1.5, gear=0.9, damping=1.5),
        "P2": DynamicsShift(mass=2.0, friction=1.5, gear=0.7, damping=2.0),
        "published": DynamicsShift(mass=1.5, friction=1.5, gear=0.9, damping=1.1),
    },
    "HalfCheetahEnv": {
        "A": DynamicsShift(mass=1.3, gear=0.9, damping=1.5, friction=0.6),
        "B": DynamicsShift(mass=1.5, gear=0.7, damping=1.5, friction=0.6),
        "D": DynamicsShift(damping=2.0),
        "E": DynamicsShift(mass=1.2, gear=0.8, damping=1.5, friction=0.7),
        "G": DynamicsShift(gear=0.7),
        "strong": DynamicsShift(gear=1.4),
    },
    "ReacherEnv": {"weak": DynamicsShift(gear=0.15, damping=2.0), "light": DynamicsShift(gear=3.0, armature=0.3)},
    "HopperEnv": {"weak": DynamicsShift(gear=0.85)},
    "Walker2dEnv": {"weak": DynamicsShift(gear=0.7, damping=1.5)},
    "InvertedDoublePendulumEnv": {"strong": DynamicsShift(gear=2.0)},
    "ArmReachEnv": {"strong": DynamicsShift(gear=3.0, damping=0.3)},
    "ArmPushEnv": {"weak": DynamicsShift(friction=1.5, gear=0.6, damping=2.0)},
    "AntEnv": {"published": DynamicsShift(friction=0.3, damping=0.4, mass=5.0, gear=0.3, armature=1.6)},
    "InvertedPendulumEnv": {"published": DynamicsShift(friction=1.5, mass=5.0, gear=0.5, damping=10.0)},
}
"""Named shifts by class of env. "published" are those of the literature on transfer between dynamics."""


def dynamics_shift(shift: DynamicsShift | Mapping[str, Any] | str, env_class: str) -> DynamicsShift:
    """Return a shift from itself, from its fields as a mapping, or from its name.

    Args:
        shift: One of these.
        env_class: Name of the class of env that the name is for, such as ``"PusherEnv"``.

    Raises:
        ValueError: If a field or name is unknown, or a factor is not positive and finite.
    """
    if isinstance(shift, DynamicsShift):
        return shift
    if isinstance(shift, Mapping):
        names = [field.name for field in fields(DynamicsShift)]
        if unknown := sorted(set(shift) - set(names)):
            raise ValueError(f"a shift has no field {', '.join(map(repr, unknown))}; it has {', '.join(names)}")
        return DynamicsShift(**shift)
    known = SHIFTS.get(env_class, {})
    if not isinstance(shift, str) or shift not in known:
        raise ValueError(
            f"shift must be a DynamicsShift, its fields, or for {env_class} one of {sorted(known)}; got {shift!r}"
        )
    return known[shift]


PUSHER_P1 = SHIFTS["PusherEnv"]["P1"]
"""Twice as heavy, weaker motors, stiffer joints; motors still have torque to spare on Pusher-v5."""

PUSHER_P2 = SHIFTS["PusherEnv"]["P2"]
"""The motors of Pusher-v5 are too weak at the start of an episode."""


def _body_ids(model: mujoco.MjModel, names: Sequence[str] | None) -> list[int]:
    if names is None:
        return list(range(model.nbody))
    known = [model.body(k).name for k in range(model.nbody)]
    if missing := sorted(set(names) - set(known)):
        raise ValueError(f"bodies names {missing}, which the model does not have; it has {known[1:]}")
    return [known.index(name) for name in names]


def _servos(model: mujoco.MjModel) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which actuators have a bias force, which has to be scaled with the gain.

    Raises:
        ValueError: If the force of one is no affine function of its gain.
    """
    affine = model.actuator_biastype == mujoco.mjtBias.mjBIAS_AFFINE
    gains = (mujoco.mjtGain.mjGAIN_FIXED, mujoco.mjtGain.mjGAIN_AFFINE)
    known = np.isin(model.actuator_gaintype, gains) & (affine | (model.actuator_biastype == mujoco.mjtBias.mjBIAS_NONE))
    if not known.all():
        names = [model.actuator(k).name or str(k) for k in np.flatnonzero(~known)]
        raise ValueError(
            f"gear scales motors and servos, but the actuators {names} are muscles or of a kind of their own"
        )
    return np.asarray(affine)


def _scale_joint_ranges(model: mujoco.MjModel, factor: float) -> None:
    for joint in np.flatnonzero(model.jnt_limited):
        low, high = model.jnt_range[joint]
        if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_BALL:
            model.jnt_range[joint] = low, factor * high  # a cone around the initial orientation
        else:
            initial = np.clip(model.qpos0[model.jnt_qposadr[joint]], low, high)
            model.jnt_range[joint] = initial + factor * (low - initial), initial + factor * (high - initial)
