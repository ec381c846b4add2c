"""What an experiment is, and the command line that runs experiments."""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import nn

from generative_policies.atomic_files import write_file

# Figures by row, each row with the same columns.
Table = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class ExperimentSettings:
    """Settings of an experiment.

    Attributes:
        experiment: Its name.
        seed: Seed of data, weights and samples.
        quick: A short training that shows that everything runs; bounds are not expected to hold.
        output: Folder of plots and JSON.
    """

    experiment: str
    seed: int = 0
    quick: bool = False
    output: Path = Path("runs/experiments")

    def updates(self, num_updates: int) -> int:
        """Return the number of gradient steps, few in the quick form."""
        return min(num_updates, 60) if self.quick else num_updates

    def rng(self, stream: int = 0) -> np.random.Generator:
        """Return a generator of the seed and of a stream of its own."""
        return np.random.default_rng([self.seed, stream])

    def generator(self, stream: int = 0) -> torch.Generator:
        """Return a torch generator of the seed and of a stream of its own."""
        return torch.Generator().manual_seed(1_000 * stream + self.seed)


class Bound(NamedTuple):
    """What a figure has to keep.

    Attributes:
        row: Row of the table.
        column: Column of the table.
        low: Smallest value allowed.
        high: Largest value allowed.
    """

    row: str
    column: str
    low: float
    high: float


class Experiment(Protocol):
    """Trains, measures and plots: ``experiment(settings)`` returns its table and the bounds that it has to keep."""

    __doc__: str | None

    def __call__(self, settings: ExperimentSettings) -> tuple[Table, Sequence[Bound]]:
        """Run the experiment; plots go to ``settings.output``, named as the experiment."""
        ...


def train(model: Any, batches: Iterator[Mapping[str, Any]], num_updates: int, generator: torch.Generator) -> None:
    """Train a model on batches of its loss's arguments: AdamW at 2e-3, cosine decay, a progress bar.

    Args:
        model: A module whose call is its loss.
        batches: The loss's keyword arguments, one mapping an update.
        num_updates: Gradient steps.
        generator: Source of the loss's noise.
    """
    from tqdm import tqdm

    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_updates)
    for _ in tqdm(range(num_updates), desc="train", mininterval=0.5):
        loss = model(**next(batches), generator=generator)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def initialized(build: Callable[[], Any], seed: int) -> Any:
    """Build a model with the weights of a seed; PyTorch's global random state is as before afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def run_command_line(
    experiments: Mapping[str, Experiment], module: str, description: str, arguments: Sequence[str] | None = None
) -> dict[str, Table]:
    """Run the experiments that the command line names, write their JSON and print their tables.

    Args:
        experiments: All experiments by name; the first is the default.
        module: The module that is run, for ``--help`` and the recorded command.
        description: Printed by ``--help``.
        arguments: The command line, that of the process by default.

    Returns:
        The tables by name.

    Raises:
        SystemExit: With status 1 where a bound is not kept, outside the quick form.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="experiments:\n"
        + "\n".join(f"  {name:20s}{(run.__doc__ or '').splitlines()[0]}" for name, run in experiments.items()),
    )
    default = next(iter(experiments))
    choices = [*experiments, *(["all"] if len(experiments) > 1 else [])]
    parser.add_argument("--experiment", choices=choices, default=default, help=f"which one (default: {default})")
    parser.add_argument("--seed", type=int, default=0, help="seed of data, weights and samples (default: 0)")
    parser.add_argument("--quick", action="store_true", help="a short training that shows that everything runs")
    parser.add_argument("--output", type=Path, default=Path("runs/experiments"), help="folder of plots and JSON")
    options = parser.parse_args(arguments)
    names = list(experiments) if options.experiment == "all" else [options.experiment]
    options.output.mkdir(parents=True, exist_ok=True)
    tables: dict[str, Table] = {}
    missed: list[str] = []
    for name in names:
        settings = ExperimentSettings(name, options.seed, options.quick, options.output)
        started = time.monotonic()
        with _one_thread():
            table, bounds = experiments[name](settings)
        seconds = time.monotonic() - started
        tables[name] = table
        failed = [bound for bound in bounds if not bound.low <= table[bound.row][bound.column] <= bound.high]
        missed += [f"{name}: {_describe(bound)}, got {table[bound.row][bound.column]:.4f}" for bound in failed]
        print(f"\n{name}, seed {settings.seed}, {seconds:.0f} s\n{format_table(table)}")
        report = {
            "command": f"python -m {module} --experiment {name} --seed {settings.seed}" + " --quick" * settings.quick,
            "table": table,
            "bounds": [bound._asdict() | {"kept": bound not in failed} for bound in bounds],
            "seconds": round(seconds, 1),
            "settings": asdict(settings),
            "versions": {package: version(package) for package in ("generative-policies", "torch", "numpy")},
        }
        write_file(settings.output / f"{name}.json", json.dumps(report, indent=2, default=str) + "\n")
    print(f"\n{options.output}: plots and JSON")
    if missed and not options.quick:
        raise SystemExit("bounds not kept:\n" + "\n".join(missed))
    return tables


@contextmanager
def _one_thread() -> Iterator[None]:
    """The networks are small: a second thread costs more than it brings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def format_table(table: Table) -> str:
    """Return a table in Markdown."""
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in table.items():
        cells = [f"{row[column]:.4g}" if column in row else "" for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _describe(bound: Bound) -> str:
    return f"{bound.row}, {bound.column} in [{bound.low:.4g}, {bound.high:.4g}]"
