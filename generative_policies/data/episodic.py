"""What every dataset of rows from episodes has in common."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from generative_policies.data.arrays import as_array


@dataclass(frozen=True, eq=False)
class EpisodicDataset:
    """Rows of several arrays that remember their episode.

    A subclass adds one field an array, named as the argument of the loss that it feeds: ``fit`` calls the model with
    the fields of ``arrays()`` as keywords.

    Args:
        episodes: ``(rows,)``, integer, the episode of each row.

    Raises:
        ValueError: If there is no row, an array has no axis of features, holds other than finite numbers or has
            another number of rows.
    """

    episodes: NDArray[np.int64]

    def __post_init__(self) -> None:
        episodes = as_array("episodes", self.episodes)
        if episodes.ndim != 1 or episodes.dtype.kind not in "iu":
            raise ValueError(f"episodes must be integers of shape (rows,), got {episodes.dtype} {episodes.shape}")
        if len(episodes) == 0:
            raise ValueError(f"{type(self).__name__} needs at least one row, got none")
        object.__setattr__(self, "episodes", episodes.astype(np.int64))
        for name, array in self.arrays().items():
            array = as_array(name, array)
            if array.ndim < 2 or len(array) != len(episodes):
                raise ValueError(f"{name} must have shape ({len(episodes)}, features...), got {array.shape}")
            if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
                bad = "" if array.dtype.kind not in "fiu" else f", first in row {_first_bad_row(array)}"
                raise ValueError(f"{name} must hold finite numbers, got dtype {array.dtype} with others{bad}")
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def num_episodes(self) -> int:
        """The number of different episodes."""
        return len(np.unique(self.episodes))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by the name of the loss's argument, without the episodes."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "episodes"}

    def select(self, rows: NDArray[Any]) -> Self:
        """Return the dataset of some rows, given by indices or a mask ``(rows,)``."""
        return type(self)(episodes=self.episodes[rows], **{name: array[rows] for name, array in self.arrays().items()})

    def split(self, validation_fraction: float, rng: np.random.Generator) -> tuple[Self, Self]:
        """Split into training and validation data, an episode never on both sides.

        Args:
            validation_fraction: Share of the *episodes* for validation, at least one of them.
            rng: Source of the choice.

        Raises:
            ValueError: If the fraction is not inside (0, 1) or there are fewer than two episodes.
        """
        names = np.unique(self.episodes)
        held_out = np.isin(self.episodes, names[choose_held_out(len(names), validation_fraction, rng)])
        return self.select(~held_out), self.select(held_out)

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Join datasets; episodes are renumbered, so that those of two parts stay different.

        Raises:
            ValueError: If there is no part, or their widths differ.
        """
        if not parts:
            raise ValueError("expected at least one dataset, got none")
        episodes, offset = [], 0
        for part in parts:
            numbers = np.unique(part.episodes, return_inverse=True)[1]
            episodes.append(numbers + offset)
            offset += int(numbers.max()) + 1
        names = parts[0].arrays()
        return cls(
            episodes=np.concatenate(episodes),
            **{name: np.concatenate([part.arrays()[name] for part in parts]) for name in names},
        )


def choose_held_out(num_episodes: int, fraction: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the positions of the episodes that are held out, at least one and not all.

    Raises:
        ValueError: If the fraction is not inside (0, 1) or there are fewer than two episodes.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"validation_fraction must lie inside (0, 1), got {fraction}")
    if num_episodes < 2:
        raise ValueError(
            f"a split by episode needs at least two episodes, got {num_episodes}; or set validation_fraction to 0"
        )
    count = min(num_episodes - 1, max(1, round(fraction * num_episodes)))
    return rng.choice(num_episodes, count, replace=False)


def _first_bad_row(array: NDArray[Any]) -> int:
    return int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
