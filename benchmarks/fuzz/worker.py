"""Runs cases in a process of its own, whose memory, time and doings are watched; talks in lines of JSON."""

import json
import os
import resource
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.fuzz.descriptions import DESCRIBED, described, for_each_description, make_described, use_described
from benchmarks.fuzz.subjects import SUBJECTS, Subject

MEGABYTE = 2**20
ADDRESS_SPACE = 4 * 2**30  # beyond what the process has when it begins
MAX_MEGABYTES = 512  # that a case may take
MAX_SECONDS = 30
# What Python tells of when code of a file's, or a program, is about to run, or a connection to be made.
DOINGS = (
    "pickle.find_class",
    "os.system",
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "socket.connect",
)
OWN_LOGS = ("MUJOCO_LOG.TXT",)  # where MuJoCo tells of physics that explode, in the working folder


class OutOfTime(BaseException):
    """A case takes too long; no handler of errors stops it."""


class Watch:
    """What a case does beside its work: what runs, and what is written outside of its folder."""

    def __init__(self, allowed: Path) -> None:
        self.allowed, self.seen, self.is_on = str(allowed), list[str](), False
        sys.addaudithook(self._note)

    def __enter__(self) -> list[str]:
        self.seen, self.is_on = [], True
        return self.seen

    def __exit__(self, *exception: object) -> None:
        self.is_on = False

    def _note(self, event: str, arguments: Any) -> None:
        if not self.is_on:
            return
        if event in DOINGS:
            self.seen.append(f"{event} {arguments!r:.100}")
        elif event == "open" and isinstance(arguments[0], str | bytes | Path) and self._writes(arguments):
            path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100  # pathlib would resolve links
            if not path.startswith(self.allowed) and path != os.devnull:
                self.seen.append(f"writes {path}")

    @staticmethod
    def _writes(arguments: Any) -> bool:
        mode, flags = arguments[1], arguments[2]
        if isinstance(mode, str):
            return any(letter in mode for letter in "wax+")
        return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def run_case(
    subject: Subject, pristine: Path, folder: Path, seed: list[int], watch: Watch, begin: Any
) -> dict[str, Any]:
    """Break a sound file, use it, and return what came of it.

    Args:
        subject: The kind of file.
        pristine: Where the sound ones are.
        folder: Where the broken one is put; nothing may be there.
        seed: Of the case.
        watch: Tells what the case does.
        begin: Called with the mutation before the file is used.
    """
    rng = np.random.default_rng(seed)
    variants = sorted(variant for variant in pristine.iterdir() if variant.name.isdigit())
    case, mark = folder / "case", folder / "mark"
    shutil.copytree(variants[rng.integers(len(variants))], case, symlinks=True)
    mutation = subject.mutate(case, mark, rng)
    begin(mutation)
    torch.manual_seed(0)
    outcome, error, complaint = "loaded", "", ""
    before, started = _forget_peak(), time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
    with watch as doings, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            shapes = subject.use(case)
            if shapes is not None and shapes[0] != shapes[1]:
                complaint = f"answers in the shape {shapes[0]}, expected {shapes[1]}"
        except subject.errors as caught:
            outcome, error = "refused", type(caught).__name__
            if not subject.names(case, caught):
                complaint = f"{error} does not name the {'file' if subject.is_file else 'argument'}: {caught!s:.300}"
        except OutOfTime:
            complaint = f"takes more than {MAX_SECONDS} s"
        except BaseException as caught:
            error = type(caught).__name__
            complaint = f"{error}: {caught!s:.300}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    seconds, peak = time.perf_counter() - started, _peak() - before
    if mark.exists():
        complaint = "ran what the file holds"
    elif doings:
        complaint = "; ".join(doings)
    elif peak > MAX_MEGABYTES:
        complaint = f"takes {peak:.0f} MB"
    elif not {path.name for path in folder.iterdir()} <= {"case", *OWN_LOGS}:
        complaint = f"leaves {[path.name for path in folder.iterdir()]}"
    outcome = "violation" if complaint else outcome
    return {
        "mutation": mutation,
        "outcome": outcome,
        "error": error,
        "complaint": complaint,
        "seconds": seconds,
        "megabytes": peak,
    }


def _forget_peak() -> float:
    """Let the system forget the largest size of this process so far; return its present one in MB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0.0
    return _status("VmRSS")


def _peak() -> float:
    return _status("VmHWM")


def _status(name: str) -> float:
    """A figure of this process in MB, 0 where the system does not tell."""
    file = Path("/proc/self/status")
    if not file.is_file():
        return 0.0
    lines = dict(line.split(":", 1) for line in file.read_text().splitlines())
    return float(lines[name].split()[0]) / 1024 if name in lines else 0.0


def make_pristine(folder: Path) -> None:
    """Write the sound files of all kinds, where they are not yet."""
    for name, make in [*((name, subject.make) for name, subject in SUBJECTS.items()), (DESCRIBED, make_described)]:
        if not (folder / name).is_dir():
            make(folder / name)


def warm_up(kind: str, pristine: Path, folder: Path) -> None:
    """Use each sound file once, which has to succeed: what is imported and cached counts for no case."""
    for variant in sorted(variant for variant in (pristine / kind).iterdir() if variant.name.isdigit()):
        shutil.copytree(variant, folder / "case")
        shapes = use_described(folder / "case") if kind == DESCRIBED else SUBJECTS[kind].use(folder / "case")
        if shapes is not None and shapes[0] != shapes[1]:
            raise RuntimeError(f"the sound {kind} in {variant} answers {shapes[0]}, expected {shapes[1]}")
        shutil.rmtree(folder / "case")


def serve(
    kind: str, first: int, last: int, seed: int, pristine: Path, folder: Path, say: Callable[[Any], None]
) -> None:
    """Run the cases ``first`` to ``last - 1`` of a kind, and say what came of each."""
    torch.set_num_threads(1)
    warm_up(kind, pristine, folder)
    watch = Watch(folder / "case")
    number = [*SUBJECTS, DESCRIBED].index(kind)

    def run(case: int, subject: Subject) -> None:
        def begin(mutation: str) -> None:
            say({"begins": case, "mutation": mutation})

        say({"case": case, **run_case(subject, pristine / kind, folder, [seed, number, case], watch, begin)})
        shutil.rmtree(folder / "case")
        for name in OWN_LOGS:
            (folder / name).unlink(missing_ok=True)

    if kind == DESCRIBED:
        for_each_description(last, seed, lambda case, description: run(case, described(description)), first)
        return
    for case in range(first, last):
        run(case, SUBJECTS[kind])


def _out_of_time(number: int, frame: object) -> None:
    raise OutOfTime


def main(arguments: list[str]) -> None:
    """Serve what the command line asks for: kind, first, last, seed, folder of sound files, folder of one's own."""
    kind, first, last, seed, pristine, folder = arguments
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    signal.signal(signal.SIGALRM, _out_of_time)
    if Path("/proc/self/statm").is_file():
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.chdir(folder)

    def say(answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")

    serve(kind, int(first), int(last), int(seed), Path(pristine), Path(folder), say)


if __name__ == "__main__":
    main(sys.argv[1:])
