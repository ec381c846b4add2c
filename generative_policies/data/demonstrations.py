"""Demonstrations: whole episodes of observations, vectors or dictionaries, with the actions or without."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from generative_policies.data.arrays import as_array
from generative_policies.data.episodic import choose_held_out
from generative_policies.data.minari_files import DatasetError, open_dataset, read_episodes

if TYPE_CHECKING:
    import gymnasium  # importing this package must not load it

OBSERVATION = "observation"
"""The name of the only entry of observations that are no dictionaries."""

Observations = Mapping[str, NDArray[Any]]


def join_vectors(observations: Observations) -> NDArray[Any]:
    """Return the entries that are vectors of floats side by side, in the order of their names.

    Args:
        observations: ``(rows, ...)`` by name.

    Returns:
        ``(rows, obs_dim)``.

    Raises:
        ValueError: If no entry is such a vector.
    """
    vectors = [values for _, values in sorted(observations.items()) if values.ndim == 2 and values.dtype.kind == "f"]
    if not vectors:
        shapes = {name: values.shape[1:] for name, values in observations.items()}
        raise ValueError(f"planning needs vectors of floats among the observations, got shapes {shapes}")
    return np.concatenate(vectors, axis=1)


class Windows(NamedTuple):
    """Which steps a policy sees and which it plans, by their number in the flat arrays of ``Demonstrations``.

    Attributes:
        history: ``(rows, history)``, the steps up to the current one; before an episode its first is repeated.
        future: ``(rows, horizon)``, the current step and those after it; behind an episode its last is repeated.
    """

    history: NDArray[np.int64]
    future: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """Episodes end to end, a row a step.

    Observations are arrays by name, those that are no dictionaries under ``"observation"``. The observation after the
    last action is kept apart, in ``last_observations``, where the episode has it.

    Args:
        lengths: ``(episodes,)``, steps of each.
        observations: ``(steps, ...)`` by name.
        actions: ``(steps, action_dim...)``, ``None`` for demonstrations of states alone.
        last_observations: ``(episodes, ...)`` by name, ``None`` where they were not recorded.
        observation_space: Of the env, where it is known.
        action_space: Of the env, where it is known.
        are_normalized: Whether observations are what a policy behind a ``VecNormalize`` saw, and not the env's.

    Raises:
        TypeError: If observations are no mapping, or a space or flag is none.
        ValueError: If there is no episode or no observation, an episode has a single step, numbers of rows differ, or
            an entry is not finite.

    Example:
        >>> episodes = [(np.zeros((6, 3)), np.zeros((5, 2))), (np.zeros((9, 3)), np.zeros((8, 2)))]
        >>> demonstrations = Demonstrations.from_episodes(episodes)
        >>> demonstrations.num_episodes, len(demonstrations)
        (2, 13)
    """

    lengths: NDArray[np.int64]
    observations: Observations
    actions: NDArray[Any] | None = None
    last_observations: Observations | None = None
    observation_space: "gymnasium.Space[Any] | None" = None
    action_space: "gymnasium.Space[Any] | None" = None
    are_normalized: bool = False

    def __post_init__(self) -> None:
        lengths = as_array("lengths", self.lengths)
        if lengths.ndim != 1 or (lengths.size and lengths.dtype.kind not in "iu"):
            raise ValueError(f"lengths must be integers, one an episode, got {lengths.dtype} {lengths.shape}")
        object.__setattr__(self, "lengths", lengths.astype(np.int64))
        for name in ("observations", "last_observations"):
            arrays = getattr(self, name)
            if arrays is not None:
                if not isinstance(arrays, Mapping):
                    raise TypeError(f"{name} must be a mapping of arrays by name, got {type(arrays).__name__}")
                named = {key: as_array(f"{name}[{key!r}]", values) for key, values in arrays.items()}
                object.__setattr__(self, name, named)
        if self.actions is not None:
            object.__setattr__(self, "actions", as_array("actions", self.actions))
        for name in ("observation_space", "action_space"):
            if getattr(self, name) is not None:
                _check_space(name, getattr(self, name))
        if not isinstance(self.are_normalized, bool | np.bool_):
            raise TypeError(f"are_normalized must be True or False, got {self.are_normalized!r:.100}")
        if not self.observations:
            raise ValueError("demonstrations need observations, got none")
        if len(self.lengths) == 0:
            raise ValueError("demonstrations need at least one episode, got none")
        if (self.lengths < 2).any():
            short = int(np.flatnonzero(self.lengths < 2)[0])
            raise ValueError(
                f"episode {short} of the demonstrations has {self.lengths[short]} steps, at least two are needed: "
                f"leave such episodes out"
            )
        steps, episodes = int(self.lengths.sum()), len(self.lengths)
        groups = {"observations": (self.observations, steps), "last_observations": (self.last_observations, episodes)}
        for group, (arrays, rows) in groups.items():
            for name, values in (arrays or {}).items():
                self._check(f"{group}[{name!r}]", values, rows)
        if self.actions is not None:
            self._check("actions", self.actions, steps)

    def __len__(self) -> int:
        return int(self.lengths.sum())

    @property
    def num_episodes(self) -> int:
        """The number of episodes."""
        return len(self.lengths)

    @property
    def episodes(self) -> NDArray[np.int64]:
        """``(steps,)``, the episode of each step."""
        return np.repeat(np.arange(self.num_episodes), self.lengths)

    @classmethod
    def from_episodes(
        cls,
        episodes: Sequence[Any],
        observation_space: "gymnasium.Space[Any] | None" = None,
        action_space: "gymnasium.Space[Any] | None" = None,
        are_normalized: bool = False,
    ) -> Self:
        """Join episodes.

        Args:
            episodes: Pairs of observations and actions, or objects with these attributes, such as those of Minari and
                of ``rollouts.run_episodes``. Observations are an array ``(T + 1, ...)`` or ``(T, ...)``, or a
                dictionary of such; actions are ``(T, ...)``, or ``None`` for states alone, of which T + 1 are needed.
            observation_space: Of the env, where it is known.
            action_space: Of the env, where it is known.
            are_normalized: As in the constructor.

        Raises:
            TypeError: If an episode is neither.
            ValueError: If there is no episode, one has a single step, or shapes do not fit.
        """
        rows = [_episode(number, episode) for number, episode in enumerate(episodes)]
        if not rows:
            raise ValueError("demonstrations need at least one episode, got none")
        kinds = {(row.actions is None, row.last is None, _shapes(row)) for row in rows}
        if len(kinds) > 1:
            raise ValueError(f"all episodes must have the same shapes and the same parts, got {len(kinds)} kinds")
        names = list(rows[0].observations)
        return cls(
            lengths=np.array([row.length for row in rows]),
            observations={name: np.concatenate([row.observations[name] for row in rows]) for name in names},
            actions=None
            if rows[0].actions is None
            else np.concatenate([row.actions for row in rows if row.actions is not None]),
            last_observations=None
            if rows[0].last is None
            else {name: np.stack([row.last[name] for row in rows if row.last is not None]) for name in names},
            observation_space=observation_space,
            action_space=action_space,
            are_normalized=are_normalized,
        )

    @classmethod
    def from_minari(cls, dataset: Any) -> Self:
        """Read a Minari dataset.

        Args:
            dataset: Its id, the folder of a local one, or a ``MinariDataset``.

        Raises:
            FileNotFoundError: If there is none.
            DatasetError: If it cannot be read.
            ValueError: If it has no episode, or one of a single step.
        """
        if not isinstance(dataset, str | Path):
            return cls._of_dataset(dataset, read_episodes(dataset, dataset))
        opened = open_dataset(dataset)
        try:
            return cls._of_dataset(opened, read_episodes(dataset, opened))
        except DatasetError:
            raise
        except ValueError as error:
            raise DatasetError(f"{dataset} holds no demonstrations: {error}") from error

    @classmethod
    def _of_dataset(cls, dataset: Any, episodes: Sequence[Any]) -> Self:
        return cls.from_episodes(
            episodes, observation_space=dataset.observation_space, action_space=dataset.action_space
        )

    def select(self, episodes: NDArray[Any]) -> Self:
        """Return the given episodes, by their numbers, in this order."""
        ends = np.cumsum(self.lengths)
        rows = np.concatenate([np.arange(ends[number] - self.lengths[number], ends[number]) for number in episodes])
        last = self.last_observations
        return type(self)(
            self.lengths[episodes],
            {name: values[rows] for name, values in self.observations.items()},
            None if self.actions is None else self.actions[rows],
            None if last is None else {name: values[episodes] for name, values in last.items()},
            self.observation_space,
            self.action_space,
            self.are_normalized,
        )

    def split(self, validation_fraction: float, rng: np.random.Generator) -> tuple[Self, Self]:
        """Split into training and validation data, an episode never on both sides.

        Args:
            validation_fraction: Share of the *episodes* for validation, at least one of them.
            rng: Source of the choice.

        Raises:
            ValueError: If the fraction is not inside (0, 1) or there are fewer than two episodes.
        """
        chosen = np.zeros(self.num_episodes, dtype=bool)
        chosen[choose_held_out(self.num_episodes, validation_fraction, rng)] = True
        return self.select(np.flatnonzero(~chosen)), self.select(np.flatnonzero(chosen))

    def windows(self, history: int, horizon: int) -> Windows:
        """Return what a policy sees and plans at each step.

        Args:
            history: Steps that it sees, the current one included.
            horizon: Steps that it plans, the current one included.
        """
        ends = np.repeat(np.cumsum(self.lengths), self.lengths)[:, None]
        beginnings = ends - np.repeat(self.lengths, self.lengths)[:, None]
        steps = np.arange(len(self))[:, None]
        past = np.maximum(steps + np.arange(1 - history, 1), beginnings)
        return Windows(past, np.minimum(steps + np.arange(horizon), ends - 1))

    def _check(self, name: str, values: NDArray[Any], rows: int) -> None:
        if values.ndim and len(values) != rows:
            raise ValueError(f"{name} must have {rows} rows, got shape {values.shape}")
        if values.ndim == 0 or values.dtype.kind not in "fiub":
            raise ValueError(f"{name} must hold numbers, got {values.dtype}")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).reshape(rows, -1).all(axis=1))[0])
            episode = self.episodes[row] if rows == len(self) else row
            raise ValueError(f"{name} must be finite, got NaN or infinite entries in row {row}, of episode {episode}")


def _check_space(name: str, space: Any) -> None:
    # Gymnasium is not asked, which this package does not load.
    if not (hasattr(space, "shape") and hasattr(space, "contains")):
        raise TypeError(f"{name} must be a gymnasium.Space, got {type(space).__name__}")


class _Episode(NamedTuple):
    length: int
    observations: dict[str, NDArray[Any]]
    last: dict[str, NDArray[Any]] | None
    actions: NDArray[Any] | None


def _episode(number: int, episode: Any) -> _Episode:
    """One episode with the observation after its last action apart."""
    is_pair = isinstance(episode, tuple | list) and len(episode) == 2
    if not is_pair and not (hasattr(episode, "observations") and hasattr(episode, "actions")):
        raise TypeError(
            f"episode {number} of the demonstrations must be a pair of observations and actions, or have these "
            f"attributes, got {type(episode).__name__}"
        )
    given, taken = episode if is_pair else (episode.observations, episode.actions)
    arrays = dict(given) if isinstance(given, Mapping) else {OBSERVATION: given}
    what = f"of episode {number} of the demonstrations"
    observations = {str(name): as_array(f"observations {what}", values) for name, values in arrays.items()}
    if any(values.ndim == 0 for values in observations.values()):
        raise ValueError(
            f"episode {number} of the demonstrations must observe arrays, or a dictionary of arrays; nested ones are "
            f"not known"
        )
    actions = None if taken is None else as_array(f"actions {what}", taken)
    counts = {len(values) for values in observations.values()}
    if len(counts) != 1:
        raise ValueError(f"episode {number} must have equally many observations of each name, got {sorted(counts)}")
    count = counts.pop()
    length = count - 1 if actions is None else len(actions)
    if count not in (length, length + 1):
        raise ValueError(
            f"episode {number} must have as many observations as actions, or one more, got {count} and {length}"
        )
    if count == length:
        return _Episode(length, observations, None, actions)
    last = {name: values[-1] for name, values in observations.items()}
    return _Episode(length, {name: values[:-1] for name, values in observations.items()}, last, actions)


def _shapes(row: _Episode) -> tuple[Any, ...]:
    return (
        tuple((name, values.shape[1:]) for name, values in row.observations.items()),
        None if row.actions is None else row.actions.shape[1:],
    )
