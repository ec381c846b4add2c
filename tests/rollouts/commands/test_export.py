"""The command that exports a trained model."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from generative_policies.action_translation import FlowActionPriorTranslator
from generative_policies.checkpoints import save
from generative_policies.export import OnnxModel
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.rollouts import command_line
from generative_policies.rollouts.commands.export import ExportSettings


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["generative-policies", "export", *map(str, arguments)])
    command_line.main()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save(FlowActionPriorTranslator(2, 3), tmp_path / "translator")
    return tmp_path / "translator"


def test_a_saved_model_becomes_a_file_with_its_settings_beside_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out" / "translator.onnx"
    run(monkeypatch, model, file, "--num-steps", 2, "--solver", "heun")
    runner = OnnxModel.load(file)
    assert (runner.num_steps, runner.solver) == (2, "heun")
    note = json.loads(file.with_suffix(".onnx.json").read_text())
    assert note["settings"]["num_steps"] == 2 and note["versions"]["torch"] == version("torch")
    assert "FlowActionPriorTranslator" in capsys.readouterr().out

    written = file.read_bytes()
    run(monkeypatch, model, file, "--num-steps", 2, "--solver", "heun")
    assert "is complete" in capsys.readouterr().out and file.read_bytes() == written
    with pytest.raises(SystemExit, match="other settings"):
        run(monkeypatch, model, file, "--num-steps", 3)
    save(FlowActionPriorTranslator(2, 3), model)  # another model under the same name
    with pytest.raises(SystemExit, match="other settings"):
        run(monkeypatch, model, file, "--num-steps", 2, "--solver", "heun")
    assert file.read_bytes() == written


def test_a_file_that_is_not_as_it_was_written_is_not_taken_for_complete(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "translator.onnx"
    note = file.with_suffix(".onnx.json")
    run(monkeypatch, model, file, "--num-steps", 2)
    written = file.read_bytes()
    for content in (b"", written[:-1], bytes([written[0] ^ 1]) + written[1:]):
        file.write_bytes(content)
        with pytest.raises(SystemExit, match="exists changed since its note; remove it"):
            run(monkeypatch, model, file, "--num-steps", 2)
        assert file.read_bytes() == content
    file.write_bytes(written)
    run(monkeypatch, model, file, "--num-steps", 2)
    note.unlink()
    with pytest.raises(SystemExit, match="exists without a note; remove it"):
        run(monkeypatch, model, file, "--num-steps", 2)


def test_what_is_wrong_is_one_line_and_nothing_is_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(MlpInverseDynamics(2, 3), tmp_path / "inverse")
    before = sorted(tmp_path.iterdir())
    for arguments, message in (
        ((tmp_path / "nothing", tmp_path / "a.onnx"), "nothing"),
        ((model, tmp_path / "a.onnx", "--solver", "newton"), "euler"),
        ((tmp_path / "inverse", tmp_path / "a.onnx", "--num-steps", 3), "flows"),
    ):
        with pytest.raises(SystemExit, match=message):
            run(monkeypatch, *arguments)
    for output, steps, message in (("a.zip", 1, r"\.onnx"), ("a.onnx", 0, "positive")):
        with pytest.raises(ValueError, match=message):
            ExportSettings(model, tmp_path / output, num_steps=steps)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SystemExit, match=r"generative-policies\[export\]"):
        run(monkeypatch, model, tmp_path / "a.onnx")
    assert sorted(tmp_path.iterdir()) == before


def test_help_tells_of_every_setting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, "--help")
    text = capsys.readouterr().out
    assert all(name in text for name in ("MODEL", "OUTPUT", "--num-steps", "--solver"))
