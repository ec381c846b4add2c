"""Train a flow and its students on three tasks, and measure all of them in few steps."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from tqdm import tqdm

from benchmarks.few_step_quality.methods import Budget
from benchmarks.few_step_quality.report import markdown, plot, verdicts
from benchmarks.few_step_quality.tasks import TASKS, Sizes
from generative_policies.atomic_files import write_file
from generative_policies.rollouts.provenance import read_json, require_writable, same_settings, write_json

NAME = "few_step_quality"
# To be raised when a method's training changes: results of another version are not kept.
METHODS_VERSION = 2
QUICK = Sizes(Budget(30, 30, 30, 300), teacher_updates=30, rows=300, samples=50, draws=2, episodes=2, short=True)


@dataclass(frozen=True)
class Settings:
    """Measure flows in few steps: plain, distilled, straightened, by average velocity. Goes on where it was."""

    tasks: tuple[str, ...] = tuple(TASKS)
    """Tasks: grid, conditional, robot."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds of the grid; the other tasks run the first ones of them."""
    seeds_of_others: int = 1
    """Number of seeds of the tasks beside the grid."""
    quick: bool = False
    """Train for no time, to see that everything runs."""
    models: Path = Path("runs/few_step_quality")
    """Folder of the robot's models and rounds."""
    output: Path = Path("runs/benchmarks")
    """Folder of JSON, table and plot; results of units stand in few_step_quality/ below it."""

    def __post_init__(self) -> None:
        """Check the settings."""
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown or not self.tasks or not self.seeds or not 1 <= self.seeds_of_others <= len(self.seeds):
            raise ValueError(
                f"tasks must be some of {', '.join(TASKS)}, with at least one seed and at most {len(self.seeds)} of "
                f"the others; got {self.tasks}, {self.seeds} and {self.seeds_of_others}"
            )


@dataclass(frozen=True)
class Unit:
    """A task with a seed, and the version of the methods that its result is of."""

    task: str
    seed: int
    sizes: Sizes
    methods: int = METHODS_VERSION


def run(settings: Settings) -> dict[str, Any]:
    """Run the units that have no result yet, write table and plot of all, and return the verdicts."""
    torch.set_num_threads(1)
    folder = settings.output / NAME
    require_writable(folder)
    rows: list[dict[str, Any]] = []
    sizes = QUICK if settings.quick else Sizes()
    units = [
        Unit(task, seed, sizes)
        for task in settings.tasks
        for seed in (settings.seeds if task == "grid" else settings.seeds[: settings.seeds_of_others])
    ]
    for unit in tqdm(units, desc="units"):
        file = folder / f"{unit.task}-{unit.seed}.json"
        if not same_settings(file, unit):
            write_json(file, unit, {"rows": TASKS[unit.task](unit.seed, unit.sizes, settings.models)})
        rows += read_json(file)["rows"]
    command = f"python -m benchmarks.{NAME}"
    write_json(settings.output / f"{NAME}.json", replace(settings, output=Path()), {"verdicts": verdicts(rows)})
    write_file(settings.output / f"{NAME}.md", markdown(rows, command))
    plot(rows, settings.output / f"{NAME}.png")
    return verdicts(rows)


if __name__ == "__main__":
    run(tyro.cli(Settings, description=Settings.__doc__))
