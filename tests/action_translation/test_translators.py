"""Translators: known maps recovered, nothing leaked, arguments that arrive, input that is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch import Tensor, nn

from generative_policies.action_translation import (
    ActionTranslator,
    FlowActionConditionedTranslator,
    FlowActionPriorConditionedTranslator,
    FlowActionPriorTranslator,
    FlowActionTranslator,
    MlpActionTranslator,
)
from generative_policies.checkpoints import load, save
from generative_policies.data import ActionPairDataset, pad_rows
from generative_policies.models import DictObservationEncoder, Encoder
from generative_policies.training import FitSettings, fit, initial_weights

FLOWS: list[type[FlowActionTranslator]] = [
    FlowActionPriorTranslator,
    FlowActionConditionedTranslator,
    FlowActionPriorConditionedTranslator,
]
ALL: list[Any] = [MlpActionTranslator, *FLOWS]
CONDITIONED: list[Any] = [MlpActionTranslator, FlowActionConditionedTranslator, FlowActionPriorConditionedTranslator]


def trained(cls: Any, data: ActionPairDataset, num_updates: int, net_arch: tuple[int, ...] = (64, 64)) -> Any:
    generator = torch.Generator().manual_seed(0)
    with initial_weights(generator):
        translator = cls(data.target_actions.shape[1], data.obs.shape[1], net_arch, data.source_actions.shape[1])
    fit(translator, data, FitSettings(num_updates=num_updates, learning_rate=2e-3), generator=generator)
    return translator


def scrambled(cls: Any, **arguments: Any) -> Any:
    """A translator whose output depends on all it sees."""
    torch.manual_seed(0)
    translator = cls(3, 4, (16, 16), **arguments)
    for parameter in translator.parameters():
        nn.init.normal_(parameter, std=0.3)
    return translator


def motors(rng: np.random.Generator, rows: int = 5000) -> ActionPairDataset:
    """Permuted, mirrored and scaled motors, and a load that the observation tells."""
    obs, source = rng.standard_normal((rows, 4)), rng.uniform(-2, 2, (rows, 3))
    target = source[:, [2, 0, 1]] * [-1.0, 0.7, 1.3] + 0.5 * np.sin(obs[:, :3])
    return ActionPairDataset(np.arange(rows) // 50, obs, source, target)


@pytest.mark.slow  # 15 s each
@pytest.mark.parametrize("cls", CONDITIONED)
def test_conditioned_translators_recover_a_deterministic_map(cls: Any) -> None:
    """To within 2 % of the range of the target actions, with the translator's own number of steps."""
    rng = np.random.default_rng(0)
    translator = trained(cls, motors(rng), 9000, net_arch=(128, 128))
    test = motors(rng, 2000)
    noise = {} if translator.noise_dim == 0 else {"noise": rng.standard_normal((len(test), translator.noise_dim))}
    error = translator.predict(test.obs, test.source_actions, **noise) - test.target_actions
    scale = np.ptp(test.target_actions, axis=0)
    assert (np.sqrt((error**2).mean(axis=0)) < 0.02 * scale).all()


@pytest.mark.parametrize("cls", [MlpActionTranslator, *FLOWS[1:]])
def test_source_and_target_may_have_different_motors(cls: Any) -> None:
    rng = np.random.default_rng(0)
    obs, source = rng.standard_normal((4000, 2)), rng.uniform(-2, 2, (4000, 3))
    data = ActionPairDataset(np.arange(4000) // 40, obs, source, source[:, :2] - source[:, 2:])
    translator = trained(cls, data, 1500)
    answer = translator.predict(obs, source)
    assert answer.shape == (4000, 2)
    assert np.abs(answer - data.target_actions).mean() < 0.1


def test_prior_of_another_width_starts_at_the_least_squares_action() -> None:
    rng = np.random.default_rng(0)
    obs, source = rng.standard_normal((2000, 2)), rng.uniform(-2, 2, (2000, 3))
    target = torch.as_tensor(source[:, :2] - source[:, 2:], dtype=torch.float32)
    translator = FlowActionPriorTranslator(2, 2, source_action_dim=3, prior_noise=0.0)
    obs_rows, source_rows = (torch.as_tensor(x, dtype=torch.float32) for x in (obs, source))
    translator.fit_normalizers(obs_rows, source_rows, target)
    assert torch.allclose(translator.predict(obs_rows, source_rows), target, atol=1e-4)  # untrained: the start itself
    assert translator(obs_rows, source_rows, target).item() < 1e-6


@pytest.mark.slow  # 10 s
def test_prior_only_keeps_the_marginal_under_a_crossing_map(capsys: pytest.CaptureFixture[str]) -> None:
    """All paths of a -> -a meet at t = 1/2; the noisy prior keeps the spread, the pairing is lost."""
    rng = np.random.default_rng(0)
    source = rng.uniform(-1, 1, (8000, 1))  # spread 0.577
    data = ActionPairDataset(np.arange(8000) // 80, np.zeros((8000, 1)), source, -source)
    translator = trained(FlowActionPriorTranslator, data, 4000)
    # The velocity turns sharply where the paths meet: Euler would need hundreds of steps.
    generator = torch.Generator().manual_seed(0)
    answer = translator.predict(data.obs, source, num_steps=50, solver="rk4", generator=generator)
    pairing_error = np.abs(answer + source).mean()
    with capsys.disabled():
        print(f"\nprior-only, a -> -a: spread {answer.std():.3f} of {source.std():.3f}, error {pairing_error:.3f}")
    assert answer.std() == pytest.approx(source.std(), rel=0.05)
    # The whole distribution, not its spread alone: a Gaussian of that spread has a distance of 0.06 to the uniform one.
    assert ks_2samp(answer[:, 0], -source[:, 0]).statistic < 0.045
    assert answer.mean() == pytest.approx(0, abs=0.03)
    assert pairing_error > 0.2  # or the test shows nothing: a map that keeps pairs would have no error


@pytest.mark.parametrize("cls", [MlpActionTranslator, FlowActionPriorTranslator, FlowActionPriorConditionedTranslator])
def test_untrained_residual_translators_are_the_identity(cls: Any) -> None:
    translator = cls(3, 4) if cls is MlpActionTranslator else cls(3, 4, prior_noise=0.0)
    rng = np.random.default_rng(0)
    obs, source, target = (torch.as_tensor(rng.standard_normal((50, d)), dtype=torch.float32) for d in (4, 3, 3))
    translator.fit_normalizers(obs, source, 5 * target + 1)
    assert torch.allclose(translator.predict(obs, source), source, atol=1e-5)


@pytest.mark.parametrize("cls", ALL)
def test_equally_wide_actions_share_their_statistics(cls: Any) -> None:
    translator: Any = cls(3, 4)
    source, target = torch.randn(1000, 3), torch.randn(1000, 3) + 10
    translator.fit_normalizers(torch.randn(1000, 4), source, target)
    found = [module for module in translator.modules() if type(module).__name__ == "Normalizer" and module.dim == 3]
    assert len(found) >= 1
    for normalizer in found:
        assert torch.allclose(normalizer.mean, torch.cat([source, target]).mean(0), atol=1e-4)


@pytest.mark.parametrize("cls", FLOWS)
def test_the_target_action_is_never_in_the_condition(cls: Any) -> None:
    """Every condition the network saw in training is known without the target action."""
    translator = scrambled(cls)
    seen: list[Tensor] = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[2].detach().clone())

    translator.flow.network.register_forward_pre_hook(record)
    obs, source = torch.randn(8, 4), torch.randn(8, 3)
    for target in (torch.randn(8, 3), 100 * torch.randn(8, 3)):
        translator(obs, source, target, generator=torch.Generator().manual_seed(0))
    translator.translate(obs, source, num_steps=1)
    assert len(seen) == 3
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])


@pytest.mark.parametrize("cls", FLOWS)
def test_steps_solver_generator_and_noise_reach_the_sampler(cls: Any) -> None:
    translator = scrambled(cls)
    obs, source, noise = np.ones((2, 4)), np.ones((2, 3)), np.ones((2, 3))
    reference = translator.predict(obs, source, noise=noise, num_steps=4)
    assert np.array_equal(translator.predict(obs, source, noise=noise, num_steps=4), reference)
    for changed in (
        {"noise": noise + 1, "num_steps": 4},
        {"noise": noise, "num_steps": 5},
        {"noise": noise, "num_steps": 4, "solver": "rk4"},
    ):
        assert not np.allclose(translator.predict(obs, source, **changed), reference)
    drawn = [translator.predict(obs, source, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])


def test_the_number_of_steps_is_the_translators_own_by_default() -> None:
    obs, source, noise = np.ones((2, 4)), np.ones((2, 3)), np.ones((2, 3))
    for translator, num_steps in (
        (scrambled(FlowActionPriorTranslator), 4),
        (scrambled(FlowActionConditionedTranslator), 4),
        (scrambled(FlowActionPriorConditionedTranslator), 1),
        (scrambled(FlowActionPriorConditionedTranslator, num_steps=7), 7),
    ):
        expected = translator.predict(obs, source, noise=noise, num_steps=num_steps)
        assert np.array_equal(translator.predict(obs, source, noise=noise), expected)


@pytest.mark.parametrize("cls", ALL)
def test_gradients_flow_through_translate(cls: Any) -> None:
    translator = scrambled(cls)
    obs, source = torch.randn(5, 4, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    translator.translate(obs, source).sum().backward()
    for tensor in (obs, source):
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0
    assert any(parameter.grad is not None for parameter in translator.parameters())


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (5,)])
@pytest.mark.parametrize("cls", ALL)
def test_predict_answers_in_kind(cls: Any, shape: tuple[int, ...], dtype: Any, kind: str) -> None:
    translator = scrambled(cls).to(torch.float64)
    obs: Any = np.zeros((*shape, 4), dtype)
    source: Any = np.ones((*shape, 3), dtype)
    if kind == "torch":
        obs, source = torch.as_tensor(obs), torch.as_tensor(source)
    answer = translator.predict(obs, source)
    assert type(answer) is type(source)
    assert answer.shape == (*shape, 3) and answer.dtype == source.dtype


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cls", ALL)
def test_predict_leaves_modes_and_arrays_as_they_were(cls: Any, training: bool) -> None:
    translator = scrambled(cls).train(training)

    def spoil(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """A part that changes its input in place, as a user's may."""
        inputs[0].add_(1)

    next(module for module in translator.modules() if isinstance(module, Encoder)).register_forward_pre_hook(spoil)
    # float32, which needs no conversion: a model that worked on the caller's memory would show here.
    obs, source = np.ones((2, 4), np.float32), np.ones((2, 3), np.float32)
    translator.predict(obs, source)
    assert (obs == 1).all() and (source == 1).all()
    tensors = torch.ones(2, 4), torch.ones(2, 3)
    translator.predict(*tensors)
    assert all((tensor == 1).all() for tensor in tensors)
    assert all(module.training == training for module in translator.modules())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("cls", ALL)
def test_a_rows_result_does_not_depend_on_its_batch(cls: Any, threads: int) -> None:
    """Bit for bit, for padded batches of 1 to 400 rows."""
    translator = trained(cls, motors(np.random.default_rng(0), 400), 20, net_arch=(32, 32))
    rng = np.random.default_rng(1)
    obs, source, noise = (rng.standard_normal((400, d)) for d in (4, 3, 3))

    def predict(rows: int) -> Any:
        padded = [pad_rows(array[:rows]) for array in (obs, source, noise)]
        arguments = {"noise": padded[2]} if translator.noise_dim else {}
        return translator.predict(padded[0], padded[1], **arguments)[:rows]

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        full = predict(400)
        for rows in [*range(1, 66), 100, 127, 128, 129, 255, 399]:
            assert np.array_equal(predict(rows), full[:rows]), rows
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("cls", ALL)
def test_another_dtype_is_named_in_the_differentiable_layer(cls: Any) -> None:
    translator = scrambled(cls)
    rows = torch.zeros(5, 4), torch.zeros(5, 3)
    with pytest.raises(ValueError, match=r"obs must be torch.float32 .* got torch.float64"):
        translator.translate(rows[0].double(), rows[1])
    with pytest.raises(ValueError, match=r"target_actions must be torch.float32"):
        translator(*rows, rows[1].double())
    with pytest.raises(ValueError, match="finite"):
        translator.fit_normalizers(rows[0] * float("nan"), rows[1], rows[1])
    with pytest.raises(ValueError, match="at least one row"):
        translator(rows[0][:0], rows[1][:0], rows[1][:0])


def test_numbers_of_steps_and_noise_are_checked_at_construction() -> None:
    for num_steps in (0, -1, 1.5, "2", True):
        with pytest.raises(ValueError, match="num_steps"):
            FlowActionPriorTranslator(2, 3, num_steps=num_steps)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="superfluous"):
        FlowActionConditionedTranslator(2, 3, prior_noise=0.1)
    assert FlowActionPriorTranslator(np.int64(2), 3).action_dim == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", ALL)
def test_bad_input_is_refused(cls: Any) -> None:
    translator = scrambled(cls)
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
    with pytest.raises(ValueError, match="target_actions must have shape"):
        translator(torch.zeros(5, 4), torch.zeros(5, 3), torch.zeros(5, 4))
    if cls is MlpActionTranslator:
        with pytest.raises(ValueError, match="noise"):
            translator.predict(obs, source, noise=source)
    else:
        with pytest.raises(ValueError, match="num_steps"):
            translator.predict(obs, source, num_steps=0)
        with pytest.raises(ValueError, match="noise"):
            translator.predict(obs, source, noise=np.zeros((5, 2)))


def dictionary_translator(cls: Any) -> Any:
    torch.manual_seed(0)
    encoder = DictObservationEncoder({"camera": (8, 8, 3), "joints": (4,)}, image_features=8)
    return cls(3, encoder.output_dim, (16, 16), encoder=encoder)


@pytest.mark.parametrize("cls", ALL)
def test_dictionary_observations_by_an_encoder(cls: Any, tmp_path: Path) -> None:
    translator = dictionary_translator(cls)
    rng = np.random.default_rng(0)
    obs = {"camera": rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8), "joints": 50 + rng.standard_normal((6, 4))}
    source, target = rng.standard_normal((6, 3)), rng.standard_normal((6, 3))
    rows = translator.observation_encoder.rows(obs)
    source_rows, target_rows = (torch.as_tensor(x, dtype=torch.float32) for x in (source, target))
    translator.fit_normalizers(rows, source_rows, target_rows)
    for parameter in translator.parameters():
        nn.init.normal_(parameter, std=0.3)
    translator(rows, source_rows, target_rows).backward()
    trained = [parameter.grad is not None for parameter in translator.observation_encoder.parameters()]
    assert trained and all(trained)

    noise = {"noise": np.zeros((6, 3))} if translator.noise_dim else {}
    answer = translator.predict(obs, source, **noise)
    assert answer.shape == (6, 3)
    single = {key: value[0] for key, value in obs.items()}
    one = {"noise": np.zeros(3)} if translator.noise_dim else {}
    assert np.allclose(translator.predict(single, source[0], **one), answer[0], atol=1e-5)
    dark = {**obs, "camera": np.zeros_like(obs["camera"])}
    assert not np.allclose(translator.predict(dark, source, **noise), answer)  # the picture is seen
    save(translator, tmp_path / "t")
    assert np.array_equal(load(tmp_path / "t").predict(obs, source, **noise), answer)
    with pytest.raises(ValueError, match=r"obs must have the keys .* missing: \['camera'\]"):
        translator.predict({"joints": obs["joints"]}, source)
    with pytest.raises(ValueError, match="encoder gives 12 features, but obs_dim is 5"):
        cls(3, 5, encoder=translator.observation_encoder)


def test_translators_are_of_one_kind() -> None:
    for cls in ALL:
        assert issubclass(cls, ActionTranslator)
    with pytest.raises(TypeError, match="use one of them"):
        FlowActionTranslator(2, 3)


def test_a_dictionary_of_one_entry_is_a_dictionary_still() -> None:
    encoder = DictObservationEncoder({"joints": (4,)})
    translator = MlpActionTranslator(3, encoder.output_dim, encoder=encoder)
    assert np.array_equal(translator.predict({"joints": np.zeros((2, 4))}, np.ones((2, 3))), np.ones((2, 3)))
