"""MLP inverse dynamics: recovers a known system, answers in kind, sees the difference."""

from typing import Any

import numpy as np
import pytest
import torch

from generative_policies.data import TransitionDataset
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.models import IdentityEncoder
from generative_policies.training import FitSettings, fit, initial_weights


def linear_system(rng: np.random.Generator, rows: int = 4000) -> TransitionDataset:
    """s' = s + 0.01 B a with large constant offsets in s: one step is tiny beside the spread of states."""
    obs = 10 * rng.standard_normal((rows, 4)) + [100, 0, 0, -50]
    actions = rng.uniform(-2, 2, (rows, 2))
    steering = np.array([[1.0, 0.5], [-0.5, 1.0], [0.0, 2.0], [0.0, 0.0]])
    return TransitionDataset(np.arange(rows) // 50, obs, obs + 0.01 * actions @ steering.T, actions)


@pytest.mark.parametrize("encoder", [None, IdentityEncoder(4)])
def test_a_known_system_is_inverted(encoder: IdentityEncoder | None, rng: np.random.Generator) -> None:
    data, test = linear_system(rng), linear_system(rng)
    generator = torch.Generator().manual_seed(0)
    with initial_weights(generator):
        model = MlpInverseDynamics(2, 4, (64, 64), encoder=encoder)
    fit(model, data, FitSettings(num_updates=1500), generator=generator)
    error = model.predict(test.obs, test.next_obs) - test.actions
    assert np.sqrt((error**2).mean()) < 0.01 * np.ptp(test.actions)


def test_only_the_leading_part_of_the_next_observation_may_be_known(rng: np.random.Generator) -> None:
    data = linear_system(rng)
    leading = TransitionDataset(data.episodes, data.obs, data.next_obs[:, :2], data.actions)
    generator = torch.Generator().manual_seed(0)
    model = MlpInverseDynamics(2, 4, (32,), next_obs_dim=2)
    fit(model, leading, FitSettings(num_updates=800), generator=generator)
    assert np.abs(model.predict(leading.obs, leading.next_obs) - leading.actions).mean() < 0.1


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(64,), (5, 64)])
def test_predict_answers_in_kind(kind: str, dtype: Any, shape: tuple[int, ...]) -> None:
    model = MlpInverseDynamics(action_dim=7, obs_dim=64, net_arch=[32, 32]).to(torch.float64)
    obs: Any = np.zeros(shape, dtype)
    obs = torch.as_tensor(obs) if kind == "torch" else obs
    actions = model.predict(obs, obs)
    assert type(actions) is type(obs)
    assert actions.shape == (*shape[:-1], 7) and actions.dtype == obs.dtype


def test_loss_and_gradients() -> None:
    model = MlpInverseDynamics(action_dim=7, obs_dim=64, net_arch=[32, 32])
    obs, next_obs, actions = torch.randn(8, 64), torch.randn(8, 64, requires_grad=True), torch.randn(8, 7)
    assert model(obs, next_obs, actions).shape == ()
    model.actions(obs, next_obs).sum().backward()
    assert next_obs.grad is not None and next_obs.grad.abs().sum() > 0


def test_bad_input_is_refused() -> None:
    model = MlpInverseDynamics(2, 4, next_obs_dim=3)
    obs, next_obs = np.zeros((5, 4)), np.zeros((5, 3))
    for arguments, message in (
        ((obs[:, :3], next_obs), r"obs must have shape \(4,\) or \(batch, 4\), got \(5, 3\)"),
        ((obs, obs), "next_obs must have shape"),
        ((obs, next_obs[:4]), r"next_obs must have shape \(5, 3\), got \(4, 3\)"),
        ((obs * np.nan, next_obs), "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(*arguments)
    with pytest.raises(ValueError, match="actions must have shape"):
        model(torch.zeros(5, 4), torch.zeros(5, 3), torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"actions must have shape \(5, 2\), got \(4, 2\)"):
        model(torch.zeros(5, 4), torch.zeros(5, 3), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="at most obs_dim=4"):
        MlpInverseDynamics(2, 4, next_obs_dim=5)
