"""Success for envs that report none."""

from collections.abc import Sequence
from typing import Any, NamedTuple, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from generative_policies.data.arrays import as_float


class SuccessCriterion(NamedTuple):
    """What counts as success in an env that reports none: the arguments of ``SuccessWrapper``."""

    achieved: tuple[int, int]
    goal: tuple[int, int] | None
    threshold: float


SUCCESS_CRITERIA = {
    # The object, obs[17:20], at the goal [m]. The fingertip, obs[14:17], is at times mistaken for it.
    "Pusher-v5": SuccessCriterion(achieved=(17, 20), goal=(20, 23), threshold=0.1),
    # The vector from the goal to the fingertip [m].
    "Reacher-v5": SuccessCriterion(achieved=(8, 10), goal=None, threshold=0.02),
}

Observation = np.ndarray[Any, np.dtype[np.floating[Any]]]


class SuccessWrapper(
    gymnasium.Wrapper[Observation, Any, Observation, Any],
    RecordConstructorArgs,
):
    """Reports success when one part of the observation has come close to another, at any step so far.

    ``info["is_success"]`` is the key of Stable-Baselines3, ``info["success"]`` that of Gymnasium-Robotics and others.

    Args:
        env: An env with a flat observation.
        achieved: First and last-plus-one index of what has to come close, such as an object's position.
        goal: First and last-plus-one index of the place to come to, as wide; ``None`` where ``achieved`` is already the
            way that is left.
        threshold: Distance below which it has, in the observation's unit.

    Raises:
        TypeError: If an index range or ``threshold`` is of another type.
        ValueError: If an index range leaves the observation or the widths differ, or ``threshold`` is not positive.

    Example:
        >>> env = SuccessWrapper(gymnasium.make("Pusher-v5"), achieved=(17, 20), goal=(20, 23), threshold=0.1)
        >>> env.reset(seed=0)[1]["is_success"]
        False
    """

    def __init__(
        self,
        env: gymnasium.Env[Observation, Any],
        achieved: tuple[int, int],
        goal: tuple[int, int] | None,
        threshold: float = 0.1,
    ) -> None:
        for name, indices in (("achieved", achieved), ("goal", achieved if goal is None else goal)):
            if not isinstance(indices, Sequence) or len(indices) != 2 or not all(type(k) is int for k in indices):
                raise TypeError(f"{name} must be a first and a last-plus-one index, got {indices!r}")
        if not isinstance(threshold, int | float | np.floating) or isinstance(threshold, bool):
            raise TypeError(f"threshold must be a number, got {threshold!r}")
        # Lists, for a JSON round trip of the spec makes lists of tuples, and Gymnasium compares the two.
        goal_indices = None if goal is None else list(goal)
        RecordConstructorArgs.__init__(self, achieved=list(achieved), goal=goal_indices, threshold=threshold)
        gymnasium.Wrapper.__init__(self, env)
        shape = env.observation_space.shape
        if not isinstance(env.observation_space, gymnasium.spaces.Box) or shape is None or len(shape) != 1:
            raise ValueError(f"success needs a flat Box observation, got {env.observation_space}")
        for name, (start, stop) in (("achieved", achieved), ("goal", achieved if goal is None else goal)):
            if not 0 <= start < stop <= shape[0]:
                raise ValueError(f"{name}={(start, stop)} leaves the observation's range (0, {shape[0]})")
        if goal is not None and achieved[1] - achieved[0] != goal[1] - goal[0]:
            raise ValueError(f"achieved={achieved} and goal={goal} must be equally wide")
        if not 0 < as_float(threshold) < np.inf:
            raise ValueError(f"threshold must be positive and finite, got {threshold!r:.100}")
        self.achieved = slice(*achieved)
        self.goal = None if goal is None else slice(*goal)
        self.threshold = threshold
        self.reached = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Reset the env; an episode may begin successful."""
        observation, info = self.env.reset(seed=seed, options=options)
        self.reached = self._is_close(observation)
        return observation, info | self._report()

    def step(self, action: Any) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the env and report whether the goal has been reached by now."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.reached = self.reached or self._is_close(observation)
        return observation, reward, terminated, truncated, info | self._report()

    def _is_close(self, observation: Observation) -> bool:
        goal = 0.0 if self.goal is None else observation[self.goal]
        return bool(np.linalg.norm(observation[self.achieved] - goal) < self.threshold)

    def _report(self) -> dict[str, Any]:
        return {"is_success": self.reached, "success": self.reached}
