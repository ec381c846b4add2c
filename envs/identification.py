"""Which dynamics shift made recorded steps: the parameters of a known simulator, fitted to a robot."""

import copy
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import gymnasium
import mujoco
import numpy as np
from scipy.optimize import least_squares

from generative_policies.envs.dynamics_shift import DynamicsShift
from generative_policies.envs.exact_dynamics import STATE, ExactDynamics, Floats

FACTORS = ("mass", "friction", "gear", "damping")
LARGEST_FACTOR = 10.0
INSENSITIVE = 1e-6
STEP = 1e-2


class IdentifiedShift(NamedTuple):
    """The shift that explains recorded steps best.

    Attributes:
        shift: What was found; factors that the steps do not depend on stay 1.
        error: Root mean square of one-step errors that are left, in units of the steps' own size.
        error_before: The same without a shift.
    """

    shift: DynamicsShift
    error: float
    error_before: float


def identify_shift(
    env: gymnasium.Env[Any, Any],
    states: Floats,
    actions: Floats,
    next_states: Floats,
    factors: Sequence[str] = FACTORS,
) -> IdentifiedShift:
    """Find the factors by which a robot's dynamics differ from a simulator's, from a few hundred recorded steps.

    The logarithms of the factors are fitted to the differences between recorded and simulated next states, by
    nonlinear least squares with a robust loss, since contacts are not smooth. A robot outside of the family that
    ``factors`` span is approximated; the error that is left tells how well.

    Args:
        env: The simulator, a Gymnasium MuJoCo env whose states are the robot's.
        states: ``(rows, state_size)``, as of ``get_state``, of the robot.
        actions: ``(rows, action_dim)``, that it took.
        next_states: ``(rows, state_size)``, where they led.
        factors: Fields of ``DynamicsShift`` that may differ.

    Returns:
        The shift with these factors, and the errors without and with it.

    Raises:
        ValueError: If a shape is wrong, an entry is not finite, there is no row or none in which anything moves, or a
            factor is none that can be fitted.
        TypeError: If ``env`` is no MuJoCo env.

    Example:
        >>> simulator = gymnasium.make("InvertedPendulum-v5")
        >>> robot = ExactDynamics(DynamicsShift(gear=0.8).apply(gymnasium.make("InvertedPendulum-v5")))
        >>> rng = np.random.default_rng(0)
        >>> actions, states = rng.uniform(-1, 1, (20, 1)), [np.zeros(robot.state_size)]
        >>> for action in actions:
        ...     states.append(robot.step(states[-1], action))
        >>> found = identify_shift(simulator, np.stack(states[:-1]), actions, np.stack(states[1:]), ["gear"])
        >>> round(found.shift.gear, 3)
        0.8
    """
    known = [field.name for field in fields(DynamicsShift) if field.name != "bodies"]
    if not factors or len(set(factors)) < len(factors) or not set(factors) <= set(known):
        raise ValueError(f"factors must be some of {', '.join(known)}, each once; got {list(factors)}")
    dynamics = ExactDynamics(env)
    expected = {"states": dynamics.state_size, "actions": len(dynamics.low), "next_states": dynamics.state_size}
    for (name, width), rows in zip(expected.items(), (states, actions, next_states), strict=True):
        if rows.shape != (len(states), width) or len(rows) == 0:
            raise ValueError(f"{name} must have shape (rows, {width}), at least one row, got {rows.shape}")
        if not np.isfinite(rows).all():
            raise ValueError(f"{name} must be finite, but row {np.argwhere(~np.isfinite(rows))[0, 0]} is not")
    data, reached = mujoco.MjData(dynamics.model), mujoco.MjData(dynamics.model)
    changes = np.stack([_difference(dynamics, data, reached, *pair) for pair in zip(next_states, states, strict=True)])
    scale = np.sqrt(np.mean(changes**2, axis=0))
    if not scale.any():
        raise ValueError("next_states must differ from states: in no row does anything move")
    scale = np.maximum(scale, 1e-3 * scale.max())  # what hardly moves must not count most

    def residuals(names: Sequence[str], logarithms: Floats) -> Floats:
        shifted = copy.copy(dynamics)
        shifted.model = copy.deepcopy(dynamics.model)
        _shift(names, logarithms).scale(shifted.model)
        errors = np.empty_like(changes)
        for k, (state, action, next_state) in enumerate(zip(states, actions, next_states, strict=True)):
            shifted.advance(data, state, action)
            mujoco.mj_setState(dynamics.model, reached, next_state, STATE)
            errors[k] = shifted.difference(data, reached)
        finite: Floats = np.nan_to_num(errors / scale, nan=1e6, posinf=1e6, neginf=-1e6)
        return finite.reshape(-1)

    before = residuals((), np.empty(0))
    # A factor without effect, such as the friction of what touches nothing, would wander.
    fitted = [name for name in factors if np.abs(residuals([name], np.array([STEP])) - before).max() > INSENSITIVE]
    if not fitted:
        return IdentifiedShift(DynamicsShift(), _rms(before), _rms(before))

    def errors_of(logarithms: Floats) -> Floats:
        return residuals(fitted, logarithms)

    def jacobian(logarithms: Floats) -> Floats:
        # Central differences with steps that are large beside the tolerance of MuJoCo's solver.
        steps = STEP * np.eye(len(fitted))
        pairs = [(errors_of(logarithms + step), errors_of(logarithms - step)) for step in steps]
        return np.stack([(above - below) / (2 * STEP) for above, below in pairs], axis=1)

    limit = np.log(LARGEST_FACTOR)
    fit = least_squares(
        errors_of,
        np.zeros(len(fitted)),
        jacobian,
        bounds=(-limit, limit),
        loss="soft_l1",
        f_scale=0.01,  # steps with contacts are few and far off
        x_scale="jac",
        max_nfev=50,
    )
    return IdentifiedShift(_shift(fitted, fit.x), _rms(errors_of(fit.x)), _rms(before))


def _shift(factors: Sequence[str], logarithms: Floats) -> DynamicsShift:
    found: dict[str, Any] = {name: float(np.exp(value)) for name, value in zip(factors, logarithms, strict=True)}
    return DynamicsShift(**found)


def _difference(
    dynamics: ExactDynamics, data: mujoco.MjData, other: mujoco.MjData, state: Floats, from_state: Floats
) -> Floats:
    mujoco.mj_setState(dynamics.model, data, state, STATE)
    mujoco.mj_setState(dynamics.model, other, from_state, STATE)
    return dynamics.difference(data, other)


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))
