"""``ActionTranslationWrapper`` for the ``VecEnv`` of Stable-Baselines3."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gymnasium.spaces import Box
from stable_baselines3.common.vec_env import VecEnv

from generative_policies.action_translation import ActionTranslator
from generative_policies.wrappers.action_translation import Translation, observation_map
from generative_policies.wrappers.vec_env.transform_wrapper import TransformVecEnvWrapper, single_attribute


class ActionTranslationWrapper(TransformVecEnvWrapper):
    """Takes the source robot's actions and sends many target robots those that do the same.

    Arguments and behaviour are those of ``wrappers.ActionTranslationWrapper`` around each env, bit for bit: after
    ``seed(start)`` env i has the seed ``start + i``, and its noise depends on that and on its own episodes alone.

    Args:
        venv: Envs of the *target*.
        translator: As there.
        source_action_space: As there, of one env.
        source_observation: As there, of one env; a function is called for each row.
        block: As there.

    Example:
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> from generative_policies.action_translation import MlpActionTranslator
        >>> venv = make_vec_env("Pusher-v5", n_envs=2)
        >>> venv = ActionTranslationWrapper(venv, MlpActionTranslator(action_dim=7, obs_dim=23))
        >>> _ = venv.seed(0)
        >>> venv.reset().shape
        (2, 23)
    """

    def __init__(
        self,
        venv: VecEnv,
        translator: ActionTranslator | str | os.PathLike[str],
        source_action_space: Box | Mapping[str, Sequence[float]] | None = None,
        source_observation: str | int | Callable[[Any], Any] | None = None,
        *,
        block: int = 16,
    ) -> None:
        transform = Translation(
            venv.observation_space,
            venv.action_space,
            translator,
            source_action_space,
            observation_map(source_observation, single_attribute(venv)),
            block,
        )
        super().__init__(venv, transform)
        self.translator = transform.translator
