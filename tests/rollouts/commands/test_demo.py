"""The demo in its short form, from the command line to the files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

from generative_policies.checkpoints import load
from generative_policies.rollouts import command_line, video
from generative_policies.rollouts.commands import demo
from generative_policies.rollouts.commands.demo import DemoSettings
from tests.file_limits import full_disk

ARMS = ["source", "untranslated", "linear", "flow_prior_conditioned"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["generative-policies", *arguments])
    command_line.main()


def report(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return content


@pytest.mark.slow  # 15 s
def test_quick_demo_writes_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "demo", "--quick", "--output", str(tmp_path / "a"))
    table = capsys.readouterr().out
    assert all(f"| {arm} |" in table for arm in ARMS)

    content = report(tmp_path / "a")
    assert list(content["arms"]) == ARMS
    for arm in content["arms"].values():
        assert len(arm["returns"]) == len(arm["successes"]) == 4
        assert {"mean_return", "success_rate", "success_interval", "recovered", "target_steps"} <= set(arm)
    assert content["metric"] == "success"
    assert [arm["target_steps"] for arm in content["arms"].values()] == [None, None, 200, 800]
    assert content["settings"]["seed"] == 0 and content["versions"]["mujoco"]

    plot = iio.imread(tmp_path / "a" / "comparison.png")
    assert plot.shape[0] > 300 and plot.std() > 10
    frames = iio.imread(tmp_path / "a" / "comparison.mp4")
    assert frames.shape == (101 + video.HOLD_FRAMES, 480 + video.CAPTION_HEIGHT, 3 * 480, 3)
    panels = np.split(frames, 3, axis=2)
    assert not np.array_equal(panels[0][60], panels[1][60])  # two robots move differently
    assert all(np.abs(panel[0].astype(int) - panel[60].astype(int)).max() > 100 for panel in panels)  # each moves

    (saved,) = (tmp_path / "a" / "models").glob("*/linear-0")
    assert load(saved).action_dim == 7

    # The same seed gives the same numbers.
    run(monkeypatch, "demo", "--quick", "--video-episodes", "0", "--output", str(tmp_path / "b"))
    again = report(tmp_path / "b")["arms"]
    assert [arm["returns"] for arm in again.values()] == [arm["returns"] for arm in content["arms"].values()]
    assert not (tmp_path / "b" / "comparison.mp4").exists()


def test_without_rendering_it_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "disabled")
    path = tmp_path / "comparison.mp4"
    path.write_bytes(b"of an earlier run")
    settings = DemoSettings(output=tmp_path)
    assert not demo.write_video(settings, settings.tasks(), dict.fromkeys(settings.tasks(), tmp_path / "absent"), path)
    said = capsys.readouterr().err
    assert "no video: offscreen rendering is not available (disabled:" in said
    assert len(said.splitlines()) == 1
    assert path.read_bytes() == b"of an earlier run"  # until there is a new report


def test_without_a_video_that_of_an_earlier_run_goes_when_the_new_report_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_arm(*arguments: Any) -> dict[str, Any]:
        return {"seed": 0, "returns": [1.0, 2.0], "successes": [True, False], "target_steps": 1}

    monkeypatch.setattr(demo, "run_arm", run_arm)
    earlier = {name: f"{name} of an earlier run".encode() for name in ("comparison.mp4", "report.json")}
    for name, content in earlier.items():
        (tmp_path / name).write_bytes(content)
    settings = DemoSettings(video_episodes=0, output=tmp_path)
    with full_disk(2_000), pytest.raises(OSError, match=f"File too large: '{tmp_path / 'comparison.png'}'$"):
        demo.demo(settings)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == earlier
    demo.demo(settings)
    assert {path.name for path in tmp_path.iterdir()} == {"comparison.png", "report.json"}
    assert report(tmp_path)["settings"]["video_episodes"] == 0


@pytest.mark.parametrize("backend", ["nonsense", "disabled"])
def test_the_command_line_starts_without_a_backend(backend: str, tmp_path: Path) -> None:
    """MuJoCo fails to import where MUJOCO_GL names what is not there."""
    command = [sys.executable, "-m", "generative_policies.rollouts", "demo", "--help"]
    answer = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"MUJOCO_GL": backend}, cwd=tmp_path
    )
    assert answer.returncode == 0 and "--evaluation-episodes" in answer.stdout
    assert "Traceback" not in answer.stderr
    assert ("rendering is off" in answer.stderr) == (backend == "nonsense")


def test_an_unusable_folder_or_setting_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"generative-policies: .*file"):
        run(monkeypatch, "demo", "--output", str(tmp_path / "file"))
    with pytest.raises(SystemExit):
        run(monkeypatch, "demo", "--rounds", "0")
    said = capsys.readouterr()
    assert "rounds must be at least 1, got 0" in said.out + said.err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rounds", 0),
        ("episodes_per_round", 1),
        ("evaluation_episodes", 1),
        ("seed", 9),
        ("source_episodes", 501),
        ("hidden_width", 50),
    ],
)
def test_settings_are_checked(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        DemoSettings(**{name: value})  # type: ignore[arg-type]


def test_reset_seeds_of_training_and_test_never_meet() -> None:
    used = [
        set(range(task.first_training_seed, task.first_training_seed + 500 + task.rounds * task.episodes_per_round))
        for task in (DemoSettings(seed=seed).tasks()["flow_prior_conditioned"] for seed in range(9))
    ]
    assert len(set.union(*used)) == sum(len(seeds) for seeds in used)
    assert min(set.union(*used)) >= 1_000 and max(set.union(*used)) < 10_000
