"""MLP forward dynamics: learns a known system, rolls it out, answers in kind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generative_policies.checkpoints import load, save
from generative_policies.data import TransitionDataset
from generative_policies.forward_dynamics import MlpForwardDynamics
from generative_policies.training import FitSettings, fit, initial_weights

STEERING = np.array([[1.0, 0.5], [-0.5, 1.0], [0.0, 2.0], [0.0, 0.0]])


def linear_system(rng: np.random.Generator, rows: int = 4000) -> TransitionDataset:
    """s' = s + 0.01 B a with large constant offsets in s: one step is tiny beside the spread of states."""
    obs = 10 * rng.standard_normal((rows, 4)) + [100, 0, 0, -50]
    actions = rng.uniform(-2, 2, (rows, 2))
    return TransitionDataset(np.arange(rows) // 50, obs, obs + 0.01 * actions @ STEERING.T, actions)


def trained(data: TransitionDataset, num_updates: int, net_arch: tuple[int, ...] = (32, 32)) -> MlpForwardDynamics:
    generator = torch.Generator().manual_seed(0)
    with initial_weights(generator):
        model = MlpForwardDynamics(data.obs.shape[1], data.actions.shape[1], net_arch)
    fit(model, data, FitSettings(num_updates=num_updates, learning_rate=2e-3), generator=generator)
    return model


def fitted() -> MlpForwardDynamics:
    """An untrained model whose three normalisers all do something."""
    torch.manual_seed(0)
    model = MlpForwardDynamics(4, 2, (16,), members=3).double()
    obs, actions = 5 + torch.randn(50, 4), 2 * torch.randn(50, 2)
    model.fit_normalizers(obs.double(), actions.double(), (obs + 0.1 * torch.randn(50, 4)).double())
    return model


def test_a_known_system_is_learned(rng: np.random.Generator) -> None:
    """In float64, as float32 resolves one step of the offset states to a thousandth only."""
    data, test = linear_system(rng), linear_system(rng)
    model = trained(data, 700).double()
    error = model.predict(test.obs, test.actions) - test.next_obs
    change = test.next_obs - test.obs
    assert (np.sqrt((error**2).mean(axis=0))[:3] < 0.01 * np.ptp(change, axis=0)[:3]).all()
    disagreement = model.next_states(*map(torch.as_tensor, (test.obs, test.actions))).std(dim=0)[:, :3].mean()
    assert disagreement < 0.01 * np.ptp(change)


def test_where_nothing_changes_the_next_state_is_the_state(rng: np.random.Generator) -> None:
    obs, actions = 10 * rng.standard_normal((1000, 3)) + 50, rng.uniform(-1, 1, (1000, 2))
    model = trained(TransitionDataset(np.arange(1000) // 50, obs, obs, actions), 500, (16,))
    assert torch.equal(model.change_normalizer.std, torch.ones(3))  # no change: it keeps its scale
    assert np.abs(model.predict(obs, actions) - obs).mean() < 0.02


def test_constant_features_keep_their_scale() -> None:
    """A feature, an action and a change that do not vary in the data are not blown up where they later do."""
    model = MlpForwardDynamics(3, 2)
    obs, actions = torch.randn(100, 3), torch.randn(100, 2)
    obs[:, 0], actions[:, 1] = 100.0, 0.5
    model.fit_normalizers(obs, actions, obs + torch.tensor([0.25, 0.0, 0.0]))
    assert model.observation_normalizer.std[0] == 1 and model.observation_normalizer.mean[0] == 100
    assert model.action_normalizer.std[1] == 1 and model.action_normalizer.mean[1] == 0.5
    assert torch.equal(model.change_normalizer.std, torch.ones(3))
    assert torch.allclose(model.change_normalizer.mean, torch.tensor([0.25, 0.0, 0.0]), atol=1e-6)
    later = model.next_state(obs + 1, actions + 1)
    assert (later - obs).abs().max() < 10


def test_the_loss_is_the_members_mean_error_in_units_of_the_change() -> None:
    model = fitted()
    obs, actions = torch.randn(8, 4).double(), torch.randn(8, 2).double()
    next_obs = obs + torch.randn(8, 4).double()
    errors = (model.next_states(obs, actions) - next_obs) / model.change_normalizer.std
    by_member = (errors**2).mean(dim=(1, 2))
    assert model(obs, actions, next_obs).item() == pytest.approx(by_member.mean().item())
    assert by_member.std() > 0
    assert model(obs, actions, model.next_state(obs, actions)).item() > 0  # the members differ from their mean


def test_members_differ_and_the_next_state_is_their_mean() -> None:
    model = fitted()
    obs, actions = torch.randn(8, 4).double(), torch.randn(8, 2).double()
    states = model.next_states(obs, actions)
    assert states.shape == (3, 8, 4)
    assert not torch.allclose(states[0], states[1]) and not torch.allclose(states[1], states[2])
    assert torch.allclose(model.next_state(obs, actions), states.mean(dim=0))
    single = MlpForwardDynamics(4, 2, members=1)
    assert torch.allclose(
        single.next_states(obs.float(), actions.float())[0], single.next_state(*_floats(obs, actions))
    )


def test_a_rollout_is_repeated_next_states() -> None:
    model = fitted()
    obs, actions = torch.randn(5, 4).double(), torch.randn(5, 7, 2).double()
    visited = model.rollout(obs, actions)
    assert visited.shape == (5, 7, 4)
    state = obs
    for step in range(7):
        state = model.next_state(state, actions[:, step])
        assert torch.allclose(visited[:, step], state)


def test_a_learned_rollout_follows_the_system(rng: np.random.Generator) -> None:
    model = trained(linear_system(rng), 500).double()
    obs, actions = np.array([[100.0, 0, 0, -50]]), rng.uniform(-2, 2, (1, 20, 2))
    moved = 0.01 * np.cumsum(actions @ STEERING.T, axis=1)[..., :3]
    visited = model.rollout(*map(torch.as_tensor, (obs, actions))).detach().numpy()
    assert np.abs(visited[..., :3] - obs[:, None, :3] - moved).max() < 0.05 * np.ptp(moved)


def test_gradients_flow_to_observations_actions_and_weights() -> None:
    model = MlpForwardDynamics(4, 2)
    for answer in (model.next_states, model.next_state, model.rollout):
        obs = torch.randn(5, 4, requires_grad=True)
        actions = torch.randn((5, 3, 2) if answer == model.rollout else (5, 2), requires_grad=True)
        answer(obs, actions).square().sum().backward()
        for tensor in (obs, actions):
            assert tensor.grad is not None and (tensor.grad != 0).all()
        assert all(parameter.grad is not None for parameter in model.parameters())
        model.zero_grad()


def test_a_gradient_is_the_finite_difference() -> None:
    model = fitted()
    obs, actions = torch.randn(2, 4).double(), torch.randn(2, 3, 2).double()
    assert torch.autograd.gradcheck(model.rollout, (obs.requires_grad_(), actions.requires_grad_()))


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (5,)])
@pytest.mark.parametrize("training", [True, False])
def test_predict_answers_in_kind(training: bool, shape: tuple[int, ...], dtype: Any, kind: str) -> None:
    model = MlpForwardDynamics(4, 2).train(training)
    obs: Any = np.ones((*shape, 4), dtype)
    actions: Any = np.ones((*shape, 2), dtype)
    if kind == "torch":
        obs, actions = torch.as_tensor(obs), torch.as_tensor(actions)
    answer = model.predict(obs, actions)
    assert type(answer) is type(obs)
    assert answer.shape == (*shape, 4) and answer.dtype == obs.dtype
    assert not getattr(answer, "requires_grad", False)
    expected = model.next_state(torch.ones(1, 4), torch.ones(1, 2))[0].detach().numpy()
    assert np.allclose(answer, expected, atol=1e-5)
    assert (obs == 1).all() and (actions == 1).all()
    assert all(module.training == training for module in model.modules())


def test_predict_leaves_the_callers_arrays_as_they_were() -> None:
    """Even where a part works in place, on rows that needed no conversion."""
    model = MlpForwardDynamics(4, 2)
    model.observation_normalizer.normalize = lambda x: x.add_(1)  # type: ignore[method-assign]
    for obs in (np.ones((2, 4), np.float32), torch.ones(2, 4)):
        model.predict(obs, np.ones((2, 2), np.float32))
        assert (obs == 1).all()


def test_no_rows_are_no_rows() -> None:
    model = MlpForwardDynamics(4, 2)
    assert model.predict(np.zeros((0, 4)), np.zeros((0, 2))).shape == (0, 4)
    assert model.rollout(torch.zeros(0, 4), torch.zeros(0, 3, 2)).shape == (0, 3, 4)


def test_a_saved_model_predicts_the_same(tmp_path: Path) -> None:
    model = fitted()
    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model")
    obs, actions = torch.randn(8, 4).double(), torch.randn(8, 2).double()
    assert torch.equal(loaded.next_states(obs, actions), model.next_states(obs, actions))
    assert loaded.config == model.config


def test_the_same_seed_gives_the_same_model(rng: np.random.Generator) -> None:
    data = linear_system(rng, 500)
    first, second = trained(data, 20), trained(data, 20)
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_bad_input_is_refused() -> None:
    model = MlpForwardDynamics(4, 2)
    obs, actions = np.zeros((5, 4)), np.zeros((5, 2))
    for arguments, message in (
        ((obs[:, :3], actions), r"obs must have shape \(4,\) or \(batch, 4\), got \(5, 3\)"),
        ((actions, obs), r"obs must have shape \(4,\) or \(batch, 4\), got \(5, 2\)"),
        ((obs, obs), r"actions must have shape \(2,\) or \(batch, 2\), got \(5, 4\)"),
        ((obs, actions[:4]), r"actions must have shape \(5, 2\), got \(4, 2\)"),
        ((obs * np.nan, actions), "obs must be finite"),
        ((obs, actions + np.inf), "actions must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(*arguments)


def test_bad_rows_are_refused_in_the_differentiable_layer() -> None:
    model = MlpForwardDynamics(4, 2)
    obs, actions = torch.zeros(5, 4), torch.zeros(5, 2)
    for method in (model.next_states, model.next_state):
        for rows, message in (
            ((actions, obs), r"obs must have shape \(batch, 4\), got \(5, 2\)"),
            ((obs, actions[:4]), r"actions must have shape \(5, 2\), got \(4, 2\)"),
            ((obs.double(), actions), "obs must be torch.float32"),
            ((obs, actions * torch.nan), "actions must be finite"),
        ):
            with pytest.raises(ValueError, match=message):
                method(*rows)
    for rows, message in (
        ((obs, actions, actions), r"next_obs must have shape \(5, 4\), got \(5, 2\)"),
        ((obs, obs, actions), r"actions must have shape \(5, 2\), got \(5, 4\)"),  # in the inverse dynamics' order
        ((obs, actions, obs[:4]), r"next_obs must have shape \(5, 4\), got \(4, 4\)"),
        ((obs, actions, obs * torch.nan), "next_obs must be finite"),
        ((obs[:0], actions[:0], obs[:0]), "at least one row"),
    ):
        for learn in (model, model.fit_normalizers):
            with pytest.raises(ValueError, match=message):
                learn(*rows)


def test_bad_rollouts_are_refused() -> None:
    model = MlpForwardDynamics(4, 2)
    obs = torch.zeros(5, 4)
    for actions, message in (
        (torch.zeros(5, 2), r"actions must have shape \(5, steps, 2\) .* got \(5, 2\)"),
        (torch.zeros(5, 0, 2), "at least one step"),
        (torch.zeros(5, 3, 4), r"actions must have shape \(5, 3, 2\), got \(5, 3, 4\)"),
        (torch.zeros(4, 3, 2), r"actions must have shape \(5, 3, 2\), got \(4, 3, 2\)"),
        (torch.full((5, 3, 2), torch.nan), "actions must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            model.rollout(obs, actions)
    with pytest.raises(TypeError, match=r"actions must be a torch.Tensor"):
        model.rollout(obs, np.zeros((5, 3, 2)))  # type: ignore[arg-type]


def test_sizes_are_checked_at_construction() -> None:
    for name in ("obs_dim", "action_dim", "members"):
        for value in (0, -1, 1.5):
            arguments: dict[str, Any] = {"obs_dim": 4, "action_dim": 2, name: value}
            with pytest.raises(ValueError, match=name):
                MlpForwardDynamics(**arguments)
    with pytest.raises(ValueError, match="net_arch"):
        MlpForwardDynamics(4, 2, ())


def _floats(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.float() for tensor in tensors]
