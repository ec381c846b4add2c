"""The time between two actions."""

from typing import Any

import gymnasium


def control_period(env: gymnasium.Env[Any, Any]) -> float:
    """Return the time between two actions of a MuJoCo env.

    Args:
        env: A MuJoCo env, wrapped or not.

    Returns:
        Its ``dt``, the time step of the simulation times ``frame_skip`` [s].

    Raises:
        TypeError: If the env has none.
    """
    period = getattr(env.unwrapped, "dt", None)
    if not isinstance(period, float):
        raise TypeError(f"{env.unwrapped!r} has no control period dt; is it a MuJoCo env?")
    return period


def check_control_periods(source: gymnasium.Env[Any, Any], target: gymnasium.Env[Any, Any]) -> None:
    """Check that actions of two robots last equally long: no translator can make up for it.

    Args:
        source: The MuJoCo env whose actions are translated.
        target: The MuJoCo env that executes them.

    Raises:
        TypeError: If one has no control period.
        ValueError: If they do not; the message has both numbers.
    """
    periods = control_period(source), control_period(target)
    if abs(periods[0] - periods[1]) > 1e-9:
        raise ValueError(
            f"source and target must have the same control period, got {periods[0]:g} s and {periods[1]:g} s; "
            "change frame_skip or the time step of one"
        )
