"""A training that is cut off and started again ends as one that was not: bit for bit."""

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from generative_policies.action_translation import FlowActionPriorConditionedTranslator, MlpActionTranslator
from generative_policies.checkpoints import CheckpointError
from generative_policies.data import ActionPairDataset, EpisodicDataset, TransitionDataset
from generative_policies.forward_dynamics import MlpForwardDynamics
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.training import FitSettings, fit, initial_weights, training_state

SETTINGS = FitSettings(num_updates=47, batch_size=17, num_validations=9)  # written at 5, 10, ..., 45; the tail from 42


class CutError(Exception):
    pass


class Outcome(NamedTuple):
    weights: dict[str, Tensor]
    result: tuple[float, float | None]
    generator: Tensor


@pytest.fixture
def pairs(rng: np.random.Generator) -> ActionPairDataset:
    obs, source = 3 + rng.standard_normal((400, 4)), rng.uniform(-2, 2, (400, 3))
    return ActionPairDataset(np.arange(400) // 20, obs, source, 0.5 * source + 0.1 * obs[:, :3])


@pytest.fixture
def transitions(pairs: ActionPairDataset) -> TransitionDataset:
    return TransitionDataset(
        pairs.episodes, pairs.obs, pairs.obs + 0.1 * pairs.source_actions[:, :1], pairs.source_actions
    )


def train(
    data: EpisodicDataset,
    state: Path | None = None,
    *,
    build: Callable[[], nn.Module] = lambda: FlowActionPriorConditionedTranslator(3, 4, (16,)),
    settings: FitSettings = SETTINGS,
    seed: int = 0,
    refit_normalizers: bool = True,
    cut_at: int | None = None,
    updates: list[int] | None = None,
) -> Outcome:
    def log(update: int, figures: Any) -> None:
        if updates is not None:
            updates.append(update)
        if update == cut_at:
            raise CutError

    generator = torch.Generator().manual_seed(seed)
    with initial_weights(generator):
        model = build()
    result = fit(model, data, settings, generator=generator, log=log, state=state, refit_normalizers=refit_normalizers)
    return Outcome(model.state_dict(), (result.train_loss, result.validation_loss), generator.get_state())


def assert_same(first: Outcome, second: Outcome) -> None:
    assert first.result == second.result
    assert torch.equal(first.generator, second.generator)
    assert first.weights.keys() == second.weights.keys() and len(first.weights) > 3
    for name, value in first.weights.items():
        assert torch.equal(value, second.weights[name]), name


def cut(data: EpisodicDataset, state: Path, **arguments: Any) -> None:
    """Leave the state of a training that was cut off after ten updates."""
    with pytest.raises(CutError):
        train(data, state, cut_at=10, **arguments)
    assert state.is_file()


@pytest.mark.parametrize(
    "model",
    ["mlp", "flow", "inverse dynamics", "forward dynamics", "double", "frozen", "no average", "normalizers kept"],
)
def test_a_resumed_training_ends_as_an_uninterrupted_one(
    model: str, pairs: ActionPairDataset, transitions: TransitionDataset, tmp_path: Path
) -> None:
    def frozen() -> nn.Module:
        model = MlpActionTranslator(3, 4, (16,))
        model.network[0].requires_grad_(False)  # has no moments
        return model

    data: EpisodicDataset = transitions if "dynamics" in model else pairs
    settings = SETTINGS
    if model == "no average":
        settings = replace(SETTINGS, ema_decay=0.0, validation_fraction=0.0)
    builders: dict[str, Callable[[], nn.Module]] = {
        "mlp": lambda: MlpActionTranslator(3, 4, (16,)),
        "flow": lambda: FlowActionPriorConditionedTranslator(3, 4, (16,)),
        "inverse dynamics": lambda: MlpInverseDynamics(3, 4, (16,)),
        "forward dynamics": lambda: MlpForwardDynamics(4, 3, (16,)),
        "double": lambda: FlowActionPriorConditionedTranslator(3, 4, (16,)).double(),
        "frozen": frozen,
        "no average": lambda: FlowActionPriorConditionedTranslator(3, 4, (16,)),
        "normalizers kept": lambda: MlpActionTranslator(3, 4, (16,)),
    }
    arguments: dict[str, Any] = {"build": builders[model], "settings": settings}
    arguments["refit_normalizers"] = model != "normalizers kept"
    expected = train(data, **arguments)
    for cuts in ([5], [25], [45], [47], [5, 20, 45]):
        state, updates = tmp_path / "state", list[int]()
        for cut_at in cuts:
            with pytest.raises(CutError):
                train(data, state, cut_at=cut_at, updates=updates, **arguments)
        assert_same(train(data, state, updates=updates, **arguments), expected)
        assert sorted(set(updates)) == [5, 10, 15, 20, 25, 30, 35, 40, 45, 47]
        assert len(updates) == (11 if cuts == [47] else 10)  # none twice but the last, which keeps no state
        assert list(tmp_path.iterdir()) == []


def test_keeping_a_state_changes_no_result(pairs: ActionPairDataset, tmp_path: Path) -> None:
    assert_same(train(pairs, tmp_path / "state"), train(pairs))
    assert list(tmp_path.iterdir()) == []


def test_a_model_shared_by_two_names_is_resumed(pairs: ActionPairDataset, tmp_path: Path) -> None:
    """The names share memory, which safetensors does not write."""

    def build() -> nn.Module:
        model = MlpActionTranslator(3, 4, (16,))
        model.add_module("again", model.network)
        return model

    cut(pairs, tmp_path / "state", build=build)
    assert_same(train(pairs, tmp_path / "state", build=build), train(pairs, build=build))


CHILD = """
import json, sys
import numpy as np, torch
from safetensors.torch import save_file
from generative_policies.action_translation import FlowActionPriorConditionedTranslator
from generative_policies.data import ActionPairDataset
from generative_policies.training import FitSettings, fit, initial_weights

torch.set_num_threads(1)
folder, settings = sys.argv[1], FitSettings(**json.loads(sys.argv[2]))
data = ActionPairDataset(**np.load(f"{folder}/data.npz"))
generator = torch.Generator().manual_seed(0)
with initial_weights(generator):
    model = FlowActionPriorConditionedTranslator(3, 4, (16,))
log = lambda update, figures: print(update, flush=True)
result = fit(model, data, settings, generator=generator, log=log, state=f"{folder}/state")
save_file({**model.state_dict(), "generator": generator.get_state()}, f"{folder}/weights")
print(json.dumps(result))
"""


@pytest.mark.slow  # four interpreters start: 14 to 19 s on two busy cores
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_training_is_resumed_by_another_process(pairs: ActionPairDataset, tmp_path: Path) -> None:
    settings = FitSettings(num_updates=600, batch_size=17, num_validations=300)  # an interval is two updates
    np.savez(tmp_path / "data.npz", episodes=pairs.episodes, **pairs.arrays())
    arguments = {name: getattr(settings, name) for name in ("num_updates", "batch_size", "num_validations")}
    command = [sys.executable, "-c", CHILD, str(tmp_path), json.dumps(arguments)]
    moments = np.random.default_rng(0)
    reached = 0
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(int(moments.integers(1, 10))):
                update = int(child.stdout.readline())
                assert update - reached in (2, 4)  # a state is written before log is called, so one may be skipped
                reached = update
            time.sleep(moments.uniform(0, 0.03))
            child.kill()
            assert child.wait() == -signal.SIGKILL
            reached = max([reached, *map(int, child.stdout.read().split())])
        left = [path.name for path in tmp_path.iterdir() if path.name not in ("data.npz", "state")]
        assert all(fnmatch(name, ".state.*.new") for name in left)
        assert (tmp_path / "state").is_file() and 0 < reached < settings.num_updates
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert int(output[0]) - reached in (2, 4)
    weights = load_file(tmp_path / "weights")
    resumed = Outcome(weights, tuple(json.loads(output[-1])), weights.pop("generator"))
    assert_same(resumed, train(pairs, settings=settings))
    assert {path.name for path in tmp_path.iterdir()} == {"data.npz", "weights"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"settings": replace(SETTINGS, learning_rate=0.5)},
            r"settings.learning_rate is 0.5 now and 0.001 in the file",
        ),
        ({"settings": replace(SETTINGS, num_updates=48)}, r"settings.num_updates is 48 now and 47"),
        ({"build": lambda: FlowActionPriorConditionedTranslator(3, 4, (17,))}, r"model is .*17.* now and .*16"),
        ({"build": lambda: FlowActionPriorConditionedTranslator(3, 4, (16,), num_steps=3)}, r"model is .*num_steps"),
        ({"build": lambda: MlpActionTranslator(3, 4, (16,))}, r"model is .*MlpActionTranslator.* now"),
        ({"build": lambda: FlowActionPriorConditionedTranslator(3, 4, (16,)).double()}, "initial weights is"),
        ({"seed": 1}, "initial weights is .*generator is"),
        ({"refit_normalizers": False}, "refit_normalizers is False now and True in the file"),
    ],
)
def test_another_training_is_refused(
    change: dict[str, Any], message: str, pairs: ActionPairDataset, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    cut(pairs, state)
    content = state.read_bytes()
    with pytest.raises(ValueError, match=rf"state is of another training: .*{message}.*remove it, or choose another"):
        train(pairs, state, **change)
    assert state.read_bytes() == content
    assert_same(train(pairs, state), train(pairs))


def test_other_data_are_refused(pairs: ActionPairDataset, transitions: TransitionDataset, tmp_path: Path) -> None:
    state = tmp_path / "state"
    cut(pairs, state)
    obs, episodes = pairs.obs.copy(), pairs.episodes.copy()
    obs[7, 1] = np.nextafter(obs[7, 1], np.inf)
    episodes[20] = 0
    for data, message in (
        (replace(pairs, obs=obs), "training: dataset.obs is"),
        (replace(pairs, episodes=episodes), "training: dataset.episodes is"),
        (replace(pairs, obs=pairs.obs.astype(np.float32)), r"dataset.obs is float32 \(400, 4\) .* float64"),
        (pairs.select(np.arange(399)), r"dataset.obs is float64 \(399, 4\) .* now and float64 \(400, 4\)"),
        (transitions, "dataset is TransitionDataset now and ActionPairDataset in .*dataset.next_obs is .*absent"),
    ):
        with pytest.raises(ValueError, match=message):
            train(data, state)


def test_a_model_that_has_learned_already_is_refused(pairs: ActionPairDataset, tmp_path: Path) -> None:
    """It is not what the training started from; going on would hide that."""
    model = MlpActionTranslator(3, 4, (16,))
    for expected in (CutError, ValueError):
        generator = torch.Generator().manual_seed(0)
        with pytest.raises(expected, match="initial weights is" if expected is ValueError else None):
            fit(model, pairs, SETTINGS, generator=generator, log=_raise, state=tmp_path / "state")
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())  # nothing was drawn


def test_a_truncated_file_is_refused(pairs: ActionPairDataset, tmp_path: Path) -> None:
    state = tmp_path / "state"
    cut(pairs, state)
    content = state.read_bytes()
    for length in (0, 1, 8, 100, len(content) // 2, len(content) - 1):
        state.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"state cannot be read, it is truncated or foreign.*remove it"):
            train(pairs, state)
        assert state.read_bytes() == content[:length]


def test_a_damaged_file_is_refused(pairs: ActionPairDataset, tmp_path: Path) -> None:
    state = tmp_path / "state"
    cut(pairs, state)
    content = bytearray(state.read_bytes())
    content[-5] ^= 1
    state.write_bytes(content)
    with pytest.raises(ValueError, match="state is damaged"):
        train(pairs, state)


class Malicious:
    def __reduce__(self) -> Any:
        return _raise, ()


def test_a_foreign_file_is_refused_and_not_unpickled(pairs: ActionPairDataset, tmp_path: Path) -> None:
    state = tmp_path / "state"
    for content in (b"a text", b"{}", pickle.dumps(Malicious()), np.random.default_rng(0).bytes(5000)):
        state.write_bytes(content)
        with pytest.raises(ValueError, match="state cannot be read, it is truncated or foreign"):
            train(pairs, state)
    for metadata in (None, {training_state.FORMAT: "[1]"}, {training_state.FORMAT: "{}"}):
        save_file({"weight": torch.zeros(3)}, state, metadata)
        with pytest.raises(ValueError, match="state is foreign"):
            train(pairs, state)
    save_file({}, state, {training_state.FORMAT: "{"})
    with pytest.raises(ValueError, match="state cannot be read"):
        train(pairs, state)
    save_file({}, state, {training_state.FORMAT: '{"version": 99}'})
    with pytest.raises(ValueError, match="state has format 99, this version reads up to 1; upgrade"):
        train(pairs, state)


def test_the_file_is_plain_safetensors_with_its_settings(pairs: ActionPairDataset, tmp_path: Path) -> None:
    cut(pairs, tmp_path / "state")
    with safe_open(tmp_path / "state", framework="pt") as file:
        header = json.loads(file.metadata()[training_state.FORMAT])
        assert int(file.get_tensor("num_updates")) == 10
    assert header["fingerprint"]["settings.batch_size"] == 17


def test_a_full_disk_leaves_the_last_state(
    pairs: ActionPairDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    cut(pairs, state)
    content = state.read_bytes()

    def full_disk(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match=f"No space left on device: '{state}'"):
        patch.setattr(os, "fsync", full_disk)
        train(pairs, state)
    assert state.read_bytes() == content and list(tmp_path.iterdir()) == [state]
    assert_same(train(pairs, state), train(pairs))


def test_what_a_kill_in_the_middle_of_a_writing_left_is_removed(pairs: ActionPairDataset, tmp_path: Path) -> None:
    cut(pairs, tmp_path / "state")
    left = tmp_path / ".state.0123.new"
    left.mkdir()
    (left / "state.lock").touch()
    (left / "state").write_bytes((tmp_path / "state").read_bytes()[:500])
    assert_same(train(pairs, tmp_path / "state"), train(pairs))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused_before_training(pairs: ActionPairDataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "read-only").mkdir(mode=0o555)
    places = [tmp_path / "missing" / "state", tmp_path / "file" / "state", tmp_path]
    if not os.access(tmp_path / "read-only", os.W_OK):  # root may write everywhere
        places.append(tmp_path / "read-only" / "state")
    if Path("/proc/self").is_dir():  # but not there
        places.append(Path("/proc/self/state"))
    for place in places:
        updates: list[int] = []
        with pytest.raises(OSError):
            train(pairs, place, updates=updates)
        assert updates == []
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "read-only"]


def test_a_model_that_cannot_be_described_is_refused_before_training(pairs: ActionPairDataset, tmp_path: Path) -> None:
    model = MlpActionTranslator(3, 4)
    model.config = {"encoder": nn.Identity()}
    with pytest.raises(CheckpointError, match="Identity is not a class of this library"):
        fit(model, pairs, SETTINGS, generator=torch.Generator(), state=tmp_path / "state")


HOSTILE: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "a tensor less": lambda tensors: tensors.pop("average.0"),
    "a tensor more": lambda tensors: tensors.update(evil=torch.zeros(3)),
    "a moment more": lambda tensors: tensors.update({"optimizer.0.evil": torch.zeros(3)}),
    "a parameter more": lambda tensors: tensors.update({"optimizer.99.exp_avg": torch.zeros(3)}),
    "another shape": lambda tensors: tensors.update({"optimizer.0.exp_avg": torch.zeros(3)}),
    "integers": lambda tensors: tensors.update({"average.0": tensors["average.0"].long()}),
    "no number of updates": lambda tensors: tensors.update(num_updates=torch.tensor([1, 2])),
    "updates that never were": lambda tensors: tensors.update(num_updates=torch.tensor(10**12)),
    "updates before the first": lambda tensors: tensors.update(num_updates=torch.tensor(-1)),
    "another generator": lambda tensors: tensors.update(generator=torch.zeros_like(tensors["generator"])),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_tensors_with_the_right_digest_that_no_training_has_are_refused(
    name: str, pairs: ActionPairDataset, tmp_path: Path
) -> None:
    state = tmp_path / "state.safetensors"
    cut(pairs, state)
    with safe_open(state, framework="pt") as file:
        (metadata,) = [(key, json.loads(value)) for key, value in file.metadata().items()]
    tensors = load_file(state)
    HOSTILE[name](tensors)
    header = metadata[1] | {"digest": training_state._digest(tensors)}
    save_file(tensors, state, {metadata[0]: json.dumps(header)})
    with pytest.raises(ValueError, match=r"state\.safetensors.*remove it"):
        train(pairs, state)


def _raise(*arguments: Any) -> None:
    raise CutError
