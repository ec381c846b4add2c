"""Collecting episodes of a robot, an episode at a time, so that nothing but those in flight can be lost."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import numpy as np
import torch
import tyro

from generative_policies.action_translation import ActionTranslator
from generative_policies.atomic_files import replacing
from generative_policies.data import DatasetError
from generative_policies.data.array_files import read_arrays
from generative_policies.envs import get_state
from generative_policies.export import load_model
from generative_policies.rollouts.episodes import Act, Episode, random_act, run_episodes, translated_act
from generative_policies.rollouts.minari_datasets import write_dataset
from generative_policies.rollouts.provenance import (
    digest,
    open_partial,
    remove_partial,
    same_settings,
    settings_and_versions,
)
from generative_policies.rollouts.robots import Robot
from generative_policies.rollouts.run_lock import run_lock
from generative_policies.rollouts.source_policies import load_source, source_digests

FIRST_TEST_SEED = 10_000
FREE = ("output", "num_envs")  # settings that do not change the data


@dataclass(frozen=True)
class CollectSettings:
    """Collect episodes of a robot as a Minari dataset; interrupted, the same command goes on where it was."""

    env: Annotated[str, tyro.conf.arg(metavar="ID")] = "Pusher-v5"
    """Gymnasium id of the robot, or module:id for one that a module of yours registers."""
    shift: str | None = None
    """Shift of its dynamics: a name such as P1, or JSON such as '{"gear": 0.7}'."""
    policy: str = "random"
    """"random", a shipped expert's name, a saved policy's folder, or a zip of SB3."""
    vecnormalize: Path | None = None
    """VecNormalize statistics that the policy was trained with."""
    translator: Path | None = None
    """Folder or ONNX file of a translator that the policy's actions go through."""
    noise: tuple[float, float] = (0.0, 0.0)
    """Least and largest noise on the actions, drawn for each episode, in units of half the action range."""
    episodes: int = 100
    """Number of episodes."""
    seed: int = 1_000
    """Reset seed of the first episode; the following ones count on. Below 10,000, where tests begin."""
    num_envs: int = 16
    """Envs in step; the data do not depend on it."""
    states: bool = True
    """Whether to record the physics states of MuJoCo envs, which exact methods need."""
    output: Path = Path("runs/data")
    """Folder of the dataset; it must not exist."""

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.episodes < 1 or self.num_envs < 1:
            raise ValueError(f"expected an episode and an env at least, got {self.episodes} and {self.num_envs}")
        if not 0 <= self.noise[0] <= self.noise[1] < np.inf:
            raise ValueError(f"noise must be a least and a largest value, got {self.noise}")
        if not 0 <= self.seed <= FIRST_TEST_SEED - self.episodes:
            raise ValueError(
                f"seeds {self.seed} to {self.seed + self.episodes - 1} must lie in 0 to {FIRST_TEST_SEED - 1}; those "
                f"above are for tests"
            )
        if self.policy == "random" and (self.translator is not None or self.vecnormalize is not None):
            raise ValueError("random actions take neither a translator nor statistics")


def collect(settings: CollectSettings) -> Path:
    """Collect a dataset.

    Args:
        settings: Robot, policy and sizes.

    Returns:
        The dataset's folder.

    Raises:
        FileExistsError: If the output is there already, and is another.
        ValueError: If robot, policy and translator do not fit, or an interrupted run had other settings.
        RunInUseError: If another process writes the output.
    """
    torch.set_num_threads(1)
    with run_lock(settings.output.parent, settings.output.name):
        return _collect(settings)


def _collect(settings: CollectSettings) -> Path:
    robot = Robot(settings.env, settings.shift)
    robot.check()
    inputs = _inputs(settings)
    provenance = settings_and_versions(settings) | {"inputs": inputs}
    if settings.output.exists():
        if same_settings(settings.output / "settings.json", settings, FREE, inputs):
            remove_partial(settings.output)
            print(f"{settings.output} is complete")
            return settings.output
        raise FileExistsError(f"{settings.output} exists with other settings; remove it or choose another output")
    act = collecting_act(settings, robot)
    partial = open_partial(settings.output, settings, FREE, inputs)
    seeds = range(settings.seed, settings.seed + settings.episodes)
    noise = np.random.default_rng([settings.seed, settings.episodes]).uniform(*settings.noise, settings.episodes)
    files = [partial / f"{seed}.npz" for seed in seeds]
    missing = [k for k, file in enumerate(files) if not file.exists()]
    if missing:
        run_episodes(
            robot.make,
            act,
            [seeds[k] for k in missing],
            exploration=noise[missing].tolist(),
            num_envs=settings.num_envs,
            record_states=settings.states and has_states(robot.make()),
            progress="collect",
            on_episode=lambda number, episode: _save(episode, files[missing[number]]),
        )
    episodes = [_load(file) for file in files]
    write_dataset(settings.output, episodes, robot.make(), provenance)
    remove_partial(settings.output)
    print(f"{settings.output}: {len(episodes)} episodes, {sum(len(e.actions) for e in episodes)} steps")
    return settings.output


def collecting_act(settings: CollectSettings, robot: Robot) -> Act:
    """Return the policy of the settings, and check that it fits the robot."""
    env = robot.make()
    if settings.policy == "random":
        return random_act(env.action_space)
    source = load_source(settings.policy, settings.vecnormalize)
    if source.policy.observation_space.shape != env.observation_space.shape:
        raise ValueError(
            f"the policy observes {source.policy.observation_space.shape}, {settings.env} {env.observation_space.shape}"
        )
    width: Any = env.action_space.shape
    source_width: Any = source.policy.action_space.shape
    if settings.translator is None:
        if source_width != width:
            raise ValueError(
                f"the policy gives actions of shape {source_width}, {settings.env} takes {width}: pass a translator"
            )
        return source.act()
    translator: Any = load_model(settings.translator)
    if not isinstance(translator, ActionTranslator):
        raise ValueError(f"{settings.translator} must be a translator, got {type(translator).__name__}")
    found = (translator.source_action_dim, translator.action_dim, translator.obs_dim)
    expected = (source_width[0], width[0], env.observation_space.shape[0])  # type: ignore[index]  # of a Box
    if found != expected:
        raise ValueError(f"the translator takes source actions, actions and observations of {found}, not {expected}")
    return translated_act(source.act(), translator)


def _inputs(settings: CollectSettings) -> dict[str, str]:
    """Digests of the policy and the translator."""
    found = {} if settings.policy == "random" else source_digests(settings.policy, settings.vecnormalize)
    return found if settings.translator is None else found | {"translator": digest(settings.translator)}


def has_states(env: gymnasium.Env[Any, Any]) -> bool:
    """Whether an env has physics states, as those of MuJoCo do."""
    env.reset(seed=0)
    try:
        get_state(env)
    except TypeError:
        return False
    return True


def _save(episode: Episode, file: Path) -> None:
    arrays = {name: value for name, value in asdict(episode).items() if value is not None}
    with replacing(file) as new:
        np.savez(new, **arrays)


def _load(file: Path) -> Episode:
    found: dict[str, Any] = read_arrays(file)
    try:
        scalars = {name: found.pop(name).item() for name in ("seed", "success", "terminated") if name in found}
        return Episode(**({"success": None} | found | scalars))
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{file} holds no episode, remove it: {error}") from error
