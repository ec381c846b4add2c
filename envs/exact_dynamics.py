"""The exact dynamics of a MuJoCo env: its step as a function of state and action."""

from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from generative_policies.envs.rewired_motors import rewirings

Floats = NDArray[np.float64]
STATE = mujoco.mjtState.mjSTATE_INTEGRATION


class ExactDynamics:
    """The step s' = f(s, a) of an env whose actions are the controls of its MuJoCo model, rewired or not.

    A state is ``mjSTATE_INTEGRATION``: positions, velocities and whatever else the next step depends on, the solver's
    warm start included. The env's own state does not change; a later change of its model does count.

    Args:
        env: A Gymnasium MuJoCo env, wrapped or not. Actions are those that its outermost ``RewiredMotorsWrapper``
            takes; of other wrappers, none counts.

    Raises:
        TypeError: If it is no MuJoCo env, or its own actions are not the model's controls.

    Example:
        >>> env = gymnasium.make("HalfCheetah-v5")
        >>> dynamics = ExactDynamics(env)
        >>> _ = env.reset(seed=0)
        >>> state, action = get_state(env), env.action_space.sample()
        >>> _ = env.step(action)
        >>> bool(np.allclose(dynamics.step(state, action), get_state(env), rtol=1e-12, atol=1e-12))
        True
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        if not isinstance(env, gymnasium.Env):
            raise TypeError(f"env must be a Gymnasium env, got {type(env).__name__}")
        base: Any = env.unwrapped
        self.model = _model(env)
        space = base.action_space
        if not isinstance(space, Box) or space.shape != (self.model.nu,) or not hasattr(base, "frame_skip"):
            raise TypeError(
                f"exact dynamics need an env whose actions are the {self.model.nu} controls of its model, held for "
                f"frame_skip steps; got {base!r} with {space}"
            )
        limited, limits = (
            self.model.actuator_ctrllimited.astype(bool),
            self.model.actuator_ctrlrange.astype(space.dtype),
        )
        if not np.array_equal(np.stack([space.low, space.high], axis=1)[limited], limits[limited]):
            raise TypeError(f"{base!r} scales its actions: their bounds are not those of its model's controls")
        self.frame_skip = int(base.frame_skip)
        self.rewirings = rewirings(env)
        outer: Any = self.rewirings[0].action_space if self.rewirings else space
        self.low, self.high = outer.low.astype(np.float64), outer.high.astype(np.float64)
        self.state_size = mujoco.mj_stateSize(self.model, STATE)
        self.dt = float(self.model.opt.timestep * self.frame_skip)

    def step(self, state: Floats, action: NDArray[Any]) -> Floats:
        """Return the state ``(state_size,)`` after one env step from a state, with an action ``(action_dim,)``.

        Raises:
            ValueError: If a shape is wrong.
        """
        self.check_state("state", state)
        if np.shape(action) != self.low.shape:
            raise ValueError(f"action must have shape {self.low.shape}, got {np.shape(action)}")
        data = mujoco.MjData(self.model)
        self.advance(data, state, action)
        answer = np.empty(self.state_size)
        mujoco.mj_getState(self.model, data, answer, STATE)
        return answer

    def controls(self, action: NDArray[Any]) -> NDArray[Any]:
        """Return the model's controls ``(nu,)`` of an action ``(action_dim,)``."""
        for rewiring in self.rewirings:
            action = rewiring.action(action)
        return action

    def action_of(self, controls: NDArray[Any]) -> NDArray[Any]:
        """Return the action ``(action_dim,)`` whose controls are nearest to ``(nu,)``, bounds aside."""
        for rewiring in reversed(self.rewirings):
            controls = rewiring.reverse(controls)
        return controls

    def advance(self, data: mujoco.MjData, state: Floats, action: NDArray[Any]) -> None:
        """Put scratch data into a state and step it."""
        mujoco.mj_setState(self.model, data, state, STATE)
        data.ctrl[:] = self.controls(action)
        mujoco.mj_step(self.model, data, nstep=self.frame_skip)

    def difference(self, data: mujoco.MjData, other: mujoco.MjData) -> Floats:
        """Return how far ``data`` is from ``other``, ``(2 nv + na,)``, in units of velocities.

        Positions, in the tangent space of rotations, are divided by the control period, so that all entries are of
        one size: 1 mm in a step of 0.05 s counts as 0.02 m/s.
        """
        positions = np.empty(self.model.nv)
        mujoco.mj_differentiatePos(self.model, positions, self.dt, other.qpos, data.qpos)
        return np.concatenate([positions, data.qvel - other.qvel, data.act - other.act])

    def cycle_error(self, state: Floats, actions: NDArray[Any], next_state: Floats) -> Floats:
        """Return ``|f(s, a) - s'| / |s' - s|``: how well actions make a step, which judges any inverse dynamics.

        Where actions saturate or motors are redundant, errors of the action itself mislead. Differences are those of
        ``difference``.

        Args:
            state: ``(state_size,)``.
            actions: ``(batch, action_dim)``, each of them tried from the one state.
            next_state: ``(state_size,)``.

        Returns:
            ``(batch,)``.

        Raises:
            ValueError: If a shape is wrong.
        """
        if np.ndim(actions) != 2 or np.shape(actions)[1:] != self.low.shape:
            raise ValueError(f"actions must have shape (batch, {len(self.low)}), got {np.shape(actions)}")
        return StepResiduals(self, state, next_state).cycle_error(actions)

    def check_state(self, name: str, state: Floats) -> None:
        """Check the shape of a state.

        Raises:
            ValueError: If it is wrong.
        """
        if np.shape(state) != (self.state_size,):
            raise ValueError(
                f"{name} must be an mjSTATE_INTEGRATION of shape ({self.state_size},), got {np.shape(state)}"
            )


def get_state(env: gymnasium.Env[Any, Any]) -> Floats:
    """Return the physics state of a MuJoCo env.

    Args:
        env: A MuJoCo env, wrapped or not.

    Returns:
        ``(state_size,)``, MuJoCo's ``mjSTATE_INTEGRATION``: time, positions, velocities, activations, controls and what
        else the next step depends on. It has memory of its own.

    Raises:
        TypeError: If the env is not of MuJoCo.
    """
    model = _model(env)
    state = np.empty(mujoco.mj_stateSize(model, STATE))
    mujoco.mj_getState(model, env.unwrapped.data, state, STATE)  # type: ignore[attr-defined]
    return state


def set_state(env: gymnasium.Env[Any, Any], state: Floats) -> None:
    """Put a MuJoCo env into a physics state; counters of wrappers stay as they are.

    Args:
        env: A MuJoCo env, wrapped or not.
        state: ``(state_size,)``, what ``get_state`` returned for an env with the same model.

    Raises:
        TypeError: If the env is not of MuJoCo.
        ValueError: If the state has another shape than the model's.
    """
    model, data = _model(env), env.unwrapped.data  # type: ignore[attr-defined]
    if np.shape(state) != (size := mujoco.mj_stateSize(model, STATE),):
        raise ValueError(f"state must be an mjSTATE_INTEGRATION of shape ({size},), got {np.shape(state)}")
    mujoco.mj_setState(model, data, state, STATE)
    mujoco.mj_forward(model, data)
    mujoco.mj_setState(model, data, state, STATE)  # mj_forward wrote a warm start of its own


class StepResiduals:
    """How far actions miss one step, as a function of the action.

    Args:
        dynamics: Whose actions they are.
        state: ``(state_size,)``, where the step begins.
        next_state: ``(state_size,)``, where it should lead.

    Raises:
        ValueError: If a shape is wrong.
    """

    def __init__(self, dynamics: ExactDynamics, state: Floats, next_state: Floats) -> None:
        dynamics.check_state("state", state)
        dynamics.check_state("next_state", next_state)
        self.dynamics, self.state = dynamics, state
        self.data, self.wanted = mujoco.MjData(dynamics.model), mujoco.MjData(dynamics.model)
        mujoco.mj_setState(dynamics.model, self.data, state, STATE)
        mujoco.mj_setState(dynamics.model, self.wanted, next_state, STATE)
        self.size = max(float(np.linalg.norm(dynamics.difference(self.data, self.wanted))), 1e-9)

    def cycle_error(self, actions: NDArray[Any]) -> Floats:
        """``(k, action_dim)`` -> ``(k,)``."""
        errors: Floats = np.linalg.norm(self.residual(actions.T), axis=0) / self.size
        return errors

    def residual(self, actions: NDArray[Any]) -> Floats:
        """``(action_dim, k)`` -> ``(2 nv + na, k)``."""
        columns = np.empty((2 * self.dynamics.model.nv + self.dynamics.model.na, actions.shape[1]))
        for k, action in enumerate(actions.T):
            self.dynamics.advance(self.data, self.state, action)
            columns[:, k] = self.dynamics.difference(self.data, self.wanted)
        return columns


def _model(env: gymnasium.Env[Any, Any]) -> mujoco.MjModel:
    model = getattr(env.unwrapped, "model", None)
    if not isinstance(model, mujoco.MjModel):
        raise TypeError(f"expected a MuJoCo env, got {env.unwrapped!r}")
    return model
