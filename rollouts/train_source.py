"""Training a source expert with SB3's PPO."""

import math
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import gymnasium
import numpy as np
import torch
import tyro
from gymnasium.spaces import Box
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import LinearSchedule

from generative_policies.envs import make_env
from generative_policies.rollouts.episodes import run_episodes, source_act
from generative_policies.rollouts.experts import save_expert
from generative_policies.rollouts.provenance import require_writable, versions, write_json


@dataclass(frozen=True)
class TrainSourceSettings:
    """Train a source expert: PPO at SB3's own defaults, with a learning rate that falls to zero."""

    env: Annotated[str, tyro.conf.arg(metavar="ID")] = "Pusher-v5"
    """Gymnasium id."""
    total_timesteps: int = 2_000_000
    """Env steps."""
    num_envs: int = 8
    """Envs in step."""
    num_steps: int = 1024
    """Env steps an env between two updates."""
    learning_rate: float = 3e-4
    """Learning rate at the start."""
    seed: int = 0
    """Seed of the training; reset seeds are 1,000 more and stay below 10,000."""
    evaluation_episodes: int = 100
    """Episodes of the final score, with reset seeds from 0."""
    output: Path = Path("runs/source")
    """Folder of results; the expert is written to its subfolder named as the env."""

    def __post_init__(self) -> None:
        """Check the settings."""
        for name in ("total_timesteps", "num_envs", "num_steps", "evaluation_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_envs * self.num_steps < 2:
            raise ValueError("num_envs * num_steps must be at least 2, a minibatch of one cannot be normalised")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if not 0 <= self.seed <= 9_000 - self.num_envs:
            raise ValueError(f"seed must lie in 0 to {9_000 - self.num_envs}, got {self.seed}")
        if self.env not in gymnasium.registry:
            raise ValueError(f"env must be a registered Gymnasium id, got {self.env!r}")


def train_source(settings: TrainSourceSettings) -> Path:
    """Train, score and save an expert, and return its folder.

    Args:
        settings: Sizes and seed.

    Returns:
        The folder with ``config.json`` and ``model.safetensors`` for ``load_expert``; the SB3 zip stands beside it.
    """
    torch.set_num_threads(1)
    require_writable(settings.output)
    probe = make_env(settings.env)
    if not all(
        isinstance(space, Box) and len(space.shape) == 1 for space in (probe.observation_space, probe.action_space)
    ):
        raise ValueError(f"{settings.env} must have flat Box observations and actions, see gymnasium.spaces.Box")
    started = time.monotonic()
    seed = 1_000 + settings.seed  # reset seeds of trainings start at 1,000
    env = make_vec_env(settings.env, n_envs=settings.num_envs, seed=seed)
    schedule = LinearSchedule(settings.learning_rate, 0.0, 1.0)
    model = PPO("MlpPolicy", env, n_steps=settings.num_steps, learning_rate=schedule, seed=seed, device="cpu")
    model.learn(settings.total_timesteps, progress_bar=True)
    seconds = time.monotonic() - started
    env.close()
    folder = settings.output / settings.env
    command = shlex.join(["generative-policies", *sys.argv[1:]])
    provenance = {"command": command, "seed": settings.seed, "timesteps": model.num_timesteps}
    provenance |= {"seconds": round(seconds), "versions": versions()}
    save_expert(model.policy, folder, provenance)  # now: the score may fail
    model.save(settings.output / f"{settings.env}.zip")

    episodes = run_episodes(
        lambda: make_env(settings.env),
        source_act(model.policy),
        list(range(settings.evaluation_episodes)),
        progress="evaluate",
    )
    successes = [episode.success for episode in episodes if episode.success is not None]
    score = {
        "episodes": len(episodes),
        "mean_return": float(np.mean([episode.total_reward for episode in episodes])),
        "success_rate": float(np.mean(successes)) if successes else None,
        "saturation": float(np.mean([_saturation(model.action_space, episode.actions) for episode in episodes])),
    }
    save_expert(model.policy, folder, provenance | {"score": score})
    write_json(settings.output / "train_source.json", settings, score)
    print(f"{settings.env}: {score}; saved to {folder}")
    return folder


def _saturation(space: gymnasium.Space[object], actions: np.ndarray) -> float:
    """The share of motor commands at their limit."""
    assert isinstance(space, gymnasium.spaces.Box)
    return float(np.mean((actions <= space.low) | (actions >= space.high)))
