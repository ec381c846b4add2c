"""The source's reward, from data of the source: what lies on the way to its value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generative_policies.data import EpisodicDataset
from generative_policies.models import MlpRegressor
from generative_policies.rollouts.episodes import Episode, transitions


@dataclass(frozen=True, eq=False)
class RewardDataset(EpisodicDataset):
    """What a model of the reward learns from, a ``MlpRegressor``.

    Args:
        episodes: ``(rows,)``, the episode of each row.
        target: ``(rows, 1)``, rewards.
        condition: ``(rows, 2 obs_dim + action_dim)``, see ``reward_features``.
    """

    target: NDArray[Any]
    condition: NDArray[Any]

    @classmethod
    def from_episodes(cls, episodes: Sequence[Episode]) -> "RewardDataset":
        """Return the rewards of whole episodes."""
        data = transitions(episodes)
        rewards = np.concatenate([episode.rewards for episode in episodes])[:, None]
        features = reward_features(*(torch.as_tensor(array) for array in (data.obs, data.actions, data.next_obs)))
        return cls(data.episodes, rewards, features.numpy())


def reward_features(obs: Tensor, actions: Tensor, next_obs: Tensor) -> Tensor:
    """Return what a model of the reward sees of steps: observation, action and change, ``(batch, features)``."""
    return torch.cat([obs, actions.to(obs.dtype), next_obs - obs], dim=1)


def predicted_reward(model: MlpRegressor, obs: Tensor, actions: Tensor, next_obs: Tensor) -> Tensor:
    """Return rewards ``(batch,)`` of steps, differentiable."""
    return model.mean(reward_features(obs, actions, next_obs)).squeeze(1)
