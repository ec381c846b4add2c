"""Action translators: which target action does what a source action does at home, (s, a_source) -> a_target."""

from generative_policies.action_translation.composed import ComposedActionTranslator
from generative_policies.action_translation.flow import (
    FlowActionConditionedTranslator,
    FlowActionPriorConditionedTranslator,
    FlowActionPriorTranslator,
    FlowActionTranslator,
)
from generative_policies.action_translation.mlp import MlpActionTranslator
from generative_policies.action_translation.translator import ActionTranslator

__all__ = [
    "ActionTranslator",
    "ComposedActionTranslator",
    "FlowActionConditionedTranslator",
    "FlowActionPriorConditionedTranslator",
    "FlowActionPriorTranslator",
    "FlowActionTranslator",
    "MlpActionTranslator",
]
