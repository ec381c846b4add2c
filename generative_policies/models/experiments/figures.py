"""Plots and animations of samples and paths; matplotlib is imported when they are drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generative_policies.atomic_files import replacing

# Okabe and Ito's colours, distinct for colour-blind readers.
BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#999999"
COLORS = (BLUE, ORANGE, GREEN, PINK, "#E69F00", "#56B4E9")


def shade(share: float) -> tuple[float, ...]:
    """Return a colour between blue at 0 and orange at 1."""
    from matplotlib.colors import to_rgb

    return tuple((1 - share) * np.array(to_rgb(BLUE)) + share * np.array(to_rgb(ORANGE)))


def new_figure(columns: int, rows: int = 1, size: float = 3.4, **axes_arguments: Any) -> tuple[Any, NDArray[Any]]:
    """Return a figure of square panels and its axes ``(rows, columns)``; its types are matplotlib's, imported here."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size * columns, size * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **axes_arguments)


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure as a PNG."""
    with replacing(path) as new:
        figure.savefig(new, dpi=120)


def scatter(ax: Any, points: NDArray[Any], title: str, color: str = BLUE) -> None:
    """Draw points ``(n, 2)``."""
    ax.plot(points[:, 0], points[:, 1], ".", markersize=2, alpha=0.5, color=color)
    ax.set_title(title, fontsize=10)
    ax.set_aspect("equal")


def share_limits(axes: NDArray[Any]) -> None:
    """Give all panels the limits of the first one."""
    for ax in axes[1:]:
        ax.set(xlim=axes[0].get_xlim(), ylim=axes[0].get_ylim())


def draw_paths(ax: Any, paths: NDArray[Any], title: str) -> None:
    """Draw paths ``(num_steps + 1, n, 2)`` with their two ends."""
    ax.plot(paths[:, :, 0], paths[:, :, 1], color=GREY, linewidth=0.6)
    ax.plot(paths[0, :, 0], paths[0, :, 1], ".", markersize=3, color=ORANGE, label="t = 0")
    ax.plot(paths[-1, :, 0], paths[-1, :, 1], ".", markersize=3, color=BLUE, label="t = 1")
    ax.legend(frameon=False, fontsize=8)
    ax.set_title(title, fontsize=10)
    ax.set_aspect("equal")


def save_animation(paths: NDArray[Any], path: Path, title: str, frames: Sequence[int]) -> None:
    """Write points ``(num_steps + 1, n, 2)`` on their way from t = 0 to t = 1 as a GIF, one frame an index."""
    from matplotlib.animation import FuncAnimation, PillowWriter

    figure, axes = new_figure(1, size=3.2)
    ax = axes[0, 0]
    limit = float(np.abs(paths).max()) * 1.05
    (points,) = ax.plot([], [], ".", markersize=2, alpha=0.6, color=BLUE)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")

    def show(frame: int) -> tuple[Any]:
        points.set_data(paths[frame, :, 0], paths[frame, :, 1])
        ax.set_title(f"{title}, t = {frame / (len(paths) - 1):.2f}", fontsize=9)
        return (points,)

    with replacing(path) as new:
        FuncAnimation(figure, show, frames=list(frames)).save(new, writer=PillowWriter(fps=12), dpi=80)
