"""Arms that match steps, without reward or critic: translators of paired actions, and the composition of two models."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from generative_policies.action_translation import (
    ActionTranslator,
    ComposedActionTranslator,
    FlowActionConditionedTranslator,
    FlowActionPriorConditionedTranslator,
    FlowActionPriorTranslator,
    MlpActionTranslator,
)
from generative_policies.data import ActionPairDataset
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.policies import BehaviorCloning
from generative_policies.rollouts.aggregation import Aggregated, Learn, Round, aggregate, learn_model, matching
from generative_policies.rollouts.arms.study import Study
from generative_policies.rollouts.arms.task import Trained
from generative_policies.rollouts.arms.translated import simulated_composition, translated
from generative_policies.rollouts.bodies import played_on_another_body
from generative_policies.rollouts.episodes import (
    Episode,
    EpisodeContext,
    count_steps,
    random_act,
    source_act,
    transitions,
)
from generative_policies.rollouts.pairing import ask_learned, relabel
from generative_policies.training import FitSettings, fit_ridge

TRANSLATORS: dict[str, type[Any]] = {
    "mlp": MlpActionTranslator,
    "flow_prior": FlowActionPriorTranslator,
    "flow_conditioned": FlowActionConditionedTranslator,
    "flow_prior_conditioned": FlowActionPriorConditionedTranslator,
}
# Source actions are asked for around the policy's own, so that a translator knows more than a line through them.
MATCH_NOISE = 0.2  # in units of half the source's action range


def matched(name: str, study: Study) -> Trained:
    """Train a translator on paired actions, collected in rounds with the translator itself."""
    return translated(study, train_by_matching(study, name))


def linear(study: Study) -> Trained:
    """Solve for a linear translator: for a handful of episodes."""
    return translated(study, train_linear(study))


def composed(study: Study) -> Trained:
    """Ask the target's inverse dynamics for the next observation that the source's forward model predicts."""
    return translated(study, train_composed(study))


def composed_simulator(study: Study) -> Trained:
    """Ask the target's inverse dynamics for the next observation that the source's simulator gives."""
    found = train_composed(study)
    translator = found.translator
    assert isinstance(translator, ComposedActionTranslator)
    make = partial(simulated_composition, study.task.target.make, study.task.source.make, translator.inverse_dynamics)
    return Trained(make, study.at_home, {"target_steps": count_steps(found.episodes)}, found.episodes)


def behavior_cloning(study: Study) -> Trained:
    """Clone the target actions of the data that the MLP translator learns from."""
    found = train_by_matching(study, "mlp")
    model = BehaviorCloning(
        "MlpPolicy",
        study.task.target.make(),
        [(episode.observations[:-1], episode.actions) for episode in found.episodes if len(episode.actions) >= 2],
        policy_kwargs={"net_arch": study.widths},
        seed=study.task.seed,
        device="cpu",
    )
    act = source_act(model.learn(study.task.updates).policy)
    return Trained(study.task.target.make, act, {"target_steps": count_steps(found.episodes)}, found.episodes)


def train_by_matching(study: Study, name: str) -> Aggregated:
    """Train a translator by its name in ``TRANSLATORS``."""
    kind = TRANSLATORS[name]

    def build() -> ActionTranslator:
        translator: ActionTranslator = kind(
            study.action_dim, study.obs_dim, study.widths, source_action_dim=study.source_action_dim
        )
        return translator

    settings = FitSettings(num_updates=study.task.updates)
    if study.other_body:
        return in_rounds(study, _match_across_bodies(study, build, settings), name)
    return in_rounds(study, matching(build, partial(labelled, study), settings), name)


def train_linear(study: Study) -> Aggregated:
    """Solve for a linear translator of relabelled data; its features are standardised as those at home are.

    Raises:
        ValueError: If the bodies differ, so that the source's observations say nothing of the target's.
    """
    if study.other_body:
        raise ValueError("features are standardised as at home: both robots must have the same observations")
    inverse_dynamics = study.source_inverse_dynamics
    at_home = inverse_dynamics.observation_normalizer
    assert at_home is not None  # observations are vectors

    def learn(current: Round) -> ActionTranslator:
        translator = MlpActionTranslator(study.action_dim, study.obs_dim, (), study.source_action_dim)
        observation_encoder: Any = translator.observation_encoder
        observation_encoder.normalizer.load_state_dict(at_home.state_dict())
        same = translator.residual
        for normalizer in (translator.encoder.normalizer, *([translator.action_normalizer] if same else [])):
            normalizer.load_state_dict(inverse_dynamics.action_normalizer.state_dict())
        fit_ridge(translator, labelled(study, current.episodes))
        return translator

    return in_rounds(study, learn, "linear")


def train_composed(study: Study) -> Aggregated:
    """Train the target's inverse dynamics in rounds with the composed translator itself."""
    forward = study.source_model

    def learn(current: Round) -> ActionTranslator:
        inverse: MlpInverseDynamics = learn_model(
            lambda: MlpInverseDynamics(study.action_dim, study.obs_dim, study.widths),
            transitions(current.episodes),
            study.task.updates,
            current.generator,
            current.progress,
        )
        return ComposedActionTranslator(inverse, forward)

    return in_rounds(study, learn, "composed")


def in_rounds(study: Study, learn: Learn, name: str) -> Aggregated:
    """Collect on the target and learn, round by round."""
    # What the source's motors do is no guess at what others should.
    source, target = study.task.source, study.task.target
    rewired = (source.motors, source.motor_signs) != (target.motors, target.motor_signs)
    others = study.other_body or rewired or study.source_action_dim != study.action_dim
    return aggregate(
        learn,
        study.source,
        study.task.target.make,
        study.rounds,
        first_seed=study.first_target_seed,
        rng=study.rng(1),
        generator=study.generator(),
        start=random_act(study.task.target.make().action_space) if others else None,
        record_states=study.other_body,
        folder=study.kept,
        num_envs=study.num_envs,
        name=name,
    )


def labelled(study: Study, episodes: Sequence[Episode]) -> ActionPairDataset:
    """Return the target's steps with the source actions that make the same steps at home."""
    return relabel(transitions(episodes), study.source_inverse_dynamics, study.task.source_observation)


def _match_across_bodies(study: Study, build: Callable[[], ActionTranslator], settings: FitSettings) -> Learn:
    """Learn from source actions that were played on the source's own body, each round with a new inverse dynamics."""

    def learn(current: Round) -> ActionTranslator:
        steps = transitions(current.episodes)
        inverse: MlpInverseDynamics = learn_model(
            lambda: MlpInverseDynamics(study.action_dim, study.obs_dim, study.widths, study.task_dim),
            replace(steps, next_obs=steps.next_obs[:, : study.task_dim]),
            study.task.inverse_dynamics_updates,
            current.generator,
            current.progress,
        )

        def label(episodes: Sequence[Episode]) -> ActionPairDataset:
            actions = study.source(steps.obs, [EpisodeContext(0, np.random.default_rng(0))] * len(steps))
            rng = np.random.default_rng([study.task.seed, 2, len(episodes)])
            (low, high), bounds = study.source_bounds, study.target_bounds
            asked = actions + MATCH_NOISE * (high - low) / 2 * rng.standard_normal(actions.shape)
            found = played_on_another_body(episodes, asked, study.task.source.make(), study.task.target.make())
            pairs = ActionPairDataset(
                episodes=steps.episodes,
                obs=steps.obs,
                source_actions=found.steps.actions,
                target_actions=np.clip(ask_learned(inverse)(found.steps), *bounds),
            )
            return pairs.select(found.reachable)

        return matching(build, label, settings)(current)

    return learn
