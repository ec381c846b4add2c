"""Units of a sweep: independent, tried again, and none mixed with another's result."""

import multiprocessing
import os
import resource
import select
import signal
from pathlib import Path
from typing import Any

import pytest

from generative_policies.rollouts import units as units_module
from generative_policies.rollouts.units import Unit, run_units

FORK = multiprocessing.get_context("fork")


def double(value: int) -> dict[str, Any]:
    print(f"doubling {value}")
    return {"value": 2 * value}


def fail(value: int) -> dict[str, Any]:
    if value == 3:
        raise ValueError("three is too many")
    return double(value)


def fill(value: int) -> dict[str, Any]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (3, 3))
    return {"value": value}


def end(value: int) -> dict[str, Any]:
    os._exit(7)


def die_once(folder: str, value: int) -> dict[str, Any]:
    marker = Path(folder) / f"tried-{value}"
    if value == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return double(value)


def hold_open(pipe: str) -> dict[str, Any]:
    signal.alarm(60)  # so that nothing is left where the test fails
    with Path(pipe).open("wb", buffering=0) as stream:
        stream.write(b"begun")
        signal.pause()
    return {}


def units(*values: int) -> list[Unit]:
    return [Unit(f"unit-{value}", (value,)) for value in values]


def test_results_come_by_name_and_output_goes_to_logs(tmp_path: Path) -> None:
    results, failures = run_units(double, units(1, 2, 3), tmp_path, processes=2)
    assert {name: result["value"] for name, result in results.items()} == {"unit-1": 2, "unit-2": 4, "unit-3": 6}
    assert not failures and (tmp_path / "unit-2.log").read_text() == "doubling 2\n"


def test_what_has_a_result_is_not_run_again(tmp_path: Path) -> None:
    run_units(double, units(1), tmp_path)
    (tmp_path / "unit-1.json").write_text('{"value": "kept"}')
    results, _ = run_units(double, units(1, 2), tmp_path)
    assert [results[f"unit-{k}"]["value"] for k in (1, 2)] == ["kept", 4]


def test_a_unit_that_keeps_failing_is_reported_with_its_log_and_the_rest_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    results, failures = run_units(fail, units(3, 4, 5), tmp_path)
    assert sorted(results) == ["unit-4", "unit-5"]
    assert [failure.unit for failure in failures] == ["unit-3"]
    log = failures[0].log.read_text()
    assert log.count("ValueError: three is too many") == 2  # it was tried twice
    assert f"unit-3 failed, ValueError: three is too many: {failures[0].log}" in capfd.readouterr().err


def test_the_error_of_a_unit_is_said_where_its_log_cannot_be_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units_module, "_context", lambda module: FORK)
    _, failures = run_units(fill, units(1), tmp_path)
    said = capfd.readouterr().err
    assert [failure.unit for failure in failures] == ["unit-1"] and failures[0].log.stat().st_size <= 3
    assert f"unit-1 failed, OSError: [Errno 27] File too large: '{tmp_path / 'unit-1.json'}': " in said
    (tmp_path / "unit-1.log").unlink()
    (tmp_path / "unit-1.log").mkdir()
    run_units(double, units(1), tmp_path)
    assert f"unit-1 failed, IsADirectoryError: [Errno 21] Is a directory: '{tmp_path / 'unit-1.log'}'" in (
        capfd.readouterr().err
    )


def test_a_unit_that_keeps_dying_without_a_word_is_reported_with_its_exit_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units_module, "_context", lambda module: FORK)
    run_units(end, units(1, 2), tmp_path, processes=2)
    said = capfd.readouterr().err
    assert "unit-1 failed, exit code 7: " in said and "unit-2 failed, exit code 7: " in said


def test_a_unit_that_was_killed_is_tried_again(tmp_path: Path) -> None:
    pieces = [Unit(f"unit-{value}", (str(tmp_path), value)) for value in (1, 2)]
    results, failures = run_units(die_once, pieces, tmp_path / "units")
    assert not failures and results["unit-1"]["value"] == 2 and (tmp_path / "tried-1").exists()


def test_a_unit_ends_with_the_process_that_started_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units_module, "_context", lambda module: FORK)  # starts at once
    os.mkfifo(tmp_path / "pipe")
    unit = Unit("unit", (str(tmp_path / "pipe"),))
    parent: Any = FORK.Process(target=run_units, args=(hold_open, [unit], tmp_path))
    parent.start()
    pipe = os.open(tmp_path / "pipe", os.O_RDONLY)
    assert os.read(pipe, 5) == b"begun" and not select.select([pipe], [], [], 0.1)[0]
    parent.kill()  # it alone, not its process group
    parent.join()
    assert select.select([pipe], [], [], 30)[0] and os.read(pipe, 5) == b""  # nobody has it open any more
    os.close(pipe)
    assert not (tmp_path / "unit.json").exists()


@pytest.mark.slow  # 15 s
def test_ray_gives_the_same_results_and_reports_failures(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    results, failures = run_units(fail, units(1, 3, 4), tmp_path, processes=2, ray=True)
    assert {name: result["value"] for name, result in results.items()} == {"unit-1": 2, "unit-4": 8}
    assert [failure.unit for failure in failures] == ["unit-3"]
    assert failures[0].log.read_text().count("ValueError: three is too many") >= 2
    assert "unit-3 failed, ValueError: three is too many: " in capfd.readouterr().err
