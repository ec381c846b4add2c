"""Changes of a robot's dynamics: heavier links, weaker motors, stiffer joints, other friction."""

import math
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import gymnasium
import mujoco

Env = TypeVar("Env", bound=gymnasium.Env[Any, Any])


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

    def apply(self, env: Env) -> Env:
        """Scale the model of one env in place; other envs of the class keep theirs, and two shifts compose.

        Args:
            env: A Gymnasium env whose ``unwrapped`` has a MuJoCo ``model``, before its first reset.

        Returns:
            The same env.

        Raises:
            TypeError: If the env has no MuJoCo model.
            ValueError: If ``gear`` meets an actuator that is no plain motor.
        """
        model = getattr(env.unwrapped, "model", None)
        if not isinstance(model, mujoco.MjModel):
            raise TypeError(f"a dynamics shift needs an env with a MuJoCo model, got {env.unwrapped!r}")
        # Scaling the gear of a position servo would move its set-point as well.
        if self.gear != 1.0 and bool((model.actuator_biastype != mujoco.mjtBias.mjBIAS_NONE).any()):
            raise ValueError(f"gear scales plain motors only, but {env.unwrapped!r} has servos with a bias force")
        model.body_mass *= self.mass
        model.body_inertia *= self.mass
        model.geom_friction *= self.friction
        model.actuator_gear *= self.gear
        model.dof_damping *= self.damping
        # Derived constants, on scratch data: the env's own data stays bit-exact.
        mujoco.mj_setConst(model, mujoco.MjData(model))
        return env


PUSHER_P1 = DynamicsShift(mass=2.0, friction=1.5, gear=0.9, damping=1.5)
"""Twice as heavy, weaker motors, stiffer joints; motors still have torque to spare on Pusher-v5."""

PUSHER_P2 = DynamicsShift(mass=2.0, friction=1.5, gear=0.7, damping=2.0)
"""The motors of Pusher-v5 are too weak at the start of an episode."""
