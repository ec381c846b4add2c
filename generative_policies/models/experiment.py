"""Flows on data whose answer is known: ``python -m generative_policies.models.experiment``.

Trains one, measures its samples and plots them.

The figures stand beside what two fresh draws of the data give between themselves: a perfect sampler is no better.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from generative_policies.models.flow import ConditionalFlowModel
from generative_policies.models.sample_metrics import (
    energy_distance,
    mode_masses,
    modes_covered,
    real_versus_real,
    sliced_wasserstein,
)

MODE_CENTERS = np.array([[-1.0, 0.0], [1.0, 0.0]])
MODE_MASSES = np.array([0.3, 0.7])
MODE_STD = 0.15


@dataclass(frozen=True)
class ExperimentSettings:
    """Settings of the bimodal experiment.

    Attributes:
        experiment: Name of the experiment.
        seed: Seed of data, weights and samples.
        num_updates: Gradient steps.
        num_steps: Euler steps of a sample.
        num_samples: Samples that the figures are computed from.
        output: Folder of the plot and the JSON.
    """

    experiment: str = "bimodal"
    seed: int = 0
    num_updates: int = 2_000
    num_steps: int = 100
    num_samples: int = 2_000
    output: Path = Path("runs/experiments")


def draw_bimodal(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw from a mixture of two Gaussians in the plane with masses 0.3 and 0.7.

    Args:
        n: Number of samples.
        rng: Source of randomness.

    Returns:
        ``(n, 2)``.
    """
    modes = rng.choice(len(MODE_CENTERS), size=n, p=MODE_MASSES)
    return MODE_CENTERS[modes] + MODE_STD * rng.standard_normal((n, 2))


def train_bimodal(seed: int, num_updates: int, progress: bool = False) -> ConditionalFlowModel:
    """Train a flow on fresh draws of the bimodal data.

    Args:
        seed: Seed of data, weights and the loss's noise.
        num_updates: Gradient steps of 256 rows.
        progress: Show a progress bar.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ConditionalFlowModel(target_dim=2)
    model.fit_normalizers(_tensor(draw_bimodal(10_000, rng)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_updates)
    for _ in _progress(num_updates, progress):
        loss = model(_tensor(draw_bimodal(256, rng)), generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


def measure_bimodal(model: ConditionalFlowModel, settings: ExperimentSettings) -> dict[str, float]:
    """Return the distances of samples to data beside those of data to data, and the mass of each mode."""
    rng = np.random.default_rng([settings.seed, 1])
    samples = sample(model, settings)
    real = draw_bimodal(settings.num_samples, rng)
    masses = mode_masses(samples, MODE_CENTERS, radius=4 * MODE_STD)
    figures = {
        "energy_distance": energy_distance(samples, real),
        "sliced_wasserstein": sliced_wasserstein(samples, real),
    }
    for name, statistic in (("energy_distance", energy_distance), ("sliced_wasserstein", sliced_wasserstein)):
        chance = real_versus_real(statistic, draw_bimodal, settings.num_samples, rng)
        figures[f"{name}_real_median"] = chance.median
        figures[f"{name}_real_quantile_99"] = chance.quantile_99
    figures |= {f"mode_{k}_mass": float(mass) for k, mass in enumerate(masses)}
    return figures | {"modes_covered": modes_covered(masses, MODE_MASSES), "modes": len(MODE_CENTERS)}


def sample(model: ConditionalFlowModel, settings: ExperimentSettings) -> NDArray[np.float64]:
    """Draw the experiment's samples ``(num_samples, 2)``."""
    generator = torch.Generator().manual_seed(settings.seed + 1)
    samples = model.predict(batch_size=settings.num_samples, num_steps=settings.num_steps, generator=generator)
    return np.asarray(samples, dtype=np.float64)


def plot(model: ConditionalFlowModel, settings: ExperimentSettings, path: Path) -> None:
    """Write data, samples and a few paths from noise to sample as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    real = draw_bimodal(settings.num_samples, np.random.default_rng([settings.seed, 1]))
    samples = sample(model, settings)
    noise = torch.randn(60, 2, generator=torch.Generator().manual_seed(settings.seed))
    # The same noise stopped at each number of steps would be another flow: record the path of one integration.
    path_points = [noise]
    with torch.no_grad():
        for k in range(settings.num_steps):
            t = torch.full((len(noise),), k / settings.num_steps)
            path_points.append(path_points[-1] + model.network(path_points[-1], t, None) / settings.num_steps)
    paths = model.target_normalizer.denormalize(torch.stack(path_points)).numpy()  # (steps + 1, 60, 2)
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    for ax, points, title in ((axes[0], real, "data"), (axes[1], samples, f"samples, {settings.num_steps} steps")):
        ax.plot(points[:, 0], points[:, 1], ".", markersize=2, alpha=0.5, color="#0072B2")
        ax.set_title(title)
    axes[2].plot(paths[:, :, 0], paths[:, :, 1], color="#999999", linewidth=0.6)
    axes[2].plot(paths[0, :, 0], paths[0, :, 1], ".", markersize=3, color="#D55E00", label="t = 0")
    axes[2].plot(paths[-1, :, 0], paths[-1, :, 1], ".", markersize=3, color="#0072B2", label="t = 1")
    axes[2].legend(frameon=False)
    axes[2].set_title("paths")
    for ax in axes:
        ax.set_aspect("equal")
    canvas.print_figure(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Run the command line and return the figures."""
    parser = argparse.ArgumentParser(description="Train a flow on known data, print its metrics and plot its samples.")
    parser.add_argument("--experiment", choices=["bimodal"], default="bimodal", help="which data (default: bimodal)")
    parser.add_argument("--seed", type=int, default=0, help="seed of data, weights and samples (default: 0)")
    parser.add_argument("--quick", action="store_true", help="a short training that shows that everything runs")
    parser.add_argument("--output", type=Path, default=Path("runs/experiments"), help="folder of plot and JSON")
    options = parser.parse_args(arguments)
    settings = ExperimentSettings(
        experiment=options.experiment,
        seed=options.seed,
        num_updates=100 if options.quick else ExperimentSettings.num_updates,
        output=options.output,
    )
    torch.set_num_threads(1)  # the network is small: a second thread costs more than it brings
    started = time.monotonic()
    model = train_bimodal(settings.seed, settings.num_updates, progress=True)
    figures = measure_bimodal(model, settings)
    settings.output.mkdir(parents=True, exist_ok=True)
    stem = settings.output / settings.experiment
    plot(model, settings, stem.with_suffix(".png"))
    figures["seconds"] = round(time.monotonic() - started, 1)
    report = {"metrics": figures, "settings": asdict(settings), "versions": {"torch": torch.__version__}}
    stem.with_suffix(".json").write_text(json.dumps(report, indent=2, default=str) + "\n")
    for name, value in figures.items():
        print(f"{name:36s}{value:10.4f}")
    print(f"{stem}.png, {stem}.json")
    return figures


def _progress(num_updates: int, show: bool) -> Sequence[int]:
    from tqdm import trange

    updates: Sequence[int] = trange(num_updates, desc="train", disable=not show, mininterval=0.5)
    return updates


def _tensor(x: NDArray[np.float64]) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float32)


if __name__ == "__main__":
    main()
