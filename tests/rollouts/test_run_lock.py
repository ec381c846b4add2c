"""One process at a time writes the output of a run; what a killed one left does not stand in the way."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from generative_policies import file_locks
from generative_policies.rollouts import command_line
from generative_policies.rollouts.run_lock import RunInUseError, run_lock
from tests.file_limits import full_disk, read_only

FORK = multiprocessing.get_context("fork")


@contextmanager
def owner(folder: Path, name: str | None = None, child_input: int | None = None) -> Iterator[int]:
    """Another process that holds a lock until it is killed, and its id."""
    started = FORK.Event()

    def hold() -> None:
        with run_lock(folder, name):
            if child_input is not None:
                subprocess.Popen(["cat"], stdin=child_input)  # until its input ends
            started.set()
            signal.pause()

    process: Any = FORK.Process(target=hold)
    process.start()
    assert started.wait(60)
    try:
        yield process.pid
    finally:
        process.kill()
        process.join()


def test_the_second_is_refused_with_the_owners_id_and_a_killed_owner_is_not_asked(tmp_path: Path) -> None:
    with owner(tmp_path, "data") as pid:
        message = f"process {pid} on {socket.gethostname()} writes there"
        for _ in range(2):  # a refusal changes nothing
            with pytest.raises(RunInUseError, match=message), run_lock(tmp_path, "data"):
                pass
        with run_lock(tmp_path, "other"), run_lock(tmp_path):  # other outputs are others' business
            pass
    assert (tmp_path / ".data.lock").read_text() == f"process {pid} on {socket.gethostname()}\n"
    with run_lock(tmp_path, "data"):
        assert (tmp_path / ".data.lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"
    assert not list(tmp_path.iterdir())


def test_processes_that_a_killed_owner_started_hold_nothing(tmp_path: Path) -> None:
    read, write = os.pipe()
    with owner(tmp_path, child_input=read):
        os.close(read)
    with run_lock(tmp_path):
        os.write(write, b"the child is there: without a reader, this would raise")
    os.close(write)


def test_two_threads_or_calls_of_one_process_are_two(tmp_path: Path) -> None:
    with run_lock(tmp_path), pytest.raises(RunInUseError, match=f"process {os.getpid()}"), run_lock(tmp_path):
        pass
    with pytest.raises(ZeroDivisionError), run_lock(tmp_path):
        _ = 1 / 0
    with run_lock(tmp_path):  # it was let go
        pass


def test_a_link_to_a_folder_is_the_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with owner(tmp_path / "run"), pytest.raises(RunInUseError), run_lock(tmp_path / "link"):
        pass


def test_an_owner_that_ends_between_opening_and_locking_is_not_mistaken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, removed = os.open, []

    def opened_late(path: Any, *others: Any) -> int:
        descriptor = opened(path, *others)
        if Path(path).name == ".run.lock" and not removed:
            removed.append(path)
            Path(path).unlink()  # as the owner does at its end
        return descriptor

    monkeypatch.setattr(os, "open", opened_late)
    with run_lock(tmp_path):
        assert removed and (tmp_path / ".run.lock").is_file()
        with pytest.raises(RunInUseError), run_lock(tmp_path):
            pass


def test_where_there_are_no_locks_a_warning_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_locks, "fcntl", None)
    with pytest.warns(UserWarning, match="no flock; see to it that no other run"), run_lock(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with full_disk(0), pytest.raises(OSError, match=rf"File too large: '{tmp_path}/\.run\.lock'"), run_lock(tmp_path):
        pass
    with read_only(tmp_path), pytest.raises(PermissionError, match=str(tmp_path)), run_lock(tmp_path):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), run_lock(tmp_path / "file"):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_leftovers_of_killed_runs_are_removed(tmp_path: Path) -> None:
    for folder in (tmp_path / ".data.0.new", tmp_path / "units" / ".unit.json.1.new"):
        folder.mkdir(parents=True)
        (folder / ("data.lock" if folder.parent == tmp_path else "unit.json.lock")).touch()
    with run_lock(tmp_path, "data"):
        assert [path.name for path in tmp_path.rglob("*.new")] == [".unit.json.1.new"]
    with run_lock(tmp_path):
        assert not list(tmp_path.rglob("*.new"))


COMMANDS: dict[str, Callable[[Path], list[str]]] = {
    "collect": lambda output: ["--output", str(output)],
    "pair": lambda output: ["--data", "none", "--other-data", "none", "--output", str(output)],
    "train": lambda output: ["--data", "none", "--output", str(output)],
    "evaluate": lambda output: ["--output", str(output)],
    "export": lambda output: ["none", str(output)],
    "compare": lambda output: ["--output", str(output)],
    "train-source": lambda output: ["--output", str(output)],
    "demo": lambda output: ["--output", str(output)],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_refuse_in_a_line(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / ("out.onnx" if command == "export" else "out")
    folder, name = (output, None) if command in ("compare", "train-source", "demo") else (tmp_path, output.name)
    monkeypatch.setattr(sys, "argv", ["generative-policies", command, *COMMANDS[command](output)])
    with run_lock(folder, name):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit, match=f"^generative-policies: .* is in use: process {os.getpid()} on "):
            command_line.main()
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_name_a_folder_that_is_read_only_in_a_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / ("out.onnx" if command == "export" else "out")
    monkeypatch.setattr(sys, "argv", ["generative-policies", command, *COMMANDS[command](output)])
    with (
        read_only(tmp_path),
        pytest.raises(SystemExit, match=f"^generative-policies: .*Permission denied: '{tmp_path}"),
    ):
        command_line.main()
    assert not list(tmp_path.iterdir())
