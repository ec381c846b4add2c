"""Running an arm: train it where it learns, evaluate it on the test seeds."""

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from generative_policies.checkpoints import load
from generative_policies.envs import ExactDynamics
from generative_policies.policies import source_values
from generative_policies.rollouts.aggregation import share_outside
from generative_policies.rollouts.arms import guided, identified, matching, references, reinforcement
from generative_policies.rollouts.arms.matching import TRANSLATORS
from generative_policies.rollouts.arms.study import Study
from generative_policies.rollouts.arms.task import ArmTask, Trained
from generative_policies.rollouts.arms.translated import translated_env
from generative_policies.rollouts.bodies import check_bodies
from generative_policies.rollouts.episodes import Act, Episode, MakeEnv, run_episodes
from generative_policies.rollouts.provenance import versions

UNTRAINED = ("random", "source", "untranslated", "exact")
ARMS: dict[str, Callable[[Study], Trained]] = {
    "random": references.random,
    "source": references.source,
    "untranslated": references.untranslated,
    "exact": references.exact,
    "linear": matching.linear,
    **{name: partial(matching.matched, name) for name in TRANSLATORS},
    "composed": matching.composed,
    "composed_simulator": matching.composed_simulator,
    "multi_step": guided.multi_step,
    "identified": identified.identified,
    **guided.VALUE_GUIDED,
    "behavior_cloning": matching.behavior_cloning,
    "identified_ppo": identified.identified_ppo,
    "residual_sac": reinforcement.residual_sac,
    "residual_sac_untranslated": reinforcement.residual_sac_untranslated,
    "sac_from_scratch": reinforcement.sac_from_scratch,
}
"""Each arm by its name, in the order of tables."""

# Arms for robots of different bodies, and those that need as many motors on both.
ACROSS_BODIES = ("random", "source", *TRANSLATORS, "sac_from_scratch")
SAME_MOTORS = (
    "untranslated",
    "multi_step",
    *guided.VALUE_GUIDED,
    "identified",
    "identified_ppo",
    "residual_sac_untranslated",
)

MATCHING_ARMS = (*UNTRAINED, *TRANSLATORS, "behavior_cloning")
"""Those that need neither reward nor critic nor a simulator of the target, beside the references."""


def run_arm(task: ArmTask, models: str, num_envs: int, source_models: str | None = None) -> dict[str, Any]:
    """Train an arm where it learns, evaluate it on the test seeds, and return its figures for JSON.

    Args:
        task: The arm.
        models: Folder of trained models and finished rounds; models of the source that stand there are used.
        num_envs: Envs in step; the result does not depend on it.
        source_models: Folder of models of the source, which others may share; ``models`` by default.

    Raises:
        ValueError: If there is no such arm.
    """
    shared = None if source_models is None else Path(source_models)
    return train_and_evaluate(task, Path(models), num_envs, shared)[0]


def train_and_evaluate(
    task: ArmTask, models: Path, num_envs: int, source_models: Path | None = None
) -> tuple[dict[str, Any], list[Episode]]:
    """Return what ``run_arm`` does, beside the test episodes.

    Args:
        task: As there.
        models: As there.
        num_envs: As there.
        source_models: As there.
    """
    if task.arm not in ARMS:
        raise ValueError(f"arm must be one of {', '.join(ARMS)}; got {task.arm!r}")
    torch.set_num_threads(1)
    study = Study(task, models, num_envs, source_models)
    started = time.perf_counter()
    trained = ARMS[task.arm](study)
    training_seconds = time.perf_counter() - started - study.source_seconds
    seeds = range(task.first_seed, task.first_seed + task.episodes)
    episodes = run_episodes(trained.make, trained.act, seeds, num_envs=num_envs)
    details = dict(trained.details)
    if trained.episodes and task.source_observation is None:
        seen = np.concatenate([episode.observations[:-1] for episode in episodes])
        details["outside"] = share_outside(trained.episodes, seen)
    result = {
        "arm": task.arm,
        "seed": task.seed,
        **_figures(episodes),
        **details,
        "training_seconds": training_seconds,
        "task": asdict(task),
        "fingerprint": task.fingerprint(),
        "versions": versions(),
    }
    return result, episodes


def why_not(arm: str, study: Study) -> str | None:
    """Return why an arm cannot be there for these robots and this policy, ``None`` where it can."""
    same_motors = study.source_action_dim == study.action_dim
    if study.other_body and arm not in ACROSS_BODIES:
        return f"across bodies there are {', '.join(ACROSS_BODIES)}"
    if not same_motors and arm in SAME_MOTORS:
        return f"the source takes actions of width {study.source_action_dim}, the target of {study.action_dim}"
    try:
        if arm == "exact":
            references.exact(study).make()
        elif arm in guided.VALUE_GUIDED:
            source_values(study.policy.policy, study.policy.observe())
        elif arm in ("composed_simulator", "identified", "identified_ppo"):
            sizes = [ExactDynamics(robot.make()).state_size for robot in (study.task.source, study.task.target)]
            if sizes[0] != sizes[1]:
                return f"the source's physics states have {sizes[0]} entries, the target's {sizes[1]}"
            identified.check(arm, study)
        elif study.other_body and arm in TRANSLATORS:
            check_bodies(study.task.source.make(), study.task.target.make())
        elif arm in ("residual_sac", "residual_sac_untranslated"):
            reinforcement.check(study)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


def wrap_for_video(task: ArmTask, models: Path) -> tuple[MakeEnv, Act] | None:
    """Return a rendering env and the policy in it, for arms that need no training beyond their saved translator."""
    policy = task.load_source()
    source = policy.act()
    if task.arm == "source":
        return partial(task.source.make, "rgb_array"), source
    if task.arm == "untranslated":
        return partial(task.target.make, "rgb_array"), source
    saved = models / f"{task.arm}-{task.seed}"
    if saved.is_dir():
        return partial(translated_env, task, load(saved), policy, "rgb_array"), source
    return None


def _figures(episodes: list[Episode]) -> dict[str, Any]:
    successes = [episode.success for episode in episodes]
    return {
        "reset_seeds": [episode.seed for episode in episodes],
        "returns": [episode.total_reward for episode in episodes],
        "lengths": [len(episode.actions) for episode in episodes],
        "successes": None if None in successes else [bool(success) for success in successes],
    }
