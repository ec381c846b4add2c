"""Ridge regression: the closed form is that of the augmented system, between the data and no correction."""

from pathlib import Path

import numpy as np
import pytest
import torch

from generative_policies.action_translation import MlpActionTranslator
from generative_policies.checkpoints import load, save
from generative_policies.data import ActionPairDataset
from generative_policies.training import fit_ridge

ROWS = 200


def pairs(rng: np.random.Generator, source_dim: int = 2, target_dim: int = 2, noise: float = 0.0) -> ActionPairDataset:
    obs, source = 3 + rng.standard_normal((ROWS, 4)), rng.uniform(-2, 2, (ROWS, source_dim))
    target = source @ rng.standard_normal((source_dim, target_dim)) + 0.5 * obs[:, :target_dim] + 0.7
    return ActionPairDataset(np.arange(ROWS) // 20, obs, source, target + noise * rng.standard_normal(target.shape))


def translator(data: ActionPairDataset) -> MlpActionTranslator:
    dims = data.target_actions.shape[1], data.obs.shape[1], (), data.source_actions.shape[1]
    model = MlpActionTranslator(*dims).double()
    model.fit_normalizers(*(torch.as_tensor(array) for array in (data.obs, data.source_actions, data.target_actions)))
    return model


@pytest.mark.parametrize("dims", [(2, 2), (3, 2), (1, 3)])
def test_a_linear_correction_is_recovered(dims: tuple[int, int], rng: np.random.Generator) -> None:
    data = pairs(rng, *dims)
    model = translator(data)
    errors = []
    for penalty in (1e-1, 1e-3, 1e-8):
        fit_ridge(model, data, penalty)
        errors.append(np.abs(model.predict(data.obs, data.source_actions) - data.target_actions).max())
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-7
    obs, source = 10 * rng.standard_normal((5, 4)), 10 * rng.standard_normal((5, dims[0]))  # away from the data, too
    exact = np.linalg.lstsq(
        np.column_stack([data.obs, data.source_actions, np.ones(ROWS)]), data.target_actions, rcond=None
    )[0]
    assert np.allclose(model.predict(obs, source), np.column_stack([obs, source, np.ones(5)]) @ exact, atol=1e-6)


def test_a_large_penalty_leaves_the_source_action_but_for_the_mean(rng: np.random.Generator) -> None:
    data = pairs(rng)
    model = translator(data)
    fit_ridge(model, data, 1e12)
    shift = (data.target_actions - data.source_actions).mean(axis=0)
    assert np.abs(shift).max() > 0.5
    assert np.allclose(model.predict(data.obs, data.source_actions), data.source_actions + shift, atol=1e-6)


@pytest.mark.parametrize("dims", [(2, 2), (3, 2)])
def test_it_is_the_least_squares_solution_of_the_augmented_system(
    dims: tuple[int, int], rng: np.random.Generator
) -> None:
    data, penalty = pairs(rng, *dims, noise=1.0), 25.0
    model = translator(data)
    fit_ridge(model, data, penalty)

    def standard(rows: np.ndarray, statistics: np.ndarray) -> np.ndarray:
        return (rows - statistics.mean(axis=0)) / statistics.std(axis=0)

    obs, source, target = data.obs, data.source_actions, data.target_actions
    same = dims[0] == dims[1]  # then both actions share their statistics
    of_source, of_target = (np.concatenate([source, target]),) * 2 if same else (source, target)
    features = np.column_stack([standard(obs, obs), standard(source, of_source)])
    wanted = standard(target, of_target) - (standard(source, of_source) if same else 0)
    width = features.shape[1]
    # Rows of sqrt(penalty) on each weight, none on the bias.
    system = np.block([[features, np.ones((ROWS, 1))], [np.sqrt(penalty) * np.eye(width), np.zeros((width, 1))]])
    solution = np.linalg.lstsq(system, np.concatenate([wanted, np.zeros((width, dims[1]))]), rcond=None)[0]
    layer = model.network[-1]
    assert np.allclose(layer.weight.detach().numpy(), solution[:-1].T, atol=1e-9)
    assert np.allclose(layer.bias.detach().numpy(), solution[-1], atol=1e-9)


def test_features_without_spread_in_the_data_tell_nothing(rng: np.random.Generator) -> None:
    plenty, few = pairs(rng), pairs(rng)
    model = translator(plenty)
    obs = few.obs.copy()
    obs[:, 3] = 4.0 + 1e-5 * rng.standard_normal(ROWS)  # a goal that a handful of episodes have in common
    fit_ridge(model, ActionPairDataset(few.episodes, obs, few.source_actions, few.target_actions))
    moved = obs.copy()
    moved[:, 3] -= 3.0
    change = model.predict(moved, few.source_actions) - model.predict(obs, few.source_actions)
    assert np.abs(change).max() < 1e-3


def test_normalizers_stay_and_the_weights_are_saved(tmp_path: Path, rng: np.random.Generator) -> None:
    data, other = pairs(rng), pairs(rng)
    model = translator(other).float()
    before = {name: value.clone() for name, value in model.state_dict().items() if not name.startswith("network")}
    fit_ridge(model, data)
    after = model.state_dict()
    assert len(before) == 6 and all(torch.equal(after[name], value) for name, value in before.items())
    save(model, tmp_path / "linear")
    restored: MlpActionTranslator = load(tmp_path / "linear")  # type: ignore[assignment]
    assert np.array_equal(restored.predict(data.obs, data.source_actions), model.predict(data.obs, data.source_actions))


def test_what_has_no_closed_form_is_refused(rng: np.random.Generator) -> None:
    data = pairs(rng)
    with pytest.raises(ValueError, match=r"net_arch=\(\), got \(16,\)"):
        fit_ridge(MlpActionTranslator(2, 4, (16,)), data)
    for penalty in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="penalty must be positive and finite"):
            fit_ridge(MlpActionTranslator(2, 4, ()), data, penalty)
    with pytest.raises(ValueError, match="obs"):
        fit_ridge(MlpActionTranslator(2, 5, ()), data)
