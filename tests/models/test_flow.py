"""The conditional flow model: distributions with known answers, arguments that arrive, input that is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from generative_policies.models import (
    ConditionalFlowModel,
    ConditionalUNet1D,
    IdentityTwoInputEncoder,
    ResidualMlp,
    SourcePrior,
)
from generative_policies.models.experiments import ExperimentSettings
from generative_policies.models.experiments.fitting import bimodal


def train(model: ConditionalFlowModel, batches: Iterator[dict[str, Any]], num_updates: int) -> None:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_updates)
    for _ in range(num_updates):
        loss = model(**next(batches), generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@pytest.fixture
def model() -> ConditionalFlowModel:
    """A small model whose velocity is nowhere zero."""
    torch.manual_seed(0)
    model = ConditionalFlowModel(3, 4, 8, (16, 16))
    for parameter in model.network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.slow  # 25 s a seed
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bimodal_target_is_recovered(seed: int, tmp_path: Path) -> None:
    table, bounds = bimodal(ExperimentSettings("bimodal", seed=seed, output=tmp_path))
    samples = table["samples"]
    assert samples["modes covered"] == 2
    assert samples["largest error of a mode's mass / mass"] < 0.05 / 0.3  # 0.05 of the rarer mode's 0.3
    assert bounds and all(bound.low <= table[bound.row][bound.column] <= bound.high for bound in bounds)
    # A perfect sampler passes the quantile alone 99 times in 100; the margin is what learning may add.
    assert samples["energy distance"] < table["real versus real, 99 %"]["energy distance"] + 0.01


@pytest.mark.slow  # 10 s
def test_conditional_mean_and_variance_match() -> None:
    """Target | c is N(sin(2 c), (0.1 + 0.4 c^2)^2): the marginal alone would not tell a model that ignores c."""
    rng = np.random.default_rng(0)

    def batches() -> Iterator[dict[str, Any]]:
        while True:
            c = rng.uniform(-1, 1, (256, 1))
            target = np.sin(2 * c) + (0.1 + 0.4 * c**2) * rng.standard_normal(c.shape)
            yield {
                "target": torch.as_tensor(target, dtype=torch.float32),
                "condition": torch.as_tensor(c, dtype=torch.float32),
            }

    torch.manual_seed(0)
    model = ConditionalFlowModel(1, 1, network=ResidualMlp(1, 1, (64, 64, 64)))
    train(model, batches(), 3000)
    for c in (-0.9, -0.4, 0.0, 0.5, 0.9):
        samples = model.predict(4000, torch.tensor([c]), num_steps=50, generator=torch.Generator().manual_seed(1))
        assert isinstance(samples, torch.Tensor)
        assert samples.mean().item() == pytest.approx(np.sin(2 * c), abs=0.06)
        assert samples.std().item() == pytest.approx(0.1 + 0.4 * c**2, abs=0.05)


def test_untrained_flow_is_the_denormalised_prior() -> None:
    model = ConditionalFlowModel(2, prior=SourcePrior(2, noise_scale=0.0))
    source = torch.randn(5, 2)
    model.fit_normalizers(torch.randn(50, 2) * 3 + 1, source=torch.randn(50, 2))
    assert torch.allclose(model.sample(source=source, num_steps=3), source, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("shape", [(4,), (5, 4), (1, 4), (0, 4)])
def test_predict_answers_in_kind(model: ConditionalFlowModel, dtype: Any, kind: str, shape: tuple[int, ...]) -> None:
    condition: Any = np.ones(shape, dtype=dtype)
    condition = torch.as_tensor(condition) if kind == "torch" else condition
    samples = model.predict(condition=condition, num_steps=2)
    assert type(samples) is type(condition)
    assert samples.shape == (*shape[:-1], 3)
    assert samples.dtype == condition.dtype


def test_the_calls_of_the_documentation_work_on_cpu() -> None:
    model = ConditionalFlowModel(2, 3).to("cpu")
    c = torch.randn(32, 3)
    assert model(torch.randn(32, 2), condition=c).shape == ()
    assert model.predict(batch_size=32, condition=c, num_steps=100).shape == (32, 2)
    assert isinstance(ConditionalFlowModel(2).predict(batch_size=32, num_steps=1), torch.Tensor)


def test_a_model_moved_to_float64_computes_in_it(model: ConditionalFlowModel) -> None:
    c = np.ones((2, 4))
    noise = np.ones((2, 3))
    single = model.predict(condition=c, noise=noise, num_steps=5)
    double = model.to(torch.float64).predict(condition=c, noise=noise, num_steps=5)
    assert double.dtype == np.float64
    assert np.abs(single - double).max() < 1e-4
    assert np.abs(single - double).max() > 0


def test_a_single_condition_with_a_batch_size_gives_that_many_samples(model: ConditionalFlowModel) -> None:
    generator = torch.Generator().manual_seed(0)
    samples = model.predict(6, np.ones(4), num_steps=2, generator=generator)
    assert isinstance(samples, np.ndarray) and samples.shape == (6, 3)
    assert len(np.unique(samples, axis=0)) == 6


def test_noise_steps_and_solver_reach_the_sampler(model: ConditionalFlowModel) -> None:
    c, noise = torch.ones(2, 4), torch.ones(2, 3)
    reference = model.predict(condition=c, noise=noise, num_steps=4)
    assert torch.equal(model.predict(condition=c, noise=noise, num_steps=4), reference)
    for changed in (
        {"noise": noise + 1, "num_steps": 4},
        {"noise": noise, "num_steps": 5},
        {"noise": noise, "num_steps": 4, "solver": "heun"},
    ):
        assert not torch.allclose(model.predict(condition=c, **changed), reference)  # type: ignore[arg-type]


def test_a_generator_owns_the_noise(model: ConditionalFlowModel) -> None:
    def draw(seed: int) -> Any:
        torch.manual_seed(17 + seed)  # must not matter
        return model.predict(condition=torch.ones(2, 4), num_steps=2, generator=torch.Generator().manual_seed(seed))

    state = torch.random.get_rng_state()
    assert torch.equal(draw(0), draw(0)) and not torch.equal(draw(0), draw(1))
    torch.random.set_rng_state(state)
    draw_without_global = model.predict(condition=torch.ones(2, 4), generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert draw_without_global.shape == (2, 3)


def test_loss_is_reproducible_from_its_generator(model: ConditionalFlowModel) -> None:
    target, c = torch.randn(8, 3), torch.randn(8, 4)
    losses = [model(target, c, generator=torch.Generator().manual_seed(seed)).item() for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_gradients_flow_through_sample(model: ConditionalFlowModel) -> None:
    c = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    model.double()
    assert torch.autograd.gradcheck(lambda c, noise: model.sample(condition=c, noise=noise, num_steps=3), (c, noise))
    model.sample(condition=c, num_steps=2).sum().backward()
    assert all(parameter.grad is not None for parameter in model.network.parameters())


def test_gradients_flow_to_the_source() -> None:
    model = ConditionalFlowModel(3, prior=SourcePrior(3))
    source = torch.randn(2, 3, requires_grad=True)
    model.sample(source=source, num_steps=2).sum().backward()
    assert source.grad is not None and source.grad.abs().min() > 0


@pytest.mark.parametrize("training", [True, False])
def test_predict_leaves_modes_and_arrays_as_they_were(model: ConditionalFlowModel, training: bool) -> None:
    model.train(training)
    model.network.output.eval()  # type: ignore[union-attr]  # one part frozen
    modes = [module.training for module in model.modules()]
    condition, noise = np.ones((2, 4)), torch.ones(2, 3, requires_grad=True)
    before = condition.copy()
    samples = model.predict(condition=condition, noise=noise)
    assert [module.training for module in model.modules()] == modes
    assert np.array_equal(condition, before) and noise.grad is None
    tensor = model.predict(condition=torch.ones(2, 4))
    assert isinstance(tensor, torch.Tensor) and not tensor.requires_grad
    (torch.nn.Linear(3, 1)(tensor)).sum().backward()  # no inference tensor
    assert isinstance(samples, np.ndarray) and not np.shares_memory(samples, condition)


def test_conditions_of_two_inputs_come_as_a_tuple() -> None:
    model = ConditionalFlowModel(2, 5, encoder=IdentityTwoInputEncoder(3, 2), network=ResidualMlp(2, 5))
    assert model(torch.randn(4, 2), (torch.randn(4, 3), torch.randn(4, 2))).shape == ()
    answer = model.predict(condition=(np.zeros(3, np.float32), np.zeros(2)), num_steps=1)
    assert isinstance(answer, np.ndarray) and answer.shape == (2,) and answer.dtype == np.float32


def test_chunks_have_a_horizon() -> None:
    model = ConditionalFlowModel(2, 3, horizon=4, network=ResidualMlp(2, 3, (16,), horizon=4))
    assert model(torch.randn(8, 4, 2), torch.randn(8, 3)).shape == ()
    assert model.predict(condition=np.zeros((8, 3)), num_steps=2).shape == (8, 4, 2)
    assert model.predict(condition=np.zeros(3), num_steps=2).shape == (4, 2)


def test_path_length_is_that_of_the_same_path_it_is_compared_with() -> None:
    """A velocity that turns: (x, y)' = pi / 2 (-y, x) is a quarter of a circle of radius r, its chord sqrt(2) r."""

    class Turn(nn.Module):
        def forward(self, x: torch.Tensor, t: torch.Tensor, condition: Any) -> torch.Tensor:
            return torch.pi / 2 * torch.stack([-x[:, 1], x[:, 0]], dim=1)

    model = ConditionalFlowModel(2, network=Turn())
    noise = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    length = model.path_length(noise=noise, num_steps=200, solver="rk4")
    radius = torch.tensor([1.0, 3.0])
    assert torch.allclose(length.integrated, torch.pi / 2 * radius, rtol=1e-4)
    assert torch.allclose(length.straight, 2**0.5 * radius, rtol=1e-4)
    model.fit_normalizers(10 * torch.randn(1000, 2))  # lengths are in raw units
    assert torch.allclose(
        model.path_length(noise=noise, num_steps=200).integrated / length.integrated, torch.tensor(10.0), rtol=0.1
    )


def test_paths_start_at_the_prior_and_end_at_the_sample(model: ConditionalFlowModel) -> None:
    c, noise = torch.randn(5, 4), torch.randn(5, 3)
    paths = model.paths(condition=c, noise=noise, num_steps=7, solver="heun")
    assert paths.shape == (8, 5, 3)
    assert torch.allclose(paths[0], noise)
    assert torch.equal(paths[-1], model.sample(condition=c, noise=noise, num_steps=7, solver="heun"))


def test_straight_paths_are_as_long_as_their_chord() -> None:
    torch.manual_seed(0)
    model = ConditionalFlowModel(2, network=Constant())
    length = model.path_length(6, num_steps=10)
    assert torch.allclose(length.integrated, length.straight, rtol=1e-5)


class Constant(nn.Module):
    """The same velocity everywhere."""

    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: Any) -> torch.Tensor:
        return torch.tensor([3.0, 4.0]).expand_as(x)


def test_normalizers_are_fitted_where_they_belong(model: ConditionalFlowModel) -> None:
    target, c = torch.randn(100, 3) * 5 + 1, torch.randn(100, 4) * 0.1
    model.fit_normalizers(target, c)
    assert torch.allclose(model.target_normalizer.mean, target.mean(0), atol=1e-4)
    assert model.encoder is not None
    assert torch.allclose(model.encoder(c).std(0, correction=0), torch.ones(4), atol=1e-3)
    # Samples come back in raw units: an untrained network leaves the prior, scaled.
    nn.init.zeros_(model.network.output.weight)  # type: ignore[union-attr, arg-type]
    nn.init.zeros_(model.network.output.bias)  # type: ignore[union-attr, arg-type]
    samples = model.predict(5000, torch.zeros(4), num_steps=1, generator=torch.Generator().manual_seed(0))
    assert isinstance(samples, torch.Tensor)
    assert torch.allclose(samples.std(0), target.std(0), rtol=0.1)


BAD_CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "last dimension": ({"condition": torch.zeros(2, 5)}, r"\(4,\) or \(batch, 4\), got \(2, 5\)"),
    "rank": ({"condition": torch.zeros(2, 2, 4)}, r"got \(2, 2, 4\)"),
    "NaN": ({"condition": np.full((2, 4), np.nan)}, "finite"),
    "infinity": ({"condition": np.full(4, np.inf)}, "finite"),
    "beyond float32": ({"condition": np.full(4, 1e300)}, "finite"),
    "batches": ({"condition": torch.zeros(2, 4), "noise": torch.zeros(3, 3)}, r"condition \(2, 4\), noise \(3, 3\)"),
    "batch size": ({"batch_size": 3, "condition": torch.zeros(2, 4)}, "batch_size is 3"),
    "noise shape": ({"condition": torch.zeros(2, 4), "noise": torch.zeros(2, 4)}, "noise must have shape"),
    "no steps": ({"condition": torch.zeros(2, 4), "num_steps": 0}, "num_steps"),
    "condition missing": ({"batch_size": 2}, "condition is missing"),
    "source superfluous": ({"condition": torch.zeros(2, 4), "source": torch.zeros(2, 3)}, "source is superfluous"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_input_to_predict_is_refused(model: ConditionalFlowModel, name: str) -> None:
    arguments, message = BAD_CALLS[name]
    with pytest.raises(ValueError, match=message):
        model.predict(**arguments)


def test_bad_input_to_the_loss_is_refused(model: ConditionalFlowModel) -> None:
    good, c = torch.zeros(2, 3), torch.zeros(2, 4)
    for target, condition, message in (
        (torch.zeros(2, 4), c, r"target must have shape \(batch, 3\), got \(2, 4\)"),
        (good.fill_(float("nan")).clone(), c, "finite"),
        (torch.zeros(3, 3), c, r"target \(3, 3\), condition \(2, 4\)"),
        (torch.zeros(2, 3), None, "condition is missing"),
    ):
        with pytest.raises(ValueError, match=message):
            model(target, condition)
    with pytest.raises(ValueError, match="condition is superfluous"):
        ConditionalFlowModel(3)(torch.zeros(2, 3), c)
    with pytest.raises(ValueError, match="source is missing"):
        ConditionalFlowModel(3, prior=SourcePrior(3))(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="batch_size is needed"):
        ConditionalFlowModel(3).predict()
    with pytest.raises(TypeError, match=r"torch\.Tensor"):
        model(np.zeros((2, 3)), c)
    with pytest.raises(TypeError, match="list"):
        model.predict(condition=[[0.0] * 4])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        (ResidualMlp(3), {"target_dim": 2}),
        (ResidualMlp(2, 4), {"target_dim": 2, "cond_dim": 3}),
        (ResidualMlp(2, 0), {"target_dim": 2, "cond_dim": 3}),
        (ResidualMlp(2, horizon=3), {"target_dim": 2, "horizon": 4}),
        (ConditionalUNet1D(2, 3), {"target_dim": 2}),
    ],
)
def test_a_network_that_does_not_fit_is_refused(network: nn.Module, arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"network .*x \(1, .*condition features"):
        ConditionalFlowModel(network=network, **arguments)  # type: ignore[arg-type]


def test_parts_of_a_wrong_type_are_refused() -> None:
    for part in ("network", "prior", "encoder"):
        with pytest.raises(TypeError, match=part):
            ConditionalFlowModel(2, **{part: 3})  # type: ignore[arg-type]


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="encoder gives 5 features, but cond_dim is 4"):
        ConditionalFlowModel(3, 4, encoder=IdentityTwoInputEncoder(3, 2))
    with pytest.raises(ValueError, match="prior has dim 2, but target_dim is 3"):
        ConditionalFlowModel(3, prior=SourcePrior(2))
    with pytest.raises(ValueError, match="target_dim"):
        ConditionalFlowModel(0)
