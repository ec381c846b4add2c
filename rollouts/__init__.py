"""From data to claims: episodes, pairing, experts, evaluation, plots, videos and the command line."""

import generative_policies.envs  # noqa: F401  # first: it imports MuJoCo also where OpenGL is missing
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
from generative_policies.rollouts.pairing import relabel

__all__ = [
    "Act",
    "ArmResult",
    "Episode",
    "EpisodeContext",
    "PhysicsEpisodes",
    "collect_random",
    "evaluate_arm",
    "load_expert",
    "random_act",
    "recovered",
    "relabel",
    "run_episodes",
    "source_act",
    "transitions",
    "translated_act",
]
