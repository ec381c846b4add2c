"""Checkpoints: everything comes back, nothing foreign gets in, no code runs."""

import errno
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from generative_policies import atomic_files
from generative_policies.action_translation import (
    ComposedActionTranslator,
    FlowActionConditionedTranslator,
    FlowActionPriorConditionedTranslator,
    FlowActionPriorTranslator,
    MlpActionTranslator,
)
from generative_policies.checkpoints import ALLOWED_CLASSES, CheckpointError, load, save
from generative_policies.forward_dynamics import MlpForwardDynamics
from generative_policies.inverse_dynamics import FlowInverseDynamics, MlpInverseDynamics
from generative_policies.models import (
    AverageVelocityModel,
    ConditionalFlowModel,
    ConditionalUNet1D,
    DictObservationEncoder,
    DiffusionTransformer,
    DistilledFlowModel,
    GaussianPrior,
    IdentityEncoder,
    IdentityTwoInputEncoder,
    LatentBridgeModel,
    LiftedSourcePrior,
    MlpRegressor,
    Normalizer,
    ResidualMlp,
    SourcePrior,
)
from generative_policies.policies import FlowPlanner

MODELS: dict[str, Callable[[], nn.Module]] = {
    "flow": lambda: ConditionalFlowModel(3, 4, 8, (16, 32)),
    "flow of parts": lambda: ConditionalFlowModel(
        3,
        5,
        network=ResidualMlp(3, 5, (8, 8), 16),
        prior=SourcePrior(3, noise_scale=0.1),
        encoder=IdentityTwoInputEncoder(4, 1),
    ),
    "flow with a lifted source": lambda: ConditionalFlowModel(2, prior=LiftedSourcePrior(2, 3), coupling="independent"),
    "bridge": lambda: LatentBridgeModel(3, 4, bridge_sigma=0.3, down_dims=(8,), prior=SourcePrior(3, 0.0)),
    "transformer": lambda: ConditionalFlowModel(2, horizon=4, network=DiffusionTransformer(2, 0, 8, 1, 2, horizon=4)),
    "temporal unet": lambda: ConditionalFlowModel(2, 3, down_dims=(8, 16), horizon=5),
    "own observation encoder": lambda: MlpActionTranslator(2, 4, (8,), encoder=IdentityEncoder(4)),
    "dictionary": lambda: DictObservationEncoder({"a": (3,), "b": (8, 8, 3)}, history=2),
    "flow inverse dynamics": lambda: FlowInverseDynamics(2, 4, (8,), next_obs_dim=3, num_steps=7),
    "prior of another width": lambda: FlowActionPriorTranslator(2, 4, (8,), source_action_dim=3),
    "flow of chunks": lambda: ConditionalFlowModel(
        2, 4, horizon=3, network=ResidualMlp(2, 4, horizon=3), prior=GaussianPrior(2), encoder=IdentityEncoder(4)
    ),
    "unet": lambda: ConditionalUNet1D(3, 3, 2, 8, (16,)),
    "normalizer": lambda: Normalizer(5),
    "regression": lambda: MlpRegressor(2, 3, (8,), horizon=2),
    "planner": lambda: FlowPlanner(4, (8,), next_obs_dim=3, horizon=2, num_steps=5),
    "inverse dynamics": lambda: MlpInverseDynamics(2, 4, (8,), next_obs_dim=3),
    "forward dynamics": lambda: MlpForwardDynamics(4, 2, (8,), members=3),
    "composed": lambda: ComposedActionTranslator(
        MlpInverseDynamics(2, 4, (8,), next_obs_dim=3), MlpForwardDynamics(4, 3, (8,))
    ),
    "mlp": lambda: MlpActionTranslator(2, 4, (8,), source_action_dim=3),
    "prior": lambda: FlowActionPriorTranslator(2, 4, (8,), prior_noise=0.2),
    "conditioned": lambda: FlowActionConditionedTranslator(2, 4, (8,), source_action_dim=3),
    "prior conditioned": lambda: FlowActionPriorConditionedTranslator(2, 4, (8,), num_steps=3),
    "student": lambda: DistilledFlowModel(2, 3, 2, network=ResidualMlp(2, 3, (8,)), prior=SourcePrior(2, 0.1)),
    "average velocity": lambda: AverageVelocityModel(2, 3, down_dims=(8,)),
    "student inverse dynamics": lambda: with_student(FlowInverseDynamics(2, 4, (8,), next_obs_dim=3)),
    "student inverse dynamics with an encoder": lambda: with_student(
        FlowInverseDynamics(2, 4, (8,), encoder=IdentityEncoder(4))
    ),
    "student translator": lambda: with_student(FlowActionPriorTranslator(2, 4, (8,), source_action_dim=3)),
}


def with_student(model: Any) -> Any:
    return model.with_flow(DistilledFlowModel.of(model.flow))


def scrambled(build: Callable[[], nn.Module]) -> Any:
    model = build()
    for tensor in model.state_dict().values():
        nn.init.uniform_(tensor, 0.1, 1.0)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_everything_comes_back(name: str, tmp_path: Path) -> None:
    model = scrambled(MODELS[name])
    save(model, tmp_path / "a" / "checkpoint")
    loaded = load(tmp_path / "a" / "checkpoint")
    assert type(loaded) is type(model)
    assert str(loaded) == str(model)  # the same parts
    before, after = model.state_dict(), loaded.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not loaded.training
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in loaded.parameters()]


def test_every_allowed_class_is_in_a_round_trip() -> None:
    names = {type(module).__name__ for build in MODELS.values() for module in build().modules()}
    assert {name.rpartition(".")[2] for name in ALLOWED_CLASSES} <= names


def test_a_loaded_translator_predicts_the_same(tmp_path: Path) -> None:
    translator = scrambled(MODELS["prior conditioned"])
    save(translator, tmp_path / "t")
    obs, source, noise = np.ones((5, 4)), np.ones((5, 2)), np.ones((5, 2))
    expected = translator.predict(obs, source, noise=noise)
    assert np.array_equal(load(tmp_path / "t").predict(obs, source, noise=noise), expected)
    assert load(str(tmp_path / "t")).num_steps == 3


def test_dtype_travels(tmp_path: Path) -> None:
    save(MlpActionTranslator(2, 4).double(), tmp_path / "t")
    assert next(load(tmp_path / "t").parameters()).dtype == torch.float64


def test_saving_again_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    for dim in (2, 3):
        save(Normalizer(dim), tmp_path / "n")
    assert load(tmp_path / "n").dim == 3
    assert [path.name for path in tmp_path.iterdir()] == ["n"]
    assert sorted(path.name for path in (tmp_path / "n").iterdir()) == ["config.json", "model.safetensors"]


def test_a_failing_save_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(Normalizer(2), tmp_path / "n")

    def full_disk(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'n'}'"):
        save(Normalizer(3), tmp_path / "n")
    assert load(tmp_path / "n").dim == 2
    assert [path.name for path in tmp_path.iterdir()] == ["n"]


def test_a_failing_last_rename_puts_the_old_checkpoint_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(Normalizer(2), tmp_path / "n")
    monkeypatch.setattr(atomic_files, "_exchange", lambda new, path: False)
    rename = Path.rename

    def fail_for_the_new(self: Path, target: Path) -> Path:
        if self.parent.suffix == ".new" and not target.exists():
            raise OSError(errno.EIO, "input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises(OSError, match="Input/output"):
        save(Normalizer(3), tmp_path / "n")
    assert load(tmp_path / "n").dim == 2
    assert [path.name for path in tmp_path.iterdir()] == ["n"]


def test_killed_between_the_renames_the_old_checkpoint_loads_and_the_next_save_works(tmp_path: Path) -> None:
    save(Normalizer(2), tmp_path / "n")
    code = f"""
import os
from pathlib import Path
from generative_policies import atomic_files
from generative_policies.checkpoints import save
from generative_policies.models import Normalizer
atomic_files._exchange = lambda new, path: False
rename = Path.rename
def killed(self, target):
    if self.parent.suffix == ".new" and not target.exists():
        os._exit(9)
    return rename(self, target)
Path.rename = killed
save(Normalizer(3), {str(tmp_path / "n")!r})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert not (tmp_path / "n").exists()
    assert load(tmp_path / "n").dim == 2
    save(Normalizer(4), tmp_path / "n")
    assert load(tmp_path / "n").dim == 4


def test_files_have_the_users_permissions(tmp_path: Path) -> None:
    (tmp_path / "probe").write_text("")
    save(Normalizer(2), tmp_path / "n")
    expected = (tmp_path / "probe").stat().st_mode & 0o777
    assert all(file.stat().st_mode & 0o777 == expected for file in (tmp_path / "n").iterdir())


def test_something_else_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "other" / "model.safetensors").write_bytes(b"weights of another library")
    save(Normalizer(2), tmp_path / "with notes")
    (tmp_path / "with notes" / "notes.txt").write_text("what worked")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name in ("thesis", "other", "with notes"):
        with pytest.raises(CheckpointError, match="holds other things"):
            save(Normalizer(3), tmp_path / name)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (tmp_path / "empty").mkdir()
    save(Normalizer(2), tmp_path / "empty")
    assert load(tmp_path / "empty").dim == 2


class OwnEncoder(IdentityEncoder):
    """A user's own part."""


def test_own_classes_are_named_by_the_user(tmp_path: Path) -> None:
    model = ConditionalFlowModel(2, 3, encoder=OwnEncoder(3))
    with pytest.raises(CheckpointError, match=r"OwnEncoder.*classes=\[OwnEncoder\]"):
        save(model, tmp_path / "m")
    save(model, tmp_path / "m", classes=[OwnEncoder])
    with pytest.raises(CheckpointError, match=r"OwnEncoder.*not on the list"):
        load(tmp_path / "m")
    assert type(load(tmp_path / "m", classes=[OwnEncoder]).encoder) is OwnEncoder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save(MlpActionTranslator(2, 4, (8,)), tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(change(config)))


def rewrite(path: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensors = {name: change(tensor) for name, tensor in load_file(path / "model.safetensors").items()}
    save_file(tensors, path / "model.safetensors")


FLOW = "generative_policies.models.ConditionalFlowModel"


class Payload:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def transformer(**arguments: Any) -> Any:
    sizes = {"target_dim": 2, "embed_dim": 8, "num_heads": 2}
    return {"class": "generative_policies.models.DiffusionTransformer", "arguments": sizes | arguments}


def planner(**arguments: Any) -> Any:
    return {"class": "generative_policies.policies.FlowPlanner", "arguments": {"obs_dim": 3} | arguments}


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated weights": (
        lambda path: (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:-20]),
        r"model\.safetensors cannot be read",
    ),
    "empty weights": (lambda path: (path / "model.safetensors").write_bytes(b""), "cannot be read"),
    "missing weights": (lambda path: (path / "model.safetensors").unlink(), "cannot be read"),
    "pickle for weights": (
        lambda path: (path / "model.safetensors").write_bytes(pickle.dumps(Payload(path / "mark"))),
        "cannot be read",
    ),
    "pickle for config": (
        lambda path: (path / "config.json").write_bytes(pickle.dumps(Payload(path / "mark"))),
        "cannot be read",
    ),
    "a folder for weights": (
        lambda path: ((path / "model.safetensors").unlink(), (path / "model.safetensors").mkdir()),
        "cannot be read",
    ),
    "NaN weights": (lambda path: rewrite(path, lambda x: x * float("nan")), "finite"),
    "weights of two types": (lambda path: rewrite(path, lambda x: x.half() if x.ndim == 2 else x), "several types"),
    "complex weights": (lambda path: rewrite(path, lambda x: x.to(torch.complex64)), "finite real"),
    "a number of a million digits": (
        lambda path: (path / "config.json").write_text('{"format_version": ' + "1" * 10_000 + "}"),
        "cannot be read",
    ),
    "a prior that is none": (
        lambda path: edit(path, lambda c: c | {"model": {"class": FLOW, "arguments": {"target_dim": 2, "prior": 3}}}),
        "prior must be a Prior",
    ),
    "an encoder of another class": (
        lambda path: edit(
            path,
            lambda c: (
                c
                | {
                    "model": {
                        "class": FLOW,
                        "arguments": {
                            "target_dim": 2,
                            "cond_dim": 3,
                            "encoder": {"class": "generative_policies.models.Normalizer", "arguments": {"dim": 3}},
                        },
                    }
                }
            ),
        ),
        "encoder must be an? Encoder",
    ),
    "torch file for weights": (lambda path: torch.save({"a": 1}, path / "model.safetensors"), "cannot be read"),
    "missing config": (lambda path: (path / "config.json").unlink(), r"config\.json cannot be read"),
    "truncated config": (
        lambda path: (path / "config.json").write_text((path / "config.json").read_text()[:-10]),
        r"config\.json cannot be read",
    ),
    "binary config": (lambda path: (path / "config.json").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
    "huge config": (lambda path: (path / "config.json").write_text(" " * 2_000_000), "larger than"),
    "nested too deep": (lambda path: (path / "config.json").write_text("[" * 100_000), "cannot be read"),
    "a list for config": (lambda path: (path / "config.json").write_text("[]"), "JSON object"),
    "a foreign config": (lambda path: (path / "config.json").write_text('{"architectures": []}'), "was not written"),
    "a newer format": (lambda path: edit(path, lambda c: c | {"format_version": 99}), "format 99.*upgrade"),
    "a foreign class": (
        lambda path: edit(path, lambda c: c | {"model": {"class": "os.system", "arguments": {}}}),
        r"'os\.system' is not on the list",
    ),
    "a class that is no string": (
        lambda path: edit(path, lambda c: c | {"model": {"class": ["x"], "arguments": {}}}),
        "config",
    ),
    "an unknown argument": (
        lambda path: edit(path, lambda c: c | {"model": {**c["model"], "arguments": {"evil": 1}}}),
        "does not describe a model",
    ),
    "other sizes": (
        lambda path: edit(path, lambda c: c["model"]["arguments"].update(obs_dim=5) or c),
        "does not fit",
    ),
    "a claim to all memory": (
        lambda path: edit(path, lambda c: c["model"]["arguments"].update(obs_dim=10**12) or c),
        "does not fit",
    ),
    "a billion layers": (
        lambda path: edit(path, lambda c: c | {"model": transformer(num_layers=10**9)}),
        "more than .* tensors, the file has",
    ),
    "an answer in a year": (
        lambda path: edit(path, lambda c: c | {"model": planner(num_steps=10**12)}),
        "num_steps must be at most",
    ),
    "a header of all bytes": (
        lambda path: (path / "model.safetensors").write_bytes((2**63).to_bytes(8, "little") + b"{}"),
        "cannot be read.*header",
    ),
    "a pipe for weights": (
        lambda path: ((path / "model.safetensors").unlink(), os.mkfifo(path / "model.safetensors")),
        "cannot be read.*no file",
    ),
    "endless zeros for weights": (
        lambda path: ((path / "model.safetensors").unlink(), (path / "model.safetensors").symlink_to("/dev/zero")),
        "cannot be read.*no file",
    ),
    "a version that is true": (lambda path: edit(path, lambda c: c | {"format_version": True}), "was not written"),
    "no model": (lambda path: edit(path, lambda c: c | {"model": 3}), "describes no model"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_checkpoint_is_refused_by_name(name: str, checkpoint: Path) -> None:
    break_it, message = BROKEN[name]
    break_it(checkpoint)
    with pytest.raises(CheckpointError, match=message) as error:
        load(checkpoint)
    assert str(checkpoint) in str(error.value)
    assert not (checkpoint / "mark").exists()


def test_the_payload_would_leave_its_mark(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        load(tmp_path / "nowhere")


def test_a_path_that_no_file_can_have_is_named() -> None:
    for path in ("a" * 10_000, "b/" * 3_000, "\x00", "\ud800"):
        with pytest.raises(CheckpointError) as error:
            load(path)
        assert str(Path(path)) in str(error.value)


WRITER = """
import itertools, sys
import torch
from generative_policies import atomic_files
from generative_policies.action_translation import FlowActionPriorTranslator
from generative_policies.checkpoints import save
if sys.argv[2] == "in two renames":
    atomic_files._exchange = lambda new, path: False
for k in itertools.cycle(range(1, 100)):
    model = FlowActionPriorTranslator(2, 4, (8,), num_steps=k)
    for parameter in model.parameters():
        parameter.data.fill_(k)
    save(model, sys.argv[1])
    print(k, flush=True)
"""


@pytest.mark.parametrize("way", ["in one exchange", "in two renames"])
def test_beside_a_writer_every_load_is_of_one_save(way: str, tmp_path: Path) -> None:
    """For three seconds."""
    found: list[int] = []
    command = [sys.executable, "-c", WRITER, str(tmp_path / "model"), way]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout is not None and writer.stdout.readline()
            end = time.monotonic() + 3
            while time.monotonic() < end:
                model = load(tmp_path / "model")
                values = {float(value) for parameter in model.parameters() for value in parameter.flatten()}
                assert values == {float(model.num_steps)}
                found.append(model.num_steps)
        finally:
            writer.kill()
    assert len(found) >= 20 and len(set(found)) >= 5
