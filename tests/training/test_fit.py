"""The training loop: deterministic, by episode, from averaged weights."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from generative_policies.action_translation import FlowActionPriorConditionedTranslator, MlpActionTranslator
from generative_policies.data import ActionPairDataset
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.training import FitSettings, fit, initial_weights

SHORT = FitSettings(num_updates=60, batch_size=32)


@pytest.fixture
def pairs(rng: np.random.Generator) -> ActionPairDataset:
    obs, source = 3 + rng.standard_normal((600, 4)), rng.uniform(-2, 2, (600, 3))
    return ActionPairDataset(np.arange(600) // 20, obs, source, 0.5 * source + 0.1 * obs[:, :3])


def run(cls: Any, pairs: ActionPairDataset, seed: int, settings: FitSettings = SHORT) -> Any:
    generator = torch.Generator().manual_seed(seed)
    with initial_weights(generator):
        model = cls(3, 4, (16, 16))
    return model, fit(model, pairs, settings, generator=generator)


@pytest.mark.parametrize("cls", [MlpActionTranslator, FlowActionPriorConditionedTranslator])
def test_same_seed_same_weights_same_samples(cls: Any, pairs: ActionPairDataset) -> None:
    state = torch.random.get_rng_state()
    models = [run(cls, pairs, seed)[0] for seed in (0, 0, 1)]
    weights = [torch.cat([tensor.flatten() for tensor in model.state_dict().values()]) for model in models]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    samples = [
        model.predict(pairs.obs, pairs.source_actions, generator=torch.Generator().manual_seed(3)) for model in models
    ]
    assert np.array_equal(samples[0], samples[1])
    assert torch.equal(torch.random.get_rng_state(), state)  # the global state is nobody's business


def test_training_lowers_the_validation_loss(pairs: ActionPairDataset) -> None:
    _, short = run(MlpActionTranslator, pairs, 0, replace(SHORT, num_updates=1))
    _, long = run(MlpActionTranslator, pairs, 0, replace(SHORT, num_updates=600))
    assert long.validation_loss < 0.1 * short.validation_loss


def test_statistics_come_from_training_episodes_alone(pairs: ActionPairDataset) -> None:
    """Held-out episodes carry a marker that must not reach the normaliser."""
    probe, _ = run(MlpActionTranslator, pairs, 0)
    means = []
    for episode in range(30):
        obs = pairs.obs.copy()
        obs[pairs.episodes == episode] += 1e3
        model, _ = run(MlpActionTranslator, replace(pairs, obs=obs), 0, replace(SHORT, num_updates=1))
        means.append(
            bool(torch.allclose(model.observation_encoder.normalizer.mean, probe.observation_encoder.normalizer.mean))
        )
    assert sum(means) == 3  # a tenth of the episodes


def test_normalizers_of_another_robot_stay_when_asked(pairs: ActionPairDataset) -> None:
    """A model that was fitted on one robot is tuned on another: its weights move, its units do not."""
    other = replace(pairs, obs=5 * pairs.obs + 20, target_actions=3 * pairs.target_actions)
    for refit, kept in ((False, True), (True, False)):
        model, _ = run(MlpActionTranslator, pairs, 0)
        units = {name: buffer.clone() for name, buffer in model.named_buffers()}
        weight = model.network[0].weight.detach().clone()
        fit(model, other, SHORT, generator=torch.Generator().manual_seed(0), refit_normalizers=refit)
        assert not torch.equal(model.network[0].weight, weight)
        assert len(units) == 6  # mean and deviation of observation, source and target action
        assert all(torch.equal(buffer, units[name]) == kept for name, buffer in model.named_buffers())


def test_the_averaged_weights_stay_in_the_model(pairs: ActionPairDataset) -> None:
    last, averaged = (run(MlpActionTranslator, pairs, 0, replace(SHORT, ema_decay=decay))[0] for decay in (0.0, 0.99))
    assert not torch.equal(last.network[0].weight, averaged.network[0].weight)


def test_gradients_are_clipped(pairs: ActionPairDataset) -> None:
    """Adam forgets the gradients' size but not their relative sizes: an outlier dominates unless it is clipped."""
    wild = pairs.target_actions.copy()
    wild[pairs.episodes == 3] *= 1e4
    spoiled = replace(pairs, target_actions=wild)
    settings = replace(SHORT, validation_fraction=0.0, batch_size=8)
    clipped, free = (run(MlpActionTranslator, spoiled, 0, replace(settings, max_grad_norm=g))[0] for g in (1e-3, 1e9))
    assert not torch.equal(clipped.network[0].weight, free.network[0].weight)


def test_weight_decay_shrinks_what_the_loss_does_not_hold(pairs: ActionPairDataset) -> None:
    """With no gradient at all, AdamW multiplies weights by 1 - rate * decay at each step."""
    settings = FitSettings(
        num_updates=100, learning_rate=0.01, weight_decay=1.0, ema_decay=0.0, validation_fraction=0.0
    )
    generator = torch.Generator().manual_seed(0)
    with initial_weights(generator):
        model = MlpActionTranslator(3, 4, (16,))
    silent = replace(pairs, target_actions=pairs.source_actions.copy())  # the untrained translator is right already
    before = model.network[0].weight.detach().clone()
    fit(model, silent, settings, generator=generator)
    rates = [0.01 * settings.learning_rate_factor(update) for update in range(100)]
    expected = float(np.prod([1 - rate for rate in rates]))
    assert torch.allclose(model.network[0].weight, expected * before, rtol=1e-3, atol=1e-6)


def test_the_logged_validation_loss_is_that_of_the_averaged_weights(pairs: ActionPairDataset) -> None:
    logged: list[float] = []
    generator = torch.Generator().manual_seed(0)
    model = MlpActionTranslator(3, 4, (16,))
    log = lambda update, figures: logged.append(figures["validation/loss"])  # noqa: E731
    result = fit(model, pairs, SHORT, generator=generator, log=log)
    assert logged[-1] == pytest.approx(result.validation_loss)


def test_a_dataset_of_another_kind_is_named(pairs: ActionPairDataset) -> None:
    with pytest.raises(
        ValueError, match="MlpInverseDynamics learns from obs, next_obs, actions, the ActionPairDataset"
    ):
        fit(MlpInverseDynamics(3, 4), pairs, SHORT, generator=torch.Generator().manual_seed(0))


def test_log_is_called_with_update_and_figures(pairs: ActionPairDataset) -> None:
    calls: list[tuple[int, Mapping[str, float]]] = []
    model = MlpActionTranslator(3, 4)
    settings = FitSettings(num_updates=50, num_validations=5)
    generator = torch.Generator().manual_seed(0)
    fit(model, pairs, settings, generator=generator, log=lambda update, figures: calls.append((update, figures)))
    assert [update for update, _ in calls] == [10, 20, 30, 40, 50]
    assert all({"train/loss", "validation/loss", "train/learning_rate"} == set(figures) for _, figures in calls)


def test_logging_does_not_change_the_result(pairs: ActionPairDataset) -> None:
    models = []
    for log in (None, lambda update, figures: None):
        generator = torch.Generator().manual_seed(0)
        with initial_weights(generator):
            model = FlowActionPriorConditionedTranslator(3, 4, (16,))
        fit(model, pairs, SHORT, generator=generator, log=log)
        models.append(torch.cat([tensor.flatten() for tensor in model.state_dict().values()]))
    assert torch.equal(models[0], models[1])


def test_the_models_mode_is_left_as_it_was(pairs: ActionPairDataset) -> None:
    for training in (True, False):
        model = MlpActionTranslator(3, 4).train(training)
        fit(model, pairs, SHORT, generator=torch.Generator().manual_seed(0))
        assert model.training == training


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    settings = FitSettings(num_updates=1000, warmup_fraction=0.1)
    factors = [settings.learning_rate_factor(update) for update in range(1001)]
    assert np.argmax(factors) in (99, 100)
    assert max(factors) == pytest.approx(1.0, abs=0.01)
    assert 0 < factors[0] < 0.05 and factors[1000] == pytest.approx(0.0, abs=1e-9)
    assert factors[550] == pytest.approx(0.5, abs=0.01)  # a cosine's middle


def test_no_validation_trains_on_everything(pairs: ActionPairDataset) -> None:
    one_episode = pairs.select(pairs.episodes == 0)
    _, result = run(MlpActionTranslator, one_episode, 0, replace(SHORT, validation_fraction=0.0))
    assert result.validation_loss is None and np.isfinite(result.train_loss)
    with pytest.raises(ValueError, match="at least two episodes"):
        run(MlpActionTranslator, one_episode, 0)


def test_a_diverging_training_says_so(pairs: ActionPairDataset) -> None:
    with pytest.raises(ValueError, match=r"loss became .* learning_rate"):
        run(MlpActionTranslator, pairs, 0, replace(SHORT, learning_rate=1e18, num_updates=600, max_grad_norm=1e30))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_updates", 1.5),
        ("ema_decay", 1.0),
        ("validation_fraction", 1.0),
        ("num_updates", 0),
        ("batch_size", 0),
        ("ema_decay", 1.5),
        ("validation_fraction", -0.1),
        ("learning_rate", -1),
    ],
)
def test_settings_are_checked(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        FitSettings(**{name: value})
