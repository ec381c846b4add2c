"""Robots whose motors are permuted, mirrored or fewer."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray


class RewiredMotorsWrapper(gymnasium.ActionWrapper[Any, Any, Any], RecordConstructorArgs):
    """Entry k of an action drives motor ``motors[k]`` of the env, times ``signs[k]``.

    Motors that are not named get zero, or the bound nearest to it. Recorded in the env's spec: ``gym.make(env.spec)``
    rebuilds the same robot.

    Args:
        env: An env whose actions are a bounded Box with one axis.
        motors: Which of the env's motors each entry drives, each at most once.
        signs: +1, or -1 for a motor that is mirrored; +1 by default.

    Raises:
        TypeError: If the env acts in another space, or a motor or sign is no integer.
        ValueError: If there is no motor, one is out of range or named twice, a sign is another, or the numbers of
            motors and signs differ.

    Example:
        >>> env = RewiredMotorsWrapper(gymnasium.make("Reacher-v5"), motors=(1, 0), signs=(1, -1))
        >>> env.action(np.array([0.25, 0.5])).tolist()
        [-0.5, 0.25]
    """

    def __init__(self, env: gymnasium.Env[Any, Any], motors: Sequence[int], signs: Sequence[int] | None = None) -> None:
        space = env.action_space
        if not isinstance(space, Box) or len(space.shape) != 1 or not space.is_bounded():
            raise TypeError(f"rewired motors need actions in a bounded Box with one axis, got {space}")
        chosen = _integers("motors", motors)
        turned = [1] * len(chosen) if signs is None else _integers("signs", signs)
        if not chosen or len(set(chosen)) != len(chosen) or not set(chosen) <= set(range(space.shape[0])):
            raise ValueError(f"motors must be at least one of 0 to {space.shape[0] - 1}, each once; got {chosen}")
        if not set(turned) <= {1, -1} or len(turned) != len(chosen):
            raise ValueError(f"signs must be {len(chosen)} of +1 and -1, one a motor; got {turned}")
        # Lists, for a JSON round trip of the spec makes lists of tuples, and Gymnasium compares the two.
        RecordConstructorArgs.__init__(self, motors=chosen, signs=None if signs is None else turned)
        gymnasium.ActionWrapper.__init__(self, env)
        self.motors = np.array(chosen)
        self.signs = np.array(turned, dtype=space.dtype)
        self.idle = np.clip(np.zeros_like(space.low), space.low, space.high)
        low, high = space.low[self.motors], space.high[self.motors]
        mirrored = self.signs < 0
        self.action_space = Box(np.where(mirrored, -high, low), np.where(mirrored, -low, high), dtype=space.dtype.type)

    def action(self, action: Any) -> NDArray[Any]:
        """Return the action of the wrapped env ``(num_motors,)`` for one of this env ``(action_dim,)``.

        Raises:
            ValueError: If the shape is wrong.
        """
        action = np.asarray(action)
        if action.shape != self.motors.shape:
            raise ValueError(f"action must have shape {self.motors.shape}, got {action.shape}")
        wired = self.idle.astype(np.result_type(action, self.idle))  # as fine as what came
        wired[self.motors] = self.signs * action
        return wired

    def reverse(self, wired: NDArray[Any]) -> NDArray[Any]:
        """Return the action ``(action_dim,)`` that drives the motors most nearly as ``wired`` ``(num_motors,)``."""
        return np.asarray(self.signs * wired[self.motors])


def rewirings(env: gymnasium.Env[Any, Any]) -> list[RewiredMotorsWrapper]:
    """Return the ``RewiredMotorsWrapper`` around an env, the outermost first."""
    found = []
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, RewiredMotorsWrapper):
            found.append(env)
        env = env.env
    return found


def _integers(name: str, values: Sequence[int]) -> list[int]:
    known = isinstance(values, Sequence | np.ndarray)
    if not known or any(isinstance(k, bool | np.bool_) or not isinstance(k, int | np.integer) for k in values):
        raise TypeError(f"{name} must be a sequence of integers, got {values!r}")
    return [int(value) for value in values]
