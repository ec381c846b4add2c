"""Fuzzing: its watch sees what must not happen, a few hundred cases in short, and the committed long form."""

import json
import os
import pickle
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import benchmarks.fuzz.__main__
import benchmarks.fuzz.worker
from benchmarks.fuzz.__main__ import Settings, main, run_cases
from benchmarks.fuzz.descriptions import DESCRIBED, Description, described, for_each_description, part
from benchmarks.fuzz.file_mutations import pickled
from benchmarks.fuzz.subjects import SUBJECTS, Subject
from benchmarks.fuzz.worker import OutOfTime, Watch, make_pristine, run_case, warm_up
from generative_policies.checkpoints import CheckpointError
from generative_policies.models import MlpRegressor

RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results"
CASES = 40  # of each kind, in short


@pytest.fixture
def timed() -> Iterator[None]:
    """An alarm ends a case that takes too long, as in the worker."""

    def end(number: int, frame: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, end)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound files")
    make_pristine(folder)
    return folder


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Watch:
    return Watch(tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("kind", SUBJECTS)
def test_broken_files_are_refused_or_harmless(
    kind: str, pristine: Path, watch: Watch, tmp_path: Path, timed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    warm_up(kind, pristine, tmp_path)
    outcomes = []
    for case in range(CASES):
        result = run_case(SUBJECTS[kind], pristine / kind, tmp_path, [99, case], watch, lambda mutation: None)
        assert not result["complaint"], (case, result["mutation"], result["complaint"])
        outcomes.append(result["outcome"])
        shutil.rmtree(tmp_path / "case")
    assert outcomes.count("refused") >= CASES // 4


def violating(use: Callable[[Path], Any], errors: tuple[type[Exception], ...] = (ValueError,)) -> Subject:
    def make(folder: Path) -> None:
        (folder / "0").mkdir(parents=True)
        (folder / "0" / "file.json").write_text('{"a": 1}')

    return Subject(make, use, errors, {".json": ()})


def raise_error(error: Exception) -> Any:
    raise error


VIOLATIONS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another error": (lambda folder: raise_error(KeyError("x")), "KeyError"),
    "no name": (lambda folder: raise_error(ValueError("bad file")), "does not name the file"),
    "no memory": (lambda folder: np.ones(80_000_000), r"takes 6\d\d MB"),
    "memory for an error": (lambda folder: np.zeros(10**14), "MemoryError"),
    "another shape": (lambda folder: ((2,), (3,)), r"answers in the shape \(2,\)"),
    "a file elsewhere": (lambda folder: (folder.parent / "x").write_text(""), "leaves"),
    "a pickle": (lambda folder: pickle.loads(pickled(folder / "mark")), "pickle.find_class"),
    "a payload that works": (lambda folder: (folder.parent / "mark").mkdir(), "ran what the file holds"),
    "a program": (lambda folder: os.system("true"), "os.system"),
    "for ever": (lambda folder: time.sleep(10), "takes more than"),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_the_watch_sees_it(
    name: str, watch: Watch, tmp_path: Path, timed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarks.fuzz.worker, "MAX_SECONDS", 1)
    use, message = VIOLATIONS[name]

    def answer(folder: Path) -> Any:
        found = use(folder)
        return found if name == "another shape" else None

    subject = violating(answer)
    subject.make(tmp_path / "sound")
    (tmp_path / "cases").mkdir()
    result = run_case(subject, tmp_path / "sound", tmp_path / "cases", [0], watch, lambda mutation: None)
    assert result["outcome"] == "violation"
    assert re.search(message, result["complaint"]), result["complaint"]


RAW: tuple[Exception, ...] = (
    ValueError("The truth value of an array with more than one element is ambiguous. Use a.any() or a.all()"),
    TypeError("ufunc 'isfinite' not supported for the input types"),
    TypeError("float() argument must be a string or a real number, not 'dict'"),
    ValueError("could not convert string to float: 'x'"),
    AttributeError("wrapper RewiredMotorsWrapper has no attribute 'uint8'"),
    AttributeError("'int' object has no attribute 'shape'"),
    TypeError("'<' not supported between instances of 'list' and 'int'"),
)
NAMED: tuple[Exception, ...] = (
    TypeError("limit must be a number, got [1.0, 2.0]"),
    ValueError("mass must be positive and finite, got -1"),
    TypeError("InverseDynamicsWrapper.__init__() got an unexpected keyword argument 'evil'"),
    AttributeError("source_observation names 'uint8', which the env does not have"),
    ValueError("InverseDynamicsWrapper around InvertedPendulum-v5 at step 0: expected numbers as actions"),
    CheckpointError("/etc/passwd is no folder"),
    gymnasium.error.NameNotFound("Environment `x` doesn't exist."),
)


@pytest.mark.parametrize("error", [*RAW, *NAMED], ids=str)
def test_a_refused_env_spec_has_its_argument_named(
    error: Exception, pristine: Path, watch: Watch, tmp_path: Path, timed: None
) -> None:
    subject = replace(SUBJECTS["env spec"], use=lambda folder: raise_error(error))
    result = run_case(subject, pristine / "env spec", tmp_path, [0], watch, lambda mutation: None)
    assert result["outcome"] == ("violation" if error in RAW else "refused"), result["complaint"]
    assert ("does not name the argument" in result["complaint"]) is (error in RAW)


def test_a_worker_that_dies_is_a_violation_and_the_next_goes_on(pristine: Path, tmp_path: Path) -> None:
    found = []
    for result in run_cases("round of episodes", 300, 0, pristine, tmp_path / "log"):
        found.append(result)
        if len(found) == 1:
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            workers = [
                pid for pid in children if b"benchmarks.fuzz.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
            ]
            assert len(workers) == 1
            os.kill(int(workers[0]), signal.SIGKILL)
    killed = [result for result in found if result["outcome"] == "violation"]
    assert len(killed) == 1 and "SIGKILL" in killed[0]["complaint"]
    assert [result["case"] for result in found] == list(range(300))


@pytest.mark.parametrize(("bad", "kept"), [(-1, True), (5, False)])
def test_the_command_counts_and_writes(
    bad: int, kept: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With results that are known, since a worker takes seconds to start."""

    def known(kind: str, count: int, *_: Any) -> Iterator[dict[str, Any]]:
        for case in range(count):
            outcome = ("loaded", "refused", "violation" if case == bad else "refused")[case % 3]
            yield {"kind": kind, "case": case, "mutation": f"way {case % 2}", "outcome": outcome} | {
                "error": "" if outcome == "loaded" else "ValueError",
                "complaint": "it ran" if outcome == "violation" else "",
                "seconds": 0.5 + case,
                "megabytes": 2.0 * case,
            }

    monkeypatch.setattr(benchmarks.fuzz.__main__, "run_cases", known)
    monkeypatch.setattr(benchmarks.fuzz.__main__, "make_pristine", lambda folder: None)
    assert main(Settings(cases=9, examples=0, kinds=("results",), output=tmp_path)) is kept
    report = json.loads((tmp_path / "fuzz.json").read_text())
    row = report["kinds"]["results"]
    assert (report["cases"], row["cases"], row["loaded"], row["refused"], row["violation"]) == (
        *(9, 9, 3),
        *((6, 0) if kept else (5, 1)),
    )
    assert row["mutations"]["way 0"]["loaded"] == 2 and row["mutations"]["way 1"]["loaded"] == 1
    assert (row["slowest_seconds"], row["slowest_case"], row["peak_megabytes"]) == (8.5, 8, 16.0)
    assert [violation["case"] for violation in report["violations"]] == ([] if kept else [5])
    assert (tmp_path / "fuzz.md").read_text() in capsys.readouterr().out


def test_nothing_to_break_is_refused() -> None:
    with pytest.raises(ValueError, match="kinds"):
        Settings(kinds=("thesis",))
    with pytest.raises(ValueError, match="cases"):
        Settings(cases=2)


def test_committed_results_are_of_ten_thousand_cases_without_a_violation() -> None:
    report = json.loads((RESULTS / "fuzz.json").read_text())
    assert report["command"].startswith("python -m benchmarks.fuzz")
    assert report["settings"]["kinds"] == list(SUBJECTS) and list(report["kinds"]) == [*SUBJECTS, DESCRIBED]
    assert report["settings"]["cases"] + report["settings"]["examples"] == report["cases"]
    assert report["cases"] == sum(row["cases"] for row in report["kinds"].values())
    assert report["kinds"][DESCRIBED]["mutations"]["sound, weights that fit"]["loaded"] >= 500
    assert report["cases"] >= 10_000 and report["violations"] == []
    for row in report["kinds"].values():
        assert row["cases"] >= 1_000 and row["cases"] == row["loaded"] + row["refused"]
        assert row["peak_megabytes"] < benchmarks.fuzz.worker.MAX_MEGABYTES
    for kind, subject in SUBJECTS.items():
        assert len(report["kinds"][kind]["mutations"]) >= (15 if subject.is_file else 1)
    assert report["versions"]["torch"] and report["versions"]["commit"]


def test_descriptions_that_fit_answer_in_finite_numbers_and_others_are_refused(
    pristine: Path, watch: Watch, tmp_path: Path, timed: None
) -> None:
    torch.set_num_threads(1)
    results: dict[int, Any] = {}

    def run(case: int, description: Description) -> None:
        subject = described(description)
        results[case] = run_case(subject, pristine / DESCRIBED, tmp_path, [99, case], watch, lambda mutation: None)
        shutil.rmtree(tmp_path / "case")

    for_each_description(160, 1, run)
    assert list(results) == list(range(160))
    assert not [result for result in results.values() if result["complaint"]]
    ways = Counter((result["mutation"], result["outcome"]) for result in results.values())
    assert ways["sound, weights that fit", "loaded"] >= 20 and ways["changed, weights that fit", "loaded"] >= 8
    assert ways["changed, weights foreign", "refused"] >= 20 and ways["anything, weights foreign", "refused"] >= 10


@pytest.mark.parametrize(
    ("way", "model", "complaint"),
    [
        ("sound", {"class": "os.system", "arguments": {}}, "CheckpointError"),
        ("changed", {"class": "os.system", "arguments": {}}, ""),
        ("changed", part("MlpRegressor", target_dim=2, cond_dim=3), "not finite"),
    ],
)
def test_what_a_description_must_not_do_is_a_violation(
    way: str,
    model: Any,
    complaint: str,
    pristine: Path,
    watch: Watch,
    tmp_path: Path,
    timed: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MlpRegressor, "predict", lambda self, rows: np.full((3, 2), np.nan))
    subject = described(Description(way, model))
    result = run_case(subject, pristine / DESCRIBED, tmp_path, [0], watch, lambda mutation: None)
    assert (complaint in result["complaint"]) and bool(result["complaint"]) is bool(complaint), result["complaint"]


def test_descriptions_of_a_seed_are_the_same_from_any_place_on() -> None:
    drawn: dict[int, list[tuple[int, str]]] = {}
    for first in (0, 270):
        found = drawn.setdefault(first, [])
        for_each_description(300, 7, lambda case, d, found=found: found.append((case, repr(d))), first)
    assert drawn[0][270:] == drawn[270] and len(drawn[0]) == 300
    assert len({description for _, description in drawn[0]}) >= 250
