"""The experiment on Brownian bridges."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from generative_policies.models.bridge import LatentBridgeModel
from generative_policies.models.experiments.distributions import BIMODAL, as_tensor, batches
from generative_policies.models.experiments.experiment import Bound, ExperimentSettings, Table, initialized, train
from generative_policies.models.experiments.figures import BLUE, GREY, ORANGE, new_figure, save_figure, scatter
from generative_policies.models.priors import SourcePrior
from generative_policies.models.residual_mlp import ResidualMlp
from generative_policies.models.sample_metrics import energy_distance, real_versus_real

SPREAD = 0.3


def bridge(settings: ExperimentSettings) -> tuple[Table, Sequence[Bound]]:
    """SDE and ODE from drawn noise, and the spread of the SDE from one given source."""
    rng = settings.rng()
    model: LatentBridgeModel = initialized(
        lambda: LatentBridgeModel(2, network=ResidualMlp(2, 0, (128, 128, 128))), settings.seed
    )
    model.fit_normalizers(as_tensor(BIMODAL.draw(10_000, rng)))
    train(model, batches(BIMODAL.draw, rng), settings.updates(4_000), settings.generator())
    real = BIMODAL.draw(2_000, settings.rng(1))
    limit = real_versus_real(energy_distance, BIMODAL.draw, 2_000, settings.rng(2)).quantile_99 + 0.01
    table: dict[str, dict[str, float]] = {}
    draws: dict[str, Any] = {}
    for solver, num_steps in (("heun", 10), ("heun", 100), ("euler", 100), ("sde", 100), ("sde", 400)):
        name = f"{solver}, {num_steps} steps"
        draws[name] = np.asarray(
            model.predict(2_000, num_steps=num_steps, solver=solver, generator=settings.generator(1))
        )
        table[name] = {
            "energy distance": energy_distance(draws[name], real),
            "variance / true": float(draws[name].var(axis=0).sum() / real.var(axis=0).sum()),
        }
    bounds = [Bound(name, "energy distance", -1, limit) for name in table]
    bounds += [Bound(name, "variance / true", 0.9, 1.1) for name in table]

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
    for num_steps in (50, 100, 400):
        source = np.full((5_000, 1), 0.5)
        samples = given.predict(source=source, num_steps=num_steps, generator=settings.generator(3))
        name = f"given source, sde, {num_steps} steps"
        table[name] = {
            "variance / true": float(np.var(samples) / SPREAD**2),
            "mean / true": float(samples.mean() / 0.4),
        }
        bounds += [Bound(name, "variance / true", 0.85, 1.15), Bound(name, "mean / true", 0.9, 1.1)]

    figure, axes = new_figure(4)
    scatter(axes[0, 0], real, "data", GREY)
    scatter(axes[0, 1], draws["heun, 10 steps"], "ODE, Heun, 10 steps")
    scatter(axes[0, 2], draws["sde, 100 steps"], "SDE, 100 steps", ORANGE)
    grid = np.linspace(-2, 2, 9)
    for k, x in enumerate(grid):
        samples = given.predict(source=np.full((200, 1), x), num_steps=100, generator=settings.generator(4))
        axes[0, 3].plot(np.full(200, x), samples[:, 0], ".", markersize=2, alpha=0.4, color=BLUE)
        axes[0, 3].plot([x - 0.15, x + 0.15], [0.8 * x] * 2, color=ORANGE, label="true mean" if k == 0 else None)
    axes[0, 3].set(xlabel="given source", title="SDE from a given source")
    axes[0, 3].title.set_fontsize(10)
    axes[0, 3].legend(frameon=False, fontsize=8)
    save_figure(figure, settings.output / "bridge.png")
    return table, bounds
