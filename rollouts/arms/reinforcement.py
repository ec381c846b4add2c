"""Arms that see the target's reward: SAC from scratch, and as a correction of the source policy."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor

from generative_policies.action_translation import MlpActionTranslator
from generative_policies.policies import TranslatedPolicy
from generative_policies.rollouts.aggregation import Rounds
from generative_policies.rollouts.arms.matching import train_linear
from generative_policies.rollouts.arms.study import Study
from generative_policies.rollouts.arms.task import Trained
from generative_policies.rollouts.episodes import MakeEnv, count_steps, run_episodes, source_act
from generative_policies.wrappers import ResidualActionWrapper, vec_env

NUM_ENVS = 8
SCALE = 0.3  # of half the action range, the largest correction
CURVE_EPISODES = 20
FEW = Rounds(count=4, episodes=1, noise=(0.15, 0.3))  # that the linear translator learns from


def sac_from_scratch(study: Study) -> Trained:
    """Train SAC for as many target steps as the other arms learn from."""
    make = study.task.target.make
    model, curve = _learn(study, DummyVecEnv([make] * NUM_ENVS), lambda env: env, used=0)
    return Trained(make, source_act(model.policy), {"target_steps": study.target_steps, "curve": curve})


def residual_sac(study: Study) -> Trained:
    """Correct the translated source policy by SAC; the translator's few episodes are among the target steps."""
    few = Study(
        replace(study.task, rounds=FEW.count, episodes_per_round=FEW.episodes, noise=FEW.noise),
        study.folder,
        study.num_envs,
        study.source_models,
    )
    found = train_linear(few)
    return _residual(study, found.translator, count_steps(found.episodes))


def residual_sac_untranslated(study: Study) -> Trained:
    """Correct the source policy as it is by SAC."""
    return _residual(study, MlpActionTranslator(study.action_dim, study.obs_dim), 0)


def check(study: Study) -> None:
    """Check that the source policy can be corrected.

    Raises:
        ValueError: If it needs VecNormalize statistics.
    """
    if study.policy.statistics is not None:
        raise ValueError("a policy with VecNormalize statistics cannot be corrected: the correction does not see them")


def _residual(study: Study, translator: Any, used: int) -> Trained:
    check(study)
    target = study.task.target.make()
    policy = TranslatedPolicy(
        target.observation_space,
        target.action_space,
        study.policy.policy,
        translator,
        study.task.source_observation,
    )
    wrap = partial(ResidualActionWrapper, policy=policy, scale=SCALE)
    make = study.task.target.make
    venv = vec_env.ResidualActionWrapper(DummyVecEnv([make] * NUM_ENVS), policy, SCALE)
    model, curve = _learn(study, venv, wrap, used)
    details = {"target_steps": study.target_steps, "translator_steps": used, "curve": curve}
    return Trained(lambda: wrap(make()), source_act(model.policy), details)


def _learn(
    study: Study, venv: VecEnv, wrap: Callable[[gymnasium.Env[Any, Any]], gymnasium.Env[Any, Any]], used: int
) -> tuple[SAC, list[list[float]]]:
    """Train SAC for the target steps that are left, one gradient step an env step."""
    steps = study.target_steps - used
    if steps < 1:
        raise ValueError(f"target_steps must be more than the translator's {used}, got {study.target_steps}")
    model = SAC(
        "MlpPolicy",
        VecMonitor(venv),
        learning_rate=1e-3,
        train_freq=1,
        gradient_steps=NUM_ENVS,
        learning_starts=min(3_000, steps // 4),
        policy_kwargs={"net_arch": [128, 128]},
        seed=study.task.seed,
        device="cpu",
    )
    envs = model.get_env()
    assert envs is not None  # it was given one
    envs.seed(study.first_target_seed)  # the constructor's are those of tuning
    make = study.task.target.make
    curve = _Curve(study, lambda: wrap(make()), used)
    model.learn(steps, callback=curve)
    return model, curve.points


class _Curve(BaseCallback):
    """Evaluates along a training, on seeds for tuning; nothing is chosen by it."""

    def __init__(self, study: Study, make: MakeEnv, used: int) -> None:
        super().__init__()
        self.make, self.used = make, used
        self.interval = study.task.curve_steps
        self.points: list[list[float]] = []

    def _on_training_start(self) -> None:
        if self.interval:
            self._evaluate()

    def _on_step(self) -> bool:
        if self.interval and self.num_timesteps >= len(self.points) * self.interval:
            self._evaluate()
        return True

    def _evaluate(self) -> None:
        model: Any = self.model
        episodes = run_episodes(self.make, source_act(model.policy), range(CURVE_EPISODES))
        model.policy.set_training_mode(False)
        scores = [episode.total_reward if episode.success is None else episode.success for episode in episodes]
        self.points.append([self.used + self.num_timesteps, float(np.mean(scores))])
