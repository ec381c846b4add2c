"""Translate a shipped expert to a shifted robot, and show what that gives: a report, a plot and a video."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from generative_policies.envs.rendering import RenderingUnavailableError
from generative_policies.rollouts.arms import ArmTask, run_arm, wrap_for_video
from generative_policies.rollouts.plots import plot_comparison
from generative_policies.rollouts.report import format_report, report_target
from generative_policies.rollouts.report_files import REPORT, write_report
from generative_policies.rollouts.robots import Robot
from generative_policies.rollouts.run_lock import run_lock
from generative_policies.rollouts.video import VideoArm, write_comparison_video

SOURCE, TARGET = Robot("Pusher-v5"), Robot("Pusher-v5", "P1")
SHIFT = "mass x 2, friction x 1.5, gear x 0.9, damping x 1.5"
CAPTIONS = {"source": "source robot", "untranslated": "target, untranslated", "linear": "target, translated"}


@dataclass(frozen=True)
class DemoSettings:
    """Translate a pusher's policy to a robot twice as heavy, with weaker motors and stiffer joints, and show it."""

    source_episodes: int = 400
    """Episodes of the source robot, with noisy actions, that its inverse dynamics learns from."""
    few_episodes: int = 4
    """Episodes of the target robot that the linear translator learns from, one after the other."""
    rounds: int = 3
    """Rounds of collecting on the target with the current flow translator, relabelling and retraining."""
    episodes_per_round: int = 25
    """Episodes of the target robot a round, two at least."""
    evaluation_episodes: int = 50
    """Episodes an arm, two at least, with reset seeds from 10,000."""
    video_episodes: int = 5
    """Of these, the first so many are shown in the video."""
    inverse_dynamics_updates: int = 20_000
    """Gradient steps of the source's inverse dynamics."""
    translator_updates: int = 8_000
    """Gradient steps of the flow translator in each round."""
    hidden_width: int = 256
    """Width of the two hidden layers of every network."""
    seed: int = 0
    """Seed of data, initial weights and training, from 0 to 8."""
    quick: bool = False
    """A short form that shows that everything runs; its figures mean nothing."""
    output: Path = Path("runs/demo")
    """Folder of the report, the plot, the video and the translators."""

    def __post_init__(self) -> None:
        """Check the settings."""
        for name, low in (
            ("source_episodes", 2),
            ("few_episodes", 1),
            ("rounds", 1),
            ("episodes_per_round", 2),
            ("evaluation_episodes", 2),
            ("video_episodes", 0),
            ("inverse_dynamics_updates", 1),
            ("translator_updates", 1),
            ("hidden_width", 1),
        ):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if self.hidden_width % 16:
            # Matrix products of other widths differ in the last bit between batches.
            raise ValueError(f"hidden_width must be a multiple of 16, got {self.hidden_width}")
        if not 0 <= self.seed <= 8:
            raise ValueError(f"seed must lie in 0 to 8, so that reset seeds stay below 10,000; got {self.seed}")
        if max(self.source_episodes, self.few_episodes, self.rounds * self.episodes_per_round) > 500:
            raise ValueError("source_episodes, few_episodes and rounds * episodes_per_round must be at most 500")

    def effective(self) -> "DemoSettings":
        """Return the settings with the short form's sizes where it was asked for."""
        if not self.quick:
            return self
        return replace(
            self,
            source_episodes=20,
            few_episodes=2,
            rounds=2,
            episodes_per_round=4,
            evaluation_episodes=4,
            video_episodes=min(1, self.video_episodes),
            inverse_dynamics_updates=300,
            translator_updates=200,
        )

    def tasks(self) -> dict[str, ArmTask]:
        """Return the arms of the demo."""
        whole = ArmTask(
            arm="flow_prior_conditioned",
            seed=self.seed,
            source=SOURCE,
            target=TARGET,
            policy="Pusher-v5",
            vecnormalize=None,
            episodes=self.evaluation_episodes,
            first_seed=10_000,
            source_episodes=self.source_episodes,
            inverse_dynamics_updates=self.inverse_dynamics_updates,
            rounds=self.rounds,
            episodes_per_round=self.episodes_per_round,
            updates=self.translator_updates,
            hidden_width=self.hidden_width,
        )
        # With so few episodes, noise must show what the motors do.
        few = replace(whole, arm="linear", rounds=self.few_episodes, episodes_per_round=1, noise=(0.15, 0.3))
        references = [replace(whole, arm=arm) for arm in ("source", "untranslated")]
        return {task.arm: task for task in (*references, few, whole)}


def demo(settings: DemoSettings) -> Path:
    """Train translators, compare them with the source policy at home and untranslated, and write report, plot, video.

    Args:
        settings: Sizes and seed.

    Returns:
        The path of ``report.json``.

    Raises:
        RunInUseError: If another process writes the output.
    """
    with run_lock(settings.output):
        return _demo(settings.effective())


def _demo(settings: DemoSettings) -> Path:
    started = time.monotonic()
    tasks = settings.tasks()
    # An interrupted demo goes on from its finished rounds, unless the settings are others.
    folders = {name: settings.output / "models" / task.fingerprint() for name, task in tasks.items()}
    source_models = settings.output / "models"
    results: dict[str, list[dict[str, Any]]] = {}
    for name, task in tasks.items():
        begun = time.monotonic()
        result = run_arm(task, str(folders[name]), 16, str(source_models))
        results[name] = [result | {"seconds": time.monotonic() - begun}]
    report = report_target(results, np.random.default_rng(settings.seed))
    for name, figures in report["arms"].items():
        figures["successes"] = results[name][0]["successes"]
    report["seconds"] = round(time.monotonic() - started, 1)
    print(format_report(report))
    title = f"Pusher-v5, {SHIFT}, {settings.evaluation_episodes} paired episodes"
    written = write_report(
        settings.output,
        settings,
        report,
        {"comparison.png": partial(plot_comparison, report["arms"], title=title)},
        partial(write_video, settings, tasks, folders),
    )
    print(f"{settings.output}: {', '.join(written)}; {time.monotonic() - started:.0f} s")
    return settings.output / REPORT


def write_video(settings: DemoSettings, tasks: Mapping[str, ArmTask], folders: Mapping[str, Path], path: Path) -> bool:
    """Write source, untranslated and translated side by side, or say in a line why that cannot be."""
    seeds = range(10_000, 10_000 + settings.video_episodes)
    if not seeds:
        return False
    panels: dict[str, Any] = {}
    for name, caption in CAPTIONS.items():
        shown = wrap_for_video(tasks[name], folders[name])
        if shown is not None:
            panels[caption] = VideoArm(*shown)
    try:
        write_comparison_video(panels, seeds, path, fps=20)
    except RenderingUnavailableError as error:
        print(f"no video: {error}", file=sys.stderr)
        return False
    return True
