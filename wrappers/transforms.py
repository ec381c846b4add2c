"""What the wrappers do to a batch of actions, whatever kind of env they are around."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from math import isfinite
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Space
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from generative_policies.data import pad_rows
from generative_policies.export import load_model
from generative_policies.models.dimensions import check_block
from generative_policies.policies import load_policy
from generative_policies.policies.observation_map import Rows, map_rows

_sum = np.add.reduce  # without the detour through Python that ``ndarray.sum`` takes


class ActionTransform(ABC):
    """Turns the actions of a policy into those of the env, by what the env observes.

    Args:
        observation_space: The env's, of one env.
        action_space: The env's, a flat and bounded Box.
        policy_action_space: What the policy sees instead.
        block: Batches are padded to a multiple of this many rows before a model sees them.

    Attributes:
        observation_space: What the policy sees, the env's own unless ``show`` changes it.
        noise_dim: Width of the noise that a row takes, 0 for none.
        steps_per_action: Env steps that an action of the policy stands for.
    """

    noise_dim = 0
    steps_per_action = 1

    def __init__(self, observation_space: Space[Any], action_space: Box, policy_action_space: Box, block: int) -> None:
        self.observation_space = observation_space
        self.target_action_space = action_space
        self.action_space = policy_action_space
        self.block = check_block(block)
        # With an axis for the batch: of one row and its bounds, alike in shape, numpy finds the minimum in a third of
        # the time that broadcasting takes.
        self._low, self._high = policy_action_space.low[None], policy_action_space.high[None]
        self._target_low, self._target_high = action_space.low[None], action_space.high[None]
        self._middle = 0.5 * (policy_action_space.low + policy_action_space.high)
        self._target_middle = (0.5 * (action_space.low + action_space.high)).astype(action_space.dtype)

    @abstractmethod
    def respond(
        self, observations: Rows, actions: NDArray[Any], noise: NDArray[Any] | None, starts: NDArray[np.bool_]
    ) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """Return the answer to padded rows: actions of the env, in any range, and what to tell in ``info``.

        Args:
            observations: ``(padded, ...)``, the env's own.
            actions: ``(padded, policy_action_dim)``, inside the policy's bounds.
            noise: ``(padded, noise_dim)``, where it is taken.
            starts: ``(batch,)``, which rows are the first of their episode.
        """

    def show(self, observations: Rows) -> Rows:
        """Return what the policy sees of a batch of the env's observations."""
        return observations

    def commit(self) -> None:  # noqa: B027  # most keep nothing
        """Take the last answer as given: the envs have moved."""

    def __call__(
        self,
        observations: Rows,
        actions: NDArray[Any],
        noise: NDArray[Any] | None,
        starts: NDArray[np.bool_],
        active: NDArray[np.bool_] | None,
        describe: Callable[[int], str],
    ) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """Return the actions for the env.

        Args:
            observations: ``(batch, ...)``, the env's last ones.
            actions: ``(batch, policy_action_dim)``.
            noise: ``(batch, noise_dim)``, where it is taken.
            starts: ``(batch,)``, which rows are the first of their episode.
            active: ``(batch,)``, which rows count, ``None`` for all; the others, of envs that are about to be reset,
                get the middle of the action range, whatever they hold.
            describe: Names a row, for messages.

        Returns:
            Target actions ``(batch, action_dim)``, finite and inside the env's bounds, and arrays ``(batch, ...)`` for
            ``info``, by name.

        Raises:
            ValueError: If an action has another shape or is NaN, or the answer to it is. Infinity is outside of all
                bounds, and clipped as other numbers are.
        """
        batch, space, target = len(starts), self.action_space, self.target_action_space
        if actions.shape != (batch, *space.shape):
            raise ValueError(f"{describe(0)}: expected actions of shape {space.shape}, got shape {actions.shape[1:]}")
        if active is not None:
            actions = np.where(active[:, None], actions, self._middle)
            # The last observation of an episode may be what ended it.
            observations = map_rows(partial(_keep_rows, rows=active), observations)
        actions = np.minimum(np.maximum(actions, self._low), self._high)
        if not isfinite(_sum(actions, axis=None)):  # inside finite bounds, NaN alone is left
            raise ValueError(f"{describe(_first_bad_row(actions))}: expected numbers as actions, got {actions}")
        padded = self._pad(actions)
        try:
            answers, info = self.respond(
                self._pad(observations) if isinstance(observations, np.ndarray) else map_rows(self._pad, observations),
                padded,
                None if noise is None else self._pad(noise),
                starts,
            )
        except ValueError as error:
            raise ValueError(f"{describe(_first_bad_observation(observations))}: {error}") from error
        if answers.shape != (len(padded), *target.shape):
            raise ValueError(
                f"{describe(0)}: the model answered {len(padded)} rows with shape {answers.shape}, the env takes "
                f"actions of shape {target.shape}"
            )
        answers = answers[:batch]
        if active is not None:
            answers = np.where(active[:, None], answers, self._target_middle)
        targets = np.minimum(np.maximum(answers, self._target_low), self._target_high)
        if not isfinite(_sum(targets, axis=None)):
            row = _first_bad_row(targets)
            raise ValueError(f"{describe(row)}: the model answered {answers[row]}, which is no action")
        if targets.dtype != target.dtype:
            targets = targets.astype(target.dtype)
        return targets, {name: rows[:batch] for name, rows in info.items()}

    def _pad(self, rows: NDArray[Any]) -> NDArray[Any]:
        return rows.repeat(self.block, axis=0) if len(rows) == 1 else pad_rows(rows, self.block)


def require_single_steps(transform: ActionTransform) -> None:
    """Refuse a transform whose actions stand for several env steps, for wrappers that keep many envs in step.

    Raises:
        ValueError: If it is one.
    """
    if transform.steps_per_action > 1:
        raise ValueError(
            f"the policy takes {transform.steps_per_action} steps of each plan, and envs end their episodes at "
            f"different ones: wrap each env instead, or give the policy replan_interval=1"
        )


def flat_box(name: str, space: Any) -> Box:
    """Return a space that has to be a Box with one axis.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise TypeError(f"{name} must be a Box with one axis, got {space}")
    return space


def bounded_box(name: str, space: Any) -> Box:
    """Return a space that has to be a bounded Box with one axis.

    Raises:
        TypeError: If it is no such Box.
        ValueError: If it is unbounded.
    """
    box = flat_box(name, space)
    if not box.is_bounded():
        raise ValueError(f"{name} must have finite bounds, got {box}")
    return box


def shapes(space: Any) -> Any:
    """Return the shape of a space, or those of a dictionary's entries by name."""
    return {name: shapes(entry) for name, entry in space.items()} if isinstance(space, Dict) else space.shape


def loaded_model(model: Any, kind: type[Any], name: str) -> Any:
    """Return a model, or the one of a path: a checkpoint folder, or a file that ``export.export_onnx`` wrote.

    Raises:
        CheckpointError: If the path holds no model.
        TypeError: If it is another kind of model.
    """
    loaded = model
    if isinstance(model, str | os.PathLike):
        loaded = load_model(model)
    if not isinstance(loaded, kind):
        raise TypeError(f"{name} must be an {kind.__name__} or the path of one, got {type(loaded).__name__}")
    return loaded


def loaded_policy(policy: Any, kind: Any, name: str, observation_space: Space[Any], action_space: Box) -> Any:
    """Return a policy for these spaces: itself, an algorithm's, or the one that is saved under a path.

    Raises:
        TypeError: If it is another kind of policy.
        ValueError: If it is for other spaces.
    """
    loaded = load_policy(policy) if isinstance(policy, str | os.PathLike) else policy
    loaded = loaded.policy if isinstance(loaded, BaseAlgorithm) else loaded
    if not isinstance(loaded, kind):
        raise TypeError(f"policy must be {name} or the path of one, got {type(loaded).__name__}")
    for part, expected, found in (
        ("observations", observation_space, loaded.observation_space),
        ("actions", action_space, loaded.action_space),
    ):
        # SB3's policies for images turn the channels of what they are given to the front.
        if shapes(expected) != shapes(found) and shapes(expected) != _channels_last(shapes(found)):
            raise ValueError(f"the policy's {part} have shape {shapes(found)}, the env's {shapes(expected)}")
    return loaded


def check_observations(model: Any, name: str, observation_space: Space[Any]) -> None:
    """Check that a model takes what the env observes.

    Raises:
        TypeError: If the observations are of another kind.
        ValueError: If their shapes differ.
    """
    encoder = model.observation_encoder
    if isinstance(observation_space, Box) and len(observation_space.shape) == 1:
        width = observation_space.shape[0]
        takes = (model.obs_dim,) if encoder is None else encoder.input_shapes[0]
        if takes != (width,):
            raise ValueError(f"the {name} takes observations of shape {takes}, but the env's have shape {(width,)}")
    elif encoder is None or not isinstance(observation_space, Dict):
        raise TypeError(
            f"the {name} takes observations of width {model.obs_dim}: the env's observation space must be a Box with "
            f"one axis, got {observation_space}"
        )
    else:
        try:
            encoder.rows(map_rows(np.asarray, observation_space.sample()), "obs")
        except (TypeError, ValueError) as error:
            raise ValueError(f"the {name} does not take what the env observes, {observation_space}: {error}") from error


def _channels_last(shape: Any) -> Any:
    return (*shape[1:], shape[0]) if isinstance(shape, tuple) and len(shape) == 3 else shape


def _keep_rows(values: NDArray[Any], rows: NDArray[np.bool_]) -> NDArray[Any]:
    """The given rows as they are, zeros elsewhere."""
    return np.where(rows.reshape(-1, *[1] * (values.ndim - 1)), values, np.zeros((), values.dtype))


def _first_bad_observation(observations: Rows) -> int:
    """The first row that is not finite; 0 where it is not the observation's fault."""
    arrays = observations.values() if isinstance(observations, dict) else [observations]
    bad = [~np.isfinite(values.reshape(len(values), -1)).all(axis=1) for values in arrays]
    return int(np.argmax(np.any(bad, axis=0)))


def _first_bad_row(rows: NDArray[Any]) -> int:
    return int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
