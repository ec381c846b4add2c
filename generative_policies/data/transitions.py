"""Transitions (s, a, s')."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from generative_policies.data.episodic import EpisodicDataset


@dataclass(frozen=True, eq=False)
class TransitionDataset(EpisodicDataset):
    """Steps of one robot: what it saw, what it did, what it saw next.

    Args:
        episodes: ``(rows,)``, the episode of each row.
        obs: ``(rows, obs_dim)``.
        next_obs: ``(rows, next_obs_dim)``.
        actions: ``(rows, action_dim)``, as the env executed them.

    Example:
        >>> data = TransitionDataset.from_episodes([np.zeros((4, 2))], [np.zeros((3, 1))])
        >>> len(data), data.num_episodes
        (3, 1)
    """

    obs: NDArray[Any]
    next_obs: NDArray[Any]
    actions: NDArray[Any]

    @classmethod
    def from_episodes(cls, observations: Sequence[NDArray[Any]], actions: Sequence[NDArray[Any]]) -> Self:
        """Build the transitions of whole episodes.

        Args:
            observations: One array ``(T + 1, obs_dim)`` an episode.
            actions: One array ``(T, action_dim)`` an episode.

        Raises:
            ValueError: If there is no episode, or one has not exactly one observation more than actions.
        """
        if len(observations) != len(actions) or not observations:
            raise ValueError(
                f"expected as many episodes of observations as of actions and at least one, "
                f"got {len(observations)} and {len(actions)}"
            )
        for k, (obs, action) in enumerate(zip(observations, actions, strict=True)):
            if len(obs) != len(action) + 1:
                raise ValueError(
                    f"episode {k} must have one observation more than actions, got {len(obs)} and {len(action)}"
                )
        return cls(
            episodes=np.repeat(np.arange(len(actions)), [len(action) for action in actions]),
            obs=np.concatenate([obs[:-1] for obs in observations]),
            next_obs=np.concatenate([obs[1:] for obs in observations]),
            actions=np.concatenate(list(actions)),
        )
