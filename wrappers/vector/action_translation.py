"""``ActionTranslationWrapper`` for Gymnasium's vector envs."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gymnasium.spaces import Box
from gymnasium.vector import VectorEnv

from generative_policies.action_translation import ActionTranslator
from generative_policies.wrappers.action_translation import Translation, observation_map
from generative_policies.wrappers.vector.transform_wrapper import TransformVectorWrapper, single_attribute


class ActionTranslationWrapper(TransformVectorWrapper):
    """Takes the source robot's actions and sends many target robots those that do the same.

    Arguments and behaviour are those of ``wrappers.ActionTranslationWrapper`` around each env, bit for bit: env i of a
    vector has the seed ``seed + i``, and its noise depends on that and on its own episodes alone.

    Args:
        env: A vector env of the *target*.
        translator: As there.
        source_action_space: As there, of one env.
        source_observation: As there, of one env; a function is called for each row.
        block: As there.

    Example:
        >>> import gymnasium
        >>> from generative_policies.action_translation import MlpActionTranslator
        >>> envs = gymnasium.make_vec("Pusher-v5", num_envs=2)
        >>> envs = ActionTranslationWrapper(envs, MlpActionTranslator(action_dim=7, obs_dim=23))
        >>> _ = envs.reset(seed=0)
        >>> envs.step(envs.action_space.sample())[4]["target_action"].shape
        (2, 7)
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        translator: ActionTranslator | str | os.PathLike[str],
        source_action_space: Box | Mapping[str, Sequence[float]] | None = None,
        source_observation: str | int | Callable[[Any], Any] | None = None,
        *,
        block: int = 16,
    ) -> None:
        transform = Translation(
            env.single_observation_space,
            env.single_action_space,
            translator,
            source_action_space,
            observation_map(source_observation, single_attribute(env)),
            block,
        )
        super().__init__(env, transform)
        self.translator = transform.translator
