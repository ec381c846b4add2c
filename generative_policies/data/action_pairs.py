"""Pairs of actions that do the same on two robots."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from generative_policies.data.episodic import EpisodicDataset


@dataclass(frozen=True, eq=False)
class ActionPairDataset(EpisodicDataset):
    """What a translator learns from: in this state, this source action corresponds to that target action.

    Args:
        episodes: ``(rows,)``, the episode of each row.
        obs: ``(rows, obs_dim)``, observations of the target.
        source_actions: ``(rows, source_action_dim)``.
        target_actions: ``(rows, action_dim)``.

    Example:
        >>> import numpy as np
        >>> len(ActionPairDataset(np.zeros(3, int), np.zeros((3, 4)), np.zeros((3, 2)), np.zeros((3, 2))))
        3
    """

    obs: NDArray[Any]
    source_actions: NDArray[Any]
    target_actions: NDArray[Any]
