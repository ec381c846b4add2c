"""Flow inverse dynamics: where two actions do the same, it keeps both."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generative_policies.checkpoints import load, save
from generative_policies.data import TransitionDataset
from generative_policies.inverse_dynamics import FlowInverseDynamics, MlpInverseDynamics
from generative_policies.models import DictObservationEncoder, IdentityTwoInputEncoder
from generative_policies.training import FitSettings, fit, initial_weights


def squaring_system(rng: np.random.Generator, rows: int = 6000) -> TransitionDataset:
    """s' = s + a^2: the action a and its opposite lead to the same next state."""
    obs = rng.standard_normal((rows, 2))
    actions = rng.uniform(0.4, 1.0, (rows, 1)) * rng.choice([-1.0, 1.0], (rows, 1))
    next_obs = obs + np.concatenate([actions**2, np.zeros_like(actions)], axis=1)
    return TransitionDataset(np.arange(rows) // 50, obs, next_obs, actions)


def trained(cls: Any, data: TransitionDataset) -> Any:
    generator = torch.Generator().manual_seed(0)
    with initial_weights(generator):
        model = cls(1, 2, (64, 64))
    fit(model, data, FitSettings(num_updates=3000, learning_rate=2e-3), generator=generator)
    return model


@pytest.mark.slow  # 15 s
def test_two_actions_that_lead_to_one_state_are_both_kept() -> None:
    rng = np.random.default_rng(0)
    data = squaring_system(rng)
    obs = rng.standard_normal((2000, 2))
    next_obs = obs + np.array([0.49, 0.0])  # by an action of -0.7 or 0.7

    mean = trained(MlpInverseDynamics, data).predict(obs, next_obs)
    assert np.abs(mean).mean() < 0.1  # between the two: a step of 0.01, where 0.49 was asked for

    model = trained(FlowInverseDynamics, data)
    assert any(isinstance(module, IdentityTwoInputEncoder) for module in model.modules())
    actions = model.predict(obs, next_obs, num_steps=50, generator=torch.Generator().manual_seed(0))
    assert np.mean(actions > 0) == pytest.approx(0.5, abs=0.1)
    assert np.mean(np.abs(np.abs(actions) - 0.7) < 0.1) > 0.9
    step_error = np.abs(actions**2 - 0.49)
    assert np.median(step_error) < 0.05


@pytest.mark.parametrize("cls", [MlpInverseDynamics, FlowInverseDynamics])
def test_dictionary_observations_by_an_encoder(cls: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = DictObservationEncoder({"camera": (8, 8, 3), "joints": (4,)}, image_features=8)
    model = cls(2, encoder.output_dim, (16, 16), encoder=encoder)
    rng = np.random.default_rng(0)
    obs, next_obs = (
        {"camera": rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8), "joints": rng.standard_normal((6, 4))}
        for _ in range(2)
    )
    rows, next_rows = encoder.rows(obs), encoder.rows(next_obs)
    actions = torch.randn(6, 2)
    model.fit_normalizers(rows, next_rows, actions)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model(rows, next_rows, actions).backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())

    noise = {"noise": np.zeros((6, 2))} if model.noise_dim else {}
    answer = model.predict(obs, next_obs, **noise)
    assert isinstance(answer, np.ndarray) and answer.shape == (6, 2)
    dark = {**next_obs, "camera": np.zeros_like(next_obs["camera"])}
    assert not np.allclose(model.predict(obs, dark, **noise), answer)
    save(model, tmp_path / "m")
    assert np.array_equal(load(tmp_path / "m").predict(obs, next_obs, **noise), answer)
    with pytest.raises(ValueError, match=r"next_obs must have the keys"):
        model.predict(obs, {"joints": next_obs["joints"]})
    with pytest.raises(ValueError, match="an encoder must give obs_dim=5 features"):
        cls(2, 5, encoder=encoder)


def scrambled() -> FlowInverseDynamics:
    torch.manual_seed(0)
    model = FlowInverseDynamics(3, 4, (16, 16))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def test_steps_solver_generator_and_noise_reach_the_sampler() -> None:
    model, obs, noise = scrambled(), np.ones((2, 4)), np.ones((2, 3))
    reference = model.predict(obs, obs + 1, noise=noise)
    assert np.array_equal(model.predict(obs, obs + 1, noise=noise, num_steps=10), reference)
    for changed in ({"noise": noise + 1}, {"noise": noise, "num_steps": 3}, {"noise": noise, "solver": "heun"}):
        assert not np.allclose(model.predict(obs, obs + 1, **changed), reference)
    drawn = [model.predict(obs, obs, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])


def test_single_rows_gradients_and_errors() -> None:
    model = scrambled()
    assert model.predict(np.zeros(4, np.float32), np.zeros(4, np.float32)).shape == (3,)
    next_obs = torch.zeros(2, 4, requires_grad=True)
    model.actions(torch.zeros(2, 4), next_obs).sum().backward()
    assert next_obs.grad is not None and next_obs.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="next_obs must have shape"):
        model.predict(np.zeros((2, 4)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="noise"):
        model.predict(np.zeros((2, 4)), np.zeros((2, 4)), noise=np.zeros((2, 4)))
    with pytest.raises(ValueError, match="superfluous"):
        MlpInverseDynamics(3, 4).predict(np.zeros((2, 4)), np.zeros((2, 4)), noise=np.zeros((2, 0)))
