"""Demonstrations as a policy learns from them: in the env's form, a batch of windows at a time."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Space
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import is_image_space, maybe_transpose
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from generative_policies.data import OBSERVATION, Demonstrations
from generative_policies.policies.cloned_policies import ClonedPolicy


class Batches:
    """The windows of demonstrations as tensors, gathered a batch at a time.

    Args:
        demonstrations: With actions.
        policy: Tells how much it sees and plans.
        device: Where its parameters live.
    """

    def __init__(self, demonstrations: Demonstrations, policy: ClonedPolicy, device: torch.device) -> None:
        actions = demonstrations.actions
        assert actions is not None  # the caller saw to it
        windows = demonstrations.windows(policy.history, policy.horizon)
        self.is_single = policy.history == 1
        self.history = torch.as_tensor(windows.history, device=device)
        self.future = torch.as_tensor(windows.future, device=device)
        self.observations = {
            name: torch.as_tensor(np.ascontiguousarray(values)).to(
                device=device, dtype=torch.float32 if values.dtype.kind == "f" else None
            )
            for name, values in demonstrations.observations.items()
        }
        self.actions = torch.as_tensor(actions.reshape(len(actions), -1), dtype=torch.float32, device=device)

    def __len__(self) -> int:
        return len(self.future)

    def for_statistics(self) -> tuple[dict[str, Tensor], Tensor]:
        """Return all windows; of images, which have no statistics, the first many times over, without memory."""
        past = self._past(slice(None))
        found = {
            name: values[past[:1]].expand(len(self), *past.shape[1:], *values.shape[1:])
            if values.ndim == 4
            else values[past]
            for name, values in self.observations.items()
        }
        return found, self.actions[self.future]

    def batch(self, rows: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return observations and actions as ``ClonedPolicy.loss`` takes them, of the given steps."""
        rows = rows.to(self.future.device)
        past = self._past(rows)
        return {name: values[past] for name, values in self.observations.items()}, self.actions[self.future[rows]]

    def _past(self, rows: Tensor | slice) -> Tensor:
        return self.history[rows, 0] if self.is_single else self.history[rows]


def observations_of(demonstrations: Demonstrations, space: Space[Any]) -> dict[str, NDArray[Any]]:
    """Return the observations by the names of a space, images with the channels where the space has them.

    Raises:
        ValueError: If names or shapes differ.
    """
    entries: dict[str, Any] = dict(space.items()) if isinstance(space, Dict) else {OBSERVATION: space}
    names = set(entries)
    if set(demonstrations.observations) != names:
        raise ValueError(
            f"the demonstrations observe {sorted(demonstrations.observations)}, the observation space has "
            f"{sorted(names)}"
        )
    found = {}
    for name, entry in entries.items():
        values = demonstrations.observations[name]
        if isinstance(entry, Box) and is_image_space(entry) and values.shape[1:] != entry.shape:
            with_channels_last = values.ndim == 4 and (values.shape[3], *values.shape[1:3]) == entry.shape
            values = maybe_transpose(values, entry) if with_channels_last else values
        if values.shape[1:] != entry.shape:
            raise ValueError(
                f"the demonstrations' {name!r} has shape {values.shape[1:]}, the observation space {entry.shape}"
            )
        found[name] = values
    return found


def normalized_observations(
    observations: Mapping[str, NDArray[Any]], normalize: VecNormalize
) -> dict[str, NDArray[Any]]:
    """Return what a ``VecNormalize`` makes of observations, by its present statistics.

    Raises:
        ValueError: If it has no statistics yet.
    """
    statistics: Any = normalize.obs_rms
    if min(entry.count for entry in (statistics.values() if isinstance(statistics, dict) else [statistics])) < 1:
        raise ValueError("the VecNormalize has seen nothing yet: load its statistics, or leave it away")
    if set(observations) == {OBSERVATION} and not isinstance(normalize.observation_space, Dict):
        return {OBSERVATION: np.asarray(normalize.normalize_obs(observations[OBSERVATION]))}
    return dict(normalize.normalize_obs(dict(observations)))


def actions_inside(actions: NDArray[Any], space: Box) -> NDArray[Any]:
    """Return actions ``(steps, ...)`` clipped to their bounds, which they may leave by rounding errors alone.

    Raises:
        ValueError: If one lies further outside.
    """
    margin = 1e-3 * np.where(np.isfinite(space.high - space.low), space.high - space.low, 0.0)
    outside = ((actions < space.low - margin) | (actions > space.high + margin)).reshape(len(actions), -1).any(axis=1)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise ValueError(
            f"the demonstrations' action {actions[row]} in row {row} lies outside of {space}: are they in other units?"
        )
    inside: NDArray[Any] = np.clip(actions, space.low, space.high)
    return inside
