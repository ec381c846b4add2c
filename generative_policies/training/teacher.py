"""A trained flow as a teacher: what it sees, whether it stands alone or inside of a larger model, and its samples."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn
from tqdm import trange

from generative_policies.data import EpisodicDataset
from generative_policies.models import ConditionalFlowModel, FlowInputs
from generative_policies.models.arrays import as_rows, evaluating, parameter_like, same_batch, standard_normal
from generative_policies.models.encoders import Condition

CHUNK = 2048  # rows that the teacher samples at once


class FlowHolder(Protocol):
    """A model with a flow inside, an ``nn.Module``: a translator, an inverse dynamics, a planner or a policy."""

    def flow_inputs(self, **inputs: Any) -> FlowInputs:
        """Return what the flow sees of a batch."""
        ...

    def with_flow(self, flow: ConditionalFlowModel, num_steps: int | None = None) -> Self:
        """Return the same with another flow, and its number of steps."""
        ...


ModelT = TypeVar("ModelT", bound=nn.Module)


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


def teacher_of(
    model: ModelT, conditions: Condition | Mapping[str, Any] | EpisodicDataset | None
) -> tuple[Teacher, Callable[[ConditionalFlowModel, int], ModelT]]:
    """Return the flow with what it sees of the conditions, and how a model is made of a student.

    Args:
        model: A flow, or a ``FlowHolder``.
        conditions: As in ``distill``.

    Returns:
        The teacher, and a function of a student and its number of steps.

    Raises:
        TypeError: If the model has no flow, as far as this library knows.
        ValueError: If conditions are missing, superfluous or of wrong shapes.
    """
    like = parameter_like(model)
    rebuild: Any  # takes the student
    if isinstance(conditions, EpisodicDataset):
        arrays = conditions.arrays()
        is_flow = isinstance(model, ConditionalFlowModel)
        conditions = {name: arrays[name] for name in arrays if not is_flow or name in ("condition", "source")}
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
        if not isinstance(conditions, Mapping) or not set(names) <= set(conditions):
            got = sorted(conditions) if isinstance(conditions, Mapping) else type(conditions).__name__
            raise ValueError(f"conditions of a {type(model).__name__} must hold {', '.join(names)}; got {got}")
        seen = holder.flow_inputs(**{name: _tensors(conditions[name], like) for name in names})
        rebuild = holder.with_flow
    solver = getattr(model, "solver", flow.default_solver)
    steps = getattr(model, "num_steps", flow.default_num_steps)
    return Teacher(flow, flow.check_inputs(seen), seen.source, steps, solver), rebuild


def ask(
    teacher: Teacher,
    count: int,
    num_steps: int,
    generator: torch.Generator,
    description: str | None,
) -> Samples:
    """Ask a teacher, evenly over the rows and in random order.

    Args:
        teacher: The teacher.
        count: Number of samples.
        num_steps: Its solver steps.
        generator: Source of the order and the noise.
        description: Name of a progress bar, ``None`` for none.
    """
    flow, like = teacher.flow, parameter_like(teacher.flow)
    everything = [*teacher.condition, *([] if teacher.source is None else [teacher.source])]
    if any(len(value) == 0 for value in everything):
        raise ValueError("a student learns on conditions: pass at least one row, got none")
    num_rows = same_batch(**{str(k): value for k, value in enumerate(everything)}) if everything else count
    rows = torch.cat([torch.randperm(num_rows, generator=generator) for _ in range(-(-count // num_rows))])[:count]
    rows = rows.to(like.device)
    noise = standard_normal((count, *flow.sample_shape), like, generator)
    x_1 = torch.empty_like(noise)
    with evaluating(flow):
        for start in trange(0, count, CHUNK, desc=f"{description}: teacher", disable=description is None):
            part = slice(start, start + CHUNK)
            x_0, features = teacher.start(flow, rows[part], noise[part])
            x_1[part] = flow.transport(x_0, features, num_steps, teacher.solver, None)
    return Samples(rows, noise, x_1)


def _tensors(value: Any, like: Tensor) -> Any:
    """Arrays as tensors on the model's device; those of numbers that are no images in its dtype."""
    if isinstance(value, Mapping):
        return {name: _tensors(entry, like) for name, entry in value.items()}
    tensor = torch.as_tensor(value)
    return tensor.to(device=like.device, dtype=None if tensor.dtype == torch.uint8 else like.dtype)


def _itself(student: ConditionalFlowModel, num_steps: int) -> ConditionalFlowModel:
    return student
