"""Episodes to and from Minari datasets, physics states and source actions included."""

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from minari.data_collector import EpisodeBuffer
from minari.utils import create_dataset_from_buffers

from generative_policies.atomic_files import replacing
from generative_policies.data.minari_files import DatasetError, open_dataset, read_episodes
from generative_policies.rollouts.episodes import Episode
from generative_policies.rollouts.hdf5_failures import whole_hdf5

ROOT_VARIABLE = "MINARI_DATASETS_PATH"


def write_dataset(
    path: Path, episodes: Sequence[Episode], env: gymnasium.Env[Any, Any], provenance: Mapping[str, Any]
) -> None:
    """Write episodes of an env; its spec is recorded where JSON can hold it. See ``write_episodes``."""
    spec = env.spec
    try:
        recorded = None if spec is None else EnvSpec.from_json(spec.to_json())
    except (TypeError, ValueError):  # a model in memory, or an env that was registered by its class
        recorded = None
    write_episodes(path, episodes, env.observation_space, env.action_space, recorded, provenance)


def write_episodes(
    path: Path,
    episodes: Sequence[Episode],
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    spec: EnvSpec | None,
    provenance: Mapping[str, Any],
) -> None:
    """Write episodes as a Minari dataset folder, whole or not at all.

    Seeds, physics states and source actions stand in ``infos``, as ``"seed"``, ``"state"`` and ``"source_action"``;
    the last one has a row more than there are actions, of zeros.

    Args:
        path: The folder, which must not exist.
        episodes: At least one.
        observation_space: Of the observations.
        action_space: Of the actions.
        spec: Of the env that they were played in.
        provenance: Settings and versions, written beside the data as ``settings.json``.

    Raises:
        FileExistsError: If there is something at ``path``.
        ValueError: If there is no episode.
        OSError: If they cannot be written.
    """
    path = path.absolute()  # Minari resolves a relative root twice
    if path.exists():
        raise FileExistsError(f"{path} exists; remove it or choose another output")
    if not episodes:
        raise ValueError("a dataset needs at least one episode, got none")
    buffers = [_buffer(episode) for episode in episodes]
    with replacing(path) as new:
        with whole_hdf5(path), _root(new.parent), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of authors and addresses for a public index
            create_dataset_from_buffers(
                f"generative-policies/{path.name}-v0",
                buffers,
                env=spec,
                observation_space=observation_space,
                action_space=action_space,
            )
        (new.parent / "generative-policies" / f"{path.name}-v0").rename(new)
        (new / "settings.json").write_text(json.dumps(provenance, indent=2, default=str) + "\n")


def read_dataset(source: str | Path) -> list[Episode]:
    """Read the episodes of a Minari dataset with flat observations.

    Args:
        source: A folder, or the id of a local dataset.

    Raises:
        DatasetError: If there is none, it cannot be read, has no episode, or observes other than vectors.
    """
    dataset = open_dataset(source)
    found = read_episodes(source, dataset)
    if not found:
        raise DatasetError(f"{source} holds no episode")
    if not all(isinstance(episode.observations, np.ndarray) and episode.observations.ndim == 2 for episode in found):
        raise DatasetError(f"{source} must observe vectors, got {dataset.observation_space}")
    if not all(isinstance(episode.actions, np.ndarray) and episode.actions.ndim == 2 for episode in found):
        raise DatasetError(f"{source} must hold actions that are vectors, got {dataset.action_space}")
    return [_episode(source, episode) for episode in found]


def dataset_shift(spec: EnvSpec) -> Any:
    """Return the dynamics shift that an env's spec records, ``None`` without one."""
    shifts = [wrapper.kwargs for wrapper in spec.additional_wrappers if wrapper.name == "DynamicsShiftWrapper"]
    return shifts[-1]["shift"] if shifts and shifts[-1] is not None else None


def dataset_env(source: str | Path) -> EnvSpec | None:
    """Return the spec of the env that a dataset was played in, ``None`` where it was not recorded.

    It may name any function, so that an env is not made of it where the dataset is a stranger's.

    Raises:
        DatasetError: If there is no dataset, or it cannot be read.
    """
    spec: EnvSpec | None = open_dataset(source).env_spec
    return spec


@contextmanager
def _root(folder: Path) -> Iterator[None]:
    """Let Minari write below a folder, which it takes from the environment alone."""
    before = os.environ.get(ROOT_VARIABLE)
    os.environ[ROOT_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[ROOT_VARIABLE]
        else:
            os.environ[ROOT_VARIABLE] = before


def _buffer(episode: Episode) -> EpisodeBuffer:
    steps = len(episode.actions)
    infos: dict[str, Any] = {"seed": np.full(steps + 1, episode.seed)}
    if episode.states is not None:
        infos["state"] = episode.states
    if episode.source_actions is not None:
        infos["source_action"] = np.concatenate([episode.source_actions, np.zeros_like(episode.source_actions[:1])])
    if episode.success is not None:
        infos["is_success"] = np.array([False] * steps + [episode.success])
    last = [False] * (steps - 1)
    return EpisodeBuffer(
        seed=episode.seed,
        observations=episode.observations,  # stored as a list is
        actions=episode.actions,
        rewards=episode.rewards.tolist(),
        terminations=[*last, episode.terminated],
        truncations=[*last, not episode.terminated],
        infos=infos,
    )


def _episode(source: str | Path, data: Any) -> Episode:
    infos = data.infos or {}
    steps = len(data.actions)
    rows = {"observations": steps + 1, "rewards": steps, "terminations": steps}
    arrays = {name: getattr(data, name) for name in rows}
    for name in ("seed", "state", "source_action", "is_success"):
        if name in infos:
            rows[name], arrays[name] = steps + 1, infos[name]
    for name, count in {"actions": steps, **rows}.items():
        array = arrays.get(name, data.actions)
        axes = 1 if name in ("rewards", "terminations", "seed", "is_success") else 2
        if (
            not isinstance(array, np.ndarray)
            or array.dtype.kind not in "fiub"
            or array.shape[:1] != (count,)
            or array.ndim != axes
        ):
            found = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise DatasetError(
                f"{source}: {name} of episode {data.id} must be {count} rows of numbers of {axes} axes, got {found}"
            )
    if steps == 0:
        raise DatasetError(f"{source}: episode {data.id} has no step")
    source_actions = infos.get("source_action")
    success = infos.get("is_success")
    return Episode(
        seed=int(infos["seed"][0]) if "seed" in infos else 0,
        observations=data.observations,
        actions=data.actions,
        rewards=data.rewards,
        success=None if success is None else bool(success[-1]),
        states=infos.get("state"),
        source_actions=None if source_actions is None else source_actions[:-1],
        terminated=bool(data.terminations[-1]),
    )
