"""The average velocity carries a point over a whole span in one step."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from generative_policies.action_translation import FlowActionConditionedTranslator, FlowActionPriorConditionedTranslator
from generative_policies.checkpoints import load, save
from generative_policies.data import ActionPairDataset
from generative_policies.models import (
    AverageVelocityModel,
    ConditionalFlowModel,
    ConditionalUNet1D,
    DiffusionTransformer,
    DistilledFlowModel,
    IdentityTwoInputEncoder,
    LiftedSourcePrior,
    ResidualMlp,
    SourcePrior,
)
from generative_policies.models.average_velocity import SPAN_DIM
from generative_policies.policies import FlowPolicy
from generative_policies.training import FitSettings, fit


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def learn(model: nn.Module, draw: Any, num_updates: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for update in range(num_updates):
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - update / num_updates)
        loss = model(**draw())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class Known(nn.Module):
    """A network with the exact average velocity of a field, of which it recovers the span."""

    def __init__(self, average: Any) -> None:
        super().__init__()
        self.average = average
        self.parameter = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        assert condition is not None
        # The lowest frequency: sine of a quarter turn a unit of the span.
        span = torch.asin(condition[:, 0].clamp(-1, 1)) / (0.5 * torch.pi)
        return self.average(x, t[:, None], (t + span)[:, None]) + self.parameter


def test_the_exact_average_velocity_needs_one_step_and_has_the_same_end_in_any_number() -> None:
    """dx/dt = -2x: x_r = x_t exp(-2 (r - t))."""
    exact = Known(lambda x, t, r: x * torch.expm1(-2 * (r - t)) / (r - t).clamp_min(1e-12))
    model = AverageVelocityModel(2, network=exact).double()
    noise = torch.randn(5, 2).double()
    for num_steps in (1, 2, 7):
        torch.testing.assert_close(
            model.predict(noise=noise, num_steps=num_steps), noise * np.exp(-2), rtol=1e-5, atol=1e-6
        )


def test_the_exact_average_velocity_has_no_gradient_over_spans() -> None:
    """A constant velocity agrees with itself over any two spans, and with data that it leads to."""
    shift = torch.tensor([1.0, -2.0])
    model = AverageVelocityModel(2, network=Known(lambda x, t, r: shift.to(x).expand_as(x))).double()
    x_0 = torch.randn(64, 2).double()
    assert model.path_loss(x_0, x_0 + shift, None, None).item() < 1e-9
    assert model.path_loss(x_0, x_0 + 2 * shift, None, None).item() > 0.1


@pytest.mark.parametrize("is_sorted", [False, True])
def test_against_the_data_the_mean_has_no_gradient(is_sorted: bool) -> None:
    """Three in ten targets at -1, the others at 1: without seeing x_t, the velocity from 0 is their mean, 0.4.

    The gradient's standard deviation is below 0.03 with 3,000 rows; that of absolute errors would be -0.5, that of the
    first rows of sorted ones 0.4.
    """
    network = Known(lambda x, t, r: torch.full_like(x, 0.4))
    model = AverageVelocityModel(1, network=network).double()
    x_1 = torch.ones(3_000, 1).double()
    x_1[:900] = -1
    if not is_sorted:
        x_1 = x_1[torch.randperm(3_000)]
    model.path_loss(torch.zeros_like(x_1), x_1, None, None).backward()
    assert network.parameter.grad is not None
    assert abs(network.parameter.grad.item()) < 0.15


def carried(x: Tensor, t: Tensor, r: Tensor) -> Tensor:
    """Where the flow from N(0, 1) to N(1, 0.5^2) leads from t to r: with its mean and its standard deviation."""
    std_t, std_r = (((1 - time) ** 2 + 0.25 * time**2).sqrt() for time in (t, r))
    return r + std_r / std_t * (x - t)


def test_a_row_keeps_its_own_x_0_target_and_condition() -> None:
    """Targets x_0 + condition: the condition is the velocity, and neither the data nor the spans see an error."""

    class Condition(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parameter = nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
            assert condition is not None
            return condition[:, :2] + self.parameter

    model = AverageVelocityModel(2, 2, network=Condition()).double()
    x_0, condition = torch.randn(2, 64, 2).double()
    assert model.path_loss(x_0, x_0 + condition, condition, None).item() < 1e-9
    assert model.path_loss(x_0, x_0 + condition, condition.flip(0), None).item() > 0.1


@pytest.mark.slow  # ten seconds
def test_between_gaussians_it_learns_the_closed_form_in_any_number_of_steps() -> None:
    def draw() -> dict[str, Tensor]:
        return {"target": 1 + 0.5 * torch.randn(512, 1)}

    model = AverageVelocityModel(1, network=ResidualMlp(1, SPAN_DIM, (64, 64)))
    learn(model, draw, 3_000)
    noise = torch.linspace(-2, 2, 41)[:, None]
    zero, one = torch.zeros(41, 1), torch.ones(41, 1)
    for num_steps in (1, 2, 4):
        answer = model.predict(noise=noise, num_steps=num_steps)
        assert (answer - carried(noise, zero, one)).abs().mean() < 0.05


@pytest.mark.parametrize("rows", [1, 2])
def test_a_batch_may_be_smaller_than_the_shares_of_it(rows: int) -> None:
    model = AverageVelocityModel.like(ConditionalFlowModel(3, 2, horizon=4, network=NETWORKS["transformer"][1](2)))
    loss = model(torch.randn(rows, 4, 3), torch.randn(rows, 2))
    assert torch.isfinite(loss)
    loss.backward()


def test_no_gradient_flows_through_the_target() -> None:
    """The target's evaluations are recorded without gradients: all but the last one."""
    recorded: list[bool] = []

    class Recording(ResidualMlp):
        def forward(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
            recorded.append(torch.is_grad_enabled())
            return super().forward(x, t, condition)

    model = AverageVelocityModel(2, network=Recording(2, SPAN_DIM, (16,)))
    recorded.clear()
    model(torch.randn(8, 2))
    assert recorded == [False, False, True]


@pytest.mark.slow  # a quarter of a minute
def test_one_step_reaches_both_modes_where_one_step_of_a_flow_reaches_none() -> None:
    def draw() -> dict[str, Tensor]:
        sign = 2.0 * torch.randint(0, 2, (256, 1)) - 1
        return {"target": sign + 0.1 * torch.randn(256, 1)}

    near = {}
    for name, model in {
        "flow": ConditionalFlowModel(1, network=ResidualMlp(1, 0, (64, 64))),
        "average velocity": AverageVelocityModel(1, network=ResidualMlp(1, SPAN_DIM, (64, 64))),
    }.items():
        learn(model, draw, 3_000)
        samples = model.predict(2_000, num_steps=1)
        near[name] = ((samples.abs() - 1).abs() < 0.4).float().mean().item()
        if name == "average velocity":
            assert abs((samples > 0).float().mean().item() - 0.5) < 0.1
    assert near["flow"] < 0.1
    assert near["average velocity"] > 0.8


@pytest.mark.slow  # ten seconds
def test_a_light_mode_keeps_its_mass() -> None:
    """One in five at 2, the others at -2: the mean of the data, not their median, is what a path starts towards."""

    def draw() -> dict[str, Tensor]:
        side = torch.where(torch.rand(512, 1) < 0.2, 2.0, -2.0)
        return {"target": side + 0.1 * torch.randn(512, 1)}

    model = AverageVelocityModel(1, network=ResidualMlp(1, SPAN_DIM, (64, 64)))
    learn(model, draw, 2_000)
    for num_steps in (1, 4):
        samples = model.predict(4_000, num_steps=num_steps)
        assert abs((samples > 0).float().mean().item() - 0.2) < 0.05
        assert abs(samples.mean().item() + 1.2) < 0.3


@pytest.mark.parametrize("num_steps", [0, -1, 1.5])
def test_num_steps_is_checked(num_steps: Any) -> None:
    with pytest.raises(ValueError, match="num_steps"):
        AverageVelocityModel(2).predict(3, num_steps=num_steps)


@pytest.mark.slow  # ten seconds
def test_conditions_and_sources_are_kept() -> None:
    """target = source * condition: a function, which one step has to give back."""

    def draw(rows: int = 256) -> dict[str, Tensor]:
        condition, source = torch.rand(rows, 1) + 0.5, torch.randn(rows, 1)
        return {"target": source * condition, "condition": condition, "source": source}

    model = AverageVelocityModel(1, 1, network=ResidualMlp(1, 1 + SPAN_DIM, (64, 64)), prior=SourcePrior(1, 0.0))
    learn(model, draw, 6_000)
    fresh = draw(500)
    answer = model.predict(condition=fresh["condition"], source=fresh["source"])
    error = (answer - fresh["target"]).square().mean()
    assert error < 0.02 * fresh["target"].var()
    assert error < 0.2 * (fresh["source"] - fresh["target"]).square().mean()


NETWORKS = {
    "unet": (1, lambda cond_dim: ConditionalUNet1D(3, 3, cond_dim, 16, (16, 32))),
    "unet of chunks": (4, lambda cond_dim: ConditionalUNet1D(3, 3, cond_dim, 16, (16, 32), horizon=4)),
    "residual mlp of chunks": (4, lambda cond_dim: ResidualMlp(3, cond_dim, (32,), horizon=4)),
    "transformer": (4, lambda cond_dim: DiffusionTransformer(3, cond_dim, 32, horizon=4)),
}


@pytest.mark.parametrize("cond_dim", [0, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_twins_of_every_flow(name: str, cond_dim: int, tmp_path: Path) -> None:
    horizon, build = NETWORKS[name]
    flow = ConditionalFlowModel(3, cond_dim, horizon=horizon, network=build(cond_dim), prior=LiftedSourcePrior(3, 2))
    model = AverageVelocityModel.like(flow)
    assert type(model.network) is type(flow.network)
    assert model.default_num_steps == 1
    for parameter in model.network.parameters():
        nn.init.normal_(parameter, std=0.2)
    target, source = torch.randn(6, *flow.sample_shape), torch.randn(6, *flow.sample_shape[:-1], 2)
    condition = torch.randn(6, cond_dim) if cond_dim else None
    loss = model(target, condition, source)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.network.parameters())
    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model")
    arguments: dict[str, Any] = {"condition": condition, "source": source, "noise": torch.randn_like(target)}
    for num_steps in (None, 3):
        answer = model.predict(**arguments, num_steps=num_steps)
        assert answer.shape == target.shape
        assert torch.equal(loaded.predict(**arguments, num_steps=num_steps), answer)
    points = model.paths(**arguments, num_steps=3)
    torch.testing.assert_close(points[-1], model.predict(**arguments, num_steps=3))


def test_a_twin_has_an_encoder_and_prior_of_its_own() -> None:
    flow = ConditionalFlowModel(2, 5, encoder=IdentityTwoInputEncoder(2, 3), prior=SourcePrior(2, 0.1))
    model = AverageVelocityModel.like(flow)
    model.fit_normalizers(torch.randn(9, 2), (5 + torch.randn(9, 2), torch.randn(9, 3)), torch.randn(9, 2))
    encoder: Any = flow.encoder
    assert torch.equal(encoder.normalizer_1.mean, torch.zeros(2))
    assert isinstance(model.prior, SourcePrior) and model.prior is not flow.prior


def test_a_twin_has_the_statistics_and_the_dtype_of_its_flow() -> None:
    flow = ConditionalFlowModel(2, 3, prior=LiftedSourcePrior(2, 2)).double()
    target, condition, source = (3 + 2 * torch.randn(50, width).double() for width in (2, 3, 2))
    flow.fit_normalizers(target, condition, source)
    model = AverageVelocityModel.like(flow)
    # Untrained velocities are zero: both end where they start.
    given: Any = {"condition": condition, "source": source, "noise": torch.randn(50, 2).double()}
    assert torch.equal(model.predict(**given), flow.predict(**given, num_steps=1))
    assert model.encoder is not None and flow.encoder is not None
    assert torch.equal(model.encoder(condition), flow.encoder(condition))
    model.fit_normalizers(-target, -condition, source)
    assert not torch.equal(model.encoder(condition), flow.encoder(condition))


@pytest.mark.parametrize("solver", ["heun", "midpoint", "rk4", "sde"])
def test_other_solvers_are_refused(solver: str) -> None:
    with pytest.raises(ValueError, match="solver must be 'euler'"):
        AverageVelocityModel(2).predict(3, solver=solver)


def test_a_network_that_cannot_be_widened_is_refused() -> None:
    class Own(nn.Module):
        def forward(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
            return x

    with pytest.raises(ValueError, match="Own has no config"):
        AverageVelocityModel.like(ConditionalFlowModel(2, network=Own()))


def test_a_network_that_does_not_see_the_time_is_refused() -> None:
    student = DistilledFlowModel.of(ConditionalFlowModel(2))
    with pytest.raises(ValueError, match="does not see the time"):
        AverageVelocityModel.like(student)
    of_two_steps = DistilledFlowModel.of(ConditionalFlowModel(2), num_steps=2)
    assert AverageVelocityModel.like(of_two_steps).predict(3).shape == (3, 2)


@pytest.mark.parametrize("kind", [FlowActionConditionedTranslator, FlowActionPriorConditionedTranslator])
def test_translators_learn_it(kind: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    obs, source = rng.standard_normal((600, 3)), rng.uniform(-1, 1, (600, 2))
    pairs = ActionPairDataset(np.arange(600) // 30, obs, source, 0.5 * source + 0.2 * obs[:, :2])
    plain = kind(2, 3, (64, 64))
    translator = plain.with_flow(AverageVelocityModel.like(plain.flow))
    assert translator.num_steps == 1
    settings = FitSettings(num_updates=3_000, batch_size=128, learning_rate=3e-3)
    fit(translator, pairs, settings, generator=torch.Generator().manual_seed(0))
    fresh_obs, fresh = rng.standard_normal((300, 3)), rng.uniform(-1, 1, (300, 2))
    answer = translator.predict(fresh_obs, fresh, noise=rng.standard_normal((300, 2)))
    expected = 0.5 * fresh + 0.2 * fresh_obs[:, :2]
    assert np.mean((answer - expected) ** 2) < 0.03 * expected.var()
    save(translator, tmp_path / "translator")
    loaded: Any = load(tmp_path / "translator")
    one = (np.ones(3), np.ones(2))
    assert np.array_equal(loaded.predict(*one, noise=np.ones(2)), translator.predict(*one, noise=np.ones(2)))


def test_a_policy_takes_it() -> None:
    env = gymnasium.make("Pendulum-v1")
    plain = FlowPolicy(env.observation_space, env.action_space, (16,), horizon=3)
    policy = plain.with_flow(AverageVelocityModel.like(plain.model))
    assert policy.num_steps == 1
    observations = {"observation": torch.randn(8, 3)}
    policy.loss(observations, torch.randn(8, 3, 1)).backward()
    action, _ = policy.predict(env.reset(seed=0)[0])
    assert env.action_space.contains(action)
