"""The comparison as a plot that a paper could print."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from generative_policies.atomic_files import replacing

# Okabe and Ito's colours, distinct for colour-blind readers: the two references in grey, arms in colour.
REFERENCE_COLORS = {"source": "#7f7f7f", "untranslated": "#bfbfbf", "random": "#dddddd", "exact": "#4d4d4d"}
ARM_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#6A3D9A", "#F0E442")


def plot_comparison(arms: Mapping[str, Mapping[str, Any]], path: Path, title: str) -> None:
    """Write success rates and returns of all arms as a PNG.

    Args:
        arms: The figures of ``report_arms``.
        path: The file.
        title: Printed above.
    """
    names = list(arms)
    free_colors = iter(ARM_COLORS * len(names))
    colors = [REFERENCE_COLORS.get(name) or next(free_colors) for name in names]
    labels = [name.replace("_", "\n") for name in names]
    has_success = all(arm["success_rate"] is not None for arm in arms.values())
    width = max(4.25, 0.6 * len(names) + 1.2)
    figure = Figure(figsize=(width * (2 if has_success else 1), 3.8), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if has_success else 1, squeeze=False)[0]
    positions = np.arange(len(names))
    if has_success:
        rates = np.array([arm["success_rate"] for arm in arms.values()])
        intervals = np.array([arm["success_interval"] for arm in arms.values()])
        errors = np.clip(np.stack([rates - intervals[:, 0], intervals[:, 1] - rates]), 0, None)
        axes[0].bar(positions, rates, color=colors, width=0.7, yerr=errors, capsize=4)
        for position, arm in zip(positions, arms.values(), strict=True):
            if arm["recovered"] is not None:
                label = f"recovered\n{arm['recovered']:.2f}"
                axes[0].text(position, 1.1, label, ha="center", va="bottom", fontsize=7)
        axes[0].set(ylabel="success rate", ylim=(0, 1.3), yticks=np.linspace(0, 1, 6))
    scatter = np.random.default_rng(0)
    for position, color, arm in zip(positions, colors, arms.values(), strict=True):
        returns = np.asarray(arm["returns"])
        jitter = scatter.uniform(-0.18, 0.18, len(returns))
        axes[-1].plot(position + jitter, returns, ".", color=color, alpha=0.45, markersize=5)
        low, high = arm["interquartile_mean_interval"]
        axes[-1].plot([position, position], [low, high], color="black", linewidth=2)
        axes[-1].plot([position - 0.25, position + 0.25], [arm["interquartile_mean"]] * 2, color="black", linewidth=2)
    axes[-1].set(ylabel="return of an episode")
    for ax in axes:
        crowded = len(names) > 5
        rotation: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
        ax.set_xticks(positions, names if crowded else labels, fontsize=8, **rotation)
        ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{title}\n95 % intervals; returns with their interquartile mean", fontsize=9)
    with replacing(path) as new:
        canvas.print_figure(new, dpi=150, format="png")
