"""The target robot in the source robot's clothes."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Space
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from generative_policies.action_translation import ActionTranslator
from generative_policies.policies import ObservationMap
from generative_policies.policies.observation_map import Rows
from generative_policies.wrappers.recording import InMemory, as_box, from_record, record_box, record_model
from generative_policies.wrappers.transform_wrapper import TransformWrapper
from generative_policies.wrappers.transforms import ActionTransform, bounded_box, check_observations, loaded_model


class Translation(ActionTransform):
    """Source actions become target actions, see ``ActionTranslationWrapper``."""

    def __init__(
        self,
        observation_space: Space[Any],
        action_space: Space[Any],
        translator: ActionTranslator | str | os.PathLike[str],
        source_action_space: Box | Mapping[str, Sequence[float]] | None,
        source_observation: ObservationMap | None,
        block: int,
    ) -> None:
        target = bounded_box("the env's action space", action_space)
        self.translator = loaded_model(translator, ActionTranslator, "translator")
        model = self.translator
        check_observations(model, "translator", observation_space)
        if model.action_dim != target.shape[0]:
            raise ValueError(
                f"the translator gives actions of width {model.action_dim}, but the target env takes "
                f"{target.shape[0]}; are source and target swapped?"
            )
        if source_action_space is None:
            if model.source_action_dim != target.shape[0]:
                raise ValueError(
                    f"the translator takes source actions of width {model.source_action_dim}, the target's have "
                    f"{target.shape[0]}: pass source_action_space"
                )
            source_action_space = target
        source = bounded_box("source_action_space", as_box("source_action_space", source_action_space))
        if source.shape[0] != model.source_action_dim:
            raise ValueError(
                f"the translator takes source actions of width {model.source_action_dim}, but "
                f"source_action_space has {source.shape[0]}"
            )
        super().__init__(observation_space, target, source, block)
        self.noise_dim = model.noise_dim
        self.source_observation = source_observation
        if source_observation is not None:
            self.observation_space = source_observation.space(observation_space)

    def respond(
        self, observations: Rows, actions: NDArray[Any], noise: NDArray[Any] | None, starts: NDArray[np.bool_]
    ) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """Translate; ``info`` holds the clipped source action."""
        answers = self.translator.predict(observations, actions, noise=noise)
        return answers, {"source_action": actions}

    def show(self, observations: Rows) -> Rows:
        """Return what the source policy was trained on."""
        return observations if self.source_observation is None else self.source_observation(observations)


class ActionTranslationWrapper(TransformWrapper, RecordConstructorArgs):
    """Takes the source robot's actions and sends the target robot those that do the same.

    Source actions are clipped to the source's bounds before the translator sees them, target actions to the target's
    after. ``info`` holds both, as ``"source_action"`` and ``"target_action"``.

    A stochastic translator's noise depends on the reset seed and the episodes since alone.

    Args:
        env: The *target*, with a flat, bounded action space, and observations that the translator takes: a vector, or a
            dictionary where it has an encoder for one.
        translator: An ``ActionTranslator``, or the path of a checkpoint of one. A path makes ``env.spec`` recordable.
        source_action_space: The source's action space, a Box or a mapping of its ``low`` and ``high``; where the
            translator's source and target actions are equally wide, the target's by default.
        source_observation: What the source policy was trained on: a number of leading entries of the target's
            observation, a function of it, or the name of an attribute of the env that is one of these, a slice, or
            indices, such as ``"task_dim"``. The whole observation by default. The translator always sees the target's.
        block: The translator sees a batch padded to this many rows, so that an env alone gives bit for bit what it
            gives among others; 1 is fastest.

    Raises:
        TypeError: If a space is not a Box, or ``translator`` is not a translator.
        ValueError: If the translator's widths do not fit the spaces, or an action space is unbounded.
        AttributeError: If the env has no attribute of the name.

    Example:
        >>> from generative_policies.action_translation import MlpActionTranslator
        >>> env = ActionTranslationWrapper(gymnasium.make("Pusher-v5"), MlpActionTranslator(action_dim=7, obs_dim=23))
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        >>> info["target_action"].shape
        (7,)
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, NDArray[Any]],
        translator: ActionTranslator | str | os.PathLike[str],
        source_action_space: Box | Mapping[str, Sequence[float]] | None = None,
        source_observation: str | int | Callable[[Any], Any] | None = None,
        *,
        block: int = 16,
    ) -> None:
        # What is recorded survives JSON where it can, and is not copied.
        RecordConstructorArgs.__init__(
            self,
            translator=record_model(translator, "generative_policies.checkpoints.save"),
            source_action_space=record_box("source_action_space", source_action_space),
            source_observation=source_observation
            if source_observation is None or isinstance(source_observation, str | int | InMemory)
            else InMemory(source_observation, "make it an attribute of the env and pass its name"),
            block=block,
            _disable_deepcopy=True,
        )
        transform = Translation(
            env.observation_space,
            env.action_space,
            from_record(translator),
            source_action_space,
            observation_map(source_observation, env.get_wrapper_attr),
            block,
        )
        TransformWrapper.__init__(self, env, transform)
        self.translator = transform.translator


def observation_map(source: Any, get_attribute: Callable[[str], Any]) -> ObservationMap | None:
    """Return the map that a wrapper's ``source_observation`` stands for, ``None`` for the whole observation.

    Raises:
        AttributeError: If the env has no attribute of its name.
    """
    source = from_record(source)
    if source is None:
        return None
    if not isinstance(source, str):
        return ObservationMap(source)
    try:
        return ObservationMap(get_attribute(source))
    except AttributeError as error:
        raise AttributeError(
            f"source_observation names {source!r:.100}, which the env does not have: {error}"
        ) from error
