"""Independent units of a sweep: each in a process of its own or on Ray, each writing its own result."""

import json
import logging
import multiprocessing
import multiprocessing.connection
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from generative_policies.atomic_files import write_file
from generative_policies.rollouts.provenance import read_json

Result = dict[str, Any]
RunUnit = Callable[..., Result]
ATTEMPTS = 2
LONGEST = 1_000  # of an error [bytes], so that a pipe takes it whole though nobody reads yet


@dataclass(frozen=True)
class Unit:
    """One piece of work.

    Attributes:
        name: Unique, and fit for a file's name.
        arguments: Of the function that runs it; they are pickled.
    """

    name: str
    arguments: tuple[Any, ...]


class Failure(NamedTuple):
    """A unit that kept failing.

    Attributes:
        unit: Its name.
        log: What it printed and how it ended.
    """

    unit: str
    log: Path


def run_units(
    function: RunUnit,
    units: Sequence[Unit],
    folder: Path,
    *,
    processes: int = 1,
    ray: bool = False,
    attempts: int = ATTEMPTS,
) -> tuple[dict[str, Result], list[Failure]]:
    """Run units that have no result yet; one that dies is tried again, and the others go on.

    Args:
        function: Called with a unit's arguments; a function of a module, since it is pickled. It returns what JSON
            can hold, and may depend on its arguments alone; environment variables are those of the first call.
        units: The units.
        folder: Results are written here as ``name.json``, what a unit prints as ``name.log``. The error of one that
            keeps failing is printed as well, since a full disk takes no log.
        processes: Units at a time.
        ray: Whether to run them on a Ray cluster, the one that Ray finds or a local one.
        attempts: How often a unit is tried.

    Returns:
        The results by name, and the units that kept failing.

    Raises:
        ImportError: If Ray is asked for and not installed.
        ValueError: If the file of a result is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting = [unit for unit in units if not _result_file(folder, unit).exists()]
    bar = tqdm(total=len(units), initial=len(units) - len(waiting), desc="units", unit="unit")
    with bar:
        runner = _run_on_ray if ray else _run_in_processes
        failed = runner(function, waiting, folder, processes, attempts, bar) if waiting else []
    results = {
        unit.name: read_json(_result_file(folder, unit)) for unit in units if _result_file(folder, unit).exists()
    }
    return results, failed


def _run_in_processes(
    function: RunUnit, waiting: Sequence[Unit], folder: Path, processes: int, attempts: int, bar: Any
) -> list[Failure]:
    context = _context(function.__module__)
    queue, tried, failed = list(waiting)[::-1], dict.fromkeys((unit.name for unit in waiting), 0), []
    running: dict[
        Any, tuple[Unit, multiprocessing.connection.Connection]
    ] = {}  # by process, with where it tells errors
    try:
        while queue or running:
            while queue and len(running) < processes:
                unit = queue.pop()
                tried[unit.name] += 1
                told, tell = context.Pipe(duplex=False)
                arguments = (function, unit.arguments, _result_file(folder, unit), _log_file(folder, unit), tell)
                process = context.Process(target=_child, args=arguments, daemon=True)
                process.start()
                tell.close()
                running[process] = unit, told
            multiprocessing.connection.wait([process.sentinel for process in running])
            for process in [process for process in running if process.exitcode is not None]:
                unit, told = running.pop(process)
                reason = _told(told) or f"exit code {process.exitcode}"
                if _result_file(folder, unit).exists():
                    bar.update()
                elif tried[unit.name] < attempts:
                    queue.append(unit)
                else:
                    failed.append(_report(folder, unit, reason))
                    bar.update()
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join()
    return failed


def _context(module: str) -> Any:  # each start method has a class of its own
    """How processes are started: from a server that has imported the module of their function, where there is one.

    Threads of torch do not survive a fork; the server has none, since it has only imported. Where there is none, each
    process imports for itself, which takes seconds.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


def _child(
    function: RunUnit, arguments: tuple[Any, ...], result: Path, log: Path, tell: multiprocessing.connection.Connection
) -> None:
    """Run a unit with its output in a file, and write its result whole or not at all; tell what it raises."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        with log.open("a") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
            started = time.perf_counter()
            answer = function(*arguments)
            _write(result, answer | {"seconds": time.perf_counter() - started})
    except Exception as error:
        tell.send_bytes(f"{type(error).__name__}: {error}".splitlines()[0].encode()[:LONGEST])
        raise


def _told(told: multiprocessing.connection.Connection) -> str:
    """What a process that has ended told of its error; nothing where it could not."""
    with told:
        try:
            return told.recv_bytes().decode(errors="replace") if told.poll() else ""
        except EOFError:
            return ""


def _end_with_the_parent() -> None:
    """End this process where its parent was killed, so that the same command does not find it at work."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_on_ray(
    function: RunUnit, waiting: Sequence[Unit], folder: Path, processes: int, attempts: int, bar: Any
) -> list[Failure]:
    try:
        import ray
    except ImportError as error:
        raise ImportError("Ray is not installed: pip install generative-policies[ray]") from error
    own = not ray.is_initialized()
    if own:
        address = os.environ.get("RAY_ADDRESS")
        ray.init(
            address=address,
            num_cpus=None if address else processes,
            include_dashboard=False,
            log_to_driver=False,
            # Modules of the user's own, as local processes find them.
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}},
            logging_level=logging.ERROR,
        )

    def run(arguments: tuple[Any, ...]) -> Result:
        started = time.perf_counter()
        return function(*arguments) | {"seconds": time.perf_counter() - started}

    task = ray.remote(num_cpus=1, max_retries=0)(run)
    tried, failed = dict.fromkeys((unit.name for unit in waiting), 1), []
    running: dict[Any, Unit] = {task.remote(unit.arguments): unit for unit in waiting}
    try:
        while running:
            done, _ = ray.wait(list(running), num_returns=1)
            unit = running.pop(done[0])
            try:
                _write(_result_file(folder, unit), ray.get(done[0]))
            except ray.exceptions.RayError as error:
                with _log_file(folder, unit).open("a") as stream:
                    traceback.print_exc(file=stream)
                if tried[unit.name] < attempts:
                    tried[unit.name] += 1
                    running[task.remote(unit.arguments)] = unit
                    continue
                failed.append(_report(folder, unit, str(error).strip().splitlines()[-1]))
            bar.update()
    finally:
        if own:
            ray.shutdown()
    return failed


def _report(folder: Path, unit: Unit, reason: str) -> Failure:
    log = _log_file(folder, unit)
    print(f"\n{unit.name} failed, {reason}: {log}", file=sys.stderr)
    return Failure(unit.name, log)


def _result_file(folder: Path, unit: Unit) -> Path:
    return folder / f"{unit.name}.json"


def _log_file(folder: Path, unit: Unit) -> Path:
    return folder / f"{unit.name}.log"


def _write(file: Path, content: Mapping[str, Any]) -> None:
    write_file(file, json.dumps(content))
