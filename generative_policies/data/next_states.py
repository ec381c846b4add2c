"""Which observations follow which, without the actions between them."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from generative_policies.data.demonstrations import Demonstrations, join_vectors
from generative_policies.data.episodic import EpisodicDataset


@dataclass(frozen=True, eq=False)
class NextStateDataset(EpisodicDataset):
    """What a planner learns from: what was seen, and what was seen next.

    Args:
        episodes: ``(rows,)``, the episode of each row.
        obs: ``(rows, obs_dim)``.
        next_obs: ``(rows, next_obs_dim)``, or ``(rows, horizon, next_obs_dim)`` for several steps.
    """

    obs: NDArray[Any]
    next_obs: NDArray[Any]

    @classmethod
    def from_demonstrations(
        cls, demonstrations: Demonstrations, horizon: int = 1, next_obs_dim: int | None = None, history: int = 1
    ) -> Self:
        """Take the states of demonstrations, whether they have actions or not.

        Args:
            demonstrations: With the observation after the last action; of dictionaries, the vectors of floats are
                joined in the order of their names.
            horizon: Steps that are planned; behind the end of an episode its last observation is repeated.
            next_obs_dim: Width of the leading part that is planned; the whole observation by default.
            history: Observations that are seen, side by side, the current one first; at the beginning of an episode its
                first is repeated.

        Raises:
            ValueError: If there are no vectors, or the last observations are missing.
        """
        if demonstrations.last_observations is None:
            raise ValueError("planning needs the observation after each episode's last action, T + 1 in all")
        obs, last = join_vectors(demonstrations.observations), join_vectors(demonstrations.last_observations)
        # Each episode with its last observation, end to end.
        ends = np.cumsum(demonstrations.lengths)
        everything = np.insert(obs, ends, last, axis=0)
        episode = demonstrations.episodes
        rows = np.arange(len(obs)) + episode  # one more row for each episode before
        behind = ends[episode] + episode  # the row of the last observation
        following = np.minimum(rows[:, None] + np.arange(1, horizon + 1), behind[:, None])
        next_obs = everything[following][..., :next_obs_dim]
        seen = obs[demonstrations.windows(history, 1).history[:, ::-1]].reshape(len(obs), -1)
        return cls(episode, seen, next_obs[:, 0] if horizon == 1 else next_obs)
