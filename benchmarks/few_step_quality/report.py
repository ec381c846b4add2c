"""The table, the verdicts and the plot of few-step quality."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.few_step_quality.methods import AVERAGE, DISTILLED, FLOW, REFLOW
from generative_policies.atomic_files import replacing

Figures = Sequence[dict[str, Any]]
ALL_MODES = 16
LEAST_KEPT = 0.97
COLORS = {FLOW: "#555555", REFLOW: "#0072b2", AVERAGE: "#1b9e77", DISTILLED: "#d95f02"}  # the last one on top


def verdicts(rows: Figures) -> dict[str, dict[str, Any]]:
    """Return the goals with what was reached; those that no row is about are left away."""
    found: dict[str, dict[str, Any]] = {}
    grid = _of(rows, "grid", DISTILLED, 1)
    if grid:
        modes = [row["modes covered"] for row in grid]
        found["modes of the grid in one step, the least over seeds"] = _verdict(min(modes), ALL_MODES, len(grid))
    robots = _of(rows, "robot", DISTILLED, 1)
    if robots:
        teachers = {row["seed"]: row for row in rows if row["task"] == "robot" and row["method"] == FLOW}
        best = [max(r["num_steps"] for r in rows if r["task"] == "robot" and r["method"] == FLOW)] * len(robots)
        teachers = {row["seed"]: row for row in _of(rows, "robot", FLOW, best[0])}
        kept = float(
            np.mean([row["recovered"] for row in robots]) / np.mean([r["recovered"] for r in teachers.values()])
        )
        found["return recovered in one step, of the teacher's"] = _verdict(kept, LEAST_KEPT, len(robots))
    mixture = _of(rows, "conditional", DISTILLED, 1)
    if mixture:
        teacher = _of(rows, "conditional", FLOW, 100)
        beyond = max(
            row["energy_distance"] - other["energy_distance"] - row["real versus real"]
            for row, other in zip(mixture, teacher, strict=True)
        )
        name = "energy distance of one step beyond the teacher's and the 99 % band of real against real"
        found[name] = {"value": beyond, "goal": 0.0, "seeds": len(mixture), "reached": beyond <= 0}
    return found


def markdown(rows: Figures, command: str) -> str:
    """Return the tables of all tasks and the verdicts."""
    parts = []
    for task, columns in TABLES.items():
        own = [row for row in rows if row["task"] == task]
        if not own:
            continue
        keys = list(dict.fromkeys((row["method"], row["num_steps"]) for row in own))
        seeds = len({row["seed"] for row in own})
        lines = [f"### {task}, {seeds} seed{'s' if seeds > 1 else ''}", ""]
        lines += [f"| method | steps | {' | '.join(columns)} |", "|---" * (2 + len(columns)) + "|"]
        for method, steps in keys:
            group = [row for row in own if (row["method"], row["num_steps"]) == (method, steps)]
            cells = [_cell(group, name, form) for name, form in columns.values()]
            lines.append(f"| {method} | {steps or ''} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    goals = ["| goal | value | wanted | seeds | |", "|---|---|---|---|---|"]
    for name, verdict in verdicts(rows).items():
        reached = "reached" if verdict["reached"] else "missed"
        goals.append(f"| {name} | {verdict['value']:.4g} | {verdict['goal']:g} | {verdict['seeds']} | {reached} |")
    note = (
        f"`{command}`. A flow's steps are Euler's; distilled and reflow learn from its samples in the largest number "
        "of its steps, the average velocity from its data. Microseconds are medians of a whole call of `predict` for "
        "one row, on one thread of a machine that did other things as well; `benchmarks.latency` measures them with "
        "care. Means over seeds."
    )
    return "\n\n".join([*parts, "\n".join(goals), note]) + "\n"


# Title of a column: key and format of its figure.
TABLES: dict[str, dict[str, tuple[str, str]]] = {
    "grid": {
        "energy distance": ("energy distance", ".4f"),
        "real vs real, 99 %": ("real versus real", ".4f"),
        "sliced W2": ("sliced Wasserstein-2", ".3f"),
        "modes of 16": ("modes covered", ".1f"),
        "between modes": ("share between modes", ".3f"),
        "spread / true": ("std within a mode / true", ".2f"),
        "µs": ("microseconds", ".0f"),
        "training [s]": ("training_seconds", ".0f"),
    },
    "conditional": {
        "energy distance": ("energy_distance", ".5f"),
        "real vs real, 99 %": ("real versus real", ".5f"),
        "sliced W2": ("sliced_wasserstein", ".4f"),
        "conditions with both modes": ("conditions_covered", ".2f"),
        "near a mode": ("near_a_mode", ".3f"),
        "spread / true": ("spread", ".2f"),
        "error of the mean": ("conditional_error", ".3f"),
        "µs": ("microseconds", ".0f"),
        "training [s]": ("training_seconds", ".0f"),
    },
    "robot": {
        "mean return": ("returns", ".0f"),
        "recovered": ("recovered", ".3f"),
        "µs": ("microseconds", ".0f"),
        "training [s]": ("training_seconds", ".0f"),
    },
}


def plot(rows: Figures, file: Path) -> None:
    """Draw quality against the number of steps, one curve a method."""
    panels = {
        "grid": ("energy distance", "4 x 4 Gaussians: energy distance"),
        "conditional": ("energy_distance", "conditional mixture: energy distance"),
        "robot": ("recovered", "HalfCheetah, gear 1.4: return recovered"),
    }
    shown = [task for task in panels if any(row["task"] == task for row in rows)]
    figure, axes = plt.subplots(1, len(shown), figsize=(3.6 * len(shown), 3), squeeze=False, layout="constrained")
    for axis, task in zip(axes[0], shown, strict=True):
        key, title = panels[task]
        for method, color in COLORS.items():
            own = [row for row in rows if row["task"] == task and row["method"] == method]
            steps = sorted({row["num_steps"] for row in own})
            values = [np.mean([row[key] for row in own if row["num_steps"] == step]) for step in steps]
            marker = "D" if method == DISTILLED else "o"
            axis.plot(steps, values, marker=marker, color=color, label=method, clip_on=False)
        if task == "robot":
            axis.axhline(1, color="#bbbbbb", lw=1)
        else:
            band = np.mean([row["real versus real"] for row in rows if row["task"] == task])
            axis.axhspan(-band, band, color="#dddddd", label="real vs real, 99 %")
            axis.set_yscale("symlog", linthresh=band)
        axis.set_xscale("log")
        axis.set_xlabel("solver steps")
        axis.set_title(title, fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].legend(fontsize=7, frameon=False)
    with replacing(file) as new:
        figure.savefig(new, dpi=160)
    plt.close(figure)


def _of(rows: Figures, task: str, method: str, num_steps: int) -> list[dict[str, Any]]:
    return [row for row in rows if (row["task"], row["method"], row["num_steps"]) == (task, method, num_steps)]


def _verdict(value: float, goal: float, seeds: int) -> dict[str, Any]:
    return {"value": value, "goal": goal, "seeds": seeds, "reached": value >= goal}


def _cell(group: Figures, name: str, form: str) -> str:
    values = [np.mean(row[name]) for row in group if name in row]
    return format(float(np.mean(values)), form) if values else ""
