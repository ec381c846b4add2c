"""Every way to few steps, from one trained flow or from the same data."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from generative_policies.data import EpisodicDataset
from generative_policies.models import AverageVelocityModel
from generative_policies.training import DistillationSettings, FitSettings, distill, fit, initial_weights, reflow

FLOW, DISTILLED, REFLOW, AVERAGE = "flow", "distilled", "reflow", "average velocity"


@dataclass(frozen=True)
class Budget:
    """Gradient steps of the methods, and what a teacher is asked; the same for all tasks.

    Attributes:
        distillation: Of the one-step student.
        reflow: Of the straightened flow.
        average_velocity: Of the average velocity, which learns from the data.
        samples: Samples of the teacher that distillation and reflow learn from.
    """

    distillation: int = 20_000
    reflow: int = 10_000
    average_velocity: int = 20_000
    samples: int = 50_000


class Trained(NamedTuple):
    """A model by one of the methods.

    Attributes:
        model: The model.
        steps: Numbers of solver steps that are measured.
        seconds: Its training, beyond the teacher's.
    """

    model: Any  # a flow, or a model around one
    steps: tuple[int, ...]
    seconds: float


def train_all(
    teacher: nn.Module,
    teacher_steps: tuple[int, ...],
    conditions: EpisodicDataset | Mapping[str, Any] | None,
    data: EpisodicDataset,
    budget: Budget,
    seed: int,
    progress: str,
) -> dict[str, Trained]:
    """Return the models of all methods by name, the teacher among them.

    Args:
        teacher: A trained flow, or a model around one.
        teacher_steps: Its numbers of steps, the largest first: that is what the students learn.
        conditions: What it is asked about, see ``distill``.
        data: What it was trained on, for the average velocity.
        budget: Sizes of the trainings.
        seed: Of all trainings.
        progress: Name for progress bars.
    """
    settings = DistillationSettings(
        num_updates=budget.distillation,
        num_samples=budget.samples,
        teacher_num_steps=teacher_steps[0],
        validation_fraction=0.02,
    )
    straightening = DistillationSettings(
        num_updates=budget.reflow,
        num_samples=budget.samples,
        teacher_num_steps=teacher_steps[0],
        validation_fraction=0.02,
    )

    def distilled(generator: torch.Generator) -> nn.Module:
        return distill(teacher, conditions, 1, settings, generator=generator, progress=f"{progress}, distill")

    def straightened(generator: torch.Generator) -> nn.Module:
        return reflow(teacher, conditions, straightening, generator=generator, progress=f"{progress}, reflow")

    def averaged(generator: torch.Generator) -> nn.Module:
        with initial_weights(generator):
            model = _average_velocity(teacher)
        fitting = FitSettings(num_updates=budget.average_velocity, validation_fraction=0.02)
        fit(model, data, fitting, generator=generator, progress=f"{progress}, average velocity")
        return model

    ways: dict[str, tuple[Callable[[torch.Generator], nn.Module], tuple[int, ...]]] = {
        DISTILLED: (distilled, (1,)),
        REFLOW: (straightened, (1, 2, 4)),
        AVERAGE: (averaged, (1, 2, 4)),
    }
    found = {FLOW: Trained(teacher, teacher_steps, 0.0)}
    for name, (way, steps) in ways.items():
        started = time.perf_counter()
        model = way(torch.Generator().manual_seed(seed))
        found[name] = Trained(model.eval(), steps, time.perf_counter() - started)
    return found


def microseconds(predict: Callable[[], object], calls: int = 300) -> float:
    """Return the median time of a call [us], after some that do not count."""
    seconds = []
    for _ in range(calls + 20):
        started = time.perf_counter()
        predict()
        seconds.append(time.perf_counter() - started)
    return 1e6 * float(np.median(seconds[20:]))


def _average_velocity(teacher: Any) -> nn.Module:
    """An untrained twin of a flow, or of a model around one."""
    if hasattr(teacher, "with_flow"):
        model: nn.Module = teacher.with_flow(AverageVelocityModel.like(teacher.flow))
        return model
    return AverageVelocityModel.like(teacher)
