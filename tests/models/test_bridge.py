"""Brownian bridges against the Gaussian case, where everything is known."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from generative_policies.models import GaussianPrior, LatentBridgeModel, LiftedSourcePrior, ResidualMlp, SourcePrior
from generative_policies.training import ExponentialMovingAverage

MEAN, STD, SIGMA = 0.7, 0.5, 0.5


class ClosedForm(nn.Module):
    """The network's exact answer for source N(0, 1) and target N(MEAN, STD^2), independent."""

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        t = t[:, None]
        variance = (1 - t) ** 2 + t**2 * STD**2 + SIGMA**2 * t * (1 - t)
        endpoint = MEAN + t * STD**2 / variance * (x - t * MEAN)  # E[x_1 | x_t = x]
        return (endpoint - x) / (1 - t).sqrt()


def train(model: LatentBridgeModel, draw: object, num_updates: int = 3000) -> None:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_updates)
    ema = ExponentialMovingAverage(model, 0.99)
    for _ in range(num_updates):
        loss = model(**draw(generator), generator=generator)  # type: ignore[operator]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        ema.update(model)
    ema.copy_to(model)


@pytest.mark.parametrize(
    ("solver", "num_steps"),
    [("heun", 10), ("heun", 100), ("heun", 1000), ("euler", 100), ("euler", 1000), ("sde", 100), ("sde", 1000)],
)
def test_closed_form_drift_gives_the_targets_mean_and_variance(solver: str, num_steps: int) -> None:
    model = LatentBridgeModel(1, bridge_sigma=SIGMA, network=ClosedForm())
    generator = torch.Generator().manual_seed(0)
    samples = model.sample(40_000, num_steps=num_steps, solver=solver, generator=generator)
    # 40,000 samples: four standard errors are 1.4 % of the mean and 2.8 % of the variance.
    assert samples.mean().item() == pytest.approx(MEAN, rel=0.05)
    assert samples.var().item() == pytest.approx(STD**2, rel=0.05)


@pytest.mark.slow  # 15 s
def test_learned_bridge_gives_the_targets_mean_and_variance() -> None:
    torch.manual_seed(0)
    model = LatentBridgeModel(1, bridge_sigma=SIGMA, network=ResidualMlp(1, 0, (64, 64)))
    train(model, lambda generator: {"target": MEAN + STD * torch.randn(256, 1, generator=generator)})
    with torch.no_grad():
        for solver, num_steps in (("heun", 10), ("heun", 100), ("euler", 100), ("sde", 100), ("sde", 300)):
            samples = model.sample(
                20_000, num_steps=num_steps, solver=solver, generator=torch.Generator().manual_seed(0)
            )
            assert samples.mean().item() == pytest.approx(MEAN, rel=0.1), (solver, num_steps)
            assert samples.var().item() == pytest.approx(STD**2, rel=0.1), (solver, num_steps)


@pytest.mark.slow  # 15 s
def test_from_a_given_source_the_sde_gives_the_conditional_spread_at_any_number_of_steps() -> None:
    torch.manual_seed(0)
    model = LatentBridgeModel(
        1, bridge_sigma=SIGMA, network=ResidualMlp(1, 1, (64, 64)), prior=SourcePrior(1, noise_scale=0.0)
    )

    def draw(generator: torch.Generator) -> dict[str, Tensor]:
        source = torch.randn(256, 1, generator=generator)
        return {"source": source, "target": 0.8 * source + 0.3 * torch.randn(256, 1, generator=generator)}

    train(model, draw)
    with torch.no_grad():
        for source in (-1.0, 0.5):
            variances = []
            for num_steps in (50, 100, 400):
                samples = model.sample(
                    source=torch.full((10_000, 1), source),
                    num_steps=num_steps,
                    generator=torch.Generator().manual_seed(0),
                )
                assert samples.mean().item() == pytest.approx(0.8 * source, abs=0.04)
                assert samples.var().item() == pytest.approx(0.09, rel=0.15)
                variances.append(samples.var().item())
            # The common mistake, noise without the root of the step, would make it 8 times as large. What 10,000
            # samples leave open is 1.4 % each, what Euler's 50 steps 3 %.
            assert max(variances) / min(variances) < 1.12


class Recorder(nn.Module):
    """Answers one number everywhere, and keeps the times that it was asked at."""

    def __init__(self, answer: float) -> None:
        super().__init__()
        self.answer = answer
        self.times: list[Tensor] = []

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        self.times.append(t)
        return torch.full_like(x, self.answer)


def test_the_loss_has_no_singular_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """At both ends, too, the loss of a network that answers zero is the second moment of a target of about one size."""
    model = LatentBridgeModel(1, bridge_sigma=SIGMA, network=Recorder(0.0))
    target = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    for t in (0.0, 1e-6, 0.5, 1 - 1e-6, 1.0):
        monkeypatch.setattr(
            "generative_policies.models.bridge.uniform_times", lambda like, generator, t=t: torch.full((len(like),), t)
        )
        loss = model(target, generator=torch.Generator().manual_seed(1)).item()
        # E[(1 - t) (x_1 - x_0)^2 + sigma^2 t eps^2], all of them standard normal and independent.
        assert loss == pytest.approx(2 * (1 - t) + SIGMA**2 * t, rel=0.05)
    assert len(model.network.times) == 6  # type: ignore[arg-type]  # one when built, and five losses


def test_seeds_condition_and_shapes() -> None:
    model = LatentBridgeModel(2, 3, horizon=4, down_dims=(8, 16))
    assert model(torch.randn(5, 4, 2), torch.randn(5, 3)).shape == ()
    draws = [
        model.predict(condition=np.zeros((5, 3)), num_steps=3, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert draws[0].shape == (5, 4, 2) and draws[0].dtype == np.float64
    assert np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])


def test_the_starting_noise_determines_a_sample_of_the_ode() -> None:
    model, noise = LatentBridgeModel(2), np.ones((3, 2))
    answers = [model.predict(noise=noise, num_steps=3, solver="heun") for _ in range(2)]
    assert np.array_equal(*answers)


def test_gradients_flow_through_the_sde_and_the_ode() -> None:
    for solver in ("sde", "heun"):
        model = LatentBridgeModel(2, 3)
        condition = torch.randn(4, 3, requires_grad=True)
        nn.init.normal_(model.network.output.weight)  # type: ignore[union-attr, arg-type]
        model.sample(condition=condition, num_steps=3, solver=solver).sum().backward()
        assert condition.grad is not None and condition.grad.abs().sum() > 0


def test_what_cannot_be_is_refused() -> None:
    given = LatentBridgeModel(2, prior=SourcePrior(2, noise_scale=0.0))
    with pytest.raises(ValueError, match="solver must be 'sde' from a given source, got 'heun'"):
        given.predict(source=np.zeros((3, 2)), solver="heun")
    with pytest.raises(ValueError, match="one of sde, euler"):
        LatentBridgeModel(2, prior=GaussianPrior(2)).predict(3, solver="dopri5")
    for prior in (SourcePrior(2), LiftedSourcePrior(2, 3, noise_scale=0.0)):
        with pytest.raises(ValueError, match="a bridge starts at"):
            LatentBridgeModel(2, prior=prior)
    with pytest.raises(ValueError, match="num_steps"):
        LatentBridgeModel(2).predict(3, num_steps=0)
    with pytest.raises(ValueError, match="noise does not determine"):
        LatentBridgeModel(2).predict(noise=np.zeros((3, 2)))
    for sigma in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="bridge_sigma"):
            LatentBridgeModel(2, bridge_sigma=sigma)
