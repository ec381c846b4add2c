"""Commands that are killed at random moments, run again, and compared with what an uninterrupted run gives."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np

from benchmarks.soak.command_server import CommandServer, Ended

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
        *("compare", *ROBOT, "--shifts", SHIFT, "--arms", "source", "untranslated", "mlp", "--seeds", "0"),
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
        kill_seconds: How long after its start a run was killed, for each kill at a moment [s].
        kill_changes: Before which change of the file system a run was killed, for each such kill.
        changes: How often an uninterrupted run changes the file system.
        compared: How often what a kill left was finished and compared with the uninterrupted run: once a kill.
        resumed: How often a run ended by itself before its next kill, after one at least, and was compared as well.
        differences: What differed from the uninterrupted run, a sentence each; none is expected.
    """

    command: str
    uninterrupted_seconds: float
    kill_seconds: list[float]
    kill_changes: list[int]
    changes: int
    compared: int
    resumed: int
    differences: list[str]


def make_inputs(server: CommandServer, folder: Path) -> None:
    """Make what the commands read.

    Raises:
        RuntimeError: If one fails.
    """
    for name, arguments in INPUTS.items():
        _finish(server, (*arguments, "--output", name), folder)


def kill_and_resume(
    server: CommandServer,
    name: str,
    folder: Path,
    kills: tuple[int, int],
    rng: np.random.Generator,
    on_kill: Callable[[], object] = lambda: None,
    fork_units: bool = False,
) -> KilledRuns:
    """Kill a command again and again, and compare what each kill leaves, once it is finished, with a run without any.

    It is finished in a copy; the next kill hits a run that goes on from what the one before it left. One that ends
    before it is killed is compared, and the next one starts anew.

    Args:
        server: Runs the commands.
        name: Of ``COMMANDS``.
        folder: With what ``make_inputs`` made.
        kills: How often at a moment that is uniform over an uninterrupted run, and how often before a change of the
            file system that is uniform over all of its changes.
        rng: Source of both.
        on_kill: Called after each kill.
        fork_units: Whether units of a comparison are forks of the command in all runs, and not only in those that are
            killed before a change, which they are to see.

    Raises:
        RuntimeError: If a run fails.
    """
    arguments = (*COMMANDS[name], "--output", OUTPUT)
    at_moments = rng.permutation([True] * kills[0] + [False] * kills[1]).tolist()
    seconds: list[float] = []
    changes: list[int] = []
    compared, resumed, different = 0, 0, list[str]()
    with TemporaryDirectory(dir=folder) as alone:
        whole = _finish(server, arguments, Path(alone), fork_units)
        expected = content(Path(alone))
    with TemporaryDirectory(dir=folder) as alone:
        num_changes = _finish(server, arguments, Path(alone), fork_units=True).changes
        different += differences(expected, content(Path(alone)))
    while at_moments:
        with TemporaryDirectory(dir=folder) as place:
            killed = Path(place)
            done: dict[str, int] = {}
            begun = len(at_moments)
            while at_moments:
                forks = fork_units or not at_moments[-1]
                if at_moments[-1]:
                    moment = float(rng.uniform(0, whole.seconds))
                    ended = server.run(arguments, killed, fork_units=forks, kill_after=moment)
                else:
                    number = int(rng.integers(num_changes)) + 1
                    ended = server.run(arguments, killed, fork_units=forks, kill_at=number)
                if ended.code is not None:
                    break
                if at_moments.pop():
                    seconds.append(ended.seconds)
                else:
                    changes.append(number)
                before, done = done, _episodes(killed)
                different += _lost(before, done)
                different += differences(expected, _finished(server, arguments, killed, forks))
                compared += 1
                on_kill()
            if ended.code:
                raise RuntimeError(f"{name} failed with {ended.code}: {ended.output[-2000:]}")
            if ended.code == 0 and begun > len(at_moments):
                resumed += 1
                different += differences(expected, content(killed))
    return KilledRuns(name, whole.seconds, seconds, changes, num_changes, compared, resumed, different)


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


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What differs between two folders, a file a sentence."""
    return [
        f"{file} {'differs' if file in expected and file in found else 'is in one alone'}"
        for file in sorted({*expected, *found})
        if file not in expected or file not in found or expected[file] != found[file]
    ]


def _episodes(folder: Path) -> dict[str, int]:
    """The finished episodes of a collection whose dataset is not there yet, by file, with the time of its writing."""
    if (folder / OUTPUT).exists():
        return {}
    return {file.name: file.stat().st_mtime_ns for file in (folder / f".{OUTPUT}.partial").glob("[0-9]*.npz")}


def _lost(before: dict[str, int], after: dict[str, int]) -> list[str]:
    """Episodes that were there at one kill and were gone, or played again, at the next."""
    if not after:  # all of them are in the dataset
        return []
    return [f"episode {name} was lost" for name, time in before.items() if after.get(name) != time]


def _finished(server: CommandServer, arguments: Sequence[str], folder: Path, fork_units: bool) -> dict[str, Any]:
    """What is in a folder once the command was run to its end in a copy that stood in its place."""
    aside = folder.with_name(f"{folder.name}-aside")
    folder.rename(aside)
    shutil.copytree(aside, folder)
    _finish(server, arguments, folder, fork_units)
    found = content(folder)
    shutil.rmtree(folder)
    aside.rename(folder)
    return found


def _finish(server: CommandServer, arguments: Sequence[str], folder: Path, fork_units: bool = False) -> Ended:
    ended = server.run(arguments, folder, fork_units=fork_units)
    if ended.code != 0:
        raise RuntimeError(f"{' '.join(arguments)} failed with {ended.code}: {ended.output[-2000:]}")
    return ended
