"""From a policy and two robots to a claim: control arms on paired seeds, intervals, a table, a plot and a video."""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import numpy as np
import tyro

from generative_policies.atomic_files import write_file
from generative_policies.envs import check_control_periods
from generative_policies.envs.rendering import RenderingUnavailableError
from generative_policies.rollouts.arms import (
    ARMS,
    MATCHING_ARMS,
    TRANSLATORS,
    UNTRAINED,
    ArmTask,
    Study,
    run_arm,
    why_not,
    wrap_for_video,
)
from generative_policies.rollouts.plots import plot_comparison
from generative_policies.rollouts.report import format_report, report_target
from generative_policies.rollouts.report_files import VIDEO, finished_report, write_report
from generative_policies.rollouts.robots import Robot
from generative_policies.rollouts.run_lock import run_lock
from generative_policies.rollouts.source_policies import load_source
from generative_policies.rollouts.units import Unit, run_units
from generative_policies.rollouts.video import VideoArm, write_comparison_video


@dataclass(frozen=True)
class CompareSettings:
    """Compare ways to run a policy on another robot; the same command goes on where it was, or does nothing."""

    env: Annotated[str, tyro.conf.arg(metavar="ID")] = "Pusher-v5"
    """Gymnasium id of the source robot; module:id imports the module that registers an env of your own."""
    target_env: Annotated[str | None, tyro.conf.arg(metavar="ID")] = None
    """Gymnasium id of the target robot; the source's by default."""
    shifts: tuple[str, ...] = ("P1",)
    """Dynamics shifts of the target, each a comparison of its own: names, JSON such as '{"gear": 0.7}', or none."""
    env_arguments: str = "{}"
    """Arguments of the source env as JSON, such as '{"proprioception": false}'."""
    target_env_arguments: str = "{}"
    """Arguments of the target env as JSON."""
    source_observation: int | None = None
    """How many leading entries of the target's observation the source policy sees, where the bodies differ; all by
    default."""
    policy: str | None = None
    """The source policy: a shipped expert's name, a saved policy's folder, or a zip of SB3 (which is pickled: only from
    somebody you trust). The shipped expert of the env by default."""
    vecnormalize: Path | None = None
    """VecNormalize statistics that the policy was trained with."""
    arms: tuple[str, ...] = MATCHING_ARMS
    """What is compared."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds, 0 to 8."""
    episodes: int = 100
    """Test episodes an arm and training seed."""
    first_seed: int = 10_000
    """Reset seed of the first test episode."""
    source_episodes: int = 400
    """Noisy episodes at home, for the source's inverse dynamics."""
    inverse_dynamics_updates: int = 20_000
    """Gradient steps of the source's inverse dynamics."""
    rounds: int = 3
    """Rounds of collecting on the target with the current translator, relabelling and retraining."""
    episodes_per_round: int = 25
    """Episodes of the target a round."""
    updates: int = 8_000
    """Gradient steps of each translator in each round."""
    hidden_width: int = 256
    """Width of the two hidden layers of every network."""
    noise: tuple[float, float] = (0.075, 0.2)
    """Least and largest noise while collecting on the target, drawn for each episode, in units of half the action
    range; with a handful of episodes twice as much says more."""
    target_steps: int | None = None
    """Target steps of the arms that learn from its reward; as many as the other arms may take by default."""
    video_episodes: int = 3
    """The first test episodes are shown in a video; 0 for none."""
    processes: int = 2
    """Units at a time."""
    ray: bool = False
    """Whether to run the units on Ray: the cluster of RAY_ADDRESS, or a local one."""
    num_envs: int = 16
    """Envs in step; results do not depend on it."""
    output: Path = Path("runs/compare")
    """Folder of units, models, tables, plots and videos."""

    def __post_init__(self) -> None:
        """Check the settings."""
        if unknown := [arm for arm in self.arms if arm not in ARMS]:
            raise ValueError(f"arms must be of {', '.join(ARMS)}; got {', '.join(unknown)}")
        if not self.arms or not self.shifts or not self.seeds or not all(0 <= seed <= 8 for seed in self.seeds):
            raise ValueError(f"expected an arm, a shift and training seeds of 0 to 8, got {self.seeds}")
        for name in ("episodes", "rounds", "inverse_dynamics_updates", "updates", "processes", "num_envs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 2 <= self.source_episodes <= 500 or not 2 <= self.episodes_per_round * self.rounds <= 500:
            raise ValueError("source_episodes and rounds * episodes_per_round must lie in 2 to 500")
        if self.hidden_width % 16:
            # Matrix products of other widths differ in the last bit between batches.
            raise ValueError(f"hidden_width must be a multiple of 16, got {self.hidden_width}")
        for name in ("env_arguments", "target_env_arguments"):
            if not isinstance(_json(name, getattr(self, name)), dict):
                raise ValueError(f"{name} must be a JSON object, got {getattr(self, name)!r}")
        if not 0 <= self.noise[0] <= self.noise[1]:
            raise ValueError(f"noise must be a least and a largest value, got {self.noise}")
        if self.first_seed < 10_000:
            raise ValueError(f"first_seed must be 10000 at least, those below are for training; got {self.first_seed}")

    def robots(self, shift: str) -> tuple[Robot, Robot]:
        """Return source and target of a shift."""
        source, target = (tuple(json.loads(text).items()) for text in (self.env_arguments, self.target_env_arguments))
        return Robot(self.env, None, source), Robot(
            self.target_env or self.env, None if shift == "none" else shift, target
        )

    def tasks(self, shift: str, arm: str) -> list[ArmTask]:
        """Return an arm's units on one target; without training, there is a single one."""
        source, target = self.robots(shift)
        return [
            ArmTask(
                arm=arm,
                seed=seed,
                source=source,
                target=target,
                policy=self.policy or self.env,
                vecnormalize=None if self.vecnormalize is None else str(self.vecnormalize),
                source_observation=self.source_observation,
                **{name: getattr(self, name) for name in SIZES},
            )
            for seed in ((0,) if arm in UNTRAINED else self.seeds)
        ]


SIZES = (
    "episodes",
    "first_seed",
    "source_episodes",
    "inverse_dynamics_updates",
    "rounds",
    "episodes_per_round",
    "updates",
    "hidden_width",
    "noise",
    "target_steps",
)
FREE = ("output", "num_envs", "processes", "ray")
"""Settings that change no result."""


def compare(settings: CompareSettings) -> dict[str, dict[str, Any]]:
    """Run all arms that have no result yet, and write tables, plots, videos and ``report.json``.

    Args:
        settings: Robots, policy, arms and sizes.

    Returns:
        The report of each shift, see ``report.report_target``.

    Raises:
        ValueError: If robots and policy do not fit.
        CheckpointError: If the policy cannot be read.
        RunInUseError: If another process writes the output.
    """
    with run_lock(settings.output):
        return _compare(settings)


def _compare(settings: CompareSettings) -> dict[str, dict[str, Any]]:
    reports = {}
    for shift in settings.shifts:
        skipped = check(settings, shift)
        folder = settings.output.absolute() / folder_name(settings, shift)  # workers may stand elsewhere
        arms = [arm for arm in settings.arms if arm not in skipped]
        tasks = {unit_name(task): task for arm in arms for task in settings.tasks(shift, arm)}
        inputs = {f"{task.arm}-{task.seed}": task.fingerprint() for task in tasks.values()}
        finished = finished_report(folder, settings, FREE, inputs)
        if finished and not finished["failed"] and (VIDEO in finished["files"] or not settings.video_episodes):
            print(f"{folder} is complete")
            reports[shift] = finished
            continue
        results, failures = run_units(
            run_arm,
            [Unit(name, (task, str(models_of(task, folder)), settings.num_envs)) for name, task in tasks.items()],
            folder / "units",
            processes=settings.processes,
            ray=settings.ray,
        )
        by_arm: dict[str, list[dict[str, Any]]] = {}
        for name, task in tasks.items():
            if name in results:
                by_arm.setdefault(task.arm, []).append(results[name])
        failed = {failure.unit: str(failure.log) for failure in failures}
        if not by_arm:
            print(f"{folder}: every unit failed; their logs stand in {folder / 'units'}", file=sys.stderr)
            continue
        report = report_target(by_arm, np.random.default_rng(0)) | {"skipped": skipped, "failed": failed}
        report |= {"shift": shift, "seconds": round(sum(result["seconds"] for result in results.values()), 1)}
        report["inputs"] = inputs
        _write(report, settings, list(tasks.values()), folder)
        reports[shift] = report
    return reports


def check(settings: CompareSettings, shift: str) -> dict[str, str]:
    """Check that robots and policy fit, and return which of the arms cannot be there, with the reason.

    Raises:
        ValueError: If they do not.
    """
    source, target = settings.robots(shift)
    source.check()
    target.check()
    policy = load_source(settings.policy or settings.env, settings.vecnormalize).policy
    at_home, away = source.make(), target.make()
    for part, expected, found in (
        ("observations", at_home.observation_space.shape, policy.observation_space.shape),
        ("actions", at_home.action_space.shape, policy.action_space.shape),
    ):
        if expected != found:
            raise ValueError(f"the policy's {part} have shape {found}, those of {source.env_id} {expected}")
    seen = settings.source_observation
    widths: list[Any] = [env.observation_space.shape for env in (at_home, away)]
    if widths[0] != (widths[1] if seen is None else (seen,)) or (seen is not None and widths[1][0] < seen):
        raise ValueError(
            f"the source policy must see what both robots observe, the whole or the leading source_observation entries "
            f"of the target's; got observations of {widths[0]} at home, {widths[1]} of the target and "
            f"source_observation={seen}"
        )
    if all(isinstance(getattr(env.unwrapped, "dt", None), float) for env in (at_home, away)):
        check_control_periods(at_home, away)
    study = Study(settings.tasks(shift, "source")[0], settings.output)
    skipped = {arm: why_not(arm, study) for arm in settings.arms}
    return {arm: reason for arm, reason in skipped.items() if reason is not None}


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{name} must be JSON, got {text!r}: {error}") from error


def unit_name(task: ArmTask) -> str:
    """Return the name of an arm's unit, which tells its settings and its policy apart from all others."""
    return f"{task.arm}-{task.seed}-{task.fingerprint()}"


def models_of(task: ArmTask, folder: Path) -> Path:
    """Return the folder of the models of a task's settings and policy, whatever its arm and training seed."""
    return folder / "models" / task.fingerprint(without=("arm", "seed"))


def _write(report: dict[str, Any], settings: CompareSettings, tasks: Sequence[ArmTask], folder: Path) -> None:
    """Print and write the report of one target: JSON, table, plot and video."""
    title = f"{settings.env} to {settings.target_env or settings.env}, {report['shift']}"
    table = format_report(report)
    lines = [f"**{title}**: {settings.episodes} paired episodes, training seeds {', '.join(map(str, settings.seeds))}"]
    lines += ["", table, ""]
    lines += [f"- {arm} is not there: {reason}" for arm, reason in report["skipped"].items()]
    lines += [f"- {unit} failed: {log}" for unit, log in report["failed"].items()]
    text = "\n".join(lines) + "\n"
    print(f"\n{text}")
    title = f"{title}, {settings.episodes} paired episodes an arm"
    written = write_report(
        folder,
        settings,
        report,
        {
            "report.md": partial(write_file, content=text),
            "comparison.png": partial(plot_comparison, report["arms"], title=title),
        },
        partial(_write_video, settings, tasks, folder),
    )
    print(f"{folder}: {', '.join(written)}; {report['seconds']:.0f} s")


def _write_video(settings: CompareSettings, tasks: Sequence[ArmTask], folder: Path, path: Path) -> bool:
    """Write source, untranslated and the first translator side by side, or say in a line why that cannot be."""
    if settings.video_episodes < 1:
        return False
    captions = {"source": "source robot", "untranslated": "target, untranslated"}
    chosen = [task for task in tasks if task.arm in captions]
    chosen += [task for task in tasks if task.arm in TRANSLATORS][:1]
    panels = {}
    for task in chosen:
        shown = wrap_for_video(task, models_of(task, folder))
        if shown is not None:
            panels[captions.get(task.arm, f"target, {task.arm}")] = VideoArm(*shown)
    if not panels:
        return False
    period = getattr(Robot(settings.env).make().unwrapped, "dt", 0.05)
    seeds = range(settings.first_seed, settings.first_seed + settings.video_episodes)
    try:
        write_comparison_video(panels, seeds, path, fps=max(1, round(1 / period)))
    except (RenderingUnavailableError, gymnasium.error.Error, AttributeError, TypeError, ValueError) as error:
        print(f"no video: {error}", file=sys.stderr)
        return False
    return True


def folder_name(settings: CompareSettings, shift: str) -> str:
    """Return the folder of a comparison: source, target and shift, fit for a file's name."""
    names = [settings.env, *([] if settings.target_env is None else [settings.target_env]), shift]
    return "-".join(_fit(name) for name in names)


def _fit(name: str) -> str:
    short = name.rpartition(":")[2].rpartition("/")[2]
    if all(character.isalnum() or character in "-_." for character in short):
        return short
    return hashlib.sha256(name.encode()).hexdigest()[:8]  # a shift as JSON
