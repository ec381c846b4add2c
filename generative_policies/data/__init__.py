"""Datasets of transitions and of action pairs, and the padding of batches. Needs numpy alone."""

from generative_policies.data.action_pairs import ActionPairDataset
from generative_policies.data.episode_generator import episode_generator
from generative_policies.data.episodic import EpisodicDataset
from generative_policies.data.padding import pad_rows
from generative_policies.data.transitions import TransitionDataset

__all__ = ["ActionPairDataset", "EpisodicDataset", "TransitionDataset", "episode_generator", "pad_rows"]
