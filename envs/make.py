"""Making an env with its dynamics shift, its motors, its notion of success and a camera that shows the task."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from generative_policies.envs.dynamics_shift import DynamicsShift, DynamicsShiftWrapper
from generative_policies.envs.rewired_motors import RewiredMotorsWrapper
from generative_policies.envs.success import SUCCESS_CRITERIA, SuccessWrapper

# Free cameras [m, deg] where Gymnasium's default hides the task; the Pusher's own looks at the arm's back.
CAMERAS: dict[str, dict[str, Any]] = {
    "Pusher-v5": {"distance": 1.75, "azimuth": 150.0, "elevation": -42.0, "lookat": (0.24, -0.27, -0.22)},
}


def make_env(
    env_id: str,
    shift: DynamicsShift | Mapping[str, Any] | str | None = None,
    *,
    motors: Sequence[int] | None = None,
    motor_signs: Sequence[int] | None = None,
    render_mode: str | None = None,
    **env_arguments: Any,
) -> gymnasium.Env[Any, Any]:
    """Make a registered env, shifted, rewired, and with success in ``info`` where a criterion for it is known.

    Args:
        env_id: A Gymnasium id.
        shift: A change of its dynamics: a ``DynamicsShift``, its fields, or a name such as ``"P1"``.
        motors: Which of its motors each entry of an action drives, see ``RewiredMotorsWrapper``; all by default.
        motor_signs: +1 or -1 for each of ``motors``; +1 by default.
        render_mode: As in ``gymnasium.make``.
        **env_arguments: Arguments of the env's constructor, such as ``frame_skip``, or of ``gymnasium.make``, such as
            ``max_episode_steps``.

    Returns:
        The env in its wrappers, which ``env.spec`` records.

    Raises:
        ValueError: If there are ``motor_signs`` without ``motors``, or a shift or motor is unknown.
        TypeError: If the env cannot be shifted or rewired, or does not know an argument.
        gymnasium.error.Error: If the id is not registered.

    Example:
        >>> env = make_env("Pusher-v5", DynamicsShift(mass=2.0))
        >>> env.reset(seed=0)[1]["is_success"]
        False
    """
    if motors is None and motor_signs is not None:
        raise ValueError(f"motor_signs={motor_signs!r} need motors that they are for: pass motors as well")
    camera = CAMERAS.get(env_id)
    if render_mode is None:  # not every env knows the argument
        env: gymnasium.Env[Any, Any] = gymnasium.make(env_id, **env_arguments)
    elif camera is None:
        env = gymnasium.make(env_id, render_mode=render_mode, **env_arguments)
    else:
        # Gymnasium sets a vector of the camera from an array only.
        config = {name: np.array(value) if isinstance(value, tuple) else value for name, value in camera.items()}
        env = gymnasium.make(env_id, render_mode=render_mode, default_camera_config=config, **env_arguments)
    if shift is not None:
        env = DynamicsShiftWrapper(env, shift)
    if motors is not None:
        env = RewiredMotorsWrapper(env, motors, motor_signs)
    criterion = SUCCESS_CRITERIA.get(env_id)
    return env if criterion is None else SuccessWrapper(env, *criterion)
