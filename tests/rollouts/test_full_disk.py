"""Whatever the library writes: a full disk or a read-only folder is an error that names it, and nothing is harmed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from generative_policies.checkpoints import load, save
from generative_policies.data import ActionPairDataset
from generative_policies.envs import make_env
from generative_policies.export import OnnxModel, export_onnx
from generative_policies.models import MlpRegressor
from generative_policies.models.experiments.figures import save_animation
from generative_policies.policies import BehaviorCloning, FlowPolicy, load_policy, save_policy
from generative_policies.rollouts import Episode, random_act
from generative_policies.rollouts.aggregation import read_round, write_round
from generative_policies.rollouts.commands.demo import DemoSettings
from generative_policies.rollouts.minari_datasets import read_dataset, write_dataset
from generative_policies.rollouts.plots import plot_comparison
from generative_policies.rollouts.provenance import same_settings, write_json
from generative_policies.rollouts.video import VideoArm, write_comparison_video
from generative_policies.training import FitSettings, fit, initial_weights
from tests.file_limits import full_disk, in_a_child, read_only

ENV = "Reacher-v5"
FIGURES: dict[str, Any] = {
    "success_rate": None,
    "returns": [1.0, 2.0],
    "interquartile_mean": 1.5,
    "interquartile_mean_interval": [1.0, 2.0],
}


def episodes() -> list[Episode]:
    rng = np.random.default_rng(0)
    return [
        Episode(
            seed, rng.standard_normal((51, 10)), rng.standard_normal((50, 2)).astype(np.float32), np.zeros(50), None
        )
        for seed in range(8)
    ]


def cloning() -> BehaviorCloning:
    return BehaviorCloning("FlowPolicy", gymnasium.make(ENV), None, seed=0)


def train(state: Path) -> None:
    """Train until its state was written once; what is there already is then gone on from."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((40, width)).astype(np.float32) for width in (3, 2, 2)]
    pairs = ActionPairDataset(np.arange(40) // 4, *arrays)

    class Cut(Exception):  # noqa: N818  # no error
        pass

    def cut(update: int, figures: Any) -> None:
        raise Cut

    with initial_weights(generator := torch.Generator().manual_seed(0)):
        from generative_policies.action_translation import MlpActionTranslator

        model = MlpActionTranslator(2, 3, (64,))
    with pytest.raises(Cut):
        fit(model, pairs, FitSettings(num_updates=20, num_validations=4), generator=generator, state=state, log=cut)


def write_video(path: Path) -> None:
    def make() -> Any:
        return make_env(ENV, render_mode="rgb_array")

    write_comparison_video({"random": VideoArm(make, random_act(make().action_space))}, [1], path, 20)


def nothing(path: Path) -> None:
    assert path.is_file()


# How it is written, and how it is read.
WRITTEN: dict[str, tuple[str, Callable[[Path], object], Callable[[Path], object]]] = {
    "model": ("model", lambda path: save(MlpRegressor(3, 4, (64,)), path), load),
    "policy": (
        "policy",
        lambda path: save_policy(FlowPolicy(*(make_env(ENV).observation_space, make_env(ENV).action_space)), path),
        load_policy,
    ),
    "policy of SB3": ("ppo", lambda path: save_policy(PPO("MlpPolicy", ENV, device="cpu"), path), load_policy),
    "cloning": ("zip", lambda path: cloning().save(path), lambda path: BehaviorCloning.load(path)),
    "export": ("model.onnx", lambda path: export_onnx(MlpRegressor(3, 4, (64,)), path), OnnxModel.load),
    "state of a training": ("state", train, train),
    "dataset": ("data", lambda path: write_dataset(path, episodes(), make_env(ENV), {}), read_dataset),
    "round": ("0.npz", lambda path: write_round(episodes(), torch.Generator(), path), read_round),
    "report": (
        "report.json",
        lambda path: write_json(path, DemoSettings(), {"returns": [0.0] * 300}),
        lambda path: same_settings(path, DemoSettings()),
    ),
    "plot": ("plot.png", lambda path: plot_comparison({"source": FIGURES}, path, "title"), nothing),
    "animation": ("a.gif", lambda path: save_animation(np.ones((3, 5, 2)), path, "title", [0, 1]), nothing),
    "video": ("video.mp4", write_video, nothing),
}
REPLACES = sorted(set(WRITTEN) - {"dataset", "state of a training"})  # the others refuse, or go on


def place_of(name: str, folder: Path) -> Path:
    """Where SB3 adds a suffix, with it."""
    path = folder / WRITTEN[name][0]
    return path.with_name("zip.zip") if name == "cloning" else path


@pytest.mark.parametrize("name", WRITTEN)
def test_a_full_disk_is_an_error_that_names_the_path_and_leaves_nothing(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, write, read = WRITTEN[name]
    path = place_of(name, tmp_path)

    def refuse() -> None:
        for size in (0, 1000):
            with full_disk(size), pytest.raises(OSError, match=f"'{path}'$") as caught:
                write(tmp_path / file)
            assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())

    if name == "dataset":
        in_a_child(refuse)
    else:
        refuse()
    if name != "video":  # ffmpeg speaks for itself
        assert "Traceback" not in capfd.readouterr().err
    write(tmp_path / file)
    read(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", REPLACES)
def test_what_was_there_stays(name: str, tmp_path: Path) -> None:
    file, write, read = WRITTEN[name]
    path = place_of(name, tmp_path)
    write(tmp_path / file)
    before = {found: found.read_bytes() for found in tmp_path.rglob("*") if found.is_file()}
    with full_disk(1000), pytest.raises(OSError, match=f"'{path}'$"):
        write(tmp_path / file)
    with read_only(tmp_path), pytest.raises(PermissionError, match=f"Permission denied: '{path}'$"):
        write(tmp_path / file)
    assert before == {found: found.read_bytes() for found in tmp_path.rglob("*") if found.is_file()}
    read(path)


def test_a_dataset_of_which_hdf5_lost_an_array_without_a_word_is_not_there(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    needed = sum(file.stat().st_size for file in _written(tmp_path / "whole") if file.suffix == ".hdf5")

    def refuse() -> None:
        message = rf"^\[Errno 27\] File too large: '{tmp_path}/data'$"
        for size in np.linspace(0.05, 0.95, 8) * needed:
            with full_disk(int(size)), pytest.raises(OSError, match=message):
                _written(tmp_path / "data")
            assert [path.name for path in tmp_path.iterdir()] == ["whole"]

    in_a_child(refuse)
    assert capfd.readouterr().err == ""


def _written(path: Path) -> list[Path]:
    write_dataset(path, episodes(), make_env(ENV), {})
    return list(path.rglob("*"))
