"""The figures of loops, as tables and as a plot."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.real_time_loop.deadlines import PERIOD, Slice

EMPTY = "empty"  # name of the loop without work
QUANTILES = {"median": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


def quantiles(nanoseconds: NDArray[np.int64]) -> dict[str, float]:
    """Return the quantiles that are reported [µs]."""
    return {name: float(np.quantile(1e-3 * nanoseconds, share)) for name, share in QUANTILES.items()}


def longest_run(missed: NDArray[np.bool_]) -> int:
    """Return the number of misses in the longest run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missed, [False]]).astype(int)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def summarize(slices: Sequence[Slice]) -> dict[str, Any]:
    """Return a loop's figures."""
    counts = [int(each.missed.sum()) for each in slices]
    deadlines = sum(len(each.missed) for each in slices)
    return {
        "deadlines": deadlines,
        "missed": sum(counts),
        "missed_percent": 100 * sum(counts) / deadlines,
        "missed_by_slice": counts,
        "longest_run": max(longest_run(each.missed) for each in slices),
        "late": quantiles(np.concatenate([each.late for each in slices])),
        "work": quantiles(np.concatenate([each.work for each in slices])),
    }


def format_loops(loops: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the misses of loops, and the times of their cycles, as two tables in Markdown."""
    names = list(QUANTILES)
    lines = [
        "| loop | deadlines | missed | % | longest run | late [µs]: " + " | ".join(names) + " |",
        "|---" * (5 + len(names)) + "|",
    ]
    for name, figures in loops.items():
        cells = [name, f"{figures['deadlines']:,}", str(figures["missed"]), f"{figures['missed_percent']:.3f}"]
        cells += [str(figures["longest_run"]), *(f"{figures['late'][each]:.0f}" for each in names)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| loop | work [µs] | " + " | ".join(names) + " |", "|---" * (2 + len(names)) + "|"]
    for name, figures in loops.items():
        for part, times in {"whole cycle": figures["work"], **figures.get("parts", {})}.items():
            lines.append(f"| {name} | {part} | {' | '.join(f'{times[each]:.0f}' for each in names)} |")
    return "\n".join(lines)


def format_reached(arms: Mapping[str, Mapping[str, float]]) -> str:
    """Return what arms reach, see ``driven_arm.reached``, as a table in Markdown."""
    lines = ["| arm at 1 kHz | episodes | success | distance at the end [mm] |", "|---|---|---|---|"]
    for name, ends in arms.items():
        lines.append(f"| {name} | {ends['episodes']} | {ends['success']:.2f} | {ends['millimetres']:.1f} |")
    return "\n".join(lines)


def plot(slices: Mapping[str, Sequence[Slice]]) -> Figure:
    """Return how many cycles end later than a time after the beginning of their period."""
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    colors = {EMPTY: "#7f7f7f", "onnx": "#0072B2", "eager": "#D55E00"}
    for name, found in slices.items():
        ends = np.sort(np.concatenate([1e-3 * (each.late + each.work) for each in found]))
        label = "empty loop" if name == EMPTY else f"translated arm, {name}"
        axes.step(np.maximum(ends, 0.1), 1 - np.arange(len(ends)) / len(ends), color=colors[name], label=label)
    axes.axvline(1e-3 * PERIOD, color="black", linestyle="--", linewidth=0.8)
    axes.annotate("deadline", (1.1e-3 * PERIOD, 1.0), fontsize=8, va="center")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="end of the cycle after the beginning of its period [µs]",
        ylabel="share of cycles that end later",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure
