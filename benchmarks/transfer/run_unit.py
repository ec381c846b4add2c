"""One unit: an arm, trained and evaluated on a target, in a process of its own."""

from pathlib import Path
from typing import Any

import numpy as np

from generative_policies.rollouts.arms import ArmTask, train_and_evaluate
from generative_policies.rollouts.episodes import Episode

FINGERTIP, GOAL, REACHED = slice(14, 17), slice(20, 23), 0.1  # of Pusher's observation [m]


def run_unit(task: ArmTask, models: str, source_models: str) -> dict[str, Any]:
    """Train and evaluate an arm, and return its figures for JSON."""
    result, episodes = train_and_evaluate(task, Path(models), 16, Path(source_models))
    if task.target.env_id == "Pusher-v5":
        result["fingertip_successes"] = [fingertip_success(episode) for episode in episodes]
    del result["reset_seeds"]  # they count on from first_seed
    return result | {"returns": [round(value, 3) for value in result["returns"]]}


def fingertip_success(episode: Episode) -> bool:
    """Return whether Pusher's fingertip came near the goal, which was published as success."""
    distances = np.linalg.norm(episode.observations[1:, FINGERTIP] - episode.observations[1:, GOAL], axis=1)
    return bool(distances.min() < REACHED)
