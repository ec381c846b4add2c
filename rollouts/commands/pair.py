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
from generative_policies.data import ActionPairDataset, DatasetError, episode_generator
from generative_policies.envs import check_control_periods
from generative_policies.envs.dynamics_shift import dynamics_shift
from generative_policies.inverse_dynamics import InverseDynamics, MlpInverseDynamics
from generative_policies.rollouts.aggregation import learn_model
from generative_policies.rollouts.episodes import Episode, EpisodeContext, transitions
from generative_policies.rollouts.minari_datasets import (
    dataset_env,
    dataset_shift,
    read_dataset,
    write_episodes,
)
from generative_policies.rollouts.pairing import (
    AskAction,
    ask_exact,
    ask_learned,
    cycle_error,
    played_at_home,
    steps_of,
)
from generative_policies.rollouts.provenance import digest, same_settings, settings_and_versions
from generative_policies.rollouts.robots import Robot
from generative_policies.rollouts.run_lock import run_lock
from generative_policies.rollouts.source_policies import load_source, source_digests


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
        if self.exact and self.robot(self.asked) is None:
            raise ValueError("exact needs the env of the robot that is asked: source_env or target_env")

    @property
    def asked(self) -> Literal["source", "target"]:
        """Whose actions are asked for."""
        return "target" if self.method == "match" or self.data_of == "source" else "source"

    def robot(self, which: Literal["source", "target"]) -> Robot | None:
        """Return the source or the target, where it is named."""
        if which == "source":
            return None if self.source_env is None else Robot(self.source_env)
        return None if self.target_env is None else Robot(self.target_env, self.target_shift)


def pair(settings: PairSettings) -> Path:
    """Pair a dataset.

    Args:
        settings: Data and method.

    Returns:
        The folder of the paired dataset: the target's actions as its actions, the source's in ``infos``.

    Raises:
        FileExistsError: If the output is there already, with other settings.
        DatasetError: If a dataset is missing, foreign or empty, or of another env than was named.
        ValueError: If widths do not fit, or physics states are missing.
        RunInUseError: If another process writes the output.
    """
    torch.set_num_threads(1)
    with run_lock(settings.output.parent, settings.output.name):
        return _pair(settings)


def _pair(settings: PairSettings) -> Path:
    inputs = _inputs(settings)
    if settings.output.exists():
        if same_settings(settings.output / "settings.json", settings, ("output",), inputs):
            print(f"{settings.output} is complete")
            return settings.output
        raise FileExistsError(f"{settings.output} exists with other settings; remove it or choose another output")
    episodes = read_dataset(settings.data)
    data_robot, robot = settings.robot(settings.data_of), settings.robot(settings.asked)
    check_robot_of(settings.data, data_robot)
    ask = asker(settings, robot, episodes[0].observations.shape[1])
    steps = steps_of(episodes)
    if settings.method == "match":
        home = settings.robot("source")
        assert home is not None  # checked by the settings
        if data_robot is not None:
            _check_periods(home, data_robot)
        steps = played_at_home(episodes, _source_actions(settings, episodes), home.make())
    labels = ask(steps)
    error = None
    if robot is not None and steps.states is not None:
        error = cycle_error(robot.make(), steps, labels, np.random.default_rng(settings.seed))
        print(f"cycle error of the labels through the simulator, median: {error:.3f}")
    source, target = (labels, steps.actions) if settings.asked == "source" else (steps.actions, labels)
    bounds = np.cumsum([len(episode.actions) for episode in episodes])[:-1]
    paired = [
        replace(episode, actions=actions.astype(np.float32), source_actions=source_actions.astype(np.float32))
        for episode, actions, source_actions in zip(
            episodes, np.split(target, bounds), np.split(source, bounds), strict=True
        )
    ]
    # Labels may lie outside of a robot's bounds, where it cannot do what the other did.
    write_episodes(
        settings.output,
        paired,
        Box(-np.inf, np.inf, steps.obs.shape[1:], steps.obs.dtype.type),
        Box(-np.inf, np.inf, target.shape[1:], np.float32),
        None,
        settings_and_versions(settings) | {"cycle_error": error, "inputs": inputs},
    )
    print(f"{settings.output}: {len(labels)} pairs")
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


def check_robot_of(dataset: Path, robot: Robot | None) -> None:
    """Check that a dataset was played by a robot, id and shift, where both are known.

    Raises:
        DatasetError: If it was another.
    """
    spec = dataset_env(dataset)
    if spec is None or robot is None:
        return
    expected = robot.env_id.rpartition(":")[2]
    if spec.id != expected:
        raise DatasetError(f"{dataset} was played in {spec.id}, not in {expected}")
    env_class = type(robot.make().unwrapped).__name__
    found, named = (
        None if shift is None else dynamics_shift(shift, env_class)
        for shift in (dataset_shift(spec), robot.shift_value())
    )
    if found != named:
        raise DatasetError(f"{dataset} was played with the shift {found}, not with {named}")


def asker(settings: PairSettings, robot: Robot | None, obs_dim: int) -> AskAction:
    """Return who tells the other robot's actions, for data that observe so many entries.

    Raises:
        ValueError: If it observes another number.
    """
    if settings.exact:
        assert robot is not None  # checked by the settings
        return ask_exact(robot.make(), os.cpu_count() or 1, settings.seed)
    if settings.inverse_dynamics is not None:
        model: Any = load(settings.inverse_dynamics)
        if not isinstance(model, InverseDynamics):
            raise ValueError(f"{settings.inverse_dynamics} must be an inverse dynamics, got {type(model).__name__}")
    else:
        assert settings.other_data is not None  # checked by the settings
        check_robot_of(settings.other_data, robot)
        data = transitions(read_dataset(settings.other_data))
        if data.obs.shape[1] != obs_dim:
            raise ValueError(
                f"both datasets must observe the same, got {obs_dim} entries in {settings.data} and "
                f"{data.obs.shape[1]} in {settings.other_data}"
            )
        model = learn_model(
            lambda: MlpInverseDynamics(data.actions.shape[1], obs_dim, [settings.hidden_width] * 2),
            data,
            settings.updates,
            torch.Generator().manual_seed(settings.seed),
            progress="train inverse dynamics",
        )
    if model.obs_dim != obs_dim:
        raise ValueError(f"the inverse dynamics observes {model.obs_dim} entries, {settings.data} has {obs_dim}")
    return ask_learned(model)


def _source_actions(settings: PairSettings, episodes: list[Episode]) -> NDArray[Any]:
    """What the source policy does in the states of the episodes, ``(rows, source_action_dim)`` end to end."""
    assert settings.policy is not None  # checked by the settings
    act = load_source(settings.policy, settings.vecnormalize).act()
    contexts = [EpisodeContext(episode.seed, episode_generator(episode.seed)) for episode in episodes]
    found: list[list[NDArray[Any]]] = [[] for _ in episodes]
    for t in range(max(len(episode.actions) for episode in episodes)):  # in order, for policies with plans
        rows = [k for k, episode in enumerate(episodes) if t < len(episode.actions)]
        actions = act(np.stack([episodes[k].observations[t] for k in rows]), [contexts[k] for k in rows])
        for k, action in zip(rows, actions, strict=True):
            found[k].append(action)
    return np.concatenate([np.stack(actions) for actions in found])


def _inputs(settings: PairSettings) -> dict[str, str]:
    paths = {"data": settings.data, "other_data": settings.other_data, "inverse_dynamics": settings.inverse_dynamics}
    found = {name: digest(path) for name, path in paths.items() if path is not None}
    return found if settings.policy is None else found | source_digests(settings.policy, settings.vecnormalize)


def _check_periods(source: Robot, target: Robot) -> None:
    check_control_periods(source.make(), target.make())
