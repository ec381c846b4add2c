"""The target robot in the source robot's clothes."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from generative_policies.action_translation import ActionTranslator
from generative_policies.checkpoints import load
from generative_policies.data import episode_generator, pad_rows
from generative_policies.models.dimensions import check_dim

Observation = NDArray[Any]
Action = NDArray[Any]


class ActionTranslationWrapper(
    gymnasium.Wrapper[Observation, Action, Observation, Action],
    RecordConstructorArgs,
):
    """Takes the source robot's actions and sends the target robot those that do the same.

    Source actions are clipped to the source's bounds before the translator sees them, target actions to the target's
    after. ``info`` holds both, as ``"source_action"`` and ``"target_action"``.

    A stochastic translator's noise depends on the reset seed and the episodes since alone.

    Args:
        env: The *target*, with flat observations and a flat, bounded action space.
        translator: An ``ActionTranslator``, or the path of a checkpoint of one. A path makes ``env.spec`` recordable.
        source_action_space: The source's action space, a Box or a mapping of its ``low`` and ``high``; where the
            translator's source and target actions are equally wide, the target's by default.
        block: The translator sees a batch padded to this many rows, so that an env alone gives bit for bit what it
            gives among others; 1 is fastest.

    Raises:
        TypeError: If a space is not a Box, or ``translator`` is not a translator.
        ValueError: If the translator's widths do not fit the spaces, or an action space is unbounded.

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
        env: gymnasium.Env[Observation, Action],
        translator: ActionTranslator | str | os.PathLike[str],
        source_action_space: Box | Mapping[str, list[float]] | None = None,
        *,
        block: int = 16,
    ) -> None:
        if isinstance(source_action_space, Mapping):
            bounds = {name: np.asarray(source_action_space[name], dtype=np.float32) for name in ("low", "high")}
            source_action_space = Box(bounds["low"], bounds["high"])
        # What is recorded survives JSON: a path that holds in every folder, a space as lists. A model in memory does
        # not, and is not copied.
        RecordConstructorArgs.__init__(
            self,
            translator=str(Path(translator).absolute()) if isinstance(translator, str | os.PathLike) else translator,
            source_action_space=_describe_box(source_action_space),
            block=block,
            _disable_deepcopy=True,
        )
        gymnasium.Wrapper.__init__(self, env)
        model = load(translator) if isinstance(translator, str | os.PathLike) else translator
        if not isinstance(model, ActionTranslator):
            raise TypeError(f"translator must be an ActionTranslator or the path of one, got {type(model).__name__}")
        self.translator = model
        self.block = check_dim("block", block)
        self.target_action_space = _bounded_box("the env's action space", env.action_space)
        observation_dim = _flat_box("the env's observation space", env.observation_space).shape[0]
        target_dim = self.target_action_space.shape[0]
        if (model.obs_dim, model.action_dim) != (observation_dim, target_dim):
            raise ValueError(
                f"the translator takes observations of width {model.obs_dim} and gives actions of width "
                f"{model.action_dim}, but the target env has {observation_dim} and {target_dim}"
            )
        if source_action_space is None:
            if model.source_action_dim != target_dim:
                raise ValueError(
                    f"the translator takes source actions of width {model.source_action_dim}, the target's have "
                    f"{target_dim}: pass source_action_space"
                )
            source_action_space = self.target_action_space
        source_box = _bounded_box("source_action_space", source_action_space)
        if source_box.shape[0] != model.source_action_dim:
            raise ValueError(
                f"the translator takes source actions of width {model.source_action_dim}, but "
                f"source_action_space has {source_box.shape[0]}"
            )
        self.source_action_space = source_box
        self.action_space = source_box
        self.seed: int | None = None
        self.episode_index = 0
        self.step_index = 0
        self.noise_generator = np.random.default_rng()
        self.observation: Observation | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Reset the target."""
        observation, info = self.env.reset(seed=seed, options=options)
        if seed is not None:
            self.seed, self.episode_index = seed, 0
        elif self.seed is None:
            self.seed, self.episode_index = int(np.random.default_rng().integers(2**31)), 0
        else:
            self.episode_index += 1
        self.noise_generator = episode_generator(self.seed, self.episode_index)
        self.step_index = 0
        self.observation = np.array(observation)  # the caller may change what it was given
        return observation, info

    def step(self, action: Action) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Translate a source action ``(source_action_dim,)`` and step the target with the result.

        Raises:
            RuntimeError: Before the first reset.
            ValueError: If the action has another shape or is not finite, or if the translator's answer is not finite;
                the env has not moved then.
        """
        if self.observation is None:
            raise RuntimeError("call reset before step: the translator needs the observation")
        source_action = np.asarray(action)
        if source_action.shape != self.source_action_space.shape or not np.isfinite(source_action).all():
            raise ValueError(
                f"expected a finite source action of shape {self.source_action_space.shape}, "
                f"got shape {source_action.shape}: {source_action}"
            )
        source_action = np.clip(source_action, self.source_action_space.low, self.source_action_space.high)
        target_action = self._translate(self.observation, source_action)
        observation, reward, terminated, truncated, info = self.env.step(target_action)
        self.observation = np.array(observation)  # the caller may change what it was given
        self.step_index += 1
        actions = {"source_action": source_action, "target_action": target_action.copy()}
        return observation, reward, terminated, truncated, info | actions

    def _translate(self, observation: Observation, source_action: Action) -> Action:
        noise = None
        if self.translator.noise_dim:
            noise = pad_rows(self.noise_generator.standard_normal((1, self.translator.noise_dim)), self.block)
        rows = self.translator.predict(
            pad_rows(observation[None], self.block), pad_rows(source_action[None], self.block), noise=noise
        )
        if not np.isfinite(rows[0]).all():
            name = self.spec.id if self.spec is not None else repr(self.env)
            raise ValueError(
                f"{type(self).__name__} around {name}: the translator answered {rows[0]} at step {self.step_index}"
            )
        space = self.target_action_space
        target_action: Action = np.clip(rows[0], space.low, space.high).astype(space.dtype)
        return target_action


def _flat_box(name: str, space: Any) -> Box:
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise TypeError(f"{name} must be a Box with one axis, got {space}")
    return space


def _bounded_box(name: str, space: Any) -> Box:
    box = _flat_box(name, space)
    if not box.is_bounded():
        raise ValueError(f"{name} must have finite bounds, got {box}")
    return box


def _describe_box(space: Any) -> Any:
    """A Box as plain lists; anything else as it is."""
    return {"low": space.low.tolist(), "high": space.high.tolist()} if isinstance(space, Box) else space
