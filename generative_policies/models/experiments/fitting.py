"""Experiments that fit one distribution: bimodal, conditional, spiral and the grid of sixteen modes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from generative_policies.models.experiments.distributions import (
    BIMODAL,
    GRID,
    Floats,
    Mixture,
    as_tensor,
    batches,
    conditional_mean,
    conditional_std,
    draw_conditional,
    draw_spiral,
)
from generative_policies.models.experiments.experiment import Bound, ExperimentSettings, Table, initialized, train
from generative_policies.models.experiments.figures import (
    BLUE,
    GREY,
    ORANGE,
    draw_paths,
    new_figure,
    save_animation,
    save_figure,
    scatter,
)
from generative_policies.models.flow import ConditionalFlowModel
from generative_policies.models.residual_mlp import ResidualMlp
from generative_policies.models.sample_metrics import (
    energy_distance,
    mode_masses,
    modes_covered,
    real_versus_real,
    sliced_wasserstein,
)

NUM_SAMPLES = 2_000
NUM_STEPS = 100
# Above what chance gives to a perfect sampler, a learned one may be this much further from the data.
ENERGY_MARGIN = 0.01


def bimodal(settings: ExperimentSettings) -> tuple[Table, Sequence[Bound]]:
    """Two Gaussians of masses 0.3 and 0.7."""
    return _fit_and_measure(settings, BIMODAL.draw, lambda: ConditionalFlowModel(2), 2_000, BIMODAL)


def spiral(settings: ExperimentSettings) -> tuple[Table, Sequence[Bound]]:
    """A spiral, with an animation of the flow from noise to data."""
    return _fit_and_measure(settings, draw_spiral, _residual_flow, 6_000)


def grid(settings: ExperimentSettings) -> tuple[Table, Sequence[Bound]]:
    """Sixteen narrow Gaussians on a grid of four by four."""
    return _fit_and_measure(settings, GRID.draw, _residual_flow, 15_000, GRID)


def conditional(settings: ExperimentSettings) -> tuple[Table, Sequence[Bound]]:
    """Mean and spread that depend on a condition."""
    rng = settings.rng()

    def conditional_batches() -> Iterator[dict[str, Any]]:
        while True:
            c, target = draw_conditional(256, rng)
            yield {"target": as_tensor(target), "condition": as_tensor(c)}

    model = initialized(lambda: ConditionalFlowModel(1, 1, network=ResidualMlp(1, 1, (64, 64, 64))), settings.seed)
    train(model, conditional_batches(), settings.updates(3_000), settings.generator())
    grid_of_c = np.linspace(-0.9, 0.9, 7)
    table: dict[str, dict[str, float]] = {}
    for k, c in enumerate(grid_of_c):
        samples = model.predict(4_000, np.array([c]), num_steps=50, generator=settings.generator(k + 1))
        table[f"c = {c:.1f}"] = {
            "mean": float(samples.mean()),
            "true mean": float(conditional_mean(c)),
            "std": float(samples.std()),
            "true std": float(conditional_std(c)),
        }
    rows = list(table.values())
    table["largest error"] = {
        "mean": max(abs(row["mean"] - row["true mean"]) for row in rows),
        "std": max(abs(row["std"] - row["true std"]) for row in rows),
    }
    c, target = draw_conditional(NUM_SAMPLES, settings.rng(1))
    samples = model.predict(condition=c, num_steps=50, generator=settings.generator(9))
    figure, axes = new_figure(2, sharex=True, sharey=True)
    curve = np.linspace(-1, 1, 100)
    for ax, points, title in ((axes[0, 0], target, "data"), (axes[0, 1], samples, "samples")):
        ax.plot(c[:, 0], points[:, 0], ".", markersize=2, alpha=0.5, color=BLUE)
        ax.plot(curve, conditional_mean(curve), color=ORANGE)
        for sign in (-2, 2):
            ax.plot(curve, conditional_mean(curve) + sign * conditional_std(curve), color=ORANGE, linestyle=":")
        ax.set(title=f"{title}; true mean and two standard deviations", xlabel="condition")
        ax.title.set_fontsize(8)
    save_figure(figure, settings.output / "conditional.png")
    return table, [Bound("largest error", "mean", 0, 0.06), Bound("largest error", "std", 0, 0.05)]


def _residual_flow() -> ConditionalFlowModel:
    return ConditionalFlowModel(2, network=ResidualMlp(2, 0, (128, 128, 128)))


def _fit_and_measure(
    settings: ExperimentSettings,
    draw: Callable[[int, np.random.Generator], Floats],
    build: Callable[[], ConditionalFlowModel],
    num_updates: int,
    mixture: Mixture | None = None,
) -> tuple[Table, Sequence[Bound]]:
    """Train on fresh draws, and compare samples with data beside data with data."""
    rng = settings.rng()
    model = initialized(build, settings.seed)
    model.fit_normalizers(as_tensor(draw(10_000, rng)))
    train(model, batches(draw, rng), settings.updates(num_updates), settings.generator())
    real = draw(NUM_SAMPLES, settings.rng(1))
    samples = np.asarray(model.predict(NUM_SAMPLES, num_steps=NUM_STEPS, generator=settings.generator(1)))
    table: dict[str, dict[str, float]] = {"samples": {}, "real versus real, median": {}, "real versus real, 99 %": {}}
    for name, statistic in (("energy distance", energy_distance), ("sliced Wasserstein-2", sliced_wasserstein)):
        table["samples"][name] = statistic(samples, real)
        chance = real_versus_real(statistic, draw, NUM_SAMPLES, settings.rng(2))
        table["real versus real, median"][name] = chance.median
        table["real versus real, 99 %"][name] = chance.quantile_99
    limit = table["real versus real, 99 %"]["energy distance"] + ENERGY_MARGIN
    bounds = [Bound("samples", "energy distance", -1, limit)]
    if mixture is not None:
        masses = mode_masses(samples, mixture.centers, radius=4 * mixture.std)
        table["samples"]["modes covered"] = modes_covered(masses, mixture.masses)
        table["samples"]["largest error of a mode's mass"] = float(np.abs(masses - mixture.masses).max())
        modes = len(mixture.masses)
        bounds += [
            Bound("samples", "modes covered", modes, modes),
            Bound("samples", "largest error of a mode's mass", 0, 0.05),
        ]
    _plot(settings, model, real, samples)
    return table, bounds


def _plot(settings: ExperimentSettings, model: ConditionalFlowModel, real: Floats, samples: NDArray[Any]) -> None:
    figure, axes = new_figure(4)
    scatter(axes[0, 0], real, "data", GREY)
    scatter(axes[0, 1], samples, f"samples, {NUM_STEPS} steps")
    few = np.asarray(model.predict(NUM_SAMPLES, num_steps=1, generator=settings.generator(1)))
    scatter(axes[0, 2], few, "samples, 1 step: the mean")
    with torch.no_grad():
        paths = model.paths(500, num_steps=NUM_STEPS, generator=settings.generator(2)).numpy()
    draw_paths(axes[0, 3], paths[:, :80], "paths")
    for ax in axes[0, 1:3]:
        ax.set(xlim=axes[0, 0].get_xlim(), ylim=axes[0, 0].get_ylim())
    save_figure(figure, settings.output / f"{settings.experiment}.png")
    if settings.experiment == "spiral":
        frames = [*range(0, NUM_STEPS + 1, 4), *[NUM_STEPS] * 8]
        save_animation(paths, settings.output / "spiral.gif", settings.experiment, frames)
