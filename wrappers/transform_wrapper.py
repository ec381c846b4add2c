"""What the wrappers around one env share."""

import multiprocessing
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from generative_policies.policies.observation_map import map_rows, take_row
from generative_policies.wrappers.episodes import EpisodeRows
from generative_policies.wrappers.transforms import ActionTransform

ALL = np.ones(1, dtype=bool)


class TransformWrapper(gymnasium.Wrapper[Any, NDArray[Any], Any, NDArray[Any]]):
    """Sends an env what an ``ActionTransform`` makes of the actions it gets.

    Args:
        env: The env.
        transform: The transform, built for the env's spaces.
    """

    def __init__(self, env: gymnasium.Env[Any, NDArray[Any]], transform: ActionTransform) -> None:
        super().__init__(env)
        inner: Any = env
        while isinstance(inner, gymnasium.Wrapper):
            if isinstance(inner, gymnasium.wrappers.Autoreset):
                raise TypeError("an env that resets itself hides the ends of episodes: put Autoreset outside")
            inner = inner.env
        one_thread_in_workers()
        self.transform = transform
        self.observation_space = transform.observation_space
        self.action_space = transform.action_space
        self._episodes = EpisodeRows(1, transform.noise_dim)
        self._observations: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the env."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._episodes.begin(ALL, [seed])
        return self._keep(observation), info

    def step(self, action: NDArray[Any]) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Transform an action and step the env with the result.

        Raises:
            RuntimeError: Before the first reset.
            ValueError: If the action has another shape or is not finite, or the model's answer is not finite; the env
                has not moved then.
        """
        if self._observations is None:
            raise RuntimeError("call reset before step: the model needs the observation")
        episodes = self._episodes
        targets, extra = self.transform(
            self._observations, np.asarray(action)[None], episodes.noise(None), episodes.starts, None, self._describe
        )
        observation, reward, terminated, truncated, info = self.env.step(targets[0])
        episodes.step(None)
        self.transform.commit()
        # Where wrappers of this library are stacked, the innermost one knows what the env got.
        info.setdefault("target_action", targets[0].copy())
        for name, rows in extra.items():
            info[name] = rows[0]
        return self._keep(observation), reward, terminated, truncated, info

    def _keep(self, observation: Any) -> Any:
        """Keep an observation for the next step, and return what the policy sees of it."""
        # The caller may change what it was given.
        rows = observation[None].copy() if isinstance(observation, np.ndarray) else map_rows(_as_batch, observation)
        self._observations = rows
        shown = self.transform.show(rows)
        return observation if shown is rows else take_row(shown, 0)

    def _describe(self, row: int) -> str:
        name = self.spec.id if self.spec is not None else repr(self.env)
        return f"{type(self).__name__} around {name} at step {self._episodes.steps[row]}"


def _as_batch(values: Any) -> NDArray[Any]:
    return np.array(values)[None]


def one_thread_in_workers() -> None:
    """Let torch use one thread where this process is a worker.

    Workers share the cores, and in one that was forked the threads of its parent do not exist.
    """
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)
