"""Writing a trained model as one file of ONNX, as a command."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from generative_policies.atomic_files import replacing
from generative_policies.checkpoints import load
from generative_policies.export import export_onnx
from generative_policies.rollouts.provenance import digest, read_json, same_settings, write_json
from generative_policies.rollouts.run_lock import run_lock


@dataclass(frozen=True)
class ExportSettings:
    """Write a trained model as one file of ONNX, for real time, in ONNX Runtime 1.24 and later.

    The file has the normalisers and all steps of the solver inside, and the noise as an input. Wrappers take its path
    as they take a checkpoint's. Needs the extra: pip install 'generative-policies[export]'.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Folder of the model."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")]
    """The file, NAME.onnx; NAME.onnx.json beside it tells settings and versions."""
    num_steps: int | None = None
    """Steps of the solver; the model's own number by default."""
    solver: str | None = None
    """Solver: euler, midpoint, heun or rk4; the model's own by default."""

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.output.suffix != ".onnx":
            raise ValueError(f"output must be a file with a name that ends with .onnx, got {self.output}")
        if self.num_steps is not None and self.num_steps < 1:
            raise ValueError(f"num_steps must be positive, got {self.num_steps}")


def export(settings: ExportSettings) -> Path:
    """Export a model.

    Args:
        settings: The model, the file and the solver.

    Returns:
        The file, for ``export.OnnxModel.load``.

    Raises:
        FileExistsError: If the output is there already, with other settings, of another model, changed since it was
            written, or without its note.
        CheckpointError: If there is no model.
        ExportError: If the model cannot be exported so.
        RunInUseError: If another process writes the output.
    """
    torch.set_num_threads(1)
    with run_lock(settings.output.parent, settings.output.name):
        return _export(settings)


def _export(settings: ExportSettings) -> Path:
    note = settings.output.with_name(f"{settings.output.name}.json")  # NAME.json is that of a trained model
    inputs = {"model": digest(settings.model)}
    if settings.output.exists():
        same = same_settings(note, settings, ("model", "output"), inputs)
        if same and read_json(note).get("output") == digest(settings.output):
            print(f"{settings.output} is complete")
            return settings.output
        why = "without a note" if not note.exists() else "changed since its note" if same else "with other settings"
        raise FileExistsError(f"{settings.output} exists {why}; remove it or choose another output")
    model: Any = load(settings.model)
    with replacing(settings.output) as new:
        export_onnx(model, new, num_steps=settings.num_steps, solver=settings.solver)
        written = {"inputs": inputs, "bytes": new.stat().st_size, "output": digest(new)}
        write_json(note, settings, written)  # first, or the file is nobody's
    print(f"{settings.output}: {type(model).__name__}")
    return settings.output
