"""What decides an arm's result, and what all arms on a target share."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from generative_policies.checkpoints import CheckpointError, load, save
from generative_policies.data import EpisodicDataset, TransitionDataset
from generative_policies.forward_dynamics import MlpForwardDynamics
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.models import MlpRegressor
from generative_policies.rollouts.aggregation import Rounds, learn_model
from generative_policies.rollouts.episodes import Act, Episode, EpisodeContext, MakeEnv, run_episodes, transitions
from generative_policies.rollouts.robots import Robot
from generative_policies.rollouts.source_policies import SourcePolicy, load_source, source_digests


@dataclass(frozen=True)
class ArmTask:
    """One arm on one target with one training seed: all that decides its result.

    Attributes:
        arm: Name of the arm.
        seed: Training seed, 0 to 8; 0 for arms without training.
        source: The source robot.
        target: The target robot.
        policy: The source policy, see ``load_source``.
        vecnormalize: Its statistics.
        episodes: Test episodes.
        first_seed: The first one's reset seed.
        source_episodes: Noisy episodes at home, for models of the source.
        inverse_dynamics_updates: Gradient steps of each model of the source.
        rounds: Rounds of collecting on the target.
        episodes_per_round: Episodes of each.
        updates: Gradient steps of each training of a translator.
        hidden_width: Width of the two hidden layers of every network.
        noise: Least and largest noise while collecting on the target, in units of half the action range.
        model_updates: Gradient steps of each training of a model of the target.
        guide_updates: Gradient steps of each training through models.
        matching_steps: Steps that multi-step matching looks ahead.
        target_steps: Target steps of the arms that see its reward; those of the others by default.
        curve_steps: Target steps between two points of such an arm's learning curve; none by default.
        simulated_steps: Steps in the identified simulator, of the arm that is trained there.
        source_observation: Number of leading entries of the target's observation that the source policy sees; all by
            default.
    """

    arm: str
    seed: int
    source: Robot
    target: Robot
    policy: str
    vecnormalize: str | None
    episodes: int
    first_seed: int
    source_episodes: int
    inverse_dynamics_updates: int
    rounds: int
    episodes_per_round: int
    updates: int
    hidden_width: int
    noise: tuple[float, float] = (0.075, 0.2)
    model_updates: int = 3_000
    guide_updates: int = 2_500
    matching_steps: int = 5
    target_steps: int | None = None
    curve_steps: int | None = None
    simulated_steps: int = 1_000_000
    source_observation: int | None = None

    @property
    def first_training_seed(self) -> int:
        """Reset seeds of a training lie in [1,000, 10,000), a thousand a training seed."""
        return 1_000 * (self.seed + 1)

    def load_source(self) -> SourcePolicy:
        """Load the source policy."""
        return load_source(self.policy, self._vecnormalize)

    def fingerprint(self, without: Sequence[str] = ()) -> str:
        """Return what tells these settings and this policy from all others, but for some of the settings."""
        settings = {name: value for name, value in asdict(self).items() if name not in without}
        content = {**settings, "digests": source_digests(self.policy, self._vecnormalize)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def _vecnormalize(self) -> Path | None:
        return None if self.vecnormalize is None else Path(self.vecnormalize)


class Trained(NamedTuple):
    """An arm that is ready to be evaluated.

    Attributes:
        make: Makes its env.
        act: The policy in it.
        details: Figures for its result.
        episodes: What it learned from on the target, where that covers what it visits.
    """

    make: MakeEnv
    act: Act
    details: dict[str, Any]
    episodes: Sequence[Episode] = ()


class Study:
    """A task with what its arms share: source policy, robots, models of the source.

    Args:
        task: The task.
        folder: Trained models and finished rounds are kept here.
        num_envs: Envs in step; results do not depend on it.
        source_models: Folder of models of the source, which other targets may share; ``folder`` by default.
    """

    def __init__(self, task: ArmTask, folder: Path, num_envs: int = 16, source_models: Path | None = None) -> None:
        self.task = task
        self.folder = folder
        self.source_models = folder if source_models is None else source_models
        self.num_envs = num_envs
        self.policy = task.load_source()
        self.at_home = self.policy.act()
        self.source = leading(self.at_home, task.source_observation)

    @property
    def rounds(self) -> Rounds:
        """How much is collected on the target."""
        return Rounds(self.task.rounds, self.task.episodes_per_round, self.task.noise)

    @property
    def first_target_seed(self) -> int:
        """Reset seed of the first training episode on the target."""
        return self.task.first_training_seed + 500

    @property
    def kept(self) -> Path:
        """Folder of this arm's rounds, from which an interrupted training goes on."""
        return self.folder / f"{self.task.arm}-{self.task.seed}-rounds"

    @property
    def target_steps(self) -> int:
        """Target steps of an arm that sees the reward: as many as the others may take."""
        if self.task.target_steps is not None:
            return self.task.target_steps
        spec = self.task.target.make().spec
        assert spec is not None and spec.max_episode_steps is not None  # Robot.check saw to it
        return self.task.rounds * self.task.episodes_per_round * spec.max_episode_steps

    def rng(self, stream: int) -> np.random.Generator:
        """Return a source of randomness of the training seed; streams differ."""
        return np.random.default_rng([self.task.seed, stream])

    def generator(self) -> torch.Generator:
        """Return a source of weights and batches of the training seed."""
        return torch.Generator().manual_seed(self.task.seed)

    @cached_property
    def home(self) -> Path:
        """Folder of models of the source, the same for every target."""
        task = self.task
        settings = {
            "source": asdict(task.source),
            "policy": source_digests(task.policy, task._vecnormalize),
            "sizes": [task.source_episodes, task.inverse_dynamics_updates, task.hidden_width],
        }
        name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
        return self.source_models / f"source-{name}"

    @cached_property
    def home_episodes(self) -> list[Episode]:
        """Noisy episodes at home, from nearly the policy's own actions to noise that drowns them."""
        task = self.task
        return run_episodes(
            task.source.make,
            self.at_home,
            range(task.first_training_seed, task.first_training_seed + task.source_episodes),
            exploration=self.rng(0).uniform(0.015, 0.6, task.source_episodes).tolist(),
            num_envs=self.num_envs,
            progress="collect source episodes",
        )

    @cached_property
    def home_data(self) -> TransitionDataset:
        """Transitions of the noisy episodes at home."""
        return transitions(self.home_episodes)

    @cached_property
    def source_inverse_dynamics(self) -> MlpInverseDynamics:
        """The source's inverse dynamics; one that was trained already is loaded."""
        model: MlpInverseDynamics = self._model_of_source(
            "inverse_dynamics",
            lambda data: MlpInverseDynamics(data.actions.shape[1], data.obs.shape[1], self.widths),
            lambda: self.home_data,
        )
        return model

    @cached_property
    def source_model(self) -> MlpForwardDynamics:
        """The source's forward dynamics; one that was trained already is loaded."""
        model: MlpForwardDynamics = self._model_of_source(
            "forward_dynamics",
            lambda data: MlpForwardDynamics(data.obs.shape[1], data.actions.shape[1], self.widths),
            lambda: self.home_data,
        )
        return model

    @cached_property
    def source_reward(self) -> MlpRegressor:
        """The source's reward as a function of ``reward_features``; one that was trained already is loaded."""
        model: MlpRegressor = self._model_of_source(
            "reward",
            lambda data: MlpRegressor(1, data.condition.shape[1], self.widths),
            lambda: RewardDataset.from_episodes(self.home_episodes),
        )
        return model

    @cached_property
    def source_bounds(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Least and largest actions of the source."""
        space: Any = self.policy.policy.action_space
        return space.low, space.high

    @cached_property
    def target_bounds(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Least and largest actions of the target."""
        space: Any = self.task.target.make().action_space
        return space.low, space.high

    @property
    def source_action_dim(self) -> int:
        """Width of the source's actions."""
        return len(self.source_bounds[0])

    @property
    def action_dim(self) -> int:
        """Width of the target's actions."""
        return len(self.target_bounds[0])

    @cached_property
    def obs_dim(self) -> int:
        """Width of the target's observations."""
        shape: Any = self.task.target.make().observation_space.shape
        return int(shape[0])

    @property
    def other_body(self) -> bool:
        """Whether source and target have different bodies, of which the source policy sees what they share."""
        return self.task.source_observation is not None

    @property
    def task_dim(self) -> int:
        """Number of leading entries of an observation that mean the same on both robots."""
        return self.obs_dim if self.task.source_observation is None else self.task.source_observation

    @cached_property
    def home_statistics(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Observations and actions at home, twice, for the normalisers of a translator that begins as the identity."""
        data = self.home_data
        obs, actions = (torch.as_tensor(array.astype(np.float32)) for array in (data.obs, data.actions))
        return obs, actions, actions

    @property
    def widths(self) -> list[int]:
        """Hidden widths of every network."""
        return [self.task.hidden_width] * 2

    def _model_of_source(self, name: str, build: Callable[[Any], nn.Module], dataset: Callable[[], Any]) -> Any:
        path = self.home / f"{name}-{self.task.seed}"
        try:
            return load(path)
        except CheckpointError:
            pass
        data = dataset()
        model = learn_model(
            lambda: build(data),
            data,
            self.task.inverse_dynamics_updates,
            self.generator(),
            progress=f"train {name.replace('_', ' ')}",
        )
        save(model, path)
        return model.eval()


@dataclass(frozen=True, eq=False)
class RewardDataset(EpisodicDataset):
    """What a model of the reward learns from.

    Args:
        episodes: ``(rows,)``, the episode of each row.
        target: ``(rows, 1)``, rewards.
        condition: ``(rows, 2 obs_dim + action_dim)``, see ``reward_features``.
    """

    target: NDArray[Any]
    condition: NDArray[Any]

    @classmethod
    def from_episodes(cls, episodes: Sequence[Episode]) -> "RewardDataset":
        """Return the rewards of whole episodes."""
        data = transitions(episodes)
        rewards = np.concatenate([episode.rewards for episode in episodes])[:, None]
        features = np.concatenate([data.obs, data.actions, data.next_obs - data.obs], axis=1)
        return cls(data.episodes, rewards, features)


def reward_features(obs: torch.Tensor, actions: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
    """Return what a model of the reward sees of steps: observation, action and change, ``(batch, features)``."""
    return torch.cat([obs, actions, next_obs - obs], dim=1)


def leading(act: Act, entries: int | None) -> Act:
    """Return a policy that sees the leading entries of each observation alone."""
    if entries is None:
        return act

    def act_on_leading(observations: NDArray[Any], contexts: Sequence[EpisodeContext]) -> NDArray[Any]:
        return act(observations[:, :entries], contexts)

    return act_on_leading
