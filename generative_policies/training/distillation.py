"""Distilling a flow of many steps into one or a few, for a flow itself or for the model that has one inside.

The teacher's solution is a function of noise, condition and source, so a student learns it by regression, and keeps all
modes. Neither the data that the teacher learned from nor rewards are needed: conditions alone, those that are met where
the student will be used.

Source: Liu et al. 2023, Flow Straight and Fast, on distillation; Park et al. 2025, Flow Q-Learning.
"""

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from generative_policies.data import EpisodicDataset
from generative_policies.models import ConditionalFlowModel, DistilledFlowModel
from generative_policies.models.arrays import evaluating
from generative_policies.models.dimensions import check_dim
from generative_policies.models.encoders import Condition
from generative_policies.training.initialization import initial_weights
from generative_policies.training.optimization import Log, optimize
from generative_policies.training.settings import FitSettings
from generative_policies.training.teacher import CHUNK, ModelT, Teacher, ask, teacher_of
from generative_policies.training.training_state import TrainingStateFile, fingerprint


@dataclass(frozen=True)
class DistillationSettings(FitSettings):
    """Settings of ``distill``: those of ``fit``, and what the teacher is asked.

    Attributes:
        num_samples: Samples of the teacher that the student learns from, spread evenly over the conditions.
        teacher_num_steps: Solver steps of the teacher; its own number by default.
        validation_fraction: Share of the samples held out. Their noise is new to the student; their conditions are not,
            where there are more samples than conditions.

    Raises:
        ValueError: If a setting is outside its range; the message names it.
    """

    num_updates: int = 20_000
    num_samples: int = 100_000
    teacher_num_steps: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        check_dim("num_samples", self.num_samples, minimum=2)
        if self.teacher_num_steps is not None:
            check_dim("teacher_num_steps", self.teacher_num_steps)


def distill(
    model: ModelT,
    conditions: Condition | Mapping[str, Any] | EpisodicDataset | None = None,
    num_steps: int = 1,
    settings: DistillationSettings = DistillationSettings(),  # frozen
    *,
    generator: torch.Generator,
    network: nn.Module | None = None,
    log: Log | None = None,
    progress: bool | str = False,
    state: str | os.PathLike[str] | None = None,
) -> ModelT:
    """Return a student of a flow model: the same model in one or a few steps, at a fraction of the time.

    A flow's student is a ``DistilledFlowModel``; a translator's, an inverse dynamics', a planner's or a policy's is one
    of the same class around it. Prior and statistics are the teacher's; of its encoder the student has a copy, which
    learns with it. It is saved, wrapped and put into Stable-Baselines3 as the teacher is.

    Args:
        model: The teacher, which is left as it is.
        conditions: For a flow its condition ``(rows, cond_dim)``, or a mapping of ``"condition"`` and ``"source"``,
            ``None`` where it has neither. For a model around a flow, its inputs by name, such as ``"obs"`` and
            ``"source_actions"``, as a mapping or a dataset of more. They should cover what the student will meet.
        num_steps: The student's Euler steps.
        settings: Sizes and rates.
        generator: A CPU generator; initial weights, noise and batches come from it.
        network: The student's velocity network, see ``DistilledFlowModel``.
        log: Called with the update and its figures, every time the validation loss is computed.
        progress: Show progress bars, under a name where a string is given.
        state: A file that keeps the state of the training, as ``fit``'s does.

    Returns:
        The student. Losses that ``log`` is told are mean squared errors of normalised samples.

    Raises:
        TypeError: If the model has no flow, as far as this library knows.
        ValueError: If conditions are missing, superfluous or of wrong shapes; or as ``fit``.

    Example:
        >>> teacher = ConditionalFlowModel(target_dim=2, cond_dim=3)
        >>> short = DistillationSettings(num_updates=2, num_samples=64)
        >>> student = distill(teacher, torch.randn(16, 3), settings=short, generator=torch.Generator().manual_seed(0))
        >>> student.predict(condition=torch.randn(8, 3)).shape
        torch.Size([8, 2])
    """
    teacher, rebuild = teacher_of(model, conditions)
    with initial_weights(generator):
        student = DistilledFlowModel.of(teacher.flow, num_steps, network)

    def loss(x_0: Tensor, features: Tensor | None, x_1: Tensor, generator: torch.Generator) -> Tensor:
        end = student.transport(x_0, features, num_steps, student.default_solver, None)
        return nn.functional.mse_loss(end, x_1)

    _learn(student, teacher, loss, settings, generator, log, progress, state)
    return rebuild(student, num_steps)


def reflow(
    model: ModelT,
    conditions: Condition | Mapping[str, Any] | EpisodicDataset | None = None,
    settings: DistillationSettings = DistillationSettings(),  # frozen
    *,
    generator: torch.Generator,
    log: Log | None = None,
    progress: bool | str = False,
    state: str | os.PathLike[str] | None = None,
) -> ModelT:
    """Return a flow model with straighter paths, which needs fewer steps; any number of them works.

    It goes on from the teacher's weights, by flow matching of each x_0 with the sample that the teacher makes of it.

    Args:
        model: The teacher, a flow or a model around one, which is left as it is; not a distilled one.
        conditions: As in ``distill``.
        settings: Sizes and rates.
        generator: A CPU generator; noise, times and batches come from it.
        log: Called with the update and its figures, every time the validation loss is computed.
        progress: Show progress bars, under a name where a string is given.
        state: A file that keeps the state of the training, as ``fit``'s does.

    Returns:
        A model like the teacher, with its number of steps.

    Raises:
        TypeError: If the model has no flow that learns by flow matching, as far as this library knows.
        ValueError: If conditions are missing, superfluous or of wrong shapes; or as ``fit``.
    """
    teacher, rebuild = teacher_of(model, conditions)
    if type(teacher.flow) is not ConditionalFlowModel:
        raise TypeError(f"reflow goes on from a ConditionalFlowModel, got {type(teacher.flow).__name__}")
    student = copy.deepcopy(teacher.flow).requires_grad_()  # a teacher may be frozen
    student.coupling = student.config["coupling"] = "independent"  # the pairs are the teacher's

    def loss(x_0: Tensor, features: Tensor | None, x_1: Tensor, generator: torch.Generator) -> Tensor:
        return student.path_loss(x_0, x_1, features, generator)

    _learn(student, teacher, loss, settings, generator, log, progress, state)
    return rebuild(student, teacher.num_steps)


def _learn(
    student: ConditionalFlowModel,
    teacher: Teacher,
    loss: Callable[[Tensor, Tensor | None, Tensor, torch.Generator], Tensor],
    settings: DistillationSettings,
    generator: torch.Generator,
    log: Log | None,
    progress: bool | str,
    state: str | os.PathLike[str] | None,
) -> None:
    """Train a student on samples of its teacher, by a loss of x_0, condition features and x_1."""
    file = None
    if state is not None:
        tensors = {f"teacher.{name}": value for name, value in teacher.flow.state_dict().items()}
        tensors |= {f"condition.{k}": value for k, value in enumerate(teacher.condition)}
        tensors |= {} if teacher.source is None else {"source": teacher.source}
        arrays = {name: value.cpu().numpy() for name, value in tensors.items()}
        start = fingerprint(student, arrays, settings, generator, num_steps=teacher.num_steps, solver=teacher.solver)
        file = TrainingStateFile(Path(state), start)
    saved = None if file is None else file.read()
    description = progress if isinstance(progress, str) else "distill" if progress else None
    samples = ask(
        teacher, settings.num_samples, settings.teacher_num_steps or teacher.num_steps, generator, description
    )
    held_out = round(settings.validation_fraction * len(samples.rows)) if settings.validation_fraction else 0
    held_out = min(max(held_out, settings.validation_fraction > 0), len(samples.rows) - 1)

    def loss_of(chosen: Tensor, generator: torch.Generator) -> Tensor:
        x_0, features = teacher.start(student, samples.rows[chosen], samples.noise[chosen])
        return loss(x_0, features, samples.x_1[chosen], generator)

    def batch_loss() -> Tensor:
        drawn = torch.randint(len(samples.rows) - held_out, (settings.batch_size,), generator=generator)
        return loss_of(held_out + drawn, generator)

    def validation_loss() -> float:
        same = torch.Generator().manual_seed(0)
        with evaluating(student):
            parts = [loss_of(chosen, same) * len(chosen) for chosen in torch.split(torch.arange(held_out), CHUNK)]
        return float(torch.stack(parts).sum()) / held_out

    optimize(
        student,
        batch_loss,
        validation_loss if held_out else None,
        settings,
        generator=generator,
        log=log,
        description=description,
        file=file,
        saved=saved,
    )
