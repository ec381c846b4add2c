"""Training a source expert with SB3."""

import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import numpy as np
import torch
import tyro
from gymnasium.spaces import Box
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize

from generative_policies.atomic_files import replacing
from generative_policies.envs import make_env
from generative_policies.policies import save_policy
from generative_policies.rollouts.episodes import run_episodes, source_act
from generative_policies.rollouts.provenance import versions, write_json
from generative_policies.rollouts.recipes import RECIPES, Recipe
from generative_policies.rollouts.run_lock import run_lock


@dataclass(frozen=True)
class TrainSourceSettings:
    """Train a source expert by the recipe of its env; envs without one get PPO at SB3's own defaults."""

    env: Annotated[str, tyro.conf.arg(metavar="ID")] = "Pusher-v5"
    """Gymnasium id."""
    total_timesteps: int | None = None
    """Env steps, those of the recipe by default."""
    seed: int = 0
    """Seed of the training; reset seeds are 1,000 more and stay below 10,000."""
    evaluation_episodes: int = 100
    """Episodes of the final score, with reset seeds from 0."""
    output: Path = Path("runs/source")
    """Folder of results; the expert is written to its subfolder named as the env."""

    def __post_init__(self) -> None:
        """Check the settings."""
        for name in ("total_timesteps", "evaluation_episodes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 <= self.seed <= 8_900:
            raise ValueError(f"seed must lie in 0 to 8900, got {self.seed}")
        if self.env not in gymnasium.registry:
            raise ValueError(f"env must be a registered Gymnasium id, got {self.env!r}")


def train_source(settings: TrainSourceSettings) -> Path:
    """Train, score and save an expert, and return its folder.

    Args:
        settings: Env, length and seed.

    Returns:
        The folder with ``config.json`` and ``model.safetensors`` for ``load_expert``; the SB3 zip stands beside it.

    Raises:
        RunInUseError: If another process writes the output.
    """
    torch.set_num_threads(1)
    with run_lock(settings.output):
        return _train_source(settings)


def _train_source(settings: TrainSourceSettings) -> Path:
    recipe = RECIPES.get(settings.env, Recipe())
    total_timesteps = settings.total_timesteps or recipe.total_timesteps

    def make() -> gymnasium.Env[Any, Any]:
        return make_env(settings.env, **recipe.env_arguments)

    probe = make()
    if not all(
        isinstance(space, Box) and len(space.shape) == 1 for space in (probe.observation_space, probe.action_space)
    ):
        raise ValueError(f"{settings.env} must have flat Box observations and actions, see gymnasium.spaces.Box")
    started = time.monotonic()
    model = _build(recipe, make, seed=1_000 + settings.seed)  # reset seeds of trainings start at 1,000
    model.learn(total_timesteps, progress_bar=True)
    seconds = time.monotonic() - started
    folder = settings.output / expert_name(settings.env)
    command = shlex.join(["generative-policies", *sys.argv[1:]])
    provenance = {"command": command, "env": settings.env, "seed": settings.seed, "timesteps": model.num_timesteps}
    provenance |= {"recipe": asdict(recipe), "seconds": round(seconds), "versions": versions()}
    save_policy(model.policy, folder, provenance)  # now: the score may fail
    with replacing(settings.output / f"{folder.name}.zip") as new:
        model.save(new)

    episodes = run_episodes(
        make,
        source_act(model.policy),
        list(range(settings.evaluation_episodes)),
        progress="evaluate",
    )
    successes = [episode.success for episode in episodes if episode.success is not None]
    score = {
        "episodes": len(episodes),
        "mean_return": float(np.mean([episode.total_reward for episode in episodes])),
        "success_rate": float(np.mean(successes)) if successes else None,
        "saturation": float(np.mean([_saturation(probe.action_space, episode.actions) for episode in episodes])),
    }
    save_policy(model.policy, folder, provenance | {"score": score})
    write_json(settings.output / f"{folder.name}.json", settings, score)
    print(f"{settings.env}: {score}; saved to {folder}")
    return folder


def expert_name(env_id: str) -> str:
    """Return the name of an env's expert: the id without its namespace."""
    return env_id.rpartition("/")[2]


class _LimitedActionWrapper(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Shows a policy a share of the action range, around its middle."""

    def __init__(self, env: gymnasium.Env[Any, Any], share: float) -> None:
        super().__init__(env)
        space = env.action_space
        assert isinstance(space, Box)  # checked by train_source
        middle, half = 0.5 * (space.high + space.low), 0.5 * (space.high - space.low)
        self.action_space = Box(middle - share * half, middle + share * half, dtype=space.dtype.type)


def _build(recipe: Recipe, make: Callable[[], gymnasium.Env[Any, Any]], seed: int) -> BaseAlgorithm:
    """The algorithm of a recipe with its envs."""

    def make_limited() -> gymnasium.Env[Any, Any]:
        return make() if recipe.action_limit == 1 else _LimitedActionWrapper(make(), recipe.action_limit)

    env = make_vec_env(make_limited, n_envs=recipe.num_envs, seed=seed)
    if recipe.normalize_reward:
        env = VecNormalize(env, norm_obs=False, gamma=recipe.gamma)
    if recipe.algorithm == "PPO":
        return PPO(
            "MlpPolicy",
            env,
            n_steps=recipe.num_steps,
            batch_size=recipe.batch_size,
            learning_rate=LinearSchedule(recipe.learning_rate, 0.0, 1.0),
            gamma=recipe.gamma,
            policy_kwargs={"net_arch": list(recipe.net_arch), "log_std_init": recipe.log_std_init},
            seed=seed,
            device="cpu",
        )
    return SAC(
        "MlpPolicy",
        env,
        learning_rate=recipe.learning_rate,
        batch_size=recipe.batch_size,
        train_freq=1,
        gradient_steps=recipe.gradient_steps,
        learning_starts=recipe.learning_starts,
        gamma=recipe.gamma,
        policy_kwargs={"net_arch": list(recipe.net_arch)},
        seed=seed,
        device="cpu",
    )


def _saturation(space: gymnasium.Space[object], actions: np.ndarray) -> float:
    """The share of motor commands at their limit."""
    assert isinstance(space, gymnasium.spaces.Box)
    return float(np.mean((actions <= space.low) | (actions >= space.high)))
