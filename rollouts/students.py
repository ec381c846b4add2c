"""Students of what is recorded on disk: the teacher's folder, and the conditions that a dataset holds for it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from generative_policies.action_translation import ActionTranslator
from generative_policies.checkpoints import CONFIG_FILE, load, read_config, read_whole, save
from generative_policies.data import ActionPairDataset, Demonstrations, EpisodicDataset, TransitionDataset
from generative_policies.policies import FlowPolicy, load_policy, save_policy
from generative_policies.policies.demonstration_batches import Batches, observations_of
from generative_policies.rollouts.commands.pair import read_pairs
from generative_policies.rollouts.episodes import transitions
from generative_policies.rollouts.minari_datasets import read_dataset
from generative_policies.training import DistillationSettings, distill, reflow

Method = Literal["distill", "reflow"]


def read_teacher(path: Path) -> nn.Module:
    """Return the model or the policy of a folder.

    Raises:
        CheckpointError: If it holds neither.
    """
    is_policy = "policy" in read_whole(path, lambda folder: read_config(folder / CONFIG_FILE))
    model: nn.Module = load_policy(path) if is_policy else load(path)
    return model


def conditions_of(teacher: nn.Module, data: Sequence[Path]) -> EpisodicDataset | Mapping[str, Any]:
    """Return what a teacher is asked about: the conditions in recorded data.

    Args:
        teacher: A translator, for datasets of the command pair; a policy, an inverse dynamics or a planner, for
            recorded ones.
        data: The datasets.

    Raises:
        DatasetError: If data are missing, foreign or empty.
        ValueError: If they do not fit the teacher.
    """
    if isinstance(teacher, ActionTranslator):
        return ActionPairDataset.concatenate([read_pairs(path) for path in data])
    episodes = [episode for path in data for episode in read_dataset(path)]
    if not isinstance(teacher, FlowPolicy):
        return TransitionDataset.concatenate([transitions(episodes)])
    demonstrations = Demonstrations.from_episodes(episodes, teacher.observation_space, teacher.action_space)
    observations_of(demonstrations, teacher.observation_space)  # refuses those of another robot
    batches = Batches(demonstrations, teacher, teacher.device)
    return {"observations": batches.batch(torch.arange(len(batches)))[0]}


def train_student(
    teacher: nn.Module,
    conditions: EpisodicDataset | Mapping[str, Any],
    method: Method,
    num_steps: int,
    settings: DistillationSettings,
    generator: torch.Generator,
    state: Path,
) -> tuple[nn.Module, dict[str, float]]:
    """Return a student, and the losses at the end of its training, which goes on from the state's file."""
    figures: dict[str, float] = {}

    def log(update: int, values: Mapping[str, float]) -> None:
        figures.update(values)

    if method == "reflow":
        student = reflow(teacher, conditions, settings, generator=generator, log=log, progress="reflow", state=state)
    else:
        student = distill(
            teacher, conditions, num_steps, settings, generator=generator, log=log, progress="distill", state=state
        )
    return student, {"train_loss": figures["train/loss"], "validation_loss": figures["validation/loss"]}


def save_student(student: nn.Module, path: Path) -> None:
    """Write a student as its teacher was written."""
    if isinstance(student, FlowPolicy):
        save_policy(student, path)
    else:
        save(student, path)
