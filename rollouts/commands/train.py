"""Training any model of the library from recorded data, as a command."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from torch import nn

from generative_policies.checkpoints import load
from generative_policies.data import ActionPairDataset, TransitionDataset
from generative_policies.forward_dynamics import MlpForwardDynamics
from generative_policies.inverse_dynamics import FlowInverseDynamics, InverseDynamics, MlpInverseDynamics
from generative_policies.models import AverageVelocityModel
from generative_policies.rollouts.aggregation import Rounds, aggregate, matching
from generative_policies.rollouts.arms import TRANSLATORS
from generative_policies.rollouts.commands.pair import read_pairs
from generative_policies.rollouts.episodes import transitions
from generative_policies.rollouts.minari_datasets import read_dataset
from generative_policies.rollouts.pairing import relabel
from generative_policies.rollouts.provenance import digest, open_partial, remove_partial, same_settings, write_json
from generative_policies.rollouts.robots import Robot
from generative_policies.rollouts.run_lock import run_lock
from generative_policies.rollouts.source_policies import load_source, source_digests
from generative_policies.rollouts.students import Method, conditions_of, read_teacher, save_student, train_student
from generative_policies.training import DistillationSettings, FitSettings, fit, initial_weights

DYNAMICS: dict[str, Callable[[int, int, list[int]], nn.Module]] = {
    "inverse_dynamics": MlpInverseDynamics,
    "flow_inverse_dynamics": FlowInverseDynamics,
    "forward_dynamics": lambda action_dim, obs_dim, widths: MlpForwardDynamics(obs_dim, action_dim, widths),
}
Model = Literal[
    "mlp",
    "flow_prior",
    "flow_conditioned",
    "flow_prior_conditioned",
    "inverse_dynamics",
    "flow_inverse_dynamics",
    "forward_dynamics",
]


@dataclass(frozen=True)
class TrainSettings:
    """Train a translator from paired datasets, an inverse or forward dynamics from recorded ones, or a flow's student.

    With rounds, a translator is trained on what it meets itself: data of the target are collected with the current
    translator, labelled by the source's inverse dynamics, and it is trained anew. One round is not dependable, three
    are. With a teacher, a student learns to do in one or a few steps what the teacher's flow does in many, on the
    conditions in the data. Interrupted, the same command goes on where it was, and ends with the same weights.
    """

    data: tuple[Path, ...] = ()
    """Datasets, by folder or id: those of the command pair for translators. May be missing where rounds collect."""
    model: Model = "mlp"
    """What is trained: a translator (mlp, or a flow), or an inverse or forward dynamics."""
    updates: int = 10_000
    """Gradient steps, of each round where there are some."""
    hidden_width: int = 256
    """Width of the two hidden layers."""
    rounds: int = 0
    """Rounds of collecting with the current translator, labelling and training; 0 trains on the given data alone."""
    episodes_per_round: int = 25
    """Episodes of the target a round."""
    env: Annotated[str | None, tyro.conf.arg(metavar="ID")] = None
    """Gymnasium id of the target robot, for rounds."""
    shift: str | None = None
    """Shift of its dynamics."""
    policy: str | None = None
    """The source policy, for rounds."""
    vecnormalize: Path | None = None
    """VecNormalize statistics that the policy was trained with."""
    inverse_dynamics: Path | None = None
    """Folder of the source's inverse dynamics, for rounds."""
    average_velocity: bool = False
    """Whether a flow learns its average velocity, which needs one step and no teacher."""
    teacher: Path | None = None
    """Folder of a trained flow model or policy, whose student is trained; model and hidden_width are then its own."""
    method: Method = "distill"
    """How a student learns: distill for a fixed number of steps, reflow for straighter paths and any number."""
    num_steps: int = 1
    """Solver steps of a distilled student."""
    num_samples: int = 100_000
    """Samples of the teacher that a student learns from."""
    seed: int = 0
    """Of weights, batches and noise; reset seeds of rounds start at 1,500 + 1,000 times it."""
    output: Path = Path("runs/model")
    """Folder of the model; what a training needs to go on stands beside it until it is done."""

    def __post_init__(self) -> None:
        """Check the settings."""
        positive = ("updates", "hidden_width", "episodes_per_round", "num_steps", "num_samples")
        if min(getattr(self, name) for name in positive) < 1 or self.rounds < 0:
            raise ValueError(f"{', '.join(positive)} must be positive, rounds not negative")
        if self.average_velocity and self.teacher is not None:
            raise ValueError("average_velocity is for flows that learn from data: leave teacher away")
        if self.average_velocity and "flow" not in self.model:
            raise ValueError(f"average_velocity is for flows that learn from data, got model {self.model!r}")
        of_students = ("method", "num_steps", "num_samples")
        of_data = ("model", "hidden_width", "env", "shift", "policy", "vecnormalize", "inverse_dynamics")
        without_effect = [
            field.name
            for field in fields(self)
            if field.name in (of_students if self.teacher is None else of_data)
            and getattr(self, field.name) != field.default
        ]
        if self.method == "reflow" and self.num_steps != 1:
            without_effect.append("num_steps")
        if without_effect:
            kind = "a training without a teacher" if self.teacher is None else f"a student by {self.method}"
            raise ValueError(f"{', '.join(without_effect)} would change nothing in {kind}: leave them away")
        if self.teacher is not None and self.rounds:
            raise ValueError("a student learns from data alone: leave rounds away")
        if not 0 <= self.seed <= 8 or self.rounds * self.episodes_per_round > 500:
            raise ValueError(
                f"seed must lie in 0 to 8 and rounds * episodes_per_round in 0 to 500, so that reset seeds stay below "
                f"those of tests; got {self.seed} and {self.rounds * self.episodes_per_round}"
            )
        needed = (self.env, self.policy, self.inverse_dynamics)
        if self.rounds and (self.model not in TRANSLATORS or any(value is None for value in needed)):
            raise ValueError("rounds are for translators, and need env, policy and inverse_dynamics")
        if not self.rounds and not self.data:
            raise ValueError("pass data, or rounds that collect some")


def train(settings: TrainSettings) -> Path:
    """Train a model.

    Args:
        settings: Data, model and sizes.

    Returns:
        The model's folder, for ``checkpoints.load``; ``NAME.json`` beside it tells settings, losses and versions.

    Raises:
        FileExistsError: If the output is there already, with other settings.
        DatasetError: If data are missing, foreign or empty.
        ValueError: If data do not fit each other or the model, or an interrupted training had other settings.
        RunInUseError: If another process writes the output.
    """
    torch.set_num_threads(1)
    with run_lock(settings.output.parent, settings.output.name):
        return _train(settings)


def _train(settings: TrainSettings) -> Path:
    note = settings.output.with_name(f"{settings.output.name}.json")
    inputs = _inputs(settings)
    if settings.output.exists():
        if same_settings(note, settings, ("output",), inputs):
            remove_partial(settings.output)
            print(f"{settings.output} is complete")
            return settings.output
        raise FileExistsError(f"{settings.output} exists with other settings; remove it or choose another output")
    partial = open_partial(settings.output, settings, ("output",), inputs)
    try:
        model, losses = _learn(settings, torch.Generator().manual_seed(settings.seed), partial)
    except Exception:
        if len(list(partial.iterdir())) == 1:  # its settings: it was refused before it learned anything
            remove_partial(settings.output)
        raise
    write_json(note, settings, losses | {"inputs": inputs})
    save_student(model, settings.output)
    remove_partial(settings.output)
    print(f"{settings.output}: {type(model).__name__} {losses or ''}")
    return settings.output


def _learn(settings: TrainSettings, generator: torch.Generator, partial: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the trained model and its losses; what is learned on the way is kept in the folder."""
    if settings.teacher is not None:
        return _student(settings, settings.teacher, generator, partial)
    if settings.model in TRANSLATORS:
        pairs = [read_pairs(path) for path in settings.data]
        if settings.rounds:
            return _in_rounds(settings, pairs, generator, partial), {}
        data = ActionPairDataset.concatenate(pairs)
        return _fit(settings, lambda: _translator(settings, data), data, generator, partial)
    steps = TransitionDataset.concatenate([transitions(read_dataset(path)) for path in settings.data])
    kind = DYNAMICS[settings.model]
    widths = [settings.hidden_width] * 2
    return _fit(
        settings,
        lambda: _flow(settings, kind(steps.actions.shape[1], steps.obs.shape[1], widths)),
        steps,
        generator,
        partial,
    )


def _fit(
    settings: TrainSettings, build: Callable[[], nn.Module], data: Any, generator: torch.Generator, partial: Path
) -> tuple[nn.Module, dict[str, Any]]:
    with initial_weights(generator):
        model = build()
    result = fit(
        model,
        data,
        FitSettings(num_updates=settings.updates),
        generator=generator,
        progress=f"train {settings.model}",
        state=partial / "training",
    )
    return model, {"train_loss": result.train_loss, "validation_loss": result.validation_loss}


def _student(
    settings: TrainSettings, folder: Path, generator: torch.Generator, partial: Path
) -> tuple[nn.Module, dict[str, Any]]:
    teacher = read_teacher(folder)
    sizes = DistillationSettings(num_updates=settings.updates, num_samples=settings.num_samples)
    return train_student(
        teacher,
        conditions_of(teacher, settings.data),
        settings.method,
        settings.num_steps,
        sizes,
        generator,
        partial / "training",
    )


def _in_rounds(
    settings: TrainSettings, pairs: list[ActionPairDataset], generator: torch.Generator, partial: Path
) -> nn.Module:
    """Aggregate data round by round."""
    assert settings.env is not None and settings.policy is not None and settings.inverse_dynamics is not None
    robot = Robot(settings.env, settings.shift)
    robot.check()
    inverse_dynamics: Any = load(settings.inverse_dynamics)
    if not isinstance(inverse_dynamics, InverseDynamics):
        raise ValueError(
            f"{settings.inverse_dynamics} must be an inverse dynamics, got {type(inverse_dynamics).__name__}"
        )
    kind, widths = TRANSLATORS[settings.model], [settings.hidden_width] * 2
    if robot.make().action_space.shape != (inverse_dynamics.action_dim,):
        raise ValueError(
            f"rounds send the source's actions to the target as they are at first, but the source's have width "
            f"{inverse_dynamics.action_dim}, the target's {robot.make().action_space.shape}"
        )
    learn = matching(
        lambda: _flow(settings, kind(inverse_dynamics.action_dim, inverse_dynamics.obs_dim, widths)),
        lambda episodes: relabel(transitions(episodes), inverse_dynamics),
        FitSettings(num_updates=settings.updates),
        pairs,
    )
    return aggregate(
        learn,
        load_source(settings.policy, settings.vecnormalize).act(),
        robot.make,
        Rounds(settings.rounds, settings.episodes_per_round),
        first_seed=1_500 + 1_000 * settings.seed,
        rng=np.random.default_rng([settings.seed, 1]),
        generator=generator,
        folder=partial,
        name=settings.model,
    ).translator


def _translator(settings: TrainSettings, data: ActionPairDataset) -> nn.Module:
    widths = [settings.hidden_width] * 2
    source_dim, target_dim = data.source_actions.shape[1], data.target_actions.shape[1]
    kind = TRANSLATORS[settings.model]
    model: nn.Module = _flow(settings, kind(target_dim, data.obs.shape[1], widths, source_dim))
    return model


def _flow(settings: TrainSettings, model: Any) -> Any:
    """A new model, with a flow that learns its average velocity where that is wanted."""
    return model.with_flow(AverageVelocityModel.like(model.flow)) if settings.average_velocity else model


def _inputs(settings: TrainSettings) -> dict[str, str]:
    """Digests of the data and models that a training depends on; data that are named by an id are not looked at."""
    found = {str(path): digest(path) for path in settings.data}
    if settings.teacher is not None:
        found["teacher"] = digest(settings.teacher)
    if settings.inverse_dynamics is not None:
        found["inverse_dynamics"] = digest(settings.inverse_dynamics)
    return found if settings.policy is None else found | source_digests(settings.policy, settings.vecnormalize)
