"""Gymnasium wrappers that put a learned model between a policy and an env."""

from generative_policies.wrappers.action_translation import ActionTranslationWrapper

__all__ = ["ActionTranslationWrapper"]
