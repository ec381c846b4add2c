"""Commands that are killed at random moments, run again, and compared with what an uninterrupted run gives."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from benchmarks.soak.command_server import CommandServer

SHIFT = '{"gear": 0.7}'
ROBOT = ("--env", "Reacher-v5", "--policy", "Reacher-v5")
SMALL = ("--hidden-width", "16")
OUTPUT = "result"
COLLECT = ("collect", *ROBOT, "--noise", "0.02", "0.6", "--num-envs", "2", "--episodes", "12")
RELABEL = ("pair", "--data", "../target", "--other-data", "../home", *SMALL, "--updates", "400")
COMMANDS: dict[str, tuple[str, ...]] = {
    "collect": COLLECT,
    "pair": RELABEL,
    "train": ("train", "--data", "../pairs", "--model", "flow_prior_conditioned", *SMALL, "--updates", "400"),
    "train --rounds": (
        *("train", "--rounds", "2", "--episodes-per-round", "3", *ROBOT, "--shift", SHIFT),
        *("--inverse-dynamics", "../inverse", "--model", "mlp", *SMALL, "--updates", "200"),
    ),
    "compare": (
        *("compare", *ROBOT, "--shifts", SHIFT, "--arms", "source", "untranslated", "mlp", "--seeds", "0", "1"),
        *("--episodes", "4", "--source-episodes", "4", "--inverse-dynamics-updates", "100", "--rounds", "2"),
        *("--episodes-per-round", "2", "--updates", "100", "--video-episodes", "0", *SMALL),
    ),
}
"""What is killed, each a command with a small run."""

# What the commands read, in the order in which it is made.
INPUTS: dict[str, tuple[str, ...]] = {
    "home": (*COLLECT, "--seed", "2000"),
    "target": (*COLLECT, "--seed", "3000", "--shift", SHIFT),
    "pairs": ("pair", "--data", "target", "--other-data", "home", *SMALL, "--updates", "50"),
    "inverse": ("train", "--data", "home", "--model", "inverse_dynamics", *SMALL, "--updates", "50"),
}


@dataclass(frozen=True)
class KilledRuns:
    """What killing a command gave.

    Attributes:
        command: Its name.
        uninterrupted_seconds: How long a run takes that nobody kills [s].
        kills: How often a run was killed.
        kill_seconds: How long after its start, for each kill [s].
        resumed: How often a run went on to the end after one kill at least.
        differences: What differed from the uninterrupted run, a sentence each; none is expected.
    """

    command: str
    uninterrupted_seconds: float
    kills: int
    kill_seconds: list[float]
    resumed: int
    differences: list[str]


class _Episodes(NamedTuple):
    """Episodes that were done when a collection was killed, with the time of their files."""

    times: dict[str, int]


def make_inputs(server: CommandServer, folder: Path) -> None:
    """Make what the commands read.

    Raises:
        RuntimeError: If one fails.
    """
    for name, arguments in INPUTS.items():
        _finish(server, (*arguments, "--output", name), folder)


def kill_and_resume(
    server: CommandServer, name: str, folder: Path, kills: int, rng: np.random.Generator, told: Callable[[], None]
) -> KilledRuns:
    """Kill a command at moments that are uniform over an uninterrupted run, and run it again each time.

    A run that ends before its moment is compared, and the next one starts anew.

    Args:
        server: Runs the commands.
        name: Of ``COMMANDS``.
        folder: With what ``make_inputs`` made; results are removed at the end.
        kills: How often.
        rng: Source of the moments.
        told: Called after each kill.

    Raises:
        RuntimeError: If a run fails.
    """
    arguments = (*COMMANDS[name], "--output", OUTPUT)
    alone, killed = folder / "alone", folder / "killed"
    alone.mkdir()
    seconds = _finish(server, arguments, alone)
    expected = content(alone)
    moments: list[float] = []
    differences: list[str] = []
    resumed = since_start = 0
    done = _Episodes({})
    killed.mkdir()
    while True:
        enough = len(moments) == kills
        moment = None if enough else float(rng.uniform(0, seconds))
        ended = server.run(arguments, killed, kill_after=moment)
        if ended.code is None:
            moments.append(ended.seconds)
            since_start += 1
            differences += _lost(done, done := _Episodes(_episodes(killed)))
            told()
            continue
        if ended.code:
            raise RuntimeError(f"{name} failed with {ended.code}: {ended.output[-2000:]}")
        if since_start:
            resumed += 1
            found = content(killed)
            differences += [f"{file} differs" for file in expected if file in found and expected[file] != found[file]]
            differences += [f"{file} is in one alone" for file in sorted(set(expected) ^ set(found))]
        if enough:
            break
        shutil.rmtree(killed)
        killed.mkdir()
        since_start, done = 0, _Episodes({})
    for used in (alone, killed):
        shutil.rmtree(used)
    return KilledRuns(name, seconds, len(moments), moments, resumed, differences)


def content(folder: Path) -> dict[str, Any]:
    """Return what is in the files below a folder, by path: all but logs, durations, and how HDF5 lays data out."""
    return {
        str(file.relative_to(folder)): _read(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix != ".log"
    }


def _read(file: Path) -> Any:
    if file.suffix == ".json":
        return _without_durations(json.loads(file.read_text()))
    if file.suffix == ".hdf5":
        found: dict[str, Any] = {}
        with h5py.File(file) as opened:

            def visit(name: str, item: Any) -> None:
                values = item[()].tobytes() if isinstance(item, h5py.Dataset) else None
                found[name] = (values, sorted((key, str(value)) for key, value in item.attrs.items()))

            opened.visititems(visit)
        return found
    if file.suffix == ".npz":
        with np.load(file) as arrays:
            return {name: arrays[name].tobytes() for name in arrays.files}
    return file.read_bytes()


def _without_durations(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_durations(item) for key, item in value.items() if not key.endswith("seconds")}
    return [_without_durations(item) for item in value] if isinstance(value, list) else value


def _episodes(folder: Path) -> dict[str, int]:
    """The finished episodes of a collection, by file, with the time when each was written."""
    return {file.name: file.stat().st_mtime_ns for file in (folder / f".{OUTPUT}.partial").glob("[0-9]*.npz")}


def _lost(before: _Episodes, after: _Episodes) -> list[str]:
    """Episodes that were there and are no more, or were played again."""
    if not after.times:  # the collection was complete when it was killed, or is no collection
        return []
    return [f"episode {name} was lost" for name, time in before.times.items() if after.times.get(name) != time]


def _finish(server: CommandServer, arguments: Sequence[str], folder: Path) -> float:
    ended = server.run(arguments, folder)
    if ended.code != 0:
        raise RuntimeError(f"{' '.join(arguments)} failed with {ended.code}: {ended.output[-2000:]}")
    return ended.seconds
