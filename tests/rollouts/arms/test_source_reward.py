"""The model of the source's reward: what it sees, and that it learns a known reward."""

import numpy as np
import torch

from generative_policies.models import MlpRegressor
from generative_policies.rollouts import Episode
from generative_policies.rollouts.arms.source_reward import RewardDataset, predicted_reward, reward_features
from generative_policies.training import FitSettings, fit, initial_weights


def episodes(count: int, rng: np.random.Generator) -> list[Episode]:
    """Return episodes whose reward is the change of the first entry less a cost of the action."""
    found = []
    for seed in range(count):
        observations = rng.standard_normal((21, 3)).cumsum(axis=0)
        actions = rng.uniform(-1, 1, (20, 2)).astype(np.float32)
        rewards = np.diff(observations[:, 0]) - 0.5 * (actions**2).sum(axis=1)
        found.append(Episode(seed, observations, actions, rewards, None))
    return found


def test_features_are_observation_action_and_change(rng: np.random.Generator) -> None:
    data = RewardDataset.from_episodes(episodes(2, rng))
    assert data.target.shape == (40, 1) and data.condition.shape == (40, 8) and data.num_episodes == 2
    obs, actions, next_obs = (torch.randn(4, width) for width in (3, 2, 3))
    features = reward_features(obs, actions, next_obs)
    assert torch.equal(features[:, :3], obs) and torch.equal(features[:, 3:5], actions)
    assert torch.equal(features[:, 5:], next_obs - obs)


def test_a_known_reward_is_learned(rng: np.random.Generator, generator: torch.Generator) -> None:
    with initial_weights(generator):
        model = MlpRegressor(1, 8, (64, 64))
    fit(model, RewardDataset.from_episodes(episodes(100, rng)), FitSettings(num_updates=1_500), generator=generator)
    obs, actions = torch.randn(200, 3), 2 * torch.rand(200, 2) - 1
    next_obs = (obs + torch.randn(200, 3)).requires_grad_()
    found = predicted_reward(model, obs, actions, next_obs)
    wanted = (next_obs - obs)[:, 0] - 0.5 * actions.square().sum(dim=1)
    assert found.shape == (200,) and (found - wanted).square().mean() < 0.02 * wanted.var()
    (gradient,) = torch.autograd.grad(found.sum(), next_obs)
    assert gradient.mean(dim=0)[0].item() > 0.8 and gradient.mean(dim=0)[1:].abs().max() < 0.1
