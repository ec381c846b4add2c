"""Changes of a robot's dynamics: heavier links, weaker motors, stiffer joints, other friction."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import gymnasium
import mujoco
from gymnasium.utils import RecordConstructorArgs


@dataclass(frozen=True)
class DynamicsShift:
    """Factors on a MuJoCo model's dynamics; 1 leaves a quantity as it is.

    Args:
        mass: On mass and inertia of every body, manipulated objects included.
        friction: On all three friction coefficients of every geom.
        gear: On the force of every motor, as its gear.
        damping: On the damping of every degree of freedom.

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

    def __post_init__(self) -> None:
        for field in fields(self):
            factor = getattr(self, field.name)
            if isinstance(factor, bool) or not isinstance(factor, int | float):
                raise ValueError(f"{field.name} must be a number, got {factor!r}")
            if not (math.isfinite(factor) and factor > 0):
                raise ValueError(f"{field.name} must be positive and finite, got {factor!r}")

    def apply(self, env: gymnasium.Env[Any, Any]) -> "DynamicsShiftWrapper":
        """Return a wrapper around an env whose own model is scaled; two shifts compose.

        Args:
            env: A Gymnasium env whose ``unwrapped`` has a MuJoCo ``model``, before its first reset. Other envs of its
                class keep theirs.

        Raises:
            TypeError: If the env has no MuJoCo model.
            ValueError: If ``gear`` meets an actuator that is no plain motor.
        """
        return DynamicsShiftWrapper(env, **asdict(self))


class DynamicsShiftWrapper(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """An env with shifted dynamics, recorded in its spec: ``gym.make(env.spec)`` rebuilds the same physics.

    Args:
        env: A Gymnasium env whose ``unwrapped`` has a MuJoCo ``model``, before its first reset.
        mass: See ``DynamicsShift``, as the others.
        friction: On all three friction coefficients of every geom.
        gear: On the force of every motor, as its gear.
        damping: On the damping of every degree of freedom.

    Raises:
        TypeError: If the env has no MuJoCo model.
        ValueError: If a factor is not positive and finite, or ``gear`` meets an actuator that is no plain motor.

    Example:
        >>> env = DynamicsShiftWrapper(gymnasium.make("Pusher-v5"), mass=2.0)
        >>> float(gymnasium.make(env.spec).unwrapped.model.body_mass.sum() / env.unwrapped.model.body_mass.sum())
        1.0
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        mass: float = 1.0,
        friction: float = 1.0,
        gear: float = 1.0,
        damping: float = 1.0,
    ) -> None:
        RecordConstructorArgs.__init__(self, mass=mass, friction=friction, gear=gear, damping=damping)
        gymnasium.Wrapper.__init__(self, env)
        self.shift = DynamicsShift(mass, friction, gear, damping)
        model = getattr(env.unwrapped, "model", None)
        if not isinstance(model, mujoco.MjModel):
            raise TypeError(f"a dynamics shift needs an env with a MuJoCo model, got {env.unwrapped!r}")
        # Scaling the gear of a position servo would move its set-point as well.
        if gear != 1.0 and bool((model.actuator_biastype != mujoco.mjtBias.mjBIAS_NONE).any()):
            raise ValueError(f"gear scales plain motors only, but {env.unwrapped!r} has servos with a bias force")
        model.body_mass *= mass
        model.body_inertia *= mass
        model.geom_friction *= friction
        model.actuator_gear *= gear
        model.dof_damping *= damping
        # Derived constants, on scratch data: the env's own data stays bit-exact.
        mujoco.mj_setConst(model, mujoco.MjData(model))


PUSHER_P1 = DynamicsShift(mass=2.0, friction=1.5, gear=0.9, damping=1.5)
"""Twice as heavy, weaker motors, stiffer joints; motors still have torque to spare on Pusher-v5."""

PUSHER_P2 = DynamicsShift(mass=2.0, friction=1.5, gear=0.7, damping=2.0)
"""The motors of Pusher-v5 are too weak at the start of an episode."""
