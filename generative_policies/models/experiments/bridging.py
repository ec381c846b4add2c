"""The experiment on Brownian bridges."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from generative_policies.models.bridge import LatentBridgeModel
from generative_policies.models.experiments.distributions import BIMODAL, as_tensor, batches
from generative_policies.models.experiments.experiment import Bound, ExperimentSettings, Table, initialized, train
from generative_policies.models.experiments.figures import (
    BLUE,
    GREY,
    ORANGE,
    new_figure,
    save_figure,
    scatter,
    share_limits,
)
from generative_policies.models.experiments.sample_quality import ENERGY_MARGIN, std_within_modes
from generative_policies.models.priors import SourcePrior
from generative_policies.models.residual_mlp import ResidualMlp
from generative_policies.models.sample_metrics import energy_distance, real_versus_real

SPREAD = 0.3
SAMPLERS = (("heun", 10), ("heun", 100), ("euler", 100), ("sde", 10), ("sde", 100), ("sde", 400))


def bridge(settings: ExperimentSettings) -> tuple[Table, Sequence[Bound]]:
    """SDE and ODE from drawn noise, and the spread of the SDE from one given source."""
    rng = settings.rng()
    model: LatentBridgeModel = initialized(
        lambda: LatentBridgeModel(2, network=ResidualMlp(2, 0, (128, 128, 128))), settings.seed
    )
    model.fit_normalizers(as_tensor(BIMODAL.draw(10_000, rng)))
    train(model, batches(BIMODAL.draw, rng), settings.updates(4_000), settings.generator())
    real = BIMODAL.draw(2_000, settings.rng(1))
    chance = real_versus_real(energy_distance, BIMODAL.draw, 2_000, settings.rng(2))
    table: dict[str, dict[str, float]] = {}
    bounds: list[Bound] = []
    draws: dict[str, Any] = {}
    for solver, num_steps in SAMPLERS:
        name = f"{solver}, {num_steps} steps"
        samples = np.asarray(model.predict(2_000, num_steps=num_steps, solver=solver, generator=settings.generator(1)))
        draws[name] = samples
        table[name] = {
            "energy distance": energy_distance(samples, real),
            "variance / true": float(samples.var(axis=0).sum() / real.var(axis=0).sum()),
            "std within a mode / true": std_within_modes(samples, BIMODAL) / BIMODAL.std,
        }
        bounds.append(Bound(name, "variance / true", 0.9, 1.1))
        if num_steps >= 100:  # fewer resolve the modes, but not their width
            bounds.append(Bound(name, "energy distance", -1, chance.quantile_99 + ENERGY_MARGIN))
            bounds.append(Bound(name, "std within a mode / true", 0.85, 1.2))

    # Target given the source: 0.8 times the source, plus noise of a known spread.
    given: LatentBridgeModel = initialized(
        lambda: LatentBridgeModel(1, network=ResidualMlp(1, 1, (64, 64)), prior=SourcePrior(1, noise_scale=0.0)),
        settings.seed,
    )

    def pairs() -> Iterator[dict[str, torch.Tensor]]:
        while True:
            source = rng.standard_normal((256, 1))
            target = 0.8 * source + SPREAD * rng.standard_normal((256, 1))
            yield {"target": as_tensor(target), "source": as_tensor(source)}

    train(given, pairs(), settings.updates(3_000), settings.generator(2))
    for num_steps in (5, 10, 50, 100, 400):
        source = np.full((5_000, 1), 0.5)
        answers = given.predict(source=source, num_steps=num_steps, generator=settings.generator(3))
        name = f"given source, sde, {num_steps} steps"
        table[name] = {
            "variance / true": float(np.var(answers) / SPREAD**2),
            "mean / true": float(answers.mean() / 0.4),
        }
        bounds.append(Bound(name, "mean / true", 0.9, 1.1))
        if num_steps >= 50:
            bounds.append(Bound(name, "variance / true", 0.85, 1.15))

    figure, axes = new_figure(5)
    scatter(axes[0, 0], real, "data", GREY)
    scatter(axes[0, 1], draws["heun, 10 steps"], "ODE, Heun, 10 steps: modes too narrow")
    scatter(axes[0, 2], draws["heun, 100 steps"], "ODE, Heun, 100 steps")
    scatter(axes[0, 3], draws["sde, 100 steps"], "SDE, 100 steps", ORANGE)
    share_limits(axes[0, :4])
    sources = np.linspace(-2, 2, 9)
    for x in sources:
        answers = given.predict(source=np.full((200, 1), x), num_steps=100, generator=settings.generator(4))
        axes[0, 4].plot(np.full(200, x), answers[:, 0], ".", markersize=2, alpha=0.4, color=BLUE)
    for sign, style in ((-2, ":"), (0, "-"), (2, ":")):
        axes[0, 4].plot(sources, 0.8 * sources + sign * SPREAD, color=ORANGE, linestyle=style)
    axes[0, 4].set(xlabel="given source", title="SDE from a given source;\ntrue mean and two standard deviations")
    axes[0, 4].title.set_fontsize(9)
    save_figure(figure, settings.output / "bridge.png")
    return table, bounds
