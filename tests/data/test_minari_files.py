"""Datasets from strangers: no code of theirs runs, and no small file becomes a large array."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
import pytest

from generative_policies.data import DatasetError, Demonstrations
from generative_policies.rollouts import random_act, run_episodes
from generative_policies.rollouts.minari_datasets import read_dataset, write_dataset
from tests.wrappers.stand_ins import Recorder


class Short(Recorder):
    def step(self, action: Any) -> Any:
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, self.step_index == 9, info


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "dataset"
    write_dataset(folder, run_episodes(Short, random_act(Short.action_space), range(2)), Short(), {})
    return folder


@pytest.fixture
def dataset(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "dataset")
    return tmp_path / "dataset"


def edit(dataset: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = dataset / "data" / "metadata.json"
    metadata = json.loads(file.read_text())
    change(metadata)
    file.write_text(json.dumps(metadata))


def spec_of(mark: Path) -> str:
    """A spec whose env is made by making a folder."""
    spec = {"id": "Evil-v0", "entry_point": "os:mkdir", "kwargs": {"path": str(mark)}, "additional_wrappers": []}
    return json.dumps(spec | {"disable_env_checker": True, "max_episode_steps": None})


@pytest.mark.parametrize("missing", ["observation_space", "action_space"])
def test_no_env_is_made_of_what_a_dataset_says(missing: str, dataset: Path, tmp_path: Path) -> None:
    def hide(metadata: dict[str, Any]) -> None:
        del metadata[missing]
        metadata["env_spec"] = spec_of(tmp_path / "mark")

    edit(dataset, hide)
    for read in (read_dataset, Demonstrations.from_minari):
        with pytest.raises(DatasetError, match=f"dataset.*{missing}"):
            read(dataset)
    assert not (tmp_path / "mark").exists()


def test_the_spec_would_leave_its_mark(dataset: Path, tmp_path: Path) -> None:
    edit(dataset, lambda metadata: metadata.pop("action_space"))
    edit(dataset, lambda metadata: metadata.update(env_spec=spec_of(tmp_path / "mark")))
    with pytest.raises(Exception):  # noqa: B017  # of Gymnasium, to which a folder is no env
        minari.MinariDataset(dataset / "data")
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("dtype", ["S1000000000", "O", "U9", "datetime64[s]", ["a"]])
def test_spaces_are_of_numbers(dtype: Any, dataset: Path) -> None:
    space = {"type": "Box", "dtype": dtype, "shape": [2], "low": [0, 0], "high": [1, 1]}
    edit(dataset, lambda metadata: metadata.update(action_space=json.dumps(space)))
    with pytest.raises(DatasetError, match="dataset"):
        read_dataset(dataset)


def virtual(name: str) -> Callable[[Any], Any]:
    def add(group: Any) -> None:
        layout = h5py.VirtualLayout((9, 2), "f4")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", (9, 2))
        group.create_virtual_dataset(name, layout)

    return add


HOSTILE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "terabytes of nothing": (
        lambda group: group.create_dataset("actions", (10**6, 10**6), "f4", chunks=(1_000, 1_000)),
        "times as large",
    ),
    "zeros, packed": (
        lambda group: group.create_dataset("actions", data=np.zeros((9, 10**6)), compression="gzip"),
        "times as large",
    ),
    "another file": (
        lambda group: group.create_dataset("actions", (9, 2), "u1", external=[("/etc/passwd", 0, 18)]),
        "another file",
    ),
    "a virtual array": (virtual("actions"), "another file"),
    "an external link": (
        lambda group: group.__setitem__("actions", h5py.ExternalLink("/etc/passwd", "/")),
        "link to another place",
    ),
    "a link to itself": (
        lambda group: group.__setitem__("actions", h5py.SoftLink("/episode_0/actions")),
        "link to another place",
    ),
    "a loop": (lambda group: group.__setitem__("actions", group), "twice"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_arrays_are_the_files_own(name: str, dataset: Path) -> None:
    add, message = HOSTILE[name]
    with h5py.File(dataset / "data" / "main_data.hdf5", "r+") as file:
        del file["episode_0/actions"]
        add(file["episode_0"])
    for read in (read_dataset, Demonstrations.from_minari):
        with pytest.raises(DatasetError, match=rf"dataset.*{message}"):
            read(dataset)


def test_a_dataset_that_is_missing_is_named_in_both_ways(tmp_path: Path) -> None:
    for error in (DatasetError, FileNotFoundError):
        with pytest.raises(error, match="nowhere"):
            read_dataset(tmp_path / "nowhere")
