"""The source's arm, the target's, and a translator between the two."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy

from benchmarks.real_time_loop.deadlines import PERIOD
from generative_policies.action_translation import ActionTranslator, FlowActionPriorConditionedTranslator
from generative_policies.data import ActionPairDataset
from generative_policies.envs import control_period, make_env
from generative_policies.export import OnnxModel, export_onnx
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.models import ResidualMlp
from generative_policies.rollouts import Episode, source_act, transitions
from generative_policies.rollouts.aggregation import Round, Rounds, aggregate, learn_model, matching
from generative_policies.rollouts.bodies import played_on_another_body
from generative_policies.rollouts.episodes import EpisodeContext, random_act
from generative_policies.rollouts.pairing import ask_learned
from generative_policies.training import DistillationSettings, FitSettings, distill

EPISODE = 2.5  # [s]
TASK_DIM = 8  # leading entries of an arm's observation that the expert sees
MATCH_NOISE = 0.2  # on the source actions that are learned from, in units of half their range


def make_arm(links: int, *, fast: bool = False) -> gymnasium.Env[Any, Any]:
    """Make the source's arm, of two links, or the target's, of three links and mirrored motors.

    Args:
        links: Two or three.
        fast: Whether timestep and control period are 1 ms; else they are those that the expert was trained with.
    """
    mirrored = (0, 1, 2) if links == 3 else None
    env = make_env(
        f"generative_policies/ArmReach{links}-v0",
        motors=mirrored,
        motor_signs=None if mirrored is None else (-1, -1, -1),
        proprioception=links == 3,  # the expert sees the task part alone
        max_episode_steps=round(EPISODE * 1e9 / PERIOD) if fast else None,
        disable_env_checker=True,
    )
    if fast:
        arm: Any = env.unwrapped
        arm.model.opt.timestep, arm.frame_skip = 1e-9 * PERIOD, 1
        assert np.isclose(control_period(env), 1e-9 * PERIOD)
    return env


def train(expert: BasePolicy, rounds: int, episodes: int, updates: int, seed: int) -> ActionTranslator:
    """Train a translator of one step for the target, without the target's reward.

    Its teacher, a flow of four steps, learns from pairs of actions: the source's, played on its own body from states
    that correspond to the target's, and the target's that an inverse dynamics gives for the same step of the finger.

    Args:
        expert: The source policy.
        rounds: Rounds of collecting on the target and of training the teacher.
        episodes: Episodes of a round.
        updates: Gradient steps of each training; the student takes twice as many.
        seed: Of everything.
    """
    source_space: Any = expert.action_space
    target = make_arm(3)
    target_space: Any = target.action_space
    at_home = source_act(expert)

    def source(observations: NDArray[Any], contexts: Sequence[EpisodeContext]) -> NDArray[Any]:
        return at_home(observations[:, :TASK_DIM], contexts)

    pairs: list[ActionPairDataset] = []

    def learn(current: Round) -> ActionTranslator:
        steps = transitions(current.episodes)
        inverse_dynamics: MlpInverseDynamics = learn_model(
            lambda: MlpInverseDynamics(3, steps.obs.shape[1], (64, 64), TASK_DIM),
            replace(steps, next_obs=steps.next_obs[:, :TASK_DIM]),
            updates,
            current.generator,
            current.progress,
        )

        def label(collected: Sequence[Episode]) -> ActionPairDataset:
            rng = np.random.default_rng([seed, len(collected)])
            actions = source(steps.obs, [EpisodeContext(0, rng)] * len(steps))
            scale = MATCH_NOISE * (source_space.high - source_space.low) / 2
            asked = actions + scale * rng.standard_normal(actions.shape)
            found = played_on_another_body(collected, asked, make_arm(2), target)
            answers = np.clip(ask_learned(inverse_dynamics)(found.steps), target_space.low, target_space.high)
            labelled = ActionPairDataset(
                episodes=steps.episodes, obs=steps.obs, source_actions=found.steps.actions, target_actions=answers
            )
            pairs.append(labelled.select(found.reachable))
            return pairs[-1]

        def build() -> ActionTranslator:
            width = steps.obs.shape[1]
            return FlowActionPriorConditionedTranslator(3, width, (64, 64), source_action_dim=2, num_steps=4)

        return matching(build, label, FitSettings(num_updates=updates))(current)

    generator = torch.Generator().manual_seed(seed)
    teacher = aggregate(
        learn,
        source,
        lambda: make_arm(3),
        Rounds(rounds, episodes),
        first_seed=1_000 * (seed + 1),
        rng=np.random.default_rng(seed),
        generator=generator,
        start=random_act(target_space),
        record_states=True,
        name="teacher",
    ).translator
    student = distill(
        teacher,
        pairs[-1],
        num_steps=1,
        settings=DistillationSettings(num_updates=2 * updates, num_samples=20 * updates),
        generator=generator,
        network=ResidualMlp(3, teacher.obs_dim + 2, (64, 64)),
        progress="student",
    )
    return student.eval()


def exported(translator: ActionTranslator) -> ActionTranslator:
    """Return a translator that runs in ONNX Runtime."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "translator.onnx"
        export_onnx(translator, file)
        found: ActionTranslator = OnnxModel.load(file)
    return found
