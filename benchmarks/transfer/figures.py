"""Plots: what each arm recovers, by how many target episodes, and along the target steps of SAC."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from generative_policies.atomic_files import replacing

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#7f7f7f"
REFERENCES = ("random", "source", "untranslated")
Reports = Mapping[str, Mapping[str, Mapping[str, Any]]]


def plot_recovered(reports: Reports, path: Path) -> None:
    """Write what each arm recovers on each target, a panel a target."""
    panels = {name: _shares(rows) for name, rows in reports.items()}
    panels = {name: shares for name, shares in panels.items() if shares}
    if not panels:
        return
    columns = 3
    highs = [(interval or (share, share))[1] for shares in panels.values() for share, interval in shares.values()]
    largest = max(1.5, *highs)
    grid = [list(panels)[k : k + columns] for k in range(0, len(panels), columns)]
    heights = [max(len(panels[name]) for name in names) for names in grid]
    figure = _new(4.0 * columns, 0.24 * sum(heights) + 0.8 * len(grid))
    axes = figure.subplots(len(grid), columns, squeeze=False, height_ratios=[height + 2 for height in heights])
    for row, names in enumerate(grid):
        for column in range(columns):
            ax = axes[row, column]
            if column >= len(names):
                ax.set_visible(False)
                continue
            shares = panels[names[column]]
            for position, (arm, (share, interval)) in enumerate(shares.items()):
                color = GREY if arm == "exact" else ORANGE if "sac" in arm or "ppo" in arm else BLUE
                low, high = interval or (share, share)
                ax.plot([low, high], [position, position], color=color, linewidth=1.2)
                ax.plot(share, position, "o", color=color, markersize=4)
            ax.axvline(0, color="black", linewidth=0.6, linestyle=":")
            ax.axvline(1, color="black", linewidth=0.6)
            ax.set_yticks(range(len(shares)), list(shares), fontsize=7)
            ax.set(ylim=(max(heights[row], 1) - 0.4, -0.6), xlim=(-0.6, largest + 0.1))
            ax.set_title(names[column], fontsize=9)
            ax.tick_params(axis="x", labelsize=7)
            ax.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("share of the loss recovered, 95 % intervals; orange: learns with a reward", fontsize=9)
    _write(figure, path)


def plot_target_episodes(reports: Reports, path: Path) -> None:
    """Write success on Pusher P1 against the number of target episodes."""
    rows = reports.get("pusher-P1", {})
    figure = _new(5.0, 3.4)
    ax = figure.subplots()
    drawn = False
    for arm, color in (("linear", GREEN), ("mlp", BLUE), ("flow_prior_conditioned", ORANGE)):
        counts = sorted(int(row.rpartition("-")[2]) for row in rows if row.rpartition("-")[0] == arm)
        if not counts:
            continue
        points = [rows[f"{arm}-{count}"] for count in counts]
        scores = np.array([point["score"] for point in points])
        intervals = np.array([point["interval"] for point in points])
        ax.plot(counts, scores, "o-", color=color, markersize=4, label=arm)
        ax.fill_between(counts, intervals[:, 0], intervals[:, 1], color=color, alpha=0.15, linewidth=0)
        drawn = True
    if not drawn:
        return
    for row, style in (("source", "-"), ("untranslated", "--")):
        if row in rows:
            ax.axhline(rows[row]["score"], color="black", linewidth=0.8, linestyle=style)
            ax.annotate(row, (1, rows[row]["score"]), fontsize=7, va="bottom")
    ax.set(xscale="log", xlabel="target episodes", ylabel="success rate", ylim=(-0.03, 1.08), title="Pusher, shift P1")
    ax.set_xticks([1, 2, 4, 8, 16, 50], ["1", "2", "4", "8", "16", "50"])
    ax.minorticks_off()
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    _write(figure, path)


def plot_learning_curves(results: Mapping[str, Mapping[str, list[dict[str, Any]]]], path: Path) -> None:
    """Write the returns of SAC along its target steps on HalfCheetah G, a line a seed."""
    rows = results.get("half_cheetah-G", {})
    figure = _new(5.5, 3.6)
    ax = figure.subplots()
    drawn = False
    for row, color in (("residual_sac", BLUE), ("residual_sac_untranslated", ORANGE), ("sac_from_scratch", GREY)):
        for k, run in enumerate(rows.get(row, [])):
            steps, returns = np.array(run["curve"]).T
            ax.plot(steps / 1_000, returns, color=color, linewidth=1.2, label=row if k == 0 else None)
            drawn = True
    if not drawn:
        return
    for row, style in (("source", "-"), ("untranslated", "--")):
        if row in rows:
            score = float(np.mean(rows[row][0]["returns"]))
            ax.axhline(score, color="black", linewidth=0.8, linestyle=style)
            ax.annotate(row, (0, score), fontsize=7, va="bottom")
    ax.set(
        xlabel="target steps, the translator's included [thousands]",
        ylabel="mean return of 20 episodes",
        title="HalfCheetah, gear 0.7",
    )
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
    _write(figure, path)


def _shares(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[float, Any]]:
    return {
        name: (figures["recovered"], figures["recovered_interval"])
        for name, figures in rows.items()
        if name not in REFERENCES and figures["recovered"] is not None
    }


def _new(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _write(figure: Figure, path: Path) -> None:
    with replacing(path) as new:
        figure.savefig(new, dpi=150, format="png")
