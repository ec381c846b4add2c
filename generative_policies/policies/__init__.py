"""Policies and an algorithm for Stable-Baselines3: cloned with flows, planned, translated; safe checkpoints of them."""

from generative_policies.policies.behavior_cloning import BehaviorCloning
from generative_policies.policies.checkpoints import load_policy, save_policy
from generative_policies.policies.chunk_policy import ChunkPolicy
from generative_policies.policies.cloned_policies import ClonedPolicy, FlowPolicy, MlpPolicy, encoder_for
from generative_policies.policies.episodic_policy import EpisodicPolicy
from generative_policies.policies.frozen_source import source_actions, source_values
from generative_policies.policies.inverse_dynamics_policy import InverseDynamicsPolicy
from generative_policies.policies.observation_map import ObservationMap
from generative_policies.policies.planner import FlowPlanner
from generative_policies.policies.rollout_buffers import as_demonstrations
from generative_policies.policies.schedules import CosineSchedule
from generative_policies.policies.translated_policy import TranslatedPolicy

__all__ = [
    "BehaviorCloning",
    "ChunkPolicy",
    "ClonedPolicy",
    "CosineSchedule",
    "EpisodicPolicy",
    "FlowPlanner",
    "FlowPolicy",
    "InverseDynamicsPolicy",
    "MlpPolicy",
    "ObservationMap",
    "TranslatedPolicy",
    "as_demonstrations",
    "encoder_for",
    "load_policy",
    "save_policy",
    "source_actions",
    "source_values",
]
