"""Loading: what comes back behaves as the model, and what is no exported model is one clear error."""

import copy
import json
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from generative_policies.action_translation import ActionTranslator, MlpActionTranslator
from generative_policies.checkpoints import CheckpointError
from generative_policies.export import OnnxModel, export_onnx
from generative_policies.inverse_dynamics import InverseDynamics
from generative_policies.models import GenerativeModel, MlpRegressor
from tests.export.stand_ins import ACTION, CASES, OBS, as_numpy, rows, trained

KINDS = {
    "u-net": GenerativeModel,
    "source": GenerativeModel,
    "images of bytes": GenerativeModel,
    "images of floats, history": GenerativeModel,
    "two inputs": GenerativeModel,
    "regressor": nn.Module,
    "regressor of chunks": nn.Module,
    "mlp translator": ActionTranslator,
    "mlp translator, images": ActionTranslator,
    "conditioned": ActionTranslator,
    "inverse dynamics": InverseDynamics,
    "inverse dynamics, images": InverseDynamics,
    "flow inverse dynamics": InverseDynamics,
    "forward dynamics": nn.Module,
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """A model of each kind and what was exported of it."""
    folder = tmp_path_factory.mktemp("exported")
    found = {}
    for k, name in enumerate(KINDS):
        model = trained(CASES[name].build())
        export_onnx(model, folder / f"{k}.onnx", **CASES[name].options)
        found[name] = model, OnnxModel.load(folder / f"{k}.onnx")
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    export_onnx(trained(MlpActionTranslator(ACTION, OBS)), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("name", KINDS)
def test_a_runner_is_what_its_model_is(name: str, pairs: dict[str, tuple[Any, Any]]) -> None:
    model, runner = pairs[name]
    assert isinstance(runner, OnnxModel) and isinstance(runner, KINDS[name]) and not runner.training
    assert not list(runner.parameters())
    names = ("action_dim", "obs_dim", "source_action_dim", "next_obs_dim", "noise_dim", "target_dim", "cond_dim")
    compared = 0
    for attribute in (*names, "horizon", "sample_shape", "source_shape", "target_shape"):
        if hasattr(model, attribute):
            assert getattr(runner, attribute) == getattr(model, attribute)
            compared += 1
    assert compared >= 1
    for statistics in ("observation_normalizer", "change_normalizer"):
        if isinstance(model, InverseDynamics) and getattr(model, statistics) is not None:
            assert torch.equal(getattr(runner, statistics).mean, getattr(model, statistics).mean)
            assert torch.equal(getattr(runner, statistics).std, getattr(model, statistics).std)


def broken(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Arguments of predict with one thing wrong in each."""

    def first(values: Any, change: Callable[[Any], Any]) -> Any:
        if isinstance(values, dict):
            return {key: change(value) if value.ndim == 2 else value for key, value in values.items()}
        return (change(values[0]), *values[1:]) if isinstance(values, tuple) else change(values)

    def spoiled(values: Any, number: float) -> Any:
        values = values.copy()
        values[..., -1] = number
        return values

    changes: list[Callable[[Any], Any]] = [
        lambda x: x[..., :-1],
        lambda x: x[:-1],
        lambda x: x[None],
        lambda x: spoiled(x, np.nan),
        lambda x: spoiled(x, -np.inf),
        lambda x: spoiled(x.astype(np.float64), 1e300),
        lambda x: x.tolist(),
        lambda x: x.astype(complex),
    ]
    return [given | {name: first(value, change)} for name, value in given.items() for change in changes]


@pytest.mark.parametrize("name", [name for name in KINDS if "images" not in name and name != "regressor of chunks"])
def test_what_the_model_refuses_the_runner_refuses(name: str, pairs: dict[str, tuple[Any, Any]]) -> None:
    model, runner = pairs[name]
    given = as_numpy(rows(CASES[name], model, 4))
    refused = 0
    for arguments in broken(given):
        try:
            model.predict(**arguments, **CASES[name].options)
        except (ValueError, TypeError, AttributeError, RuntimeError) as error:
            expected = type(error) if isinstance(error, ValueError | TypeError) else Exception
            with pytest.raises(expected):
                runner.predict(**arguments)
            refused += 1
        else:
            # A row less of the only input is a smaller batch.
            np.testing.assert_allclose(
                runner.predict(**arguments), model.predict(**arguments, **CASES[name].options), rtol=1e-4, atol=1e-4
            )
    assert refused >= 7


def test_inputs_that_are_missing_or_superfluous_never_stand_in_for_another(pairs: dict[str, tuple[Any, Any]]) -> None:
    noise = np.zeros((4, ACTION), np.float32)
    obs = np.zeros((4, OBS), np.float32)
    flow, source, translator, inverse = (
        pairs[name][1] for name in ("u-net", "source", "mlp translator", "flow inverse dynamics")
    )
    for call in (
        lambda: flow.predict(noise=noise),
        lambda: flow.predict(condition=obs, source=noise, noise=noise),
        lambda: source.predict(condition=obs, noise=noise),
        lambda: source.predict(source=noise, noise=noise),
        lambda: flow.predict(4),
        lambda: flow.predict(3, condition=obs),
        lambda: translator.predict(obs, noise, noise=noise),
        lambda: inverse.predict(obs, obs, noise=noise[:3]),
    ):
        with pytest.raises(ValueError, match=r"missing|superfluous|batch|rows|shape"):
            call()


def test_dictionaries_are_checked_as_the_model_checks_them(pairs: dict[str, tuple[Any, Any]]) -> None:
    for name in ("images of bytes", "images of floats, history"):
        model, runner = pairs[name]
        given = as_numpy(rows(CASES[name], model, 2))
        condition = given["condition"]
        camera = condition["camera"]
        for wrong in (
            condition | {"camera": camera.astype(np.float32) + 2},
            condition | {"camera": camera.astype(np.int64)},
            {"camera": camera},
            condition | {"other": camera},
            tuple(condition.values())[:1],
            camera,
        ):
            for answers in (model, runner):
                with pytest.raises(ValueError, match=r"condition|camera"):
                    answers.predict(condition=wrong, noise=given["noise"])
        # In order is as good as by name.
        ordered = given | {"condition": tuple(condition.values())}
        assert np.array_equal(runner.predict(**ordered), runner.predict(**given))


def test_many_samples_of_one_condition_and_none_at_all(pairs: dict[str, tuple[Any, Any]]) -> None:
    for name in ("u-net", "source", "images of bytes"):
        model, runner = pairs[name]
        given = rows(CASES[name], model, None)
        del given["noise"]
        answers = [
            found.predict(6, **given, generator=torch.Generator().manual_seed(3), **options)
            for found, options in ((model, CASES[name].options), (runner, {}))
        ]
        torch.testing.assert_close(*answers, rtol=1e-5, atol=1e-4)
        empty = as_numpy(rows(CASES[name], model, 0))
        assert runner.predict(**empty).shape == (0, ACTION)


def test_other_kinds_of_rows_are_taken_as_the_model_takes_them(pairs: dict[str, tuple[Any, Any]]) -> None:
    model, runner = pairs["conditioned"]
    given = as_numpy(rows(CASES["conditioned"], model, 4))
    wide = np.repeat(given["obs"], 2, axis=0)[::2]  # not contiguous
    wide.flags.writeable = False
    for change in (
        {"obs": wide},
        {"obs": torch.from_numpy(given["obs"])},
        {"source_actions": np.ones((4, 2), dtype=np.int64)},
        {"obs": given["obs"].astype(np.float16)},
        {"obs": given["obs"][:1], "source_actions": given["source_actions"][0], "noise": given["noise"][0]},
        {"source_actions": torch.ones(4, 2, dtype=torch.float64)},
    ):
        arguments = given | change
        before = copy.deepcopy(arguments)
        expected = model.predict(**arguments, **CASES["conditioned"].options)
        answer = runner.predict(**arguments)
        assert (type(answer), answer.dtype, answer.shape) == (type(expected), expected.dtype, expected.shape)
        np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4)
        assert all(np.array_equal(arguments[key], before[key]) for key in before)


def test_other_steps_or_solvers_than_those_of_the_file_are_refused(pairs: dict[str, tuple[Any, Any]]) -> None:
    for name in ("u-net", "conditioned", "flow inverse dynamics"):
        model, runner = pairs[name]
        given = rows(CASES[name], model, 2)
        same = runner.predict(**given, num_steps=runner.num_steps, solver=runner.solver)
        assert torch.equal(same, runner.predict(**given))
        for options in ({"num_steps": 77}, {"solver": "rk4"}):
            with pytest.raises(ValueError, match=f"exported with num_steps={runner.num_steps}"):
                runner.predict(**given, **options)


@pytest.mark.parametrize("name", KINDS)
def test_an_exported_model_runs_and_does_not_learn(name: str, pairs: dict[str, tuple[Any, Any]]) -> None:
    model, runner = pairs[name]
    given = rows(CASES[name], model, 2)
    noise = {"noise": given.pop("noise")} if "noise" in given else {}
    inputs = list(given.values())
    calls: list[Callable[[], Any]] = []
    if isinstance(model, ActionTranslator):
        calls += [lambda: runner.translate(*inputs, **noise), lambda: runner(*inputs, torch.zeros(2, ACTION))]
        with torch.no_grad():
            assert torch.equal(runner.translate(*inputs, **noise), runner.predict(*inputs, **noise))
    elif isinstance(model, InverseDynamics):
        calls += [lambda: runner.actions(*inputs, **noise), lambda: runner(*inputs, torch.zeros(2, ACTION))]
    elif isinstance(model, GenerativeModel):
        calls += [lambda: runner.sample(**given, **noise), lambda: runner(torch.zeros(2, ACTION), **given)]
    else:
        calls += [lambda: runner(*inputs)]
    for call in calls:
        with pytest.raises(NotImplementedError, match="it runs, it does not learn"):
            call()


def test_copies_and_pickles_run(pairs: dict[str, tuple[Any, Any]]) -> None:
    _, runner = pairs["conditioned"]
    given = rows(CASES["conditioned"], runner, 3)
    for again in (copy.deepcopy(runner), pickle.loads(pickle.dumps(runner))):
        assert torch.equal(again.predict(**given), runner.predict(**given))


def test_the_number_of_threads_is_what_was_asked_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    runtime = onnxruntime.InferenceSession

    def session(content: bytes, options: Any, **more: Any) -> Any:
        asked.append(options.intra_op_num_threads)
        return runtime(content, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    runner = OnnxModel.load(file, num_threads=2)
    pickle.loads(pickle.dumps(runner))
    OnnxModel.load(file)
    assert asked == [2, 2, 1]
    for wrong in (0, -3, "2", 1.5, True):
        with pytest.raises(ValueError, match="num_threads must be an integer of at least 1"):
            OnnxModel.load(file, num_threads=wrong)  # type: ignore[arg-type]


def test_more_rows_than_run_at_once(pairs: dict[str, tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("u-net", "conditioned", "inverse dynamics"):
        model, runner = pairs[name]
        sizes = []
        run = runner.session._run

        def counted(outputs: Any, feed: Any, run: Any = run, sizes: list[int] = sizes) -> Any:
            sizes.append(len(next(iter(feed.values()))))
            return run(outputs, feed)

        monkeypatch.setattr(runner.session, "_run", counted)
        given = rows(CASES[name], model, 2500)
        expected = model.predict(**given, **CASES[name].options)
        for arguments in (given, as_numpy(given)):
            np.testing.assert_allclose(runner.predict(**arguments), expected, rtol=1e-5, atol=1e-5)
        assert sizes == 2 * [1024, 1024, 452]


@pytest.mark.parametrize("name", KINDS)
def test_a_runner_stays_in_float32_whatever_the_default_is(name: str, pairs: dict[str, tuple[Any, Any]]) -> None:
    _, runner = pairs[name]
    given = rows(CASES[name], pairs[name][0], 3)
    expected = runner.predict(**given)
    noise = given.pop("noise", None)
    seeded = {} if noise is None else {"generator": torch.Generator().manual_seed(4)}
    drawn = runner.predict(**given, **seeded)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        for found in (OnnxModel.load(runner.session.name), copy.deepcopy(runner).double(), runner):
            noises = {} if noise is None else {"noise": noise}
            assert torch.equal(found.predict(**given, **noises), expected)
            np.testing.assert_array_equal(found.predict(**as_numpy(given), **as_numpy(noises)), expected)
            seeded = {} if noise is None else {"generator": torch.Generator().manual_seed(4)}
            assert torch.equal(found.predict(**given, **seeded), drawn)
            seeded = {} if noise is None else {"generator": torch.Generator().manual_seed(4)}
            np.testing.assert_array_equal(found.predict(**as_numpy(given), **seeded), drawn)
    finally:
        torch.set_default_dtype(before)


def test_runners_are_left_as_they_are_by_what_moves_models(pairs: dict[str, tuple[Any, Any]]) -> None:
    for name in ("inverse dynamics", "conditioned", "images of floats, history"):
        _, runner = pairs[name]
        given = rows(CASES[name], runner, 3)
        expected = runner.predict(**given)
        inside = nn.ModuleList([copy.deepcopy(runner)]).double()
        assert torch.equal(inside[0].predict(**given), expected)  # type: ignore[operator]
        assert "like" not in runner.state_dict()


def test_tensors_of_another_type_are_named(pairs: dict[str, tuple[Any, Any]]) -> None:
    for name, call in (("u-net", "sample"), ("source", "sample"), ("conditioned", "translate")):
        runner = pairs[name][1]
        given = rows(CASES[name], runner, 2)
        for key in given:
            with torch.no_grad(), pytest.raises(ValueError, match=r"must be torch\.float32"):
                getattr(runner, call)(**(given | {key: given[key].double()}))


def test_large_numbers_warn_no_one(pairs: dict[str, tuple[Any, Any]]) -> None:
    """Their sum overflows, they are finite."""
    model, runner = pairs["regressor"]
    condition = np.full((2, OBS), 3e38, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answers = [found.predict(condition) for found in (model, runner)]
    assert [answer.shape for answer in answers] == 2 * [(2, ACTION)]


def test_threads_may_share_a_model(pairs: dict[str, tuple[Any, Any]]) -> None:
    _, runner = pairs["u-net"]
    batches = [rows(CASES["u-net"], runner, 1 + k % 5, seed=k) for k in range(200)]
    expected = [runner.predict(**given) for given in batches]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda given: runner.predict(**given), batches))
    assert len(answers) == 200
    assert all(torch.equal(a, b) for a, b in zip(answers, expected, strict=True))


def test_files_that_are_missing_truncated_or_foreign_are_named(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    for name, foreign in (
        ("empty", b""),
        ("cut", content[: len(content) // 2]),
        ("short", content[:-1]),
        ("text", b"hello"),
        ("pickle", pickle.dumps({"a": 1})),
        ("torch", b"PK\x03\x04" + bytes(100)),
        ("noise", bytes(range(256)) * 20),
    ):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(foreign)
        with pytest.raises(CheckpointError, match=f"{name}.onnx is no exported model"):
            OnnxModel.load(path)
    for path in (tmp_path / "nowhere.onnx", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be read"):
            OnnxModel.load(path)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("exploded").touch, ())


def test_a_pickle_in_disguise_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bomb.onnx").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="bomb"):
        OnnxModel.load("bomb.onnx")
    assert not Path("exploded").exists()
    pickle.loads(Path("bomb.onnx").read_bytes())
    assert Path("exploded").exists()  # it would have


def metadata(model: Any, **changes: Any) -> None:
    """Change entries of the metadata that a file holds."""
    (entry,) = model.metadata_props
    content = json.loads(entry.value)
    entry.value = json.dumps(content | changes | {"arguments": content["arguments"] | changes.get("arguments", {})})


def outside(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def infinite(model: Any) -> None:
    tensor = model.graph.initializer[0]
    values = np.full_like(onnx.numpy_helper.to_array(tensor), np.inf)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def looped(model: Any) -> None:
    model.graph.node[0].op_type = "Loop"


def custom(model: Any) -> None:
    model.graph.node[0].domain = "somebody.else"
    model.opset_import.add(domain="somebody.else", version=1)


def fixed(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.ClearField("metadata_props"), "not written by"),
        (lambda model: metadata(model, format_version=99), "format 99.*upgrade"),
        (lambda model: metadata(model, format_version="1"), "format"),
        (lambda model: metadata(model, kind="oracle"), "oracle"),
        (lambda model: metadata(model, inputs=[]), "metadata"),
        (lambda model: metadata(model, inputs=[{"name": "obs", "shape": [OBS, -1], "dtype": "float32"}]), "metadata"),
        (lambda model: metadata(model, output_shape=[ACTION + 1]), "metadata"),
        (lambda model: metadata(model, arguments={"action_dim": -1}), "metadata"),
        (lambda model: metadata(model, arguments={"encoder": {"shapes": "all"}}), "metadata"),
        (lambda model: metadata(model, arguments={"encoder": None}), "metadata"),
        (lambda model: metadata(model, arguments={"encoder": 5}), "metadata"),
        (lambda model: metadata(model, arguments={"obs_dim": OBS + 1, "noise_dim": 10**12}), "metadata.*leads from"),
        (lambda model: metadata(model, arguments={"source_action_dim": ACTION + 1}), "metadata.*leads from"),
        (lambda model: metadata(model, arguments={"source_action_dim": ACTION, "action_dim": 10**12}), "metadata"),
        (lambda model: metadata(model, kind=["flow"]), "metadata"),
        (lambda model: metadata(model, kind="flow"), "metadata"),
        (lambda model: metadata(model, kind="inverse_dynamics"), "metadata"),
        (lambda model: metadata(model, more=1), "metadata"),
        (outside, "another file"),
        (infinite, "finite"),
        (looped, "Loop"),
        (custom, "beside ONNX's own"),
        (fixed, "fixed to 3"),
        (lambda model: model.graph.node.pop(), "no exported model"),
        (lambda model: model.functions.add(name="f", domain="d"), "functions"),
    ],
)
def test_files_that_no_export_has_written_are_refused(change: Any, message: str, file: Path) -> None:
    model = onnx.load(file)
    change(model)
    file.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match=message) as error:
        OnnxModel.load(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("absent", ["onnx", "onnxruntime"])
def test_without_its_packages_the_extra_is_named(absent: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    for call in (
        lambda: OnnxModel.load(file),
        lambda: export_onnx(MlpRegressor(ACTION, OBS), file.with_name("new.onnx")),
    ):
        with pytest.raises(ImportError, match=r"generative-policies\[export\]") as error:
            call()
        assert absent in str(error.value)
    assert not file.with_name("new.onnx").exists()


def test_importing_needs_none_of_its_packages() -> None:
    code = (
        "import sys\nsys.modules['onnx'] = sys.modules['onnxruntime'] = None\n"
        "import generative_policies.export, generative_policies.wrappers\n"
        "from generative_policies.export import flow_runner, translator_runner, regression_runners\n"
        "from generative_policies.export import inverse_dynamics_runner"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
