"""The arms of a comparison: how each is trained on a target, and evaluated there."""

from generative_policies.rollouts.arms.matching import TRANSLATORS, train_by_matching, train_linear
from generative_policies.rollouts.arms.run import (
    ARMS,
    MATCHING_ARMS,
    UNTRAINED,
    run_arm,
    train_and_evaluate,
    why_not,
    wrap_for_video,
)
from generative_policies.rollouts.arms.study import Study
from generative_policies.rollouts.arms.task import ArmTask, Trained

__all__ = [
    "ARMS",
    "MATCHING_ARMS",
    "TRANSLATORS",
    "UNTRAINED",
    "ArmTask",
    "Study",
    "Trained",
    "run_arm",
    "train_and_evaluate",
    "train_by_matching",
    "train_linear",
    "why_not",
    "wrap_for_video",
]
