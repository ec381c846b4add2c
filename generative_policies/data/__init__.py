"""Datasets of demonstrations, transitions and action pairs, and the padding of batches. Needs no learning library."""

from generative_policies.data.action_pairs import ActionPairDataset
from generative_policies.data.demonstrations import OBSERVATION, Demonstrations, Windows, join_vectors
from generative_policies.data.episode_generator import episode_generator
from generative_policies.data.episodic import EpisodicDataset
from generative_policies.data.minari_files import DatasetError
from generative_policies.data.next_states import NextStateDataset
from generative_policies.data.padding import pad_rows
from generative_policies.data.transitions import TransitionDataset

__all__ = [
    "OBSERVATION",
    "ActionPairDataset",
    "DatasetError",
    "Demonstrations",
    "EpisodicDataset",
    "NextStateDataset",
    "TransitionDataset",
    "Windows",
    "episode_generator",
    "join_vectors",
    "pad_rows",
]
