"""``python -m benchmarks.latency``."""

import math
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from tqdm import tqdm

from benchmarks.conditional_mixture import ConditionalMixture, Quality, QualityTest, Sampler, equal_quality
from benchmarks.latency.cold_start import cold_starts
from benchmarks.latency.figures import plot
from benchmarks.latency.goals import goals
from benchmarks.latency.samplers import EAGER, PLAIN, STUDENTS, Row, differences, export, in_chunks, inputs, samplers
from benchmarks.latency.stopwatch import measure
from benchmarks.latency.tables import format_goals, format_report
from benchmarks.latency.trained import Trained, TrainingSettings, train
from benchmarks.latency.training_speed import samples_per_second, training_steps
from generative_policies.atomic_files import replacing, write_file
from generative_policies.rollouts.provenance import require_writable, settings_and_versions, write_json


@dataclass(frozen=True)
class Settings:
    """Measure the time and the quality of a flow's samples, in the plain form, in the library's and exported."""

    steps: tuple[int, ...] = (100, 10, 4, 2, 1)
    """Euler steps of the teacher, most first; the goals are of 100 and 10."""
    batches: tuple[int, ...] = (1, 32, 1024)
    """Rows of a call."""
    threads: tuple[int, ...] = (1, 2)
    """Threads of torch and ONNX Runtime."""
    seconds: float = 8.0
    """About how long each sampler is measured for one action on one thread."""
    calls: tuple[int, int] = (1_000, 10_000)
    """Fewest and most calls of it."""
    other_seconds: float = 1.5
    """About how long each sampler is measured at other batches and threads."""
    other_calls: tuple[int, int] = (5, 1_000)
    """Fewest and most calls of it."""
    patience: float = 60.0
    """Seconds after which the measurement of all samplers at one of these is cut short."""
    samples: int = 2_000
    """Samples of a draw, of which the energy distance is computed."""
    draws: int = 20
    """Draws of the quality."""
    conditions: int = 64
    """Single conditions of which the coverage and the error of the mean are taken."""
    repeats: int = 250
    """Samples of each of them."""
    cold_starts: int = 3
    """Processes for the first call."""
    label_seconds: float = 3.0
    """How long each sampler is measured for its samples per second."""
    gradient_steps: int = 25
    """Gradient steps of a measurement, of which ten are taken in turn."""
    training: tyro.conf.OmitArgPrefixes[TrainingSettings] = field(default_factory=TrainingSettings)
    """What the models depend on."""
    models: Path = Path("runs/latency")
    """Folder of checkpoints and exported models; those of the same settings are taken from it."""
    output: Path = Path("runs/benchmarks")
    """Folder of the JSON, the table and the plot."""

    def __post_init__(self) -> None:
        """Check the settings."""
        if min((*self.steps, *self.batches, *self.threads), default=0) < 1 or 1 not in self.steps:
            raise ValueError(
                f"expected positive numbers of steps, with 1 among them, of rows and of threads, got {self.steps}, "
                f"{self.batches} and {self.threads}"
            )
        if 1 not in self.batches or 1 not in self.threads:
            raise ValueError(f"expected batch 1 and one thread among {self.batches} and {self.threads}")
        for name in ("calls", "other_calls"):
            fewest, most = getattr(self, name)
            if not 1 <= fewest <= most:
                raise ValueError(f"{name} must be two positive numbers, the smaller first, got {getattr(self, name)}")
        if self.samples < 2:
            raise ValueError(f"an energy distance takes two samples or more, got samples={self.samples}")
        for name in ("draws", "conditions", "repeats", "gradient_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def measure_quality(found: Mapping[Row, Sampler], settings: Settings) -> dict[str, Any]:
    """Return the quality of every eager row and of fresh data, and what chance gives."""
    test = QualityTest(settings.samples, settings.draws, settings.conditions, settings.repeats)
    chance, mixture = test.chance(), ConditionalMixture()
    rng = np.random.default_rng(test.seed + 3)
    qualities: dict[str, Quality] = {}
    rows = [row for row in found if row.twin == row]
    for row in tqdm(rows, desc="quality", unit="sampler"):
        qualities[row.label] = test.measure(in_chunks(found[row]))
    qualities["fresh data"] = test.measure(lambda conditions, noise: mixture.samples(conditions, rng))
    teacher = qualities[Row(EAGER, max(settings.steps)).label]
    return {
        "chance": {name: band._asdict() for name, band in chance._asdict().items()},
        "quality": [
            {"row": label, **asdict(quality), "equal": equal_quality(quality, teacher, chance)}
            for label, quality in qualities.items()
        ],
    }


def measure_latency(trained: Trained, settings: Settings) -> list[dict[str, Any]]:
    """Return the times of every sampler at every batch and number of threads, and their ratios to the plain loop."""
    entries: list[dict[str, Any]] = []
    for threads in settings.threads:
        torch.set_num_threads(threads)
        found = samplers(trained, settings.steps, settings.models, threads)
        for batch in settings.batches:
            main = threads == batch == 1
            times = measure(
                found,
                inputs(batch),
                settings.seconds if main else settings.other_seconds,
                settings.calls if main else settings.other_calls,
                f"batch {batch}, {threads} thread{'s' if threads > 1 else ''}",
                math.inf if main else settings.patience,
            )
            slowest = times[Row(PLAIN, max(settings.steps))].median
            for row, statistics in times.items():
                entries.append(
                    {
                        **row._asdict(),
                        "batch": batch,
                        "threads": threads,
                        **statistics.to_dict(),
                        "of_plain": statistics.median / times[Row(PLAIN, row.num_steps)].median,
                        "faster": slowest / statistics.median,
                    }
                )
    torch.set_num_threads(1)
    return entries


def measure_rates(trained: Trained, settings: Settings) -> list[dict[str, Any]]:
    """Return the samples per second of the students, eager and exported, and of a few Euler steps."""
    entries = []
    for threads in settings.threads:
        torch.set_num_threads(threads)
        found = samplers(trained, settings.steps, settings.models, threads)
        chosen = {
            row: sampler
            for row, sampler in found.items()
            if row.method.startswith(tuple(STUDENTS)) or (row.num_steps == 10 and row.method != PLAIN)
        }
        rates = samples_per_second(chosen, settings.label_seconds)
        entries += [{**row._asdict(), "threads": threads, "rate": rate} for row, rate in rates.items()]
    torch.set_num_threads(1)
    return entries


def machine() -> dict[str, Any]:
    """Return what the times depend on beside the versions."""
    names = [line for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    return {
        "cpu": names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "onnxruntime": version("onnxruntime"),
    }


def main(settings: Settings) -> bool:
    """Train or load, measure, print and write; return whether all goals are kept."""
    load_before = os.getloadavg()[0]
    torch.set_num_threads(1)
    require_writable(settings.output)
    require_writable(settings.models)
    trained = train(settings.training, settings.models)
    export(trained, settings.steps, settings.models)
    found = samplers(trained, settings.steps, settings.models, 1)
    gaps = differences(found)
    command = " ".join(["python -m benchmarks.latency", *sys.argv[1:]])
    results: dict[str, Any] = {"command": command, "machine": machine(), "checkpoints": trained.checkpoints}
    results["differences"] = [{"row": row.label, **gap._asdict()} for row, gap in gaps.items()]
    results |= measure_quality(found, settings)
    results["latency"] = measure_latency(trained, settings)
    cold_rows = [
        row for row in found if row.method != PLAIN and (row.num_steps in (100, 10) or row.method.startswith("student"))
    ]
    cold = cold_starts(cold_rows, settings.models, 1, settings.cold_starts)
    results["cold"] = [{**row._asdict(), **entry} for row, entry in cold.items()]
    results["training"] = training_steps(settings.gradient_steps, 10)
    results["rates"] = measure_rates(trained, settings)
    results["machine"]["load_average"] = {"before": load_before, "after": os.getloadavg()[0]}
    results["goals"] = [goal._asdict() for goal in goals(results)]
    results["kept"] = all(goal["kept"] for goal in results["goals"])
    report = format_report(results, settings_and_versions(settings)["settings"])
    print(f"\n{format_goals(results)}")
    write_json(settings.output / "latency.json", settings, results)
    write_file(settings.output / "latency.md", report)
    with replacing(settings.output / "latency.png") as new:
        plot(results).savefig(new, dpi=150)
    missed = "" if results["kept"] else "; MISSED"
    print(f"{settings.output}: latency.json, latency.md and latency.png{missed}")
    return bool(results["kept"])


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, prog="python -m benchmarks.latency")) else 1)
