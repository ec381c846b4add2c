"""Commands killed fifty times each, and a million translated steps in a vector env."""

import os
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import tyro
from tqdm import tqdm

from benchmarks.soak.command_server import CommandServer
from benchmarks.soak.kills import COMMANDS, KilledRuns, kill_and_resume, make_inputs
from benchmarks.soak.long_run import ENV, LongRun, run_long, train_student
from generative_policies.atomic_files import write_file
from generative_policies.rollouts.provenance import require_writable, write_json

MOST_GROWTH = 0.05


@dataclass(frozen=True)
class Settings:
    """Kill commands and see what they end with; run a translated policy long and see what it keeps."""

    steps: int = 1_000_000
    """Env steps of the long run."""
    num_envs: int = 64
    """Envs in step."""
    updates: int = 1_000
    """Gradient steps of its translator, and of the teacher of that."""
    kills: int = 50
    """Kills of each command at a random moment."""
    kills_at_changes: int = 50
    """Kills of each command before a random change of the file system."""
    seed: int = 0
    """Of the moments and of the translator; reset seeds of the long run are 1,000 more."""
    output: Path = Path("runs/benchmarks")
    """Folder of the JSON and the table."""

    def __post_init__(self) -> None:
        """Check the settings."""
        for name in ("steps", "num_envs", "updates", "kills"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.kills_at_changes < 0 or not 0 <= self.seed <= 8_000:
            raise ValueError(f"kills_at_changes and seed must not be negative, the seed at most 8000, got {self}")


def kill(settings: Settings) -> list[KilledRuns]:
    """Kill each command as often as the settings say.

    Where one is killed at a moment, units of a comparison start as the library starts them.
    """
    kills = (settings.kills, settings.kills_at_changes)
    with TemporaryDirectory() as folder, CommandServer() as server:
        make_inputs(server, Path(folder))
        found = []
        for number, name in enumerate(COMMANDS):
            rng = np.random.default_rng([settings.seed, number])
            with tqdm(total=sum(kills), desc=f"kill {name}", unit="kill") as bar:
                found.append(kill_and_resume(server, name, Path(folder), kills, rng, bar.update))
    return found


def verdicts(kills: list[KilledRuns], run: LongRun) -> dict[str, bool]:
    """Return what was to hold, and whether it did."""
    return {
        "after every kill the command ends as one that nobody killed": all(
            killed.compared == len(killed.kill_seconds) + len(killed.kill_changes) and not killed.differences
            for killed in kills
        ),
        f"memory grows by at most {MOST_GROWTH:.0%} after the warm-up": run.memory_growth <= MOST_GROWTH,
        "every action that reached an env was finite and in its bounds": run.wrong_actions == 0,
        "every episode compared has the same return alone, bit for bit": run.compared > 0 and run.different == 0,
    }


def format_report(kills: list[KilledRuns], run: LongRun, held: dict[str, bool], command: str) -> str:
    """Return the report in Markdown."""
    lines = [
        "| command | uninterrupted [s] | killed at a moment | before a change of files | finished and compared "
        "| ended before a kill | different |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {killed.command} | {killed.uninterrupted_seconds:.2f} | {len(killed.kill_seconds)} "
        f"| {len(killed.kill_changes)} of {killed.changes} | {killed.compared} | {killed.resumed} "
        f"| {len(killed.differences)} |"
        for killed in kills
    ]
    tenths = run.memory[:: max(1, len(run.memory) // 10)]
    lines += [
        "",
        "Each kill is a SIGKILL of the command's process group. In a copy of what it left the same command is run to "
        "its end, and that is compared file by file with an uninterrupted run: data, weights, tables and reports, but "
        "for durations. The next kill hits a run that goes on from what the last one left; one that ends before that "
        "is compared as well, and the next starts anew.",
        "",
        f"{run.steps:,} translated steps of {ENV} in {run.seconds:.0f} s, {run.steps / run.seconds:,.0f} a second, "
        f"{run.episodes:,} episodes. Resident memory from tenth to tenth, in MB: "
        f"{', '.join(f'{size:.0f}' for size in tenths)}; it grows by {run.memory_growth:.1%} after the first tenth. "
        f"Actions that were not finite, or out of bounds: {run.wrong_actions}; {run.saturated:.1%} of their entries "
        f"lie at a bound. Episodes with another return when played alone: {run.different} of {run.compared}, all "
        "that three of the envs have played from the first step to the last.",
        "",
        *(f"- {what}: {'held' if kept else 'MISSED'}" for what, kept in held.items()),
        "",
        f"`{command}`",
    ]
    return "\n".join(lines) + "\n"


def main(settings: Settings) -> bool:
    """Measure, print and write; return whether everything held."""
    require_writable(settings.output)
    torch.set_num_threads(1)
    kills = kill(settings)
    translator = train_student(settings.seed, settings.updates)
    with tqdm(total=settings.steps, desc="translated steps", unit="step", unit_scale=True) as bar:
        run = run_long(translator, settings.steps, settings.num_envs, 1_000 + settings.seed, bar.update)
    held = verdicts(kills, run)
    command = shlex.join(["python", "-m", "benchmarks.soak", *sys.argv[1:]])
    report = format_report(kills, run, held, command)
    print(f"\n{report}")
    results: dict[str, Any] = {"command": command, "cores": os.cpu_count(), "verdicts": held}
    results |= {"kills": [asdict(killed) for killed in kills], "long_run": asdict(run)}
    write_json(settings.output / "soak.json", settings, results)
    write_file(settings.output / "soak.md", report)
    print(f"{settings.output}: soak.json and soak.md")
    return all(held.values())


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, prog="python -m benchmarks.soak")) else 1)
