"""Arms through a learned model of the target: multi-step matching, and the value of the source's critic."""

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from generative_policies.action_translation import ActionTranslator
from generative_policies.forward_dynamics import MlpForwardDynamics
from generative_policies.policies import source_actions, source_values
from generative_policies.rollouts.aggregation import Learn, Round
from generative_policies.rollouts.arms.matching import TRANSLATORS, in_rounds
from generative_policies.rollouts.arms.source_reward import predicted_reward
from generative_policies.rollouts.arms.study import Study
from generative_policies.rollouts.arms.task import Trained
from generative_policies.rollouts.arms.translated import translated
from generative_policies.rollouts.episodes import transitions
from generative_policies.training import FitSettings, GuidanceSettings, fit, guide, initial_weights


def multi_step(study: Study) -> Trained:
    """Match several steps of the source through both models."""
    settings = GuidanceSettings(num_updates=study.task.guide_updates, horizon=study.task.matching_steps)
    return translated(study, in_rounds(study, guided_by(study, "mlp", settings, with_value=False), "multi_step"))


def value_guided(name: str, settings: GuidanceSettings, with_reward: bool, study: Study) -> Trained:
    """Follow the source's value through the target's model, with the source's rewards on the way to it or without."""
    settings = replace(settings, num_updates=study.task.guide_updates)
    learn = guided_by(study, name, settings, with_value=True, with_reward=with_reward)
    return translated(study, in_rounds(study, learn, study.task.arm))


def no_shift(name: str, settings: GuidanceSettings, with_reward: bool, study: Study) -> Trained:
    """Do the same on the source itself: what of a value-guided gain is no translation but a better policy."""
    at_home = Study(replace(study.task, target=study.task.source), study.folder, study.num_envs, study.source_models)
    return value_guided(name, settings, with_reward, at_home)


def guided_by(
    study: Study, name: str, settings: GuidanceSettings, *, with_value: bool, with_reward: bool = False
) -> Learn:
    """Learn by ``guide``; each round tunes the source's model to the target, and goes on with the last translator."""
    if study.other_body or study.source_action_dim != study.action_dim:
        raise ValueError("models of both robots are followed on one observation: bodies and motors must be the same")
    policy = study.policy
    source_model = study.source_model
    statistics = study.home_statistics
    act = source_actions(policy.policy, policy.observe())
    value = source_values(policy.policy, policy.observe()) if with_value else None
    reward = study.source_reward if with_reward else None
    low, high = (torch.as_tensor(bound) for bound in study.target_bounds)

    def learn(current: Round) -> ActionTranslator:
        data = transitions(current.episodes)
        target_model: MlpForwardDynamics = copy.deepcopy(source_model)
        fit(
            target_model,
            data,
            FitSettings(num_updates=study.task.model_updates, validation_fraction=0.0),
            generator=current.generator,
            progress=current.progress,
            refit_normalizers=False,
        )
        translator = current.previous
        # The first round's states are those of the policy untranslated, where a value misleads: it matches alone.
        follows_value = value is not None and (current.previous is not None or study.rounds.count == 1)
        if translator is None:
            with initial_weights(current.generator):
                translator = TRANSLATORS[name](study.action_dim, study.obs_dim, study.widths)
            translator.fit_normalizers(*statistics)
        guide(
            translator,
            torch.as_tensor(data.obs.astype(np.float32)),
            target_model,
            source_model,
            act,
            (low, high),
            settings if follows_value or value is None else replace(settings, horizon=1),
            value=value if follows_value else None,
            reward=partial(predicted_reward, reward) if reward is not None and follows_value else None,
            generator=current.generator,
            progress=current.progress,
        )
        return translator

    return learn


# Each by the name of its translator, its settings, and whether the source's rewards count on the way to its value.
WAYS: dict[str, tuple[str, GuidanceSettings, bool]] = {
    "value_guided": ("mlp", GuidanceSettings(), False),
    "value_guided_hinge": ("mlp", GuidanceSettings(hinge=True), False),
    "value_guided_pessimistic": ("mlp", GuidanceSettings(pessimism=1.0), False),
    **{f"value_guided_{name}": (name, GuidanceSettings(), False) for name in TRANSLATORS if name != "mlp"},
    "value_expansion": ("mlp", GuidanceSettings(horizon=3), True),
}
VALUE_GUIDED: dict[str, Any] = {
    name: arm
    for way, arguments in WAYS.items()
    for name, arm in (
        (way, partial(value_guided, *arguments)),
        (f"{way}_no_shift", partial(no_shift, *arguments)),
    )
}
"""Arms that follow the source's value, each beside its control."""
