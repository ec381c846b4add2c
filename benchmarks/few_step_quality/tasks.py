"""What is sampled: a grid of sixteen modes, a mixture that moves with its condition, a robot's actions."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.conditional_mixture import COND_DIM, TARGET_DIM, ConditionalMixture, QualityTest
from benchmarks.few_step_quality.methods import Budget, microseconds, train_all
from benchmarks.transfer.rows import Row
from benchmarks.transfer.targets import TARGETS
from generative_policies.action_translation import FlowActionTranslator
from generative_policies.data import EpisodicDataset
from generative_policies.models import ConditionalFlowModel, ResidualMlp
from generative_policies.models.experiments.distributions import GRID
from generative_policies.models.experiments.sample_quality import judge
from generative_policies.rollouts.arms.matching import labelled, train_by_matching
from generative_policies.rollouts.arms.references import source, untranslated
from generative_policies.rollouts.arms.study import Study
from generative_policies.rollouts.arms.task import ArmTask
from generative_policies.rollouts.arms.translated import translated_env
from generative_policies.rollouts.episodes import Act, MakeEnv, run_episodes
from generative_policies.training import FitSettings, fit, initial_weights

Figures = list[dict[str, Any]]
STEPS = (100, 10, 4, 2, 1)


@dataclass(frozen=True)
class Sizes:
    """Sizes of a task.

    Attributes:
        budget: Of the methods.
        teacher_updates: Gradient steps of the teacher.
        rows: Of the data that are drawn once.
        samples: Samples behind a figure.
        draws: Draws of the conditional task's test.
        episodes: Test episodes of the robot.
        short: Whether the robot's translator is trained for no time, to see that everything runs.
    """

    budget: Budget = field(default_factory=Budget)
    teacher_updates: int = 15_000
    rows: int = 100_000
    samples: int = 2_000
    draws: int = 20
    episodes: int = 100
    short: bool = False


@dataclass(frozen=True)
class Targets(EpisodicDataset):
    """Samples of a distribution, each an episode."""

    target: NDArray[Any]


@dataclass(frozen=True)
class Pairs(EpisodicDataset):
    """Samples with their conditions, each an episode."""

    target: NDArray[Any]
    condition: NDArray[Any]


def grid(seed: int, sizes: Sizes, models: Path) -> Figures:
    """Sixteen Gaussians in the plane: energy distance, sliced Wasserstein-2, modes covered, spread within a mode."""
    rng = np.random.default_rng(seed)
    data = Targets(np.arange(sizes.rows), GRID.draw(sizes.rows, rng).astype(np.float32))
    teacher = _teacher(
        lambda: ConditionalFlowModel(2, network=ResidualMlp(2, 0, (128, 128, 128))), data, seed, sizes, "grid"
    )
    found: Figures = []
    noise = np.random.default_rng([seed, 1]).standard_normal((sizes.samples, 2)).astype(np.float32)
    for method, trained in train_all(teacher, STEPS, None, data, sizes.budget, seed, "grid").items():
        for num_steps in trained.steps:
            predict = partial(trained.model.predict, num_steps=num_steps)
            table, _ = judge(predict(noise=noise).astype(np.float64), GRID, np.random.default_rng([seed, 2]))
            figures: dict[str, Any] = dict(table["samples"])
            figures["real versus real"] = table["real versus real, 99 %"]["energy distance"]
            speed = {"microseconds": microseconds(partial(predict, noise=noise[0]))}
            found.append(_row("grid", seed, method, num_steps, figures | speed, trained.seconds))
    return found


def conditional(seed: int, sizes: Sizes, models: Path) -> Figures:
    """A mixture of two modes in seven dimensions whose centres move with a condition of 64 numbers."""
    mixture, rng = ConditionalMixture(), np.random.default_rng(seed)
    conditions = mixture.conditions(sizes.rows, rng)
    data = Pairs(np.arange(sizes.rows), mixture.samples(conditions, rng), conditions)
    teacher = _teacher(lambda: ConditionalFlowModel(TARGET_DIM, COND_DIM), data, seed, sizes, "conditional")
    test = QualityTest(n=sizes.samples, draws=sizes.draws)
    chance = test.chance()
    asked = {"condition": mixture.conditions(sizes.rows, rng)}
    found: Figures = []
    for method, trained in train_all(teacher, STEPS, asked, data, sizes.budget, seed, "conditional").items():
        for num_steps in trained.steps:
            predict = partial(trained.model.predict, num_steps=num_steps)
            figures: dict[str, Any] = asdict(test.measure(partial(_in_chunks, predict)))
            figures["real versus real"] = chance.energy_distance.quantile_99
            one = partial(predict, condition=conditions[0], noise=np.zeros(TARGET_DIM, np.float32))
            figures["microseconds"] = microseconds(one)
            found.append(_row("conditional", seed, method, num_steps, figures, trained.seconds))
    return found


def robot(seed: int, sizes: Sizes, models: Path) -> Figures:
    """HalfCheetah with gears of 1.4: return that translators recover, trained by matching without reward."""
    target = TARGETS["half_cheetah-strong"]
    task = target.task(Row("flow_conditioned"), seed, sizes.episodes)
    if sizes.short:
        task = replace(task, rounds=1, episodes_per_round=2, updates=20, source_episodes=4, inverse_dynamics_updates=20)
    study = Study(task, models / "robot", source_models=models / "source")
    collected = train_by_matching(study, "flow_conditioned")
    translator = collected.translator
    assert isinstance(translator, FlowActionTranslator)
    pairs = labelled(study, collected.episodes)
    found: Figures = []
    references = {name: _returns(task, arm(study).make, study.at_home) for name, arm in REFERENCES.items()}
    floor, ceiling = (float(np.mean(references[name])) for name in ("untranslated", "source"))
    found += [_row("robot", seed, name, 0, {"returns": returns}, 0.0) for name, returns in references.items()]
    teacher = translator.with_flow(translator.flow, num_steps=10).eval()
    for method, trained in train_all(teacher, (10, 4, 1), pairs, pairs, sizes.budget, seed, "robot").items():
        for num_steps in trained.steps:
            model = trained.model.with_flow(trained.model.flow, num_steps=num_steps).eval()
            returns = _returns(task, partial(translated_env, task, model, study.policy), study.at_home)
            obs, action = (array[0].astype(np.float32) for array in (pairs.obs, pairs.source_actions))
            figures = {
                "returns": returns,
                "recovered": (float(np.mean(returns)) - floor) / (ceiling - floor),
                "microseconds": microseconds(partial(model.predict, obs, action, noise=np.zeros_like(action))),
            }
            found.append(_row("robot", seed, method, num_steps, figures, trained.seconds))
    return found


REFERENCES = {"source": source, "untranslated": untranslated}
TASKS: dict[str, Callable[[int, Sizes, Path], Figures]] = {"grid": grid, "conditional": conditional, "robot": robot}


def _teacher(
    build: Callable[[], ConditionalFlowModel], data: EpisodicDataset, seed: int, sizes: Sizes, name: str
) -> ConditionalFlowModel:
    generator = torch.Generator().manual_seed(seed)
    with initial_weights(generator):
        model = build()
    settings = FitSettings(num_updates=sizes.teacher_updates, validation_fraction=0.02)
    fit(model, data, settings, generator=generator, progress=f"{name}, teacher")
    return model.eval()


def _in_chunks(
    predict: Callable[..., Any], condition: NDArray[np.float32], noise: NDArray[np.float32], rows: int = 2_000
) -> NDArray[np.float32]:
    parts = [
        predict(condition=condition[start : start + rows], noise=noise[start : start + rows])
        for start in range(0, len(noise), rows)
    ]
    return np.concatenate(parts)


def _returns(task: ArmTask, make: MakeEnv, act: Act) -> list[float]:
    seeds = range(task.first_seed, task.first_seed + task.episodes)
    return [episode.total_reward for episode in run_episodes(make, act, seeds)]


def _row(task: str, seed: int, method: str, num_steps: int, figures: dict[str, Any], seconds: float) -> dict[str, Any]:
    return {
        "task": task,
        "seed": seed,
        "method": method,
        "num_steps": num_steps,
        "training_seconds": seconds,
        **figures,
    }
