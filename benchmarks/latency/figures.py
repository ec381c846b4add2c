"""The plot: quality against time, one curve a method."""

from collections.abc import Mapping
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.latency.samplers import EAGER, EXPORTED, PLAIN, STUDENTS, Row

BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7f7f7f"


def plot(results: Mapping[str, Any]) -> Figure:
    """Return energy distance against microseconds of one action on one thread, each point a number of steps."""
    distances = {entry["row"]: entry["energy_distance"] for entry in results["quality"]}
    points = {
        Row(entry["method"], entry["num_steps"]): (entry["median"], entry["of"])
        for entry in (
            {**entry, "of": distances[Row(entry["method"], entry["num_steps"]).twin.label]}
            for entry in results["latency"]
            if entry["batch"] == 1 and entry["threads"] == 1
        )
    }
    figure = Figure(figsize=(6.5, 4.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    threshold = results["chance"]["energy_distance"]["quantile_99"]
    best = max((row for row in points if row.method == EAGER), key=lambda row: row.num_steps)
    limit = points[best][1] + threshold
    axes.axhspan(-0.5 * threshold, limit, color=GREY, alpha=0.15, linewidth=0)
    axes.axhline(0, color="black", linewidth=0.6)
    for method, color, label in (
        (PLAIN, GREY, "plain loop"),
        (EAGER, BLUE, "library, eager"),
        (EXPORTED, ORANGE, "library, exported"),
    ):
        rows = sorted((row for row in points if row.method == method), key=lambda row: row.num_steps)
        axes.plot(*zip(*(points[row] for row in rows), strict=True), "o-", color=color, label=label, markersize=4)
        if method == PLAIN:
            for row in rows:
                axes.annotate(
                    str(row.num_steps), points[row], (5, 5), textcoords="offset points", fontsize=8, color=color
                )
    for (method, marker), color in zip(zip(STUDENTS, "s^", strict=True), (GREEN, PINK), strict=True):
        rows = [Row(f"{method}, {EXPORTED}", 1), Row(method, 1)]
        label = f"one-step {method}: exported, eager"
        axes.plot(
            *zip(*(points[row] for row in rows), strict=True), f"{marker}-", color=color, label=label, markersize=6
        )
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=threshold, linscale=0.6)
    axes.set_ylim(-0.5 * threshold, 1.5 * max(threshold, *(distance for _, distance in points.values())))
    ticks = [
        0,
        *(tick for tick in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if tick < axes.get_ylim()[1]),
    ]
    axes.set_yticks(ticks)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.text(
        0.99,
        limit,
        "equal quality",
        transform=axes.get_yaxis_transform(),
        fontsize=8,
        ha="right",
        va="top",
        color=GREY,
    )
    axes.set(
        xlabel="time of one action, one thread [µs]",
        ylabel="energy distance of (condition, sample)",
        title="Quality against time; numbers: Euler steps",
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure
