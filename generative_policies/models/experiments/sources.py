"""Experiments on where a flow starts: which source for which target, and steering a frozen flow by its noise."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from generative_policies.models.experiments.distributions import BIMODAL, Floats, Mixture, as_tensor, batches
from generative_policies.models.experiments.experiment import Bound, ExperimentSettings, Table, initialized, train
from generative_policies.models.experiments.figures import (
    BLUE,
    COLORS,
    ORANGE,
    draw_paths,
    new_figure,
    save_figure,
    scatter,
)
from generative_policies.models.flow import ConditionalFlowModel
from generative_policies.models.priors import LiftedSourcePrior, SourcePrior
from generative_policies.models.residual_mlp import ResidualMlp
from generative_policies.models.sample_metrics import energy_distance, mode_masses

STEPS = (1, 2, 4, 10, 50)
ANGLES = np.arange(8) * np.pi / 4
RING = Mixture(np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1), np.full(8, 1 / 8), std=0.08)
LIFT = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, -1.0]])


def source_comparison(settings: ExperimentSettings) -> tuple[Table, Sequence[Bound]]:
    """Path length and quality against steps, for five sources of one target."""
    sources: dict[str, Callable[[Floats, np.random.Generator], Floats] | None] = {
        "Gaussian, independent": None,
        "Gaussian, optimal transport": None,
        "near the target": lambda target, rng: target + 0.1 * rng.standard_normal(target.shape),
        "mirrored target": lambda target, rng: -target + 0.1 * rng.standard_normal(target.shape),
        "of three dimensions": lambda target, rng: target @ LIFT + 0.1 * rng.standard_normal((len(target), 3)),
    }
    table: dict[str, dict[str, float]] = {}
    figure, axes = new_figure(3, 2, size=3.2)
    panels = axes.flatten()
    for k, (name, source_of) in enumerate(sources.items()):
        rng = settings.rng(k)
        model: ConditionalFlowModel = initialized(partial(_flow_from, name), settings.seed)
        target = RING.draw(10_000, rng)
        model.fit_normalizers(as_tensor(target), source=_source(source_of, target, rng))
        train(model, _paired(source_of, rng), settings.updates(2_500), settings.generator(k))
        real, fresh = RING.draw(2_000, settings.rng(100)), RING.draw(2_000, settings.rng(101))
        source = _source(source_of, fresh, settings.rng(102))
        noise = torch.randn(2_000, 2, generator=settings.generator(103))
        with torch.no_grad():
            length = model.path_length(source=source, noise=noise, num_steps=50)
            paths = model.paths(source=None if source is None else source[:60], noise=noise[:60], num_steps=50)
            draws = {n: model.sample(source=source, noise=noise, num_steps=n).numpy() for n in STEPS}
        straight, integrated = length.straight.mean().item(), length.integrated.mean().item()
        table[name] = {"straight": straight, "integrated": integrated, "ratio": integrated / straight}
        if source is not None:
            gaps = np.linalg.norm(draws[STEPS[-1]] - fresh, axis=1)
            table[name]["distance to the paired target"] = float(np.sqrt(np.mean(gaps**2)))
        table[name] |= {_energy_column(n): energy_distance(x, real) for n, x in draws.items()}
        draw_paths(panels[k], paths.numpy(), name)
        distances = [max(table[name][_energy_column(n)], 1e-4) for n in STEPS]
        panels[-1].loglog(STEPS, distances, "o-", color=COLORS[k], label=name, markersize=4)
    panels[-1].set(xlabel="steps", ylabel="energy distance to the target")
    panels[-1].legend(fontsize=6, frameon=False)
    save_figure(figure, settings.output / "source-comparison.png")
    one, many, paired = _energy_column(1), _energy_column(50), "distance to the paired target"
    bounds = [Bound(name, many, -1, 0.02) for name in sources]
    bounds += [Bound("Gaussian, independent", one, 0.3, 1), Bound("Gaussian, optimal transport", "ratio", 1, 1.1)]
    for name in ("near the target", "of three dimensions"):
        bounds += [Bound(name, "ratio", 1, 1.2), Bound(name, one, -1, 0.02), Bound(name, paired, 0, 0.3)]
    # All paths meet half-way: they come out at a mode, but not at their own.
    bounds += [Bound("mirrored target", "ratio", 3, 100), Bound("mirrored target", paired, 1, 3)]
    return table, bounds


def _energy_column(num_steps: int) -> str:
    return f"energy distance, {num_steps} step{'s' if num_steps > 1 else ''}"


def prior_steering(settings: ExperimentSettings) -> tuple[Table, Sequence[Bound]]:
    """A frozen flow is led to its rare mode by the mean and spread of its starting noise alone."""
    rng, generator = settings.rng(), settings.generator(1)
    model: ConditionalFlowModel = initialized(
        lambda: ConditionalFlowModel(2, network=ResidualMlp(2, 0, (128, 128))), settings.seed
    )
    model.fit_normalizers(as_tensor(BIMODAL.draw(10_000, rng)))
    train(model, batches(BIMODAL.draw, rng), settings.updates(2_500), settings.generator())
    model.requires_grad_(False)

    # The reward is the closeness to the rare mode; its gradient comes through the sampler.
    mean, log_std = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([mean, log_std], lr=0.05)
    rare = as_tensor(BIMODAL.centers[0])
    for _ in range(settings.updates(150)):
        noise = mean + log_std.exp() * torch.randn(256, 2, generator=generator)
        # The second term is the divergence from the prior: without it the noise would leave where the flow was trained.
        divergence = 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum()
        loss: torch.Tensor = (model.sample(noise=noise, num_steps=20) - rare).square().sum(
            -1
        ).mean() + 0.05 * divergence
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    base_noise = torch.randn(2_000, 2, generator=generator)
    steered_noise = (mean + log_std.exp() * base_noise).detach()
    table: dict[str, dict[str, float]] = {}
    figure, axes = new_figure(3)
    for k, (name, noise) in enumerate((("untouched", base_noise), ("steered", steered_noise))):
        samples = model.sample(noise=noise, num_steps=100).numpy()
        masses = mode_masses(samples, BIMODAL.centers, radius=4 * BIMODAL.std)
        table[name] = {"rare mode": masses[0], "common mode": masses[1], "between": 1 - masses.sum()}
        scatter(axes[0, k], samples, f"{name} noise: {masses[0]:.2f} in the rare mode", (BLUE, ORANGE)[k])
        scatter(axes[0, 2], noise.numpy(), "starting noise", (BLUE, ORANGE)[k])
    axes[0, 0].sharex(axes[0, 1])
    save_figure(figure, settings.output / "prior-steering.png")
    return table, [
        Bound("untouched", "rare mode", 0.25, 0.35),
        Bound("steered", "rare mode", 0.95, 1),
        Bound("steered", "between", 0, 0.02),
    ]


def _flow_from(name: str) -> ConditionalFlowModel:
    network = ResidualMlp(2, 0, (128, 128))
    if name == "Gaussian, independent":
        return ConditionalFlowModel(2, network=network)
    if name == "Gaussian, optimal transport":
        return ConditionalFlowModel(2, network=network, coupling="conditional_optimal_transport")
    prior = LiftedSourcePrior(2, 3) if name == "of three dimensions" else SourcePrior(2)
    return ConditionalFlowModel(2, network=network, prior=prior)


def _source(
    source_of: Callable[[Floats, np.random.Generator], Floats] | None, target: Floats, rng: np.random.Generator
) -> torch.Tensor | None:
    return None if source_of is None else as_tensor(source_of(target, rng))


def _paired(
    source_of: Callable[[Floats, np.random.Generator], Floats] | None, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    while True:
        target = RING.draw(256, rng)
        yield {"target": as_tensor(target), "source": _source(source_of, target, rng)}
