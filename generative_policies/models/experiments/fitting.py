"""Experiments that fit one distribution: bimodal, conditional, spiral and the grid of sixteen modes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from generative_policies.models.experiments.distributions import (
    BIMODAL,
    GRID,
    SPIRAL,
    Floats,
    Mixture,
    Spiral,
    as_tensor,
    batches,
    conditional_mean,
    conditional_std,
    draw_conditional,
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
    shade,
    share_limits,
)
from generative_policies.models.experiments.sample_quality import judge
from generative_policies.models.flow import ConditionalFlowModel
from generative_policies.models.residual_mlp import ResidualMlp
from generative_policies.models.sample_metrics import mode_masses, modes_covered

NUM_SAMPLES = 2_000
NUM_STEPS = 100


def bimodal(settings: ExperimentSettings) -> tuple[Table, Sequence[Bound]]:
    """Two Gaussians of masses 0.3 and 0.7."""
    return _fit_and_judge(settings, BIMODAL, lambda: ConditionalFlowModel(2), 2_000)


def spiral(settings: ExperimentSettings) -> tuple[Table, Sequence[Bound]]:
    """A spiral, with an animation of the flow from noise to data."""
    return _fit_and_judge(settings, SPIRAL, _residual_flow, 12_000)


def grid(settings: ExperimentSettings) -> tuple[Table, Sequence[Bound]]:
    """Sixteen narrow Gaussians on a grid of four by four."""
    return _fit_and_judge(settings, GRID, lambda: _residual_flow(layers=6), 15_000)


def conditional(settings: ExperimentSettings) -> tuple[Table, Sequence[Bound]]:
    """Mean and spread that depend on a condition."""
    rng = settings.rng()

    def conditional_batches() -> Iterator[dict[str, Any]]:
        while True:
            c, target = draw_conditional(256, rng)
            yield {"target": as_tensor(target), "condition": as_tensor(c)}

    model = initialized(lambda: ConditionalFlowModel(1, 1, network=ResidualMlp(1, 1, (64, 64, 64))), settings.seed)
    train(model, conditional_batches(), settings.updates(3_000), settings.generator())
    grid_of_c = np.arange(-3, 4) * 0.3  # zero is in it exactly
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
    figure, axes = new_figure(3)
    curve = np.linspace(-1, 1, 100)
    for ax, points, title in ((axes[0, 0], target, "data"), (axes[0, 1], samples, "samples")):
        ax.plot(c[:, 0], points[:, 0], ".", markersize=2, alpha=0.5, color=BLUE)
        ax.plot(curve, conditional_mean(curve), color=ORANGE)
        for sign in (-2, 2):
            ax.plot(curve, conditional_mean(curve) + sign * conditional_std(curve), color=ORANGE, linestyle=":")
        ax.set(title=f"{title}; true mean and two standard deviations", xlabel="condition")
        ax.title.set_fontsize(8)
    share_limits(axes[0, :2])
    with torch.no_grad():
        paths = model.paths(condition=as_tensor(c[:60]), num_steps=50, generator=settings.generator(9))
    for k in range(60):
        axes[0, 2].plot(np.linspace(0, 1, 51), paths[:, k, 0], color=shade((c[k, 0] + 1) / 2), linewidth=0.7)
    axes[0, 2].set(xlabel="t", title="paths from noise, blue for c = -1, orange for c = 1")
    axes[0, 2].title.set_fontsize(8)
    save_figure(figure, settings.output / "conditional.png")
    return table, [Bound("largest error", "mean", 0, 0.06), Bound("largest error", "std", 0, 0.05)]


def _residual_flow(layers: int = 4) -> ConditionalFlowModel:
    return ConditionalFlowModel(2, network=ResidualMlp(2, 0, (128,) * layers))


def _fit_and_judge(
    settings: ExperimentSettings,
    distribution: Mixture | Spiral,
    build: Callable[[], ConditionalFlowModel],
    num_updates: int,
) -> tuple[Table, Sequence[Bound]]:
    """Train on fresh draws, and compare samples with data beside data with data."""
    rng = settings.rng()
    model = initialized(build, settings.seed)
    model.fit_normalizers(as_tensor(distribution.draw(10_000, rng)))
    train(model, batches(distribution.draw, rng), settings.updates(num_updates), settings.generator())
    samples, one_step = (
        np.asarray(model.predict(NUM_SAMPLES, num_steps=num_steps, generator=settings.generator(1)))
        for num_steps in (NUM_STEPS, 1)
    )
    table, bounds = judge(samples, distribution, settings.rng(1))
    if isinstance(distribution, Mixture):
        masses = mode_masses(one_step, distribution.centers, radius=4 * distribution.std)
        table["samples, 1 step"] = {"modes covered": modes_covered(masses, distribution.masses)}
        bounds.append(Bound("samples, 1 step", "modes covered", 0, len(masses) // 2))
    _plot(settings, model, distribution.draw(NUM_SAMPLES, settings.rng(2)), samples, one_step)
    return table, bounds


def _plot(
    settings: ExperimentSettings, model: ConditionalFlowModel, real: Floats, samples: Floats, one_step: Floats
) -> None:
    figure, axes = new_figure(4)
    scatter(axes[0, 0], real, "data", GREY)
    scatter(axes[0, 1], samples, f"samples, {NUM_STEPS} steps")
    scatter(axes[0, 2], one_step, "samples, 1 step: the mean")
    with torch.no_grad():
        paths = model.paths(500, num_steps=NUM_STEPS, generator=settings.generator(2)).numpy()
    draw_paths(axes[0, 3], paths[:, :80], "paths")
    share_limits(axes[0, :3])
    save_figure(figure, settings.output / f"{settings.experiment}.png")
    if settings.experiment == "spiral":
        frames = [*range(0, NUM_STEPS + 1, 4), *[NUM_STEPS] * 8]
        save_animation(paths, settings.output / "spiral.gif", settings.experiment, frames)
