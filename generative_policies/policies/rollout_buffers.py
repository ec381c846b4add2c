"""Demonstrations from whatever holds them: Minari, arrays, or the buffers of Stable-Baselines3."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer, RolloutBuffer

from generative_policies.data import OBSERVATION, Demonstrations, TransitionDataset


def as_demonstrations(source: Any) -> Demonstrations:
    """Return the demonstrations that something holds.

    Args:
        source: ``Demonstrations``; a Minari dataset, its id or folder; a ``TransitionDataset``; a ``RolloutBuffer`` or
            ``ReplayBuffer`` of SB3; or a sequence of episodes, see ``Demonstrations.from_episodes``. Of buffers and
            transitions, pieces of episodes that hold a single step are left out. SB3 stores what PPO drew, which the
            env then got clipped, and for SAC and TD3 actions scaled to [-1, 1]; both become what the env got.

    Raises:
        TypeError: If it is something else.
        ValueError: If it holds no episode of two steps, or transitions that do not follow each other.
    """
    if isinstance(source, Demonstrations):
        return source
    if isinstance(source, BaseBuffer):
        return _from_buffer(source)
    if isinstance(source, TransitionDataset):
        return _from_transitions(source)
    if isinstance(source, str | Path) or hasattr(source, "iterate_episodes"):
        return Demonstrations.from_minari(source)
    if isinstance(source, list | tuple):
        return Demonstrations.from_episodes(source)
    raise TypeError(
        f"demonstrations are a Minari dataset, its id or folder, a list of episodes, a TransitionDataset, or a buffer "
        f"of SB3; got {type(source).__name__}"
    )


def _from_transitions(data: TransitionDataset) -> Demonstrations:
    episodes = []
    bounds = np.flatnonzero(np.diff(data.episodes)) + 1
    for rows in np.split(np.arange(len(data)), bounds):
        if not np.array_equal(data.next_obs[rows[:-1]], data.obs[rows[1:], : data.next_obs.shape[1]]):
            raise ValueError(
                f"episode {data.episodes[rows[0]]} of the transitions has gaps: demonstrations are whole episodes"
            )
        if len(rows) >= 2:
            episodes.append((np.concatenate([data.obs[rows], data.next_obs[rows[-1:]]]), data.actions[rows]))
    return Demonstrations.from_episodes(episodes)


def _from_buffer(buffer: Any) -> Demonstrations:
    """Episodes of each env in the order in which they were played."""
    if not isinstance(buffer, RolloutBuffer | ReplayBuffer):
        raise TypeError(f"expected a RolloutBuffer or a ReplayBuffer, got {type(buffer).__name__}")
    space = buffer.action_space
    if not isinstance(space, Box):
        raise TypeError(f"action_space must be a Box, got {space}")
    filled = buffer.buffer_size if buffer.full else buffer.pos
    order = np.arange(filled)
    if isinstance(buffer, ReplayBuffer) and buffer.full:
        order = np.roll(order, -buffer.pos)
    # Once it has been sampled from, a rollout buffer holds all steps of an env before those of the next.
    is_flat = isinstance(buffer, RolloutBuffer) and buffer.generator_ready

    def by_env(values: NDArray[Any]) -> NDArray[Any]:
        """``(steps, envs, ...)``."""
        if is_flat:
            values = values.reshape(buffer.n_envs, filled, *values.shape[1:]).swapaxes(0, 1)
        return values[order]

    stored = buffer.observations
    named = stored if isinstance(stored, dict) else {OBSERVATION: stored}
    observations = {name: by_env(values) for name, values in named.items()}
    actions = by_env(buffer.actions).reshape(filled, buffer.n_envs, *space.shape)
    if isinstance(buffer, RolloutBuffer):
        begins = buffer.episode_starts[order].astype(bool)
        actions = np.clip(actions, space.low, space.high)
    else:
        ends = buffer.dones[order].astype(bool)
        begins = np.concatenate([np.ones((1, buffer.n_envs), dtype=bool), ends[:-1]])
        actions = space.low + 0.5 * (actions + 1) * (space.high - space.low)
    last = None
    if isinstance(buffer, ReplayBuffer) and not buffer.optimize_memory_usage:
        stored = buffer.next_observations
        named = stored if isinstance(stored, dict) else {OBSERVATION: stored}
        last = {name: by_env(values) for name, values in named.items()}
    episodes = []
    for env in range(buffer.n_envs):
        edges = [*np.union1d(np.flatnonzero(begins[:, env]), [0]), filled]
        for first, end in pairwise(edges):
            if end - first >= 2:
                seen = {name: values[first:end, env] for name, values in observations.items()}
                if last is not None:
                    seen = {
                        name: np.concatenate([values, last[name][end - 1 : end, env]]) for name, values in seen.items()
                    }
                episodes.append((seen, actions[first:end, env]))
    # Rollout buffers hold what the policy saw, replay buffers what the env showed.
    is_rollout = isinstance(buffer, RolloutBuffer)
    return Demonstrations.from_episodes(episodes, buffer.observation_space, space, are_normalized=is_rollout)
