"""What ONNX Runtime computes is what the model computes, for every kind of model."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from generative_policies.export import ExportError, OnnxModel, export_onnx
from generative_policies.export.translation import TRANSLATIONS
from generative_policies.models import (
    ConditionalFlowModel,
    DictObservationEncoder,
    Encoder,
    IdentityEncoder,
    LatentBridgeModel,
    MlpRegressor,
    SourcePrior,
)
from generative_policies.policies import FlowPlanner
from tests.export.stand_ins import ACTION, CASES, IMAGE, OBS, as_numpy, rows, trained


def exported(model: nn.Module, folder: Path, **options: Any) -> Any:
    export_onnx(model, folder / "model.onnx", **options)
    return OnnxModel.load(folder / "model.onnx")


@pytest.mark.parametrize("name", CASES)
def test_every_kind_answers_as_its_model_for_any_number_of_rows(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model: Any = trained(case.build())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    runner = exported(model, tmp_path, **case.options)
    for batch in (None, 1, 3, 32, 1000):
        given = rows(case, model, batch)
        expected = model.predict(**given, **case.options)
        assert expected.std() > 0.01  # the answers depend on something
        for arguments in (given, as_numpy(given), as_numpy(given, np.float64)):
            answer = runner.predict(**arguments)
            reference = model.predict(**arguments, **case.options)
            assert type(answer) is type(reference)
            assert (answer.shape, answer.dtype) == (reference.shape, reference.dtype)
            np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5 * max(1.0, float(expected.abs().max())))
        if batch == 1000:  # each column by its own scale
            assert ((torch.as_tensor(answer) - expected).abs() <= 1e-5 * expected.abs().amax(0)).all()
    for arguments in (rows(case, model, 0), as_numpy(rows(case, model, 0))):
        answers = [found.predict(**arguments, **options) for found, options in ((model, case.options), (runner, {}))]
        assert type(answers[0]) is type(answers[1]) and answers[0].dtype == answers[1].dtype
        assert answers[0].shape == answers[1].shape == (0, *expected.shape[1:])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if case.noise and name != "source without noise"]
)
def test_noise_is_an_input(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model: Any = trained(case.build())
    runner = exported(model, tmp_path, **case.options)
    given = rows(case, model, 4)
    first, again = (runner.predict(**given) for _ in range(2))
    assert torch.equal(first, again)
    other = runner.predict(**(given | {"noise": given["noise"] + 1}))
    assert (first - other).abs().min() > 1e-6
    # Drawn as the model draws it: alike for alike seeds, anew without one.
    del given["noise"]
    count = {} if given else {"batch_size": 4}
    seeded = [
        found.predict(**count, **given, generator=torch.Generator().manual_seed(1), **options)
        for found, options in ((runner, {}), (runner, {}), (model, case.options))
    ]
    assert torch.equal(seeded[0], seeded[1])
    torch.testing.assert_close(seeded[0], seeded[2], rtol=1e-5, atol=1e-4)
    drawn = [runner.predict(**count, **as_numpy(given)) for _ in range(2)]
    assert not np.array_equal(*drawn)


def test_models_that_are_exported_one_after_another_keep_their_own_statistics(tmp_path: Path) -> None:
    case = CASES["u-net"]
    models: list[Any] = [trained(case.build(), seed) for seed in (1, 2)]
    for k, model in enumerate(models):
        export_onnx(model, tmp_path / f"{k}.onnx", **case.options)
    given = rows(case, models[0], 8)
    answers = [OnnxModel.load(tmp_path / f"{k}.onnx").predict(**given) for k in range(2)]
    for answer, model in zip(answers, models, strict=True):
        torch.testing.assert_close(answer, model.predict(**given, **case.options), rtol=1e-5, atol=1e-4)
    assert (answers[0] - answers[1]).abs().min() > 1e-3
    # A file is what the model was, not what it becomes.
    models[0].target_normalizer.mean.add_(100)
    assert torch.equal(OnnxModel.load(tmp_path / "0.onnx").predict(**given), answers[0])


def test_a_file_has_no_batch_of_its_own_and_all_steps(tmp_path: Path) -> None:
    case = CASES["u-net"]
    sizes = []
    for steps in (1, 4):
        export_onnx(trained(case.build()), tmp_path / "model.onnx", num_steps=steps)
        graph = onnx.load(tmp_path / "model.onnx").graph
        for value in (*graph.input, *graph.output):
            assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
        assert [value.name for value in graph.input] == ["condition", "noise"]
        # Nothing of the time is left but what each step adds to the condition's part.
        assert not {node.op_type for node in graph.node} & {"Sin", "Cos"}
        sizes.append(sum(node.op_type == "LayerNormalization" for node in graph.node))
    assert sizes[1] == 4 * sizes[0]


def test_what_is_not_named_is_the_models_own(tmp_path: Path) -> None:
    model: Any = trained(ConditionalFlowModel(ACTION, OBS, 8, (8,)))
    runner = exported(model, tmp_path)
    given = rows(CASES["u-net"], model, 4)
    assert (runner.num_steps, runner.solver) == (100, "euler")
    torch.testing.assert_close(runner.predict(**given), model.predict(**given), rtol=1e-5, atol=1e-4)


def test_the_mode_of_a_model_stays_and_dropout_is_off(tmp_path: Path) -> None:
    model: Any = trained(MlpRegressor(ACTION, OBS))
    model.network = nn.Sequential(nn.Linear(OBS, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, ACTION))
    model.train()
    runner = exported(model, tmp_path)
    assert all(module.training for module in model.modules())
    condition = torch.randn(5, OBS)
    torch.testing.assert_close(runner.predict(condition), model.predict(condition))


def test_sdes_are_refused_since_they_draw_at_every_step(tmp_path: Path) -> None:
    for model, way in (
        (LatentBridgeModel(ACTION, OBS), "choose one of euler"),
        (LatentBridgeModel(ACTION, prior=SourcePrior(ACTION, 0.0)), "no other"),
    ):
        with pytest.raises(ExportError, match=f"noise must be an input.*{way}"):
            export_onnx(model, tmp_path / "model.onnx", num_steps=3)
    with pytest.raises(ValueError, match="from a given source"):
        export_onnx(LatentBridgeModel(ACTION, prior=SourcePrior(ACTION, 0.0)), tmp_path / "model.onnx", solver="euler")
    assert not list(tmp_path.iterdir())


class InPlace(nn.Module):
    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        answer = 2 * x
        answer[:, 0] = x[:, 1]
        return answer


class Reader(nn.Module):
    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        return x * float(x.mean())


class Drawing(nn.Module):
    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        return x + torch.randn_like(x)


class Uncommon(nn.Module):
    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        return torch.special.bessel_j0(x)


class AcrossRows(nn.Module):
    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        return x + torch.arange(len(x), dtype=x.dtype)[:, None]


class Branching(nn.Module):
    """Looks at what it should not: it answers many rows otherwise than few."""

    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        return 2 * x if len(x) > 3 else x


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (InPlace(), "in place"),
        (Drawing(), "noise must be an input"),
        (Reader(), "number that it reads out"),
        (Uncommon(), "bessel_j0"),
        (AcrossRows(), "depend on the batch"),
        (Branching(), "differ from the model's"),
    ],
)
def test_networks_that_a_graph_cannot_hold_are_refused(network: nn.Module, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        export_onnx(ConditionalFlowModel(ACTION, network=network), tmp_path / "model.onnx", num_steps=2)
    assert not list(tmp_path.iterdir())


class Plain(Encoder):
    output_dim, input_shapes = 2, ((2,),)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0]

    def fit_normalizers(self, *inputs: torch.Tensor) -> None:
        return


class Own(Plain):
    """Turns what it is given into inputs in a way of its own."""

    def inputs(self, condition: Any, name: str = "condition") -> Any:
        return (condition["own"],)


class Tokens(Plain):
    def input_like(self, k: int) -> torch.Tensor:
        return torch.zeros((), dtype=torch.int64)


class Levels(Plain):
    """Takes bytes."""

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0] / 255

    def input_like(self, k: int) -> torch.Tensor:
        return torch.zeros((), dtype=torch.uint8)


class Brighter(DictObservationEncoder):
    def rows(self, condition: Any, name: str = "condition") -> Any:
        return tuple(2 * part for part in super().rows(condition, name))


class Shifted(DictObservationEncoder):
    def inputs(self, condition: Any, name: str = "condition") -> Any:
        return tuple(part + 1 for part in super().inputs(condition, name))


class Answering(DictObservationEncoder):
    def reference(self, condition: Any) -> Any:
        return np.zeros(1), False


class Retyped(DictObservationEncoder):
    def input_like(self, k: int) -> torch.Tensor:
        return torch.zeros(())


class Clipped(MlpRegressor):
    def predict(self, condition: Any) -> Any:
        return super().predict(condition).clip(-0.01, 0.01)


class ClippedFlow(ConditionalFlowModel):
    def predict(self, *arguments: Any, **options: Any) -> Any:
        return super().predict(*arguments, **options).clip(-0.01, 0.01)


def patched() -> MlpRegressor:
    model = MlpRegressor(ACTION, OBS)
    model.predict = lambda condition: condition  # type: ignore[method-assign]
    return model


def encoded(encoder: Encoder) -> MlpRegressor:
    return MlpRegressor(ACTION, encoder.output_dim, encoder=encoder)


def test_what_cannot_be_exported_says_why(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    for model, options, error, message in (
        (MlpRegressor(ACTION, OBS), {"num_steps": 3}, ExportError, "is none"),
        (MlpRegressor(ACTION, OBS), {"solver": "euler"}, ExportError, "is none"),
        (MlpRegressor(ACTION, OBS).double(), {}, ExportError, "float32"),
        (encoded(Own()), {}, ExportError, "Own"),
        (encoded(Tokens()), {}, ExportError, r"Tokens takes torch\.int64"),
        (encoded(Brighter(IMAGE, 8)), {}, ExportError, "Brighter.*rows"),
        (encoded(Shifted(IMAGE, 8)), {}, ExportError, "Shifted.*inputs"),
        (encoded(Answering(IMAGE, 8)), {}, ExportError, "Answering.*reference"),
        (encoded(Retyped(IMAGE, 8)), {}, ExportError, "Retyped.*input_like"),
        (Clipped(ACTION, OBS), {}, ExportError, "Clipped has a predict of its own"),
        (ClippedFlow(ACTION, OBS), {}, ExportError, "ClippedFlow has a predict of its own"),
        (patched(), {}, ExportError, "predict of its own"),
        (ConditionalFlowModel(ACTION), {"num_steps": 0}, ValueError, "num_steps"),
        (ConditionalFlowModel(ACTION), {"solver": "newton"}, ValueError, "euler"),
        (CASES["distilled"].build(), {"num_steps": 5}, ValueError, "distilled to num_steps=2"),
        (IdentityEncoder(3), {}, TypeError, "IdentityEncoder"),
        (FlowPlanner(OBS, (8,)), {}, TypeError, "got FlowPlanner; export its ConditionalFlowModel"),
    ):
        with pytest.raises(error, match=message):
            export_onnx(model, file, **options)
    for path in (tmp_path, tmp_path / "model"):
        with pytest.raises(ExportError, match=r"\.onnx"):
            export_onnx(MlpRegressor(ACTION, OBS), path)
    assert not list(tmp_path.iterdir())


def test_an_encoder_may_take_bytes(tmp_path: Path) -> None:
    model: Any = trained(encoded(Levels()))
    runner = exported(model, tmp_path)
    for dtype in (np.uint8, np.float32):
        condition = np.array([[0, 255], [7, 100], [200, 31]], dtype=dtype)
        np.testing.assert_allclose(runner.predict(condition), model.predict(condition), rtol=1e-5, atol=1e-5)


def test_the_modes_of_the_caller_do_not_matter(tmp_path: Path) -> None:
    case = CASES["transformer"]
    model: Any = trained(case.build())
    export_onnx(model, tmp_path / "plain.onnx", **case.options)
    written = (tmp_path / "plain.onnx").read_bytes()
    for mode in (torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad()):
        with mode:
            export_onnx(model, tmp_path / "model.onnx", **case.options)
        assert (tmp_path / "model.onnx").read_bytes() == written
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        export_onnx(trained(MlpRegressor(ACTION, OBS).float()), tmp_path / "model.onnx")
    finally:
        torch.set_default_dtype(before)


def test_nodes_have_names_of_their_own_that_begin_with_torchs_operation(tmp_path: Path) -> None:
    for name in ("transformer", "images of bytes"):
        export_onnx(trained(CASES[name].build()), tmp_path / "model.onnx", **CASES[name].options)
        nodes = onnx.load(tmp_path / "model.onnx").graph.node
        assert len({node.name for node in nodes}) == len(nodes) > 20
        assert all(node.name.split(".")[0] in TRANSLATIONS for node in nodes)


class Scaled(nn.Module):
    """A large column beside a small one."""

    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        return torch.cat([1e5 * x[:, :1], x[:, 1:].sin()], dim=1)


@pytest.mark.parametrize(
    ("operation", "wrong", "message"),
    [
        ("sin", lambda graph, x: graph.add("Mul", graph.add("Sin", x), graph.name(1.0001)), "differ from the model's"),
        (
            "sin",
            lambda graph, x: graph.add("ReduceMean", x, graph.integers(0), keepdims=1),
            r"cat\.Concat",
        ),
        (
            "add",
            lambda graph, x: graph.add("ReduceMean", x, graph.integers(0), keepdims=1),
            r"\(1, 3\)",
        ),
        # Right from 0 to 1 alone.
        ("sin", lambda graph, x: graph.add("Sin", graph.add("Max", x, graph.name(0.0))), "differ from the model's"),
        ("sin", lambda graph, x: graph.add("Sin", graph.add("Min", x, graph.name(1.0))), "differ from the model's"),
    ],
)
def test_a_wrong_graph_is_not_written(
    operation: str, wrong: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column is compared by its own scale, not by that of the largest."""
    model = ConditionalFlowModel(ACTION, network=Scaled())
    export_onnx(model, tmp_path / "model.onnx", num_steps=1)
    before = (tmp_path / "model.onnx").read_bytes()
    monkeypatch.setitem(
        TRANSLATIONS,
        operation,
        lambda graph, a, outputs: wrong(graph, graph.name(a["self"])),
    )
    with pytest.raises(ExportError, match=message):
        export_onnx(model, tmp_path / "model.onnx", num_steps=1)
    assert (tmp_path / "model.onnx").read_bytes() == before


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "deep" / "model.onnx"
    export_onnx(trained(MlpRegressor(ACTION, OBS)), file)
    before = file.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=f"No space left on device: '{file}'"):
            export_onnx(MlpRegressor(ACTION, OBS, (8,)), file)
    with pytest.raises(ExportError):
        export_onnx(ConditionalFlowModel(ACTION, network=Uncommon()), file)
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]
    export_onnx(MlpRegressor(ACTION, OBS, (8,)), file)
    assert file.read_bytes() != before and list(file.parent.iterdir()) == [file]
