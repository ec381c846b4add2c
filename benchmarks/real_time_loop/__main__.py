"""The command: train a translator, drive its arm beside an empty loop, and count."""

import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro

from benchmarks.real_time_loop.deadlines import PERIOD, Cycle, empty_cycle, priority, take_turns
from benchmarks.real_time_loop.driven_arm import PARTS, DrivenArm, reached, references
from benchmarks.real_time_loop.report import EMPTY, format_loops, format_reached, plot, quantiles, summarize
from benchmarks.real_time_loop.robots import EPISODE, exported, train
from generative_policies.atomic_files import replacing, write_file
from generative_policies.rollouts import load_expert
from generative_policies.rollouts.provenance import require_writable, write_json

LARGEST_EXCESS = 0.1  # percentage points of missed deadlines more than the empty loop's
LEAST_SUCCESS = 0.9

Translator = Literal["onnx", "eager"]


@dataclass(frozen=True)
class Settings:
    """Drive a translated arm at 1 kHz, and count missed deadlines beside those of an empty loop.

    The policy is the shipped expert of the arm of two links, the target the arm of three links with its motors mounted
    the other way round. Every cycle runs the policy, a one-step student of a flow translator, and a step of MuJoCo.
    """

    translator: tuple[Translator, ...] = ("onnx", "eager")
    """How the student is run; each has a driven loop of its own."""
    seconds: float = 60.0
    """Wall time of each loop, the empty one included [s]."""
    slice_seconds: float = 5.0
    """The loops take turns of this length [s]."""
    realtime: bool = True
    """Ask for the lowest real-time priority (SCHED_FIFO), for all loops. Systems grant it to root, or to users with a
    limit ``rtprio``; without it, any other busy process takes milliseconds at a time."""
    rounds: int = 2
    """Rounds of collecting on the target, at the expert's own control period, and of training the teacher."""
    episodes: int = 25
    """Episodes of a round."""
    updates: int = 3_000
    """Gradient steps of each training; the student takes twice as many."""
    seed: int = 0
    """Of the training."""
    output: Path = Path("runs/benchmarks")
    """Folder of the JSON, the table and the plot."""

    def __post_init__(self) -> None:
        """Check the settings."""
        if not self.translator or len(set(self.translator)) < len(self.translator):
            raise ValueError(f"expected one or two translators, each once, got {self.translator}")
        if self.slice_periods < 1 or self.num_slices < 1:
            raise ValueError(f"expected a slice of 1 ms at least, got {self.slice_seconds} of {self.seconds} s")
        if abs(self.num_slices * self.slice_seconds - self.seconds) > 1e-6:
            raise ValueError(f"seconds={self.seconds} must be a whole number of slice_seconds={self.slice_seconds}")
        if min(self.rounds, self.episodes, self.updates) < 1:
            raise ValueError(f"expected positive numbers, got {self}")

    @property
    def num_slices(self) -> int:
        """Slices of each loop."""
        return round(self.seconds / self.slice_seconds)

    @property
    def slice_periods(self) -> int:
        """Deadlines of a slice."""
        return round(self.slice_seconds * 1e9 / PERIOD)


def main(settings: Settings) -> bool:
    """Measure, print and write; return whether the bound is kept and the arm reaches its goals."""
    torch.set_num_threads(1)
    require_writable(settings.output)
    started = time.perf_counter()
    expert = load_expert("ArmReach2-v0")
    student = train(expert, settings.rounds, settings.episodes, settings.updates, settings.seed)
    training_seconds = time.perf_counter() - started
    arms: dict[str, DrivenArm] = {
        name: DrivenArm(expert, exported(student) if name == "onnx" else student) for name in settings.translator
    }
    found = references(expert, max(1, int(settings.seconds / EPISODE)))
    load_before = os.getloadavg()
    with priority(settings.realtime) as granted:
        cold = {name: arm.warm_up() for name, arm in arms.items()}
        cycles: dict[str, Cycle] = {EMPTY: empty_cycle, **arms}
        slices = take_turns(cycles, settings.num_slices, settings.slice_periods)
    loops = {name: summarize(each) for name, each in slices.items()}
    for name, arm in arms.items():
        figures = loops[name]
        parts = zip(PARTS, np.array(arm.parts).T, strict=True)
        figures["parts"] = {part: quantiles(times) for part, times in parts}
        figures["first_cycle"] = cold[name]
        figures["excess_points"] = figures["missed_percent"] - loops[EMPTY]["missed_percent"]
        if arm.ends:
            found[f"driven, {name}"] = reached(arm.ends)
    machine = {
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "load_before": load_before,
        "load_after": os.getloadavg(),
        "priority": granted,
        "torch_threads": torch.get_num_threads(),
        "garbage_collection": "off during slices",
    }
    command = " ".join(["python -m benchmarks.real_time_loop", *sys.argv[1:]])
    excess = ", ".join(f"{loops[name]['excess_points']:+.3f} ({name})" for name in arms)
    text = (
        f"{format_loops(loops)}\n\nMissed deadlines beyond the empty loop's: {excess} percentage points; at most "
        f"{LARGEST_EXCESS} are allowed.\n\n{format_reached(found)}\n\n`{command}`: {settings.seconds:g} s of each "
        f"loop in turns of {settings.slice_seconds:g} s; priority {granted}, one torch thread, no garbage collection "
        f"during turns; load {load_before[0]:.1f} before on {machine['cpus']} cores. A cycle reads the observation, "
        "runs the expert of the arm of two links, translates by a one-step student, clips, and steps MuJoCo by 1 ms; a "
        "deadline is missed unless a cycle that began in its period has ended. The target has three links and mirrored "
        f"motors; its translator was trained at the expert's own 50 ms, in {training_seconds:.0f} s. First cycles took "
        f"{', '.join(f'{cold[name]:.0f} µs ({name})' for name in arms)}.\n"
    )
    print(f"\n{text}")
    driven = [found.get(f"driven, {name}", {"success": 0.0})["success"] for name in arms]
    kept = all(loops[name]["excess_points"] <= LARGEST_EXCESS for name in arms) and min(driven) >= LEAST_SUCCESS
    results = {"command": command, "loops": loops, "arms": found, "machine": machine, "kept": kept}
    write_json(settings.output / "real_time_loop.json", settings, {**results, "training_seconds": training_seconds})
    write_file(settings.output / "real_time_loop.md", text)
    with replacing(settings.output / "real_time_loop.png") as new:
        plot(slices).savefig(new, dpi=110)
    print(f"{settings.output}: real_time_loop.json, .md and .png" + ("" if kept else "; MISSED"))
    return kept


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, prog="python -m benchmarks.real_time_loop")) else 1)
