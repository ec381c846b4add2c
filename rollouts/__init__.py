"""From data to claims: episodes, pairing, experts, evaluation, plots, videos and the command line."""

import generative_policies.envs  # noqa: F401  # first: it imports MuJoCo also where OpenGL is missing
from generative_policies.rollouts.bodies import Matched, played_on_another_body, task_cycle_error
from generative_policies.rollouts.collection import PhysicsEpisodes, collect_random
from generative_policies.rollouts.episodes import (
    Act,
    Episode,
    EpisodeContext,
    random_act,
    run_episodes,
    source_act,
    transitions,
    translated_act,
)
from generative_policies.rollouts.evaluation import ArmResult, evaluate_arm, recovered
from generative_policies.rollouts.experts import load_expert
from generative_policies.rollouts.pairing import Steps, relabel

__all__ = [
    "Act",
    "ArmResult",
    "Episode",
    "EpisodeContext",
    "Matched",
    "PhysicsEpisodes",
    "Steps",
    "collect_random",
    "evaluate_arm",
    "load_expert",
    "played_on_another_body",
    "random_act",
    "recovered",
    "relabel",
    "run_episodes",
    "source_act",
    "task_cycle_error",
    "transitions",
    "translated_act",
]
