"""Runs commands in forks of a process that has imported everything, and kills them when that is asked for.

A command starts in milliseconds so, not after seconds of imports, and is a process as any other: the fork calls the
command line's own ``main``, in a process group of its own that SIGKILL ends as a whole.
"""

import json
import mmap
import multiprocessing
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tqdm import tqdm

POLL_SECONDS = 0.002
COUNTER_BYTES = 8
CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        code: Its exit code, ``None`` where it was killed.
        seconds: How long it ran [s].
        output: What it printed.
        opened: Files that were opened for writing, in their order.
        changes: How often the file system was about to be changed, as far as that is seen.
    """

    code: int | None
    seconds: float
    output: str
    opened: list[str]
    changes: int


class CommandServer:
    """A process that runs one command after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak.command_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def run(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        fork_units: bool = False,
        kill_after: float | None = None,
        kill_at: int | None = None,
        file_size: int | None = None,
    ) -> Ended:
        """Run ``generative-policies`` to its end, or kill its process group.

        Args:
            arguments: Of the command line.
            folder: Its working folder.
            fork_units: Whether the units of a comparison are forks of the command, which are there at once, and whose
                changes of the file system are seen and counted. The library starts a server of its own for them, in
                every comparison anew; what happens in its forks is not seen.
            kill_after: When it is killed [s].
            kill_at: Before which change of the file system that is seen it is killed, counted from 1 over all of its
                processes.
            file_size: No file may grow larger [bytes], as on a full disk.

        Raises:
            RuntimeError: If the server has ended.
        """
        request = {
            "arguments": list(arguments),
            "folder": str(folder),
            "fork_units": fork_units,
            "kill_after": kill_after,
            "kill_at": kill_at,
            "file_size": file_size,
        }
        assert self._process.stdin is not None and self._process.stdout is not None  # they are pipes
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the command server has ended with {self._process.wait()}")
        return Ended(*json.loads(answer))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server."""
        assert self._process.stdin is not None and self._process.stdout is not None  # they are pipes
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def serve() -> None:
    """Answer requests from standard input, a line each, until there are no more."""
    import torch._dynamo  # noqa: F401  # which the first optimizer of a process would import, for two seconds

    from generative_policies.rollouts import command_line

    for line in sys.stdin:
        request = json.loads(line)
        begun = time.perf_counter()
        output, changes = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            _run(command_line.main, request, output[1], changes[1])
        for pipe in (output, changes):
            os.close(pipe[1])
        code, (printed, seen) = _wait(child, request["kill_after"], (output[0], changes[0]))
        seconds = time.perf_counter() - begun
        events = seen.decode().splitlines()
        opened = [event.removeprefix("open ") for event in events if event.startswith("open ")]
        sys.stdout.write(json.dumps([code, seconds, printed.decode(), opened, len(events)]) + "\n")
        sys.stdout.flush()


def _run(main: Callable[[], None], request: dict[str, Any], output: int, changes: int) -> None:
    """In the fork: call the command line, and end the process with its exit code."""
    os.setsid()
    os.chdir(request["folder"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    if request["fork_units"]:
        _fork_units()
    if request["file_size"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"], request["file_size"]))
    sys.argv = ["generative-policies", *request["arguments"]]
    _watch(changes, request["kill_at"])
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:  # as the interpreter does at its top level
        sys.excepthook(*sys.exc_info())
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1 if code else 0)


def _fork_units() -> None:
    """Let the units of a comparison be forks of this process."""
    from generative_policies.rollouts import units

    units._context = lambda module: multiprocessing.get_context("fork")
    # They would share tqdm's semaphore, which a killed one never lets go; those of the library have their own.
    tqdm.set_lock(threading.RLock())
    tqdm.monitor_interval = 0


def _watch(changes: int, kill_at: int | None) -> None:
    """Tell each change of the file system that Python is about to make, or kill the process group before one."""
    counter = mmap.mmap(-1, COUNTER_BYTES)  # which forks share

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or (event == "open" and not _writes(*arguments)):
            return
        # Two processes may count the same change; none is left out for that.
        count = int.from_bytes(counter[:], "big") + 1
        counter[:] = count.to_bytes(COUNTER_BYTES, "big")
        if count == kill_at:
            os.killpg(0, signal.SIGKILL)
        name = f" {Path(arguments[0]).absolute()}" if event == "open" else ""
        os.write(changes, f"{event}{name}\n".encode())

    sys.addaudithook(hook)


def _writes(path: object, mode: str | None, flags: int) -> bool:
    """Whether a file is opened to be written; a folder is, for a file without a name."""
    return isinstance(path, str) and bool(flags & WRITING) and not Path(path).is_dir()


def _wait(child: int, kill_after: float | None, pipes: Sequence[int]) -> tuple[int | None, list[bytes]]:
    """The exit code of a process, ``None`` after it was killed with its group, and what came through its pipes."""
    deadline = None if kill_after is None else time.perf_counter() + kill_after
    found = {pipe: b"" for pipe in pipes}
    pid = status = 0
    while not pid:
        ready, _, _ = select.select(pipes, [], [], POLL_SECONDS)
        pid, status = os.waitpid(child, os.WNOHANG)
        for pipe in ready:
            found[pipe] += os.read(pipe, 1 << 16)
        if not ready:
            time.sleep(POLL_SECONDS)
        if not pid and deadline is not None and time.perf_counter() >= deadline:
            try:
                os.killpg(child, signal.SIGKILL)
            except ProcessLookupError:  # it has not come to its setsid yet
                os.kill(child, signal.SIGKILL)
            pid, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    killed = code == -signal.SIGKILL
    for pipe in pipes:
        # Those of a killed group are read to their end, which comes with its last process: that may still hold a lock.
        while (killed or select.select([pipe], [], [], 0)[0]) and (rest := os.read(pipe, 1 << 16)):
            found[pipe] += rest
        os.close(pipe)
    return None if killed else code, list(found.values())


if __name__ == "__main__":
    serve()
