"""The whole way from a user's own policy and robots to a report, and again without doing it twice."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from generative_policies.checkpoints import load
from generative_policies.rollouts import command_line
from generative_policies.rollouts.commands.compare import CompareSettings, check, compare, models_of, unit_name
from generative_policies.rollouts.minari_datasets import read_dataset

ROBOTS = '''
import gymnasium
import numpy as np


class Cart(gymnasium.Env):
    """A cart on a line that a motor pushes; it is to stay in the middle."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def __init__(self, gear=1.0, motors=1, dt=0.1):
        self.gear, self.dt = gear, dt
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (motors,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1, 1, 2)
        return self.state.copy(), {}

    def step(self, action):
        position, velocity = self.state
        velocity = 0.9 * velocity + 0.3 * self.gear * float(action[0])
        self.state = np.array([position + 0.3 * velocity, velocity])
        return self.state.copy(), -float(np.abs(self.state).sum()), False, False, {}


gymnasium.register("Mine/Cart-v0", Cart, max_episode_steps=30)
gymnasium.register("Mine/Mirrored-v0", Cart, max_episode_steps=30, kwargs={"gear": -0.8})
gymnasium.register("Mine/Two-v0", Cart, max_episode_steps=30, kwargs={"motors": 2})
gymnasium.register("Mine/Slow-v0", Cart, max_episode_steps=30, kwargs={"dt": 0.2})
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A user's folder: a module that registers robots, a zip of SB3 and its statistics."""
    path = tmp_path_factory.mktemp("mine")
    (path / "my_robots.py").write_text(ROBOTS)
    sys.path.insert(0, str(path))  # as for a user who works in this folder
    venv = VecNormalize(make_vec_env("my_robots:Mine/Cart-v0", n_envs=8, seed=0))
    model = PPO("MlpPolicy", venv, n_steps=64, batch_size=128, learning_rate=1e-3, seed=0, device="cpu")
    model.learn(30_000)
    model.save(path / "expert.zip")
    venv.save(str(path / "vecnormalize.pkl"))
    yield path
    sys.path.remove(str(path))


def settings(folder: Path, output: Path, **changes: Any) -> CompareSettings:
    given: dict[str, Any] = {
        "env": "my_robots:Mine/Cart-v0",
        "target_env": "my_robots:Mine/Mirrored-v0",
        "shifts": ("none",),
        "policy": str(folder / "expert.zip"),
        "vecnormalize": folder / "vecnormalize.pkl",
        "arms": ("source", "untranslated", "exact", "mlp"),
        "seeds": (0, 1),
        "episodes": 12,
        "source_episodes": 60,
        "inverse_dynamics_updates": 1_200,
        "rounds": 2,
        "episodes_per_round": 10,
        "updates": 1_000,
        "hidden_width": 32,
        "output": output,
    }
    return CompareSettings(**given | changes)


@pytest.mark.slow  # 60 s
def test_a_users_own_policy_and_robots_go_through_and_are_not_run_twice(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = settings(folder, tmp_path / "out")
    report = compare(first)["none"]
    arms = report["arms"]
    assert set(arms) == {"source", "untranslated", "mlp"} and "exact" in report["skipped"]  # it has no simulator
    assert arms["mlp"]["recovered"] > 0.8 and arms["mlp"]["num_seeds"] == 2 and len(arms["mlp"]["returns"]) == 24
    assert arms["mlp"]["recovered_interval"][0] > 0.5
    out = tmp_path / "out" / "Cart-v0-Mirrored-v0-none"
    assert {path.name for path in out.iterdir()} == {"units", "models", "report.json", "report.md", "comparison.png"}
    # The model that is evaluated is the last round's, whatever each round's would have reached.
    name = next((out / "models").iterdir())
    evaluated, rounds = load(name / "mlp-1"), [load(name / "mlp-1-rounds" / f"round-{k}") for k in range(2)]
    flat = [torch.nn.utils.parameters_to_vector(model.parameters()) for model in (evaluated, *rounds)]
    assert torch.equal(flat[0], flat[2]) and not torch.equal(flat[0], flat[1])
    written = json.loads((out / "report.json").read_text())
    assert written["settings"]["episodes"] == 12 and written["versions"]["torch"]
    assert "| mlp | 2 |" in capsys.readouterr().out

    units = {path: path.stat().st_mtime_ns for path in (out / "units").glob("*.json")}
    assert len(units) == 4
    compare(first)
    compare(replace(first, arms=("source", "untranslated", "random", "mlp"), num_envs=3))
    after = {path: path.stat().st_mtime_ns for path in (out / "units").glob("*.json")}
    assert {path: after[path] for path in units} == units and len(after) == 5  # random is new
    # On Ray, and with another number of envs.
    other = replace(first, arms=("source", "untranslated", "mlp"), num_envs=1, ray=True, output=tmp_path / "ray")
    assert compare(other)["none"]["arms"]["mlp"]["returns"] == arms["mlp"]["returns"]


def test_a_robot_that_is_the_source_has_nothing_to_recover(folder: Path, tmp_path: Path) -> None:
    same = settings(folder, tmp_path, target_env=None, arms=("source", "untranslated"))
    report = compare(same)["none"]
    assert report["arms"]["source"]["returns"] == report["arms"]["untranslated"]["returns"]
    assert report["arms"]["untranslated"]["recovered"] is None


@pytest.mark.slow  # 20 s
def test_a_finished_comparison_is_left_as_it_is_and_another_one_takes_its_whole_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = CompareSettings(
        "Reacher-v5", arms=("source", "untranslated"), shifts=("none",), episodes=4, video_episodes=1, output=tmp_path
    )
    out = tmp_path / "Reacher-v5-none"

    def times() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file()}

    report = compare(first)
    written = times()
    assert set(written) == {"report.json", "report.md", "comparison.png", "comparison.mp4"}
    capsys.readouterr()
    again = compare(replace(first, processes=1, num_envs=2))
    assert times() == written and capsys.readouterr().out == f"{out} is complete\n"
    assert again["none"]["arms"] == json.loads(json.dumps(report["none"]["arms"])) and not again["none"]["failed"]

    # Without a video, that of another run is not kept.
    compare(replace(first, video_episodes=0))
    assert set(times()) == set(written) - {"comparison.mp4"}
    # A video that could not be made is tried again.
    with monkeypatch.context() as without:
        without.setenv("MUJOCO_GL", "disabled")
        compare(first)
    assert set(times()) == set(written) - {"comparison.mp4"} and "no video: " in capsys.readouterr().err
    compare(first)
    assert set(times()) == set(written)


def test_a_failing_unit_is_reported_and_the_others_stand(folder: Path, tmp_path: Path) -> None:
    broken = settings(folder, tmp_path, arms=("source", "untranslated", "mlp"), seeds=(0,))
    out = tmp_path / "Cart-v0-Mirrored-v0-none"
    (out / "models").mkdir(parents=True)
    name = unit_name(broken.tasks("none", "mlp")[0])
    # Where the models should go there is a file.
    models_of(broken.tasks("none", "mlp")[0], out).write_text("in the way")
    report = compare(broken)["none"]
    assert set(report["arms"]) == {"source", "untranslated"}
    assert list(report["failed"]) == [name] and "Error" in Path(report["failed"][name]).read_text()
    assert name in (out / "report.md").read_text()


def test_other_settings_are_other_units(folder: Path, tmp_path: Path) -> None:
    base = settings(folder, tmp_path)
    names = {unit_name(task) for task in base.tasks("none", "mlp")}
    for changes in ({"updates": 601}, {"episodes": 13}, {"policy": "Pusher-v5"}, {"first_seed": 20_000}):
        other = replace(base, **changes)  # type: ignore[arg-type]
        assert not names & {unit_name(task) for task in other.tasks("none", "mlp")}
    assert names == {unit_name(task) for task in replace(base, num_envs=3, processes=1, ray=True).tasks("none", "mlp")}
    folders = {models_of(task, tmp_path) for task in base.tasks("none", "mlp")}
    (folder / "expert.zip").rename(folder / "kept.zip")
    try:  # another policy under the same name
        (folder / "expert.zip").write_bytes(b"another")
        assert not names & {unit_name(task) for task in base.tasks("none", "mlp")}
        assert len(folders) == 1 and not folders & {models_of(task, tmp_path) for task in base.tasks("none", "mlp")}
    finally:
        (folder / "kept.zip").replace(folder / "expert.zip")


def test_arms_that_cannot_be_there_are_named_with_the_reason(folder: Path, tmp_path: Path) -> None:
    arms = ("source", "untranslated", "exact", "mlp", "linear", "composed_simulator", "value_guided", "residual_sac")
    skipped = check(settings(folder, tmp_path, target_env="my_robots:Mine/Two-v0", arms=arms), "none")
    assert set(skipped) == {"untranslated", "exact", "composed_simulator", "value_guided", "residual_sac"}
    assert skipped["untranslated"] == skipped["value_guided"]
    assert skipped["untranslated"] == "the source takes actions of width 1, the target of 2"
    assert "VecNormalize" in skipped["residual_sac"]
    pusher = {"env": "Pusher-v5", "target_env": None, "policy": None, "vecnormalize": None, "shifts": ("P1",)}
    assert check(settings(folder, tmp_path, arms=(*arms, "identified"), **pusher), "P1") == {}


def test_wrong_settings_are_refused(folder: Path, tmp_path: Path) -> None:
    for changes, message in (
        ({"arms": ("mpl",)}, "arms must be of"),
        ({"seeds": (9,)}, "training seeds of 0 to 8"),
        ({"episodes": 0}, "episodes must be"),
        ({"first_seed": 5}, "for training"),
        ({"hidden_width": 50}, "multiple of 16"),
        ({"rounds": 60}, "must lie in 2 to 500"),
    ):
        with pytest.raises(ValueError, match=message):
            settings(folder, tmp_path, **changes)
    for changes, message in (
        ({"env": "Pusher-v5", "target_env": "Pusher-v5"}, "policy's observations"),
        ({"target_env": "Pusher-v5"}, "what both robots observe"),
        ({"target_env": "my_robots:Mine/Slow-v0"}, "same control period"),
        ({"policy": str(tmp_path / "none.zip")}, "no such file"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(settings(folder, tmp_path, **changes))


def test_from_the_users_folder_by_the_command_alone(folder: Path, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "generative-policies"), "collect"]
    arguments = ["--env", "my_robots:Mine/Cart-v0", "--episodes", "2", "--output", str(Path("runs") / tmp_path.name)]
    subprocess.run([*command, *arguments], cwd=folder, check=True, capture_output=True)
    assert len(read_dataset(folder / "runs" / tmp_path.name)) == 2


def test_an_interrupted_comparison_leaves_nobody_behind_and_goes_on(folder: Path, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "generative-policies"), "compare"]
    arguments = [
        *("--env", "my_robots:Mine/Cart-v0", "--target-env", "my_robots:Mine/Mirrored-v0", "--shifts", "none"),
        *("--policy", "expert.zip", "--vecnormalize", "vecnormalize.pkl", "--arms", "source", "untranslated", "mlp"),
        *("--seeds", "0", "--episodes", "4", "--source-episodes", "20", "--rounds", "1", "--video-episodes", "0"),
        *("--inverse-dynamics-updates", "100000", "--updates", "50", "--output", str(tmp_path), "--processes", "1"),
    ]
    with subprocess.Popen([*command, *arguments], cwd=folder, stderr=subprocess.PIPE) as process:
        units = tmp_path / "Cart-v0-Mirrored-v0-none" / "units"
        for _ in range(600):  # until the long unit runs
            if len(list(units.glob("*.json"))) == 2 and list(units.glob("mlp-*.log")):
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1].decode()
    assert "interrupted" in said and process.returncode != 0
    time.sleep(0.5)
    running = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False).stdout
    assert not running.strip()
    done = {path: path.stat().st_mtime_ns for path in units.glob("*.json")}
    assert len(done) == 2


def test_the_command_line_says_in_a_line_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, message in (
        (["compare", "--arms", "mpl"], "arms must be of"),
        (["evaluate", "--policy", str(tmp_path / "none.zip")], "no such file"),
        (["pair", "--data", str(tmp_path / "none"), "--other-data", "x"], "none"),
        (["collect", "--env", "Nope-v0", "--output", str(tmp_path / "x")], "module:id"),
    ):
        monkeypatch.setattr(sys, "argv", ["generative-policies", *arguments])
        with pytest.raises(SystemExit) as error:
            command_line.main()
        said = f"{error.value} {capsys.readouterr().err}"
        assert message in said and "Traceback" not in said
