"""Making an env with its dynamics shift, its notion of success and a camera that shows the task."""

from typing import Any, NamedTuple

import gymnasium
import numpy as np

from generative_policies.envs.dynamics_shift import DynamicsShift
from generative_policies.envs.success import SuccessWrapper


class SuccessCriterion(NamedTuple):
    """What counts as success in an env that reports none: the arguments of ``SuccessWrapper``."""

    achieved: tuple[int, int]
    goal: tuple[int, int]
    threshold: float


SUCCESS_CRITERIA = {
    # The object, obs[17:20], at the goal [m]. The fingertip, obs[14:17], is at times mistaken for it.
    "Pusher-v5": SuccessCriterion(achieved=(17, 20), goal=(20, 23), threshold=0.1),
}

# Free cameras [m, deg] where Gymnasium's default hides the task; the Pusher's own looks at the arm's back.
CAMERAS: dict[str, dict[str, Any]] = {
    "Pusher-v5": {"distance": 1.75, "azimuth": 150.0, "elevation": -42.0, "lookat": (0.24, -0.27, -0.22)},
}


def make_env(
    env_id: str, shift: DynamicsShift | None = None, *, render_mode: str | None = None
) -> gymnasium.Env[Any, Any]:
    """Make a registered env, shifted, and with success in ``info`` where a criterion for it is known.

    Args:
        env_id: A Gymnasium id.
        shift: A change of its dynamics.
        render_mode: As in ``gymnasium.make``.

    Example:
        >>> env = make_env("Pusher-v5", DynamicsShift(mass=2.0))
        >>> env.reset(seed=0)[1]["is_success"]
        False
    """
    camera = CAMERAS.get(env_id)
    if render_mode is None or camera is None:
        env: gymnasium.Env[Any, Any] = gymnasium.make(env_id, render_mode=render_mode)
    else:
        # Gymnasium sets a vector of the camera from an array only.
        config = {name: np.array(value) if isinstance(value, tuple) else value for name, value in camera.items()}
        env = gymnasium.make(env_id, render_mode=render_mode, default_camera_config=config)
    if shift is not None:
        env = shift.apply(env)
    criterion = SUCCESS_CRITERIA.get(env_id)
    return env if criterion is None else SuccessWrapper(env, *criterion)
