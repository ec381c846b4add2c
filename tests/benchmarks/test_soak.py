"""Commands that are killed end as those that nobody killed; long runs keep memory, bounds and returns."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest
import torch

from benchmarks.soak import kills
from benchmarks.soak.__main__ import MOST_GROWTH, Settings, format_report, verdicts
from benchmarks.soak.command_server import CommandServer
from benchmarks.soak.kills import COMMANDS, OUTPUT, content, differences, kill_and_resume, make_inputs
from benchmarks.soak.long_run import ENV, RecordingWrapper, run_long, train_student
from generative_policies.action_translation import MlpActionTranslator
from generative_policies.envs import make_env

RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results"


@pytest.fixture(scope="module")
def server() -> Iterator[CommandServer]:
    with CommandServer() as found:
        yield found


@pytest.fixture(scope="module")
def folder(server: CommandServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs")
    make_inputs(server, path)
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_commands_end_as_one_that_was_not(server: CommandServer, folder: Path, name: str) -> None:
    killed: list[int] = []
    found = kill_and_resume(server, name, folder, (5, 3), np.random.default_rng(7), lambda: killed.append(1), True)
    assert not found.differences
    assert len(found.kill_seconds) == 5 and len(found.kill_changes) == 3 and found.compared == len(killed) == 8
    assert not list(folder.glob("*-aside"))


def test_what_a_kill_left_is_compared_each_time(
    server: CommandServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[Any] = []
    monkeypatch.setattr(kills, "differences", lambda expected, found: compared.append(found) or ["another"])
    found = kill_and_resume(server, "collect", folder, (0, 3), np.random.default_rng(0), fork_units=True)
    assert found.compared == 3 and found.differences == ["another"] * len(compared)
    assert len(compared) == 1 + found.compared + found.resumed  # the first of one that was not killed
    assert all(f"{OUTPUT}/settings.json" in content for content in compared)


def test_kills_before_a_change_reach_the_units_of_a_comparison(server: CommandServer, folder: Path) -> None:
    arguments = (*COMMANDS["compare"], "--output", OUTPUT)
    with TemporaryDirectory(dir=folder) as path:
        whole = server.run(arguments, Path(path), fork_units=True)
        assert whole.code == 0 and any("/models/" in file for file in whole.opened)
    for share in (0.4, 0.6, 0.8):
        with TemporaryDirectory(dir=folder) as path:
            number = int(share * whole.changes)
            killed = server.run(arguments, Path(path), fork_units=True, kill_at=number)
            assert killed.code is None and killed.changes in range(number - 1, number + 8)  # two at a time
            assert any("/models/" in file for file in killed.opened)
            assert not list(Path(path).rglob("report.json"))


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_name_a_full_disk_in_a_line_and_write_nothing_in_its_place(
    server: CommandServer, folder: Path, name: str
) -> None:
    arguments = (*COMMANDS[name], "--output", OUTPUT)
    with TemporaryDirectory(dir=folder) as path:
        for size in (0, 600):
            ended = server.run(arguments, Path(path), fork_units=True, file_size=size)
            assert ended.code == 1 and "Traceback" not in ended.output
            line = ended.output.splitlines()[-1]
            if name == "compare" and size:  # its units tell, each in a line
                assert line == "generative-policies: some units failed, see above"
                assert " failed, OSError: [Errno 27] File too large: '" in ended.output
            else:
                assert line.startswith("generative-policies: [Errno 27] File too large: '")
                assert line.endswith("'") and path in line
            left = [file for file in Path(path).rglob("*") if file.name.endswith((".new", ".lock"))]
            assert not left and not (Path(path) / OUTPUT / "settings.json").exists()
        ended = server.run(arguments, Path(path), fork_units=True)
        assert ended.code == 0
        opened = [Path(file) for file in ended.opened if Path(file).is_relative_to(path)]
        final = [file for file in opened if ".new/" not in str(file)]  # all else may stay unfinished where it is
        assert len(opened) > 5 and {file.suffix for file in final} <= {".lock", ".log"}


def test_what_differs_is_found(tmp_path: Path) -> None:
    for name, values, seconds, figure in (
        ("a", [1.0], 1, 1),
        ("b", [1.0], 2, 1),
        ("c", [2.0], 1, 1),
        ("d", [1.0], 1, 2),
    ):
        (tmp_path / name).mkdir()
        with h5py.File(tmp_path / name / "data.hdf5", "w") as file:
            file["episode/x"] = values
        report = {"arms": [{"training_seconds": seconds, "figure": figure}]}
        (tmp_path / name / "report.json").write_text(json.dumps(report))
    (tmp_path / "e").mkdir()
    found = {name: content(tmp_path / name) for name in "abcde"}
    assert not differences(found["a"], found["b"])  # durations are none
    assert differences(found["a"], found["c"]) == ["data.hdf5 differs"]
    assert differences(found["a"], found["d"]) == ["report.json differs"]
    assert differences(found["a"], found["e"]) == ["data.hdf5 is in one alone", "report.json is in one alone"]


def test_a_short_long_run_holds_what_a_long_one_is_to_hold() -> None:
    torch.set_num_threads(1)
    steps: list[int] = []
    found = run_long(train_student(0, 50), 4_000, 16, 1_000, steps.append)
    assert 4_000 <= found.steps == sum(steps) < 4_016
    assert found.episodes == 80 and found.compared == 15 and found.different == 0 and found.wrong_actions == 0
    assert len(found.memory) > 90 and 0 <= found.memory_growth <= MOST_GROWTH
    assert all(verdicts([], found).values())
    assert "4,000 translated steps" in format_report([], found, verdicts([], found), "python -m benchmarks.soak")


class Drifting(MlpActionTranslator):
    """Answers otherwise from call to call, as one that carried something over between rows or steps would."""

    calls = 0

    def predict(self, *arguments: Any, **named: Any) -> Any:
        self.calls += 1
        return super().predict(*arguments, **named) + 1e-7 * self.calls


def test_drift_is_found() -> None:
    assert run_long(Drifting(2, 10), 1_000, 16, 1_000, lambda count: None).different > 0


def test_every_wrong_action_is_counted() -> None:
    env = RecordingWrapper(make_env(ENV))
    env.reset(seed=0)
    good = np.array([1.0, -1.0], np.float32)
    env.step(good)
    assert env.steps == 1 and env.wrong == 0 and env.saturated == 2
    silent = RecordingWrapper(Silent())
    wrong = (1.001 * good, np.nan * good, np.inf * good, good.astype(np.float64), good[:1], good[None], [1.0, -1.0])
    for action in wrong:
        silent.step(action)
    assert silent.steps == silent.wrong == len(wrong)


class Silent(gymnasium.Env[Any, Any]):
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def step(self, action: Any) -> Any:
        return None


def test_nothing_to_do_is_refused() -> None:
    for wrong in ({"steps": 0}, {"kills": 0}, {"kills_at_changes": -1}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Settings(**wrong)  # type: ignore[arg-type]


def test_committed_results_are_of_the_whole_form_and_hold() -> None:
    report = json.loads((RESULTS / "soak.json").read_text())
    text = (RESULTS / "soak.md").read_text()
    assert report["command"].startswith("python -m benchmarks.soak") and report["command"] in text
    whole = {"steps": 1_000_000, "num_envs": 64, "updates": 1_000, "kills": 50, "kills_at_changes": 50, "seed": 0}
    assert report["settings"] | whole == report["settings"]
    assert all(report["versions"].values()) and "changed" not in report["versions"]["commit"]
    assert [killed["command"] for killed in report["kills"]] == list(COMMANDS)
    for killed in report["kills"]:
        assert len(killed["kill_seconds"]) == len(killed["kill_changes"]) == 50 and killed["differences"] == []
        assert killed["compared"] == 100
        shares = np.array(killed["kill_seconds"]) / killed["uninterrupted_seconds"]
        assert (shares < 1 / 3).any() and ((shares > 1 / 3) & (shares < 2 / 3)).any() and (shares > 2 / 3).any()
        assert min(killed["kill_changes"]) >= 1 and max(killed["kill_changes"]) <= killed["changes"]
    run = report["long_run"]
    assert run["steps"] >= 1_000_000 and len(run["memory"]) >= 100
    after = [size for k, size in enumerate(run["memory"]) if k >= len(run["memory"]) // 10]
    assert max(after) / after[0] - 1 <= MOST_GROWTH and run["memory_growth"] <= MOST_GROWTH
    assert run["wrong_actions"] == 0 and run["different"] == 0 and run["compared"] > 500
    assert report["verdicts"] and all(report["verdicts"].values()) and "MISSED" not in text
