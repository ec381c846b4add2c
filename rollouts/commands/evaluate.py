"""Evaluating a policy on a robot, translated or not, as a command."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from generative_policies.export import load_model
from generative_policies.rollouts.episodes import random_act
from generative_policies.rollouts.evaluation import evaluate_arm
from generative_policies.rollouts.provenance import digest, read_json, same_settings, write_json
from generative_policies.rollouts.robots import Robot
from generative_policies.rollouts.run_lock import run_lock
from generative_policies.rollouts.source_policies import load_source, source_digests
from generative_policies.wrappers import ActionTranslationWrapper


@dataclass(frozen=True)
class EvaluateSettings:
    """Evaluate a policy on a robot: success and return with intervals, an entry an episode in a JSON."""

    env: Annotated[str, tyro.conf.arg(metavar="ID")] = "Pusher-v5"
    """Gymnasium id of the robot, or module:id."""
    shift: str | None = None
    """Shift of its dynamics: a name such as P1, or JSON such as '{"gear": 0.7}'."""
    policy: str = "Pusher-v5"
    """A shipped expert's name, a saved policy's folder, a zip of SB3, or "random"."""
    vecnormalize: Path | None = None
    """VecNormalize statistics that the policy was trained with."""
    translator: Path | None = None
    """Folder or ONNX file of a translator that the policy's actions go through."""
    episodes: int = 100
    """Number of episodes."""
    seed: int = 10_000
    """Reset seed of the first one; the following ones count on."""
    num_envs: int = 16
    """Envs in step; the result does not depend on it."""
    output: Path = Path("runs/evaluation.json")
    """The JSON."""

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.policy == "random" and (self.translator is not None or self.vecnormalize is not None):
            raise ValueError("random actions take neither a translator nor statistics")
        if self.episodes < 1 or self.num_envs < 1 or self.seed < 0:
            raise ValueError(
                f"expected an episode, an env and a seed, got {self.episodes}, {self.num_envs}, {self.seed}"
            )


def evaluate(settings: EvaluateSettings) -> dict[str, Any]:
    """Evaluate a policy.

    Args:
        settings: Robot, policy, translator and episodes.

    Returns:
        The figures, as of ``ArmResult.report``, written with settings and versions to the output.

    Raises:
        FileExistsError: If the output is there already, with other settings.
        ValueError: If policy, translator and robot do not fit.
        RunInUseError: If another process writes the output.
    """
    torch.set_num_threads(1)
    with run_lock(settings.output.parent, settings.output.name):
        return _evaluate(settings)


def _evaluate(settings: EvaluateSettings) -> dict[str, Any]:
    robot = Robot(settings.env, settings.shift)
    robot.check()
    inputs = {} if settings.policy == "random" else source_digests(settings.policy, settings.vecnormalize)
    if settings.translator is not None:
        inputs["translator"] = digest(settings.translator)
    if settings.output.exists():
        if not same_settings(settings.output, settings, ("output", "num_envs"), inputs):
            raise FileExistsError(f"{settings.output} exists with other settings; remove it or choose another output")
        print(f"{settings.output} is complete")
        return read_json(settings.output)
    make: Any = robot.make
    if settings.policy == "random":
        act = random_act(robot.make().action_space)
    else:
        source = load_source(settings.policy, settings.vecnormalize)
        act = source.act()
        if settings.translator is not None:
            translator = load_model(settings.translator)
            source_space: Any = source.policy.action_space  # the wrapper checks that it is a Box

            def make() -> ActionTranslationWrapper:
                return ActionTranslationWrapper(robot.make(), translator, source_space)

        elif source.policy.action_space.shape != robot.make().action_space.shape:
            raise ValueError(f"the policy gives actions of shape {source.policy.action_space.shape}: pass a translator")
    seeds = range(settings.seed, settings.seed + settings.episodes)
    result = evaluate_arm(make, act, seeds, num_envs=settings.num_envs, progress="evaluate")
    report = result.report(None, np.random.default_rng(0))
    write_json(settings.output, settings, {"reset_seeds": list(seeds), "inputs": inputs, **report})
    low, high = report["interquartile_mean_interval"]
    success = ""
    if report["success_rate"] is not None:
        success = "success {:.2f} [{:.2f}, {:.2f}], ".format(report["success_rate"], *report["success_interval"])
    print(f"{success}interquartile mean return {report['interquartile_mean']:.1f} [{low:.1f}, {high:.1f}]")
    return report
