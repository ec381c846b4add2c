"""The one trained flow that all rows are of, and its one-step students; kept on disk, so that a rerun is quick."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.conditional_mixture import COND_DIM, TARGET_DIM, ConditionalMixture
from generative_policies import checkpoints
from generative_policies.data import EpisodicDataset
from generative_policies.models import ConditionalFlowModel, ConditionalUNet1D
from generative_policies.rollouts.provenance import digest, same_settings, write_json
from generative_policies.training import DistillationSettings, FitSettings, distill, fit, initial_weights

DOWN_DIMS = (32, 64, 128)
TIME_DIM = 32


@dataclass(frozen=True)
class TrainingSettings:
    """What the models depend on."""

    rows: int = 200_000
    """Pairs of condition and sample that the teacher learns from; as many conditions are given to the students."""
    updates: int = 15_000
    """Gradient steps of the teacher."""
    student_updates: int = 20_000
    """Gradient steps of each student."""
    teacher_samples: int = 100_000
    """Samples of the teacher, in 100 Euler steps, that a student learns from."""
    seed: int = 0
    """Of data, weights and batches."""


@dataclass(frozen=True)
class Rows(EpisodicDataset):
    """Rows for the loss of a flow, one an episode."""

    target: NDArray[np.float32]
    condition: NDArray[np.float32]


class Trained(NamedTuple):
    """The models, on one thread or two, in evaluation mode.

    Attributes:
        teacher: The flow of many steps.
        student: Its one-step student with the library's default network for students.
        unet_student: Its one-step student with the teacher's own network.
        checkpoints: Digest of each checkpoint.
    """

    teacher: ConditionalFlowModel
    student: ConditionalFlowModel
    unet_student: ConditionalFlowModel
    checkpoints: dict[str, str]


def train(settings: TrainingSettings, folder: Path, progress: bool = True) -> Trained:
    """Return the trained models, from the folder where it has them.

    Args:
        settings: What they depend on.
        folder: Of the checkpoints.
        progress: Show progress bars.
    """
    mixture = ConditionalMixture()
    rng = np.random.default_rng(settings.seed)
    conditions = mixture.conditions(settings.rows, rng)
    data = Rows(np.arange(settings.rows), mixture.samples(conditions, rng), conditions)
    teacher = _kept(folder / "teacher", settings, None, lambda: _train_teacher(data, settings, progress))
    seen = mixture.conditions(settings.rows, rng)
    parent = digest(folder / "teacher" / "model.safetensors")

    def student(name: str, network: nn.Module | None) -> ConditionalFlowModel:
        return _kept(
            folder / name, settings, parent, lambda: _distill(name, teacher, seen, network, settings, progress)
        )

    with initial_weights(torch.Generator().manual_seed(settings.seed)):
        unet = ConditionalUNet1D(TARGET_DIM, TARGET_DIM, COND_DIM, TIME_DIM, DOWN_DIMS)
    models = (teacher, student("student", None), student("unet_student", unet))
    names = ("teacher", "student", "unet_student")
    return Trained(*models, {name: digest(folder / name / "model.safetensors") for name in names})


def _train_teacher(data: Rows, settings: TrainingSettings, progress: bool) -> ConditionalFlowModel:
    generator = torch.Generator().manual_seed(settings.seed)
    with initial_weights(generator):
        model = ConditionalFlowModel(TARGET_DIM, COND_DIM, TIME_DIM, DOWN_DIMS)
    fitting = FitSettings(num_updates=settings.updates, validation_fraction=0.02)
    fit(model, data, fitting, generator=generator, progress="teacher" if progress else False)
    return model


def _distill(
    name: str,
    teacher: ConditionalFlowModel,
    conditions: NDArray[np.float32],
    network: nn.Module | None,
    settings: TrainingSettings,
    progress: bool,
) -> ConditionalFlowModel:
    distillation = DistillationSettings(
        num_updates=settings.student_updates, num_samples=settings.teacher_samples, validation_fraction=0.02
    )
    return distill(
        teacher,
        conditions,
        settings=distillation,
        generator=torch.Generator().manual_seed(settings.seed + 1),
        network=network,
        progress=name if progress else False,
    )


def _kept(
    path: Path, settings: TrainingSettings, parent: str | None, make: Callable[[], ConditionalFlowModel]
) -> ConditionalFlowModel:
    """A checkpoint that was made with the same settings, and from the same teacher, or else a new one."""
    note = path.with_suffix(".json")
    inputs = {} if parent is None else {"teacher": parent}
    if not (same_settings(note, settings, inputs=inputs) and _loads(path)):
        note.unlink(missing_ok=True)
        checkpoints.save(make(), path)
        write_json(note, settings, {"inputs": inputs})
    model: Any = checkpoints.load(path)  # the class is the file's
    assert isinstance(model, ConditionalFlowModel)
    return model.eval()


def _loads(path: Path) -> bool:
    """Whether the library as it is now still takes a checkpoint."""
    try:
        checkpoints.load(path)
    except checkpoints.CheckpointError as error:
        print(f"trained again: {error}")
        return False
    return True
