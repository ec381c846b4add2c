"""What a policy remembers between two steps, in the arrays that Stable-Baselines3 passes on as ``state``."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from generative_policies.data import episode_generator
from generative_policies.data.episode_generator import Stream

Flags = NDArray[np.bool_]
State = tuple[NDArray[Any], ...]
"""SB3's ``state``: arrays with one entry a row."""


@dataclass(frozen=True)
class EpisodeMemory:
    """The episodes under way, a row each, with the place in each one's stream of noise.

    It is never changed: ``begin`` and ``draw`` return a new one, so that the same observation and state give the same
    action. Noise is that of ``data.episode_generator(seed, episode, stream)``, in its order.

    Attributes:
        seeds: ``(rows,)``.
        episodes: ``(rows,)``, the number of the episode since the seed was given, -1 before the first.
        streams: ``(rows, 4)``, the state of each row's generator.
    """

    seeds: NDArray[np.int64]
    episodes: NDArray[np.int64]
    streams: NDArray[np.uint64]

    @classmethod
    def from_seeds(cls, seeds: Sequence[int] | NDArray[np.int64]) -> Self:
        """Return the memory before the first episodes of these reset seeds."""
        rows = np.asarray(seeds)
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or (rows < 0).any():
            raise ValueError(f"seeds must be non-negative integers, one a row, got {seeds}")
        return cls(rows.astype(np.int64), np.full(len(rows), -1), np.zeros((len(rows), 4), dtype=np.uint64))

    @classmethod
    def unseeded(cls, count: int) -> Self:
        """Return the memory of rows that nobody gave a seed; theirs come from PyTorch's global generator.

        So do the actions of SB3's own policies, and ``set_random_seed`` makes both repeatable.
        """
        return cls.from_seeds(torch.randint(2**31, (count,)).numpy())

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Read the arrays of ``state``; what stands behind them is the policy's."""
        return cls(*(np.array(array) for array in state[:3]))

    @property
    def state(self) -> State:
        """The arrays that ``from_state`` reads."""
        return self.seeds, self.episodes, self.streams

    def starts(self, episode_start: NDArray[np.generic] | None) -> Flags:
        """Return which rows begin an episode: those that are told to, and those that never began one."""
        fresh: Flags = self.episodes < 0
        return fresh if episode_start is None else fresh | np.asarray(episode_start, dtype=bool)

    def begin(self, starts: Flags, stream: Stream) -> Self:
        """Begin the next episode of some rows, with noise from one of its streams."""
        episodes, streams = self.episodes + starts, self.streams.copy()
        for row in np.flatnonzero(starts):
            streams[row] = _words(episode_generator(int(self.seeds[row]), int(episodes[row]), stream).bit_generator)
        return replace(self, episodes=episodes, streams=streams)

    def draw(self, rows: Flags, dim: int) -> tuple[NDArray[np.float64], Self]:
        """Draw standard normal noise for some rows.

        Args:
            rows: ``(rows,)``, which.
            dim: Numbers a row.

        Returns:
            ``(chosen rows, dim)``, and the memory with those rows' streams moved on.
        """
        chosen = np.flatnonzero(rows)
        noise, streams = np.empty((len(chosen), dim)), self.streams.copy()
        bits = np.random.PCG64(0)
        generator = np.random.Generator(bits)
        for k, row in enumerate(chosen):
            _set_words(bits, streams[row])
            noise[k] = generator.standard_normal(dim)
            streams[row] = _words(bits)
        return noise, replace(self, streams=streams)


def fixed_noise(dim: int) -> NDArray[np.float64]:
    """Return the draw ``(dim,)`` of all rows of a deterministic policy.

    Not the prior's mean: with two symmetric modes that lies on the divide between them, and no velocity leads away.
    """
    return episode_generator(0).standard_normal(dim)


def _words(bits: np.random.BitGenerator) -> list[int]:
    """The state of a PCG64 as four words of 64 bits."""
    state = bits.state["state"]  # 128 bits each
    return [half for value in (state["state"], state["inc"]) for half in divmod(int(value), 2**64)]


def _set_words(bits: np.random.BitGenerator, words: NDArray[np.uint64]) -> None:
    high_state, low_state, high_step, low_step = (int(word) for word in words)
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": (high_state << 64) + low_state, "inc": (high_step << 64) + low_step},
        "has_uint32": 0,
        "uinteger": 0,
    }
