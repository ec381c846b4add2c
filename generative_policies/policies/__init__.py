"""Policies of Stable-Baselines3 in a safe format."""

from generative_policies.policies.checkpoints import load_policy, save_policy

__all__ = ["load_policy", "save_policy"]
