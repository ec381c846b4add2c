"""What the arms on a target share: the source policy, the robots, and models of the source."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from generative_policies.checkpoints import CheckpointError, load, save
from generative_policies.data import TransitionDataset
from generative_policies.forward_dynamics import MlpForwardDynamics
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.models import MlpRegressor
from generative_policies.rollouts.aggregation import Rounds, learn_model
from generative_policies.rollouts.arms.source_reward import RewardDataset
from generative_policies.rollouts.arms.task import ArmTask
from generative_policies.rollouts.episodes import Act, Episode, EpisodeContext, run_episodes, transitions


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
        self.source_seconds = 0.0  # that models of the source took, which other arms share

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
        """Target steps of an arm that sees the reward, as many as the others may take."""
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
            "policy": task.digests(),
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
        started = time.perf_counter()
        data = dataset()
        model = learn_model(
            lambda: build(data),
            data,
            self.task.inverse_dynamics_updates,
            self.generator(),
            progress=f"train {name.replace('_', ' ')}",
        )
        save(model, path)
        self.source_seconds += time.perf_counter() - started
        return model.eval()


def leading(act: Act, entries: int | None) -> Act:
    """Return a policy that sees the leading entries of each observation alone."""
    if entries is None:
        return act

    def act_on_leading(observations: NDArray[Any], contexts: Sequence[EpisodeContext]) -> NDArray[Any]:
        return act(observations[:, :entries], contexts)

    return act_on_leading
