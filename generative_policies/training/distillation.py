"""Distilling a flow of many steps into one or a few, for a flow itself or for the model that has one inside.

The teacher's solution is a function of noise, condition and source, so a student learns it by regression, and keeps all
modes. Neither the data that the teacher learned from nor rewards are needed: conditions alone, those that are met where
the student will be used.

Source: Liu et al. 2023, Flow Straight and Fast, on distillation; Park et al. 2025, Flow Q-Learning.
"""

import copy
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn
from tqdm import trange

from generative_policies.data import EpisodicDataset
from generative_policies.models import ConditionalFlowModel, DistilledFlowModel, FlowInputs
from generative_policies.models.arrays import as_rows, evaluating, parameter_like, same_batch, standard_normal
from generative_policies.models.dimensions import check_dim
from generative_policies.models.encoders import Condition
from generative_policies.training.initialization import initial_weights
from generative_policies.training.optimization import Log, optimize
from generative_policies.training.settings import FitSettings
from generative_policies.training.training_state import TrainingStateFile, fingerprint

CHUNK = 2048  # rows that the teacher samples at once


@dataclass(frozen=True)
class DistillationSettings(FitSettings):
    """Settings of ``distill``: those of ``fit``, and what the teacher is asked.

    Attributes:
        num_samples: Samples of the teacher that the student learns from, spread evenly over the conditions.
        teacher_num_steps: Solver steps of the teacher; its own number by default.
        validation_fraction: Share of the samples held out.

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


class FlowHolder(Protocol):
    """A model with a flow inside, an ``nn.Module``: a translator, an inverse dynamics, a planner or a policy."""

    def flow_inputs(self, **inputs: Any) -> FlowInputs:
        """Return what the flow sees of a batch."""
        ...

    def with_flow(self, flow: ConditionalFlowModel, num_steps: int | None = None) -> Self:
        """Return the same with another flow, and its number of steps."""
        ...


ModelT = TypeVar("ModelT", bound=nn.Module)


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
    of the same class around it. Prior, encoder and statistics are the teacher's. It is saved, wrapped and put into
    Stable-Baselines3 as the teacher is.

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
    teacher, rebuild = _teacher_of(model, conditions)
    with initial_weights(generator):
        student = DistilledFlowModel.of(teacher.flow, num_steps, network)
    student.to(parameter_like(teacher.flow))

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
    teacher, rebuild = _teacher_of(model, conditions)
    if type(teacher.flow) is not ConditionalFlowModel:
        raise TypeError(f"reflow goes on from a ConditionalFlowModel, got {type(teacher.flow).__name__}")
    student = copy.deepcopy(teacher.flow)
    student.coupling = student.config["coupling"] = "independent"  # the pairs are the teacher's

    def loss(x_0: Tensor, features: Tensor | None, x_1: Tensor, generator: torch.Generator) -> Tensor:
        return student.path_loss(x_0, x_1, features, generator)

    _learn(student, teacher, loss, settings, generator, log, progress, state)
    return rebuild(student, teacher.num_steps)


class Teacher(NamedTuple):
    """A flow, and what it sees, checked.

    Attributes:
        flow: The flow.
        condition: Its encoder's inputs, ``(rows, ...)`` each; none without an encoder.
        source: ``(rows, ...)``, ``None`` where the prior starts at none.
        num_steps: Its solver steps.
        solver: Its solver.
    """

    flow: ConditionalFlowModel
    condition: tuple[Tensor, ...]
    source: Tensor | None
    num_steps: int
    solver: str

    def start(self, flow: ConditionalFlowModel, rows: Tensor, noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return x_0 and the condition features of some rows, as the teacher or a student has them."""
        condition = tuple(value[rows] for value in self.condition) or None
        return flow.start(condition=condition, source=None if self.source is None else self.source[rows], noise=noise)


class Samples(NamedTuple):
    """Where samples of a teacher start, and where it leads.

    Attributes:
        rows: ``(samples,)``, the row of condition and source.
        noise: ``(samples, ...)``, standard normal.
        x_1: ``(samples, ...)``, in normalised units.
    """

    rows: Tensor
    noise: Tensor
    x_1: Tensor


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
    samples = _ask(teacher, settings, generator, description)
    held_out = max(1, round(settings.validation_fraction * len(samples.rows))) if settings.validation_fraction else 0

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


def _teacher_of(
    model: ModelT, conditions: Condition | Mapping[str, Any] | EpisodicDataset | None
) -> tuple[Teacher, Callable[[ConditionalFlowModel, int], ModelT]]:
    """The flow with what it sees of the conditions, and how a model is made of a student."""
    like = parameter_like(model)
    rebuild: Any  # takes the student
    if isinstance(model, ConditionalFlowModel):
        named = isinstance(conditions, Mapping) and set(conditions) <= {"condition", "source"}
        inputs: Any = conditions if named else {"condition": conditions}
        condition, source = inputs.get("condition"), inputs.get("source")
        if condition is not None and model.encoder is not None:
            condition = model.encoder.rows(condition)
        if source is not None and model.source_shape is not None:
            source = as_rows("source", source, model.source_shape, like)
        flow: Any = model
        seen = FlowInputs(condition, source)
        rebuild = _itself
    else:
        holder: Any = model  # a FlowHolder
        flow = getattr(model, "flow", getattr(model, "model", None))
        if not isinstance(flow, ConditionalFlowModel) or not hasattr(model, "flow_inputs"):
            raise TypeError(f"expected a flow, or a model with a flow inside, got {type(model).__name__}")
        names = list(inspect.signature(holder.flow_inputs).parameters)
        arrays = conditions.arrays() if isinstance(conditions, EpisodicDataset) else conditions
        if not isinstance(arrays, Mapping) or not set(names) <= set(arrays):
            got = sorted(arrays) if isinstance(arrays, Mapping) else type(arrays).__name__
            raise ValueError(f"conditions of a {type(model).__name__} must hold {', '.join(names)}; got {got}")
        seen = holder.flow_inputs(**{name: _tensors(arrays[name], like) for name in names})
        rebuild = holder.with_flow
    solver = getattr(model, "solver", flow.default_solver)
    steps = getattr(model, "num_steps", flow.default_num_steps)
    return Teacher(flow, flow.check_inputs(seen), seen.source, steps, solver), rebuild


def _ask(
    teacher: Teacher,
    settings: DistillationSettings,
    generator: torch.Generator,
    description: str | None,
) -> Samples:
    """Ask the teacher, evenly over the rows and in random order."""
    flow, count = teacher.flow, settings.num_samples
    like = parameter_like(flow)
    everything = [*teacher.condition, *([] if teacher.source is None else [teacher.source])]
    num_rows = same_batch(**{str(k): value for k, value in enumerate(everything)}) if everything else count
    rows = torch.cat([torch.randperm(num_rows, generator=generator) for _ in range(-(-count // num_rows))])[:count]
    rows = rows.to(like.device)
    noise = standard_normal((count, *flow.sample_shape), like, generator)
    x_1 = torch.empty_like(noise)
    steps = settings.teacher_num_steps or teacher.num_steps
    with evaluating(flow):
        for start in trange(0, count, CHUNK, desc=f"{description}: teacher", disable=description is None):
            part = slice(start, start + CHUNK)
            x_0, features = teacher.start(flow, rows[part], noise[part])
            x_1[part] = flow.transport(x_0, features, steps, teacher.solver, None)
    return Samples(rows, noise, x_1)


def _tensors(value: Any, like: Tensor) -> Any:
    """Arrays as tensors on the model's device; those of numbers that are no images in its dtype."""
    if isinstance(value, Mapping):
        return {name: _tensors(entry, like) for name, entry in value.items()}
    tensor = torch.as_tensor(value)
    return tensor.to(device=like.device, dtype=None if tensor.dtype == torch.uint8 else like.dtype)


def _itself(student: ConditionalFlowModel, num_steps: int) -> ConditionalFlowModel:
    return student
