"""Which robot: an env by its id, with a dynamics shift and rewired motors, checked where it is named."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium.spaces import Box

from generative_policies.envs import make_env


@dataclass(frozen=True)
class Robot:
    """An env that can be made any number of times.

    Args:
        env_id: A Gymnasium id; ``module:Namespace/Name-v0`` imports the module that registers it.
        shift: A named shift of a MuJoCo env, or one as JSON such as ``{"gear": 0.7}``.
        env_arguments: The env's own arguments.
        motors: Which of the env's motors each entry of an action drives, see ``envs.RewiredMotorsWrapper``; all by
            default.
        motor_signs: +1 or -1 for each of ``motors``; +1 by default.

    Raises:
        ValueError: If the shift is no JSON object.

    Example:
        >>> Robot("Pusher-v5", "P1").make().action_space.shape
        (7,)
    """

    env_id: str
    shift: str | None = None
    env_arguments: tuple[tuple[str, Any], ...] = ()
    motors: tuple[int, ...] | None = None
    motor_signs: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("motors", "motor_signs"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, tuple(value))  # a JSON round trip makes lists of tuples
        self.shift_value()

    def shift_value(self) -> str | Mapping[str, Any] | None:
        """Return the shift as ``envs.make_env`` takes it."""
        if self.shift is None or not self.shift.lstrip().startswith("{"):
            return self.shift
        try:
            fields = json.loads(self.shift)
        except ValueError as error:
            raise ValueError(f"a shift is a name or a JSON object, got {self.shift!r}: {error}") from error
        return dict(fields)

    def make(self, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        """Make the env."""
        return make_env(
            self.env_id,
            self.shift_value(),
            motors=self.motors,
            motor_signs=self.motor_signs,
            render_mode=render_mode,
            **dict(self.env_arguments),
        )

    def check(self) -> None:
        """Check that the env can be made, acts in a bounded Box, observes vectors and has a time limit.

        Raises:
            ValueError: If the id or a motor is not known, or there is no time limit.
            TypeError: If a space is another.
        """
        try:
            env = self.make()
        except gymnasium.error.Error as error:
            raise ValueError(
                f"{self.env_id!r} is no env that can be made: {error}; an id of your own is given as module:id"
            ) from error
        spaces = env.observation_space, env.action_space
        spec = env.spec
        env.close()
        if not all(isinstance(space, Box) and len(space.shape) == 1 for space in spaces):
            raise TypeError(f"{self.env_id} must observe and act in a Box with one axis, got {spaces[0]}, {spaces[1]}")
        if not spaces[1].is_bounded():  # type: ignore[attr-defined]  # a Box
            raise TypeError(f"{self.env_id} must have a bounded action space, got {spaces[1]}")
        if spec is None or spec.max_episode_steps is None:
            raise ValueError(f"{self.env_id} has no time limit: register it with max_episode_steps")
