"""What a wrapper knows of the episodes of its rows: their noise, their beginnings, their steps."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from generative_policies.data import episode_generator


class EpisodeRows:
    """The episodes under way in one env or in many.

    A row's noise depends on its last reset seed and on the episodes since alone; a row that was never seeded draws a
    seed of its own.

    Args:
        num_envs: Number of rows.
        noise_dim: Width of the noise that a row takes a step, 0 for none.

    Attributes:
        starts: ``(num_envs,)``, which rows have not taken a step in their episode.
    """

    def __init__(self, num_envs: int, noise_dim: int) -> None:
        self.noise_dim = noise_dim
        self.starts = np.ones(num_envs, dtype=bool)
        self._any_starts = True
        # Adding to an array in each step would take longer than all else that is done here.
        self._now = 0
        self._begun = np.zeros(num_envs, dtype=np.int64)
        self._seeds: list[int | None] = [None] * num_envs
        self._episodes = [0] * num_envs
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        # Noise of a step that was not taken yet; one that fails is tried again with the same.
        self._noise = np.zeros((num_envs, noise_dim))
        self._drawn = np.zeros(num_envs, dtype=bool)

    def begin(self, rows: NDArray[np.bool_], seeds: Sequence[int | None]) -> None:
        """Begin an episode in some rows.

        Args:
            rows: ``(num_envs,)``, which.
            seeds: One a row; ``None`` where a row was reset without.
        """
        self.starts[rows] = True
        self._any_starts = True
        self._begun[rows] = self._now
        self._drawn[rows] = False
        if not self.noise_dim:
            return
        for row in np.flatnonzero(rows).tolist():
            seed = seeds[row]
            if seed is None and self._seeds[row] is not None:
                self._episodes[row] += 1
            else:
                self._seeds[row] = int(np.random.default_rng().integers(2**31)) if seed is None else int(seed)
                self._episodes[row] = 0
            self._generators[row] = episode_generator(self._seeds[row] or 0, self._episodes[row])

    def noise(self, active: NDArray[np.bool_] | None) -> NDArray[np.float64] | None:
        """Draw ``(num_envs, noise_dim)``; rows that do not count get zeros and keep their place in the stream.

        Args:
            active: ``(num_envs,)``, which rows count; ``None`` for all.
        """
        if not self.noise_dim:
            return None
        for row in np.flatnonzero(~self._drawn if active is None else active & ~self._drawn).tolist():
            generator = self._generators[row]
            assert generator is not None  # an episode has begun
            self._noise[row] = generator.standard_normal(self.noise_dim)
            self._drawn[row] = True
        return self._noise.copy() if active is None else np.where(active[:, None], self._noise, 0.0)

    def step(self, active: NDArray[np.bool_] | None) -> None:
        """Count a step of some rows, ``None`` for all."""
        self._now += 1
        if active is None:
            if self._any_starts:
                self.starts[:] = False
                self._any_starts = False
            if self.noise_dim:
                self._drawn.fill(False)
            return
        self.starts[active] = False
        self._drawn[active] = False
        self._begun[~active] += 1

    @property
    def steps(self) -> NDArray[np.int64]:
        """``(num_envs,)``, the steps of each row in its episode."""
        return self._now - self._begun


def row_seeds(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """Return one reset seed an env, as Gymnasium's vector envs deal them out: ``seed + i``."""
    if seed is None:
        return [None] * num_envs
    return [int(seed) + i for i in range(num_envs)] if isinstance(seed, int | np.integer) else list(seed)
