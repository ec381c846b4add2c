"""Composed translation: exact where its parts are, and a translator like every other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from generative_policies.action_translation import ComposedActionTranslator
from generative_policies.checkpoints import load, save
from generative_policies.data import ActionPairDataset, TransitionDataset, pad_rows
from generative_policies.forward_dynamics import MlpForwardDynamics
from generative_policies.inverse_dynamics import FlowInverseDynamics, InverseDynamics, MlpInverseDynamics
from generative_policies.models import DictObservationEncoder, IdentityEncoder
from generative_policies.training import FitSettings, fit, initial_weights

# s' = s + G a of two robots with other motors: the source's three, the target's two.
SOURCE = torch.tensor([[1.0, 0.5, -0.5], [-0.5, 1.0, 0.25], [0.0, 0.0, 0.0]], dtype=torch.float64)
TARGET = torch.tensor([[0.8, -0.6], [0.6, 1.2], [0.0, 0.0]], dtype=torch.float64)
EXACT = torch.linalg.pinv(TARGET) @ SOURCE


def linear(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """First and last weights ``(out, in)`` of a network that is the matrix: silu(x) - silu(-x) = x."""
    eye = torch.eye(matrix.shape[1], dtype=matrix.dtype)
    return torch.cat([eye, -eye]), torch.cat([matrix, -matrix], dim=1)


def forward_model(steering: Tensor) -> MlpForwardDynamics:
    """The forward dynamics of s' = s + G a, exactly."""
    obs_dim, action_dim = steering.shape
    model = MlpForwardDynamics(obs_dim, action_dim, (2 * (obs_dim + action_dim),)).double()
    weights = linear(torch.cat([torch.zeros(obs_dim, obs_dim), steering], dim=1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for layer, weight in zip((model.network[0], model.network[2]), weights, strict=True):
            layer.weight.copy_(weight.T)
    return model


def inverse_model(steering: Tensor, next_obs_dim: int | None = None) -> MlpInverseDynamics:
    """The inverse dynamics of s' = s + G a, exactly, of the leading part of s'."""
    obs_dim, action_dim = steering.shape
    known = next_obs_dim or obs_dim
    model = MlpInverseDynamics(action_dim, obs_dim, (2 * (obs_dim + known),), next_obs_dim).double()
    matrix = torch.cat([torch.zeros(action_dim, obs_dim), torch.linalg.pinv(steering[:known])], dim=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for layer, weight in zip((model.network[0], model.network[2]), linear(matrix), strict=True):
            layer.weight.copy_(weight)
    return model


def untrained(inverse: type[InverseDynamics] = MlpInverseDynamics) -> ComposedActionTranslator:
    torch.manual_seed(0)
    translator = ComposedActionTranslator(inverse(2, 4, (16,)), MlpForwardDynamics(4, 3, (16,)))  # type: ignore[call-arg]  # both kinds take it
    for parameter in translator.parameters():
        nn.init.normal_(parameter, std=0.3)
    return translator


@pytest.mark.parametrize("next_obs_dim", [None, 2])
def test_exact_parts_translate_exactly(next_obs_dim: int | None) -> None:
    translator = ComposedActionTranslator(inverse_model(TARGET, next_obs_dim), forward_model(SOURCE))
    assert (translator.obs_dim, translator.source_action_dim, translator.action_dim) == (3, 3, 2)
    obs, source = 10 * torch.randn(50, 3).double(), torch.randn(50, 3).double()
    target = source @ EXACT.T
    assert torch.allclose(translator.predict(obs, source), target)
    assert torch.allclose(target @ TARGET.T, source @ SOURCE.T)  # both robots move alike
    assert translator(obs, source, target).item() < 1e-20


def test_between_equal_robots_it_is_the_identity() -> None:
    translator = ComposedActionTranslator(inverse_model(TARGET), forward_model(TARGET))
    obs, source = torch.randn(50, 3).double(), torch.randn(50, 2).double()
    assert torch.allclose(translator.predict(obs, source), source)


def test_parts_learned_on_their_own_robots_translate() -> None:
    """Without a single pair of actions, to within 2 % of the actions' range."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    with initial_weights(generator):
        inverse, forward = MlpInverseDynamics(2, 3), MlpForwardDynamics(3, 3)
    settings = FitSettings(num_updates=500, learning_rate=3e-3)
    for model, steering in ((inverse, TARGET), (forward, SOURCE)):
        # The target moves as far as the source, lest its inverse dynamics has to extrapolate.
        obs, actions = rng.standard_normal((3000, 3)), rng.uniform(-2, 2, (3000, steering.shape[1]))
        next_obs = obs + 0.1 * actions @ steering.numpy().T
        fit(model, TransitionDataset(np.arange(3000) // 50, obs, next_obs, actions), settings, generator=generator)
    translator = ComposedActionTranslator(inverse, forward)
    obs, source = rng.standard_normal((1000, 3)), rng.uniform(-1, 1, (1000, 3))
    expected = source @ EXACT.numpy().T
    error = translator.predict(obs, source) - expected
    assert (np.sqrt((error**2).mean(axis=0)) < 0.02 * np.ptp(expected, axis=0)).all()


def test_it_is_the_inverse_dynamics_of_the_forward_dynamics() -> None:
    translator = untrained()
    obs, source = torch.randn(5, 4), torch.randn(5, 3)
    next_obs = translator.forward_dynamics.next_state(obs, source)
    expected = translator.inverse_dynamics.actions(obs, next_obs)
    assert torch.equal(translator.translate(obs, source), expected)
    assert torch.allclose(translator.predict(obs, source), expected)


@pytest.mark.parametrize("inverse", [MlpInverseDynamics, FlowInverseDynamics])
def test_the_loss_is_in_units_of_the_targets_actions(inverse: Any) -> None:
    """Actions in units a thousand times as small, and a model that knows it: the same loss."""
    losses = []
    for scale in (1.0, 1000.0):
        translator = untrained(inverse)
        obs, source, target = torch.randn(200, 4), torch.randn(200, 3), scale * torch.randn(200, 2)
        translator.inverse_dynamics.fit_normalizers(obs, obs + torch.randn(200, 4), target)
        losses.append(translator(obs, source, target, generator=torch.Generator().manual_seed(0)).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


class Doubled(InverseDynamics):
    """A user's own, without units: the action is twice the change."""

    noise_dim = 0
    transition_encoder = IdentityEncoder(2)

    def forward(self, *rows: Any, **_: Any) -> Tensor:
        raise NotImplementedError

    def fit_normalizers(self, *rows: Any) -> None:
        raise NotImplementedError

    def actions(self, obs: Any, next_obs: Any, **_: Any) -> Tensor:
        answer: Tensor = 2 * (next_obs - obs)
        return answer


def test_without_normalised_actions_the_loss_is_in_raw_units() -> None:
    translator = ComposedActionTranslator(Doubled(2, 2), forward_model(torch.eye(2).double()))
    obs, source = torch.randn(8, 2).double(), torch.randn(8, 2).double()
    assert translator(obs, source, 2 * source + 3).item() == pytest.approx(9)


def test_noise_is_that_of_the_inverse_dynamics() -> None:
    assert untrained().noise_dim == 0
    translator = untrained(FlowInverseDynamics)
    assert translator.noise_dim == 2
    obs, source, noise = np.ones((5, 4)), np.ones((5, 3)), np.random.default_rng(0).standard_normal((5, 2))
    first = translator.predict(obs, source, noise=noise)
    assert np.array_equal(translator.predict(obs, source, noise=noise), first)
    assert not np.allclose(translator.predict(obs, source, noise=noise + 1), first)
    drawn = [translator.predict(obs, source, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])
    with pytest.raises(ValueError, match="noise is superfluous"):
        untrained().translate(torch.ones(5, 4), torch.ones(5, 3), noise=torch.ones(5, 2))


def test_gradients_flow_through_both_parts() -> None:
    translator = untrained()
    obs, source = torch.randn(5, 4, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    translator.translate(obs, source).square().sum().backward()
    for tensor in (obs, source, *translator.parameters()):
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0


def test_it_is_tuned_on_pairs_in_the_units_of_its_parts() -> None:
    rng = np.random.default_rng(0)
    obs, source = rng.standard_normal((1000, 4)), rng.uniform(-2, 2, (1000, 3))
    data = ActionPairDataset(np.arange(1000) // 50, obs, source, source[:, :2] - source[:, 2:])
    translator = untrained()
    units = {name: buffer.clone() for name, buffer in translator.named_buffers()}
    before = np.abs(translator.predict(obs, source) - data.target_actions).mean()
    fit(translator, data, FitSettings(num_updates=300, learning_rate=3e-3), generator=torch.Generator().manual_seed(0))
    assert np.abs(translator.predict(obs, source) - data.target_actions).mean() < 0.3 * before
    assert len(units) == 12
    assert all(torch.equal(buffer, units[name]) for name, buffer in translator.named_buffers())


@pytest.mark.parametrize("inverse", [MlpInverseDynamics, FlowInverseDynamics])
def test_a_saved_translator_predicts_the_same(inverse: Any, tmp_path: Path) -> None:
    translator = untrained(inverse)
    save(translator, tmp_path / "t")
    loaded = load(tmp_path / "t")
    obs, source, noise = np.ones((5, 4)), np.ones((5, 3)), np.ones((5, translator.noise_dim))
    arguments = {"noise": noise} if translator.noise_dim else {}
    assert type(loaded) is ComposedActionTranslator and loaded.noise_dim == translator.noise_dim
    assert np.array_equal(loaded.predict(obs, source, **arguments), translator.predict(obs, source, **arguments))


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (5,)])
def test_predict_answers_in_kind(shape: tuple[int, ...], dtype: Any, kind: str) -> None:
    translator = untrained()
    obs: Any = np.ones((*shape, 4), dtype)
    source: Any = np.ones((*shape, 3), dtype)
    if kind == "torch":
        obs, source = torch.as_tensor(obs), torch.as_tensor(source)
    answer = translator.predict(obs, source)
    assert type(answer) is type(source)
    assert answer.shape == (*shape, 2) and answer.dtype == source.dtype
    assert (obs == 1).all() and (source == 1).all()
    assert all(module.training for module in translator.modules())


def test_a_rows_result_does_not_depend_on_its_batch() -> None:
    """Bit for bit, for padded batches."""
    translator, rng = untrained(), np.random.default_rng(0)
    obs, source = rng.standard_normal((400, 4)), rng.standard_normal((400, 3))
    full = translator.predict(obs, source)
    for rows in [*range(1, 66), 100, 127, 128, 129, 255, 399]:
        assert np.array_equal(translator.predict(pad_rows(obs[:rows]), pad_rows(source[:rows]))[:rows], full[:rows])


def test_parts_that_do_not_fit_are_refused() -> None:
    forward = MlpForwardDynamics(4, 3)
    with pytest.raises(ValueError, match="same obs_dim, got 5 of inverse_dynamics and 4 of forward_dynamics"):
        ComposedActionTranslator(MlpInverseDynamics(2, 5), forward)
    for encoder in (IdentityEncoder(4), DictObservationEncoder({"joints": (4,)})):
        with pytest.raises(ValueError, match="with an encoder"):
            ComposedActionTranslator(MlpInverseDynamics(2, 4, encoder=encoder), forward)
    with pytest.raises(TypeError, match="inverse_dynamics must be an InverseDynamics, got MlpForwardDynamics"):
        ComposedActionTranslator(forward, MlpInverseDynamics(2, 4))  # type: ignore[arg-type]  # swapped, for the test


def test_bad_input_is_refused() -> None:
    translator = untrained()
    obs, source = np.zeros((5, 4)), np.zeros((5, 3))
    for arguments, message in (
        ((source, source), r"obs must have shape \(4,\) or \(batch, 4\), got \(5, 3\)"),
        ((obs, obs), "source_actions must have shape"),
        ((obs, source[:4]), r"source_actions must have shape \(5, 3\), got \(4, 3\)"),
        ((obs * np.nan, source), "obs must be finite"),
        ((obs, source + np.inf), "source_actions must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            translator.predict(*arguments)
    rows = torch.zeros(5, 4), torch.zeros(5, 3)
    with pytest.raises(ValueError, match="target_actions must have shape"):
        translator(*rows, torch.zeros(5, 4))
    with pytest.raises(ValueError, match="at least one row"):
        translator(rows[0][:0], rows[1][:0], torch.zeros(0, 2))
    with pytest.raises(ValueError, match=r"source_actions must be torch.float32"):
        translator.translate(rows[0], rows[1].double())
