"""Labelling recorded data with the other robot's actions, as a command."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from gymnasium.spaces import Box
from numpy.typing import NDArray

from generative_policies.checkpoints import load
from generative_policies.data import ActionPairDataset
from generative_policies.inverse_dynamics import InverseDynamics, MlpInverseDynamics
from generative_policies.rollouts.aggregation import learn
from generative_policies.rollouts.episodes import Episode, transitions
from generative_policies.rollouts.minari_datasets import DatasetError, dataset_env, read_dataset, write_episodes
from generative_policies.rollouts.pairing import AskAction, ask_exact, ask_learned, cycle_error, played_at_home
from generative_policies.rollouts.provenance import settings_and_versions
from generative_policies.rollouts.robots import Robot
from generative_policies.rollouts.source_policies import load_source


@dataclass(frozen=True)
class PairSettings:
    """Pair recorded actions with actions of the other robot that do the same, as a Minari dataset.

    relabel: which action of the other robot makes each recorded step? Two recorded datasets are enough.
    match: which action of the target leads where the source policy's action leads at home? Needs the source's
    simulator, and data of the target with physics states.
    """

    data: Path
    """The recorded dataset, by its folder or id."""
    method: Literal["relabel", "match"] = "relabel"
    """How the pairs are made."""
    data_of: Literal["target", "source"] = "target"
    """Whose data they are; match takes the target's."""
    other_data: Path | None = None
    """A recorded dataset of the robot whose actions are asked for, from which its inverse dynamics is learned: the
    other robot for relabel, the target for match."""
    inverse_dynamics: Path | None = None
    """A trained inverse dynamics of that robot, instead."""
    exact: bool = False
    """Whether its simulator answers, instead; needs physics states."""
    source_env: str | None = None
    """Gymnasium id of the source robot, where its simulator is needed, or to see how well labels do."""
    target_env: str | None = None
    """Gymnasium id of the target robot, likewise."""
    target_shift: str | None = None
    """Shift of the target's dynamics."""
    policy: str | None = None
    """The source policy, for match."""
    vecnormalize: Path | None = None
    """VecNormalize statistics that the policy was trained with."""
    updates: int = 20_000
    """Gradient steps of the inverse dynamics."""
    hidden_width: int = 256
    """Width of its two hidden layers."""
    seed: int = 0
    """Of weights and batches."""
    output: Path = Path("runs/pairs")
    """Folder of the paired dataset; it must not exist."""

    def __post_init__(self) -> None:
        """Check the settings."""
        ways = [self.other_data is not None, self.inverse_dynamics is not None, self.exact]
        if sum(ways) != 1:
            raise ValueError("pass one of other_data, inverse_dynamics and exact: who tells the other robot's actions?")
        if self.method == "match" and (self.data_of != "target" or self.source_env is None or self.policy is None):
            raise ValueError("match needs data of the target, source_env and policy")
        if self.exact and self.asked_env is None:
            raise ValueError("exact needs the env of the robot that is asked: source_env or target_env")

    @property
    def asked(self) -> Literal["source", "target"]:
        """Whose actions are asked for."""
        return "target" if self.method == "match" or self.data_of == "source" else "source"

    @property
    def asked_env(self) -> Robot | None:
        """The robot that is asked, where it is named."""
        if self.asked == "source":
            return None if self.source_env is None else Robot(self.source_env)
        return None if self.target_env is None else Robot(self.target_env, self.target_shift)


def pair(settings: PairSettings) -> Path:
    """Pair a dataset.

    Args:
        settings: Data and method.

    Returns:
        The folder of the paired dataset: the target's actions as its actions, the source's in ``infos``.

    Raises:
        FileExistsError: If the output is there already.
        DatasetError: If a dataset is missing, foreign or empty, or of another env than was named.
        ValueError: If widths do not fit, or physics states are missing.
    """
    torch.set_num_threads(1)
    if settings.output.exists():
        raise FileExistsError(f"{settings.output} exists; remove it or choose another output")
    episodes = read_dataset(settings.data)
    named = settings.target_env if settings.data_of == "target" else settings.source_env
    check_env_of(settings.data, named)
    ask = asker(settings, episodes[0].observations.shape[1])
    if settings.method == "match":
        source_actions = _source_actions(settings, episodes)
        assert settings.source_env is not None  # checked by the settings
        steps = played_at_home(episodes, source_actions, Robot(settings.source_env).make())
        labels = ask(steps)
        judged: list[Episode] = steps
        flat = np.concatenate(labels)
        bounds = np.cumsum([len(episode.actions) for episode in episodes])[:-1]
        pairs = list(zip(source_actions, np.split(flat, bounds), strict=True))
    else:
        labels, judged = ask(episodes), episodes
        pairs = [
            (answer, episode.actions) if settings.asked == "source" else (episode.actions, answer)
            for answer, episode in zip(labels, episodes, strict=True)
        ]
    robot = settings.asked_env
    error = None
    if robot is not None and judged[0].states is not None:
        error = cycle_error(robot.make(), judged, labels, np.random.default_rng(settings.seed))
        print(f"cycle error of the labels through the simulator, median: {error:.3f}")
    paired = [
        replace(episode, actions=target.astype(np.float32), source_actions=source.astype(np.float32))
        for episode, (source, target) in zip(episodes, pairs, strict=True)
    ]
    width = paired[0].actions.shape[1]
    provenance = settings_and_versions(settings) | {"cycle_error": error}
    # Labels may lie outside of a robot's bounds, where it cannot do what the other did.
    write_episodes(
        settings.output,
        paired,
        Box(-np.inf, np.inf, paired[0].observations.shape[1:], paired[0].observations.dtype.type),
        Box(-np.inf, np.inf, (width,), np.float32),
        None,
        provenance,
    )
    print(f"{settings.output}: {sum(len(episode.actions) for episode in paired)} pairs")
    return settings.output


def read_pairs(source: str | Path) -> ActionPairDataset:
    """Read a paired dataset.

    Raises:
        DatasetError: If it is none.
    """
    episodes = read_dataset(source)
    if any(episode.source_actions is None for episode in episodes):
        raise DatasetError(f"{source} holds no source actions: make pairs of it with the command pair")
    return ActionPairDataset(
        episodes=np.repeat(np.arange(len(episodes)), [len(episode.actions) for episode in episodes]),
        obs=np.concatenate([episode.observations[:-1] for episode in episodes]),
        source_actions=np.concatenate([episode.source_actions for episode in episodes]),
        target_actions=np.concatenate([episode.actions for episode in episodes]),
    )


def check_env_of(dataset: Path, env_id: str | None) -> None:
    """Check that a dataset was played in an env of an id, where both are known.

    Raises:
        DatasetError: If it was another.
    """
    spec = dataset_env(dataset)
    expected = None if env_id is None else env_id.rpartition(":")[2]
    if spec is not None and expected is not None and spec.id != expected:
        raise DatasetError(f"{dataset} was played in {spec.id}, not in {expected}")


def asker(settings: PairSettings, obs_dim: int) -> AskAction:
    """Return who tells the other robot's actions, for data that observe so many entries.

    Raises:
        ValueError: If it observes another number.
    """
    robot = settings.asked_env
    if settings.exact:
        assert robot is not None  # checked by the settings
        return ask_exact(robot.make(), os.cpu_count() or 1, settings.seed)
    if settings.inverse_dynamics is not None:
        model: Any = load(settings.inverse_dynamics)
        if not isinstance(model, InverseDynamics):
            raise ValueError(f"{settings.inverse_dynamics} must be an inverse dynamics, got {type(model).__name__}")
    else:
        assert settings.other_data is not None  # checked by the settings
        check_env_of(settings.other_data, None if robot is None else robot.env_id)
        data = transitions(read_dataset(settings.other_data))
        if data.obs.shape[1] != obs_dim:
            raise ValueError(
                f"both datasets must observe the same, got {obs_dim} entries in {settings.data} and "
                f"{data.obs.shape[1]} in {settings.other_data}"
            )
        model = learn(
            lambda: MlpInverseDynamics(data.actions.shape[1], obs_dim, [settings.hidden_width] * 2),
            data,
            settings.updates,
            torch.Generator().manual_seed(settings.seed),
            progress="train inverse dynamics",
        )
    if model.obs_dim != obs_dim:
        raise ValueError(f"the inverse dynamics observes {model.obs_dim} entries, {settings.data} has {obs_dim}")
    return ask_learned(model)


def _source_actions(settings: PairSettings, episodes: list[Episode]) -> list[NDArray[Any]]:
    """What the source policy does in the states of the episodes."""
    assert settings.policy is not None  # checked by the settings
    act = load_source(settings.policy, settings.vecnormalize).act()
    return [act(episode.observations[:-1], []) for episode in episodes]
