"""Training a source expert, in a short form."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box
from stable_baselines3 import PPO, SAC

from generative_policies.rollouts import load_expert
from generative_policies.rollouts.commands import train_source as train_source_module
from generative_policies.rollouts.commands.train_source import TrainSourceSettings, train_source
from generative_policies.rollouts.recipes import Recipe

SHORT = Recipe(total_timesteps=512, num_envs=2, num_steps=128, batch_size=32, net_arch=(8,))
RECIPES_BY_ALGORITHM = {
    "PPO": replace(SHORT, normalize_reward=True),
    "SAC": replace(SHORT, algorithm="SAC", learning_starts=100, gradient_steps=1),
}


@pytest.mark.parametrize("algorithm", RECIPES_BY_ALGORITHM)
def test_a_short_training_writes_what_load_expert_reads(
    algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPES_BY_ALGORITHM[algorithm], action_limit=0.5, env_arguments={"reset_noise_scale": 0.02})
    monkeypatch.setattr(train_source_module, "RECIPES", {"InvertedPendulum-v5": recipe})
    settings = TrainSourceSettings(env="InvertedPendulum-v5", evaluation_episodes=3, output=tmp_path)
    folder = train_source(settings)
    assert folder == tmp_path / "InvertedPendulum-v5"
    expert = load_expert(folder)
    assert expert.action_space == Box(-1.5, 1.5, (1,))  # half of the motor's range
    trained = {"PPO": PPO, "SAC": SAC}[algorithm].load(tmp_path / "InvertedPendulum-v5.zip", device="cpu")
    assert trained.num_timesteps == 512
    observations = np.random.default_rng(0).standard_normal((5, 4))
    actions = [policy.predict(observations, deterministic=True)[0] for policy in (expert, trained)]
    assert np.array_equal(*actions)
    report = json.loads((tmp_path / "InvertedPendulum-v5.json").read_text())
    assert report["episodes"] == 3 and report["success_rate"] is None and report["saturation"] == 0
    assert report["settings"]["env"] == "InvertedPendulum-v5"
    provenance = json.loads((folder / "config.json").read_text())["provenance"]
    assert provenance["recipe"]["env_arguments"] == {"reset_noise_scale": 0.02}


def test_what_cannot_be_trained_or_written_is_refused_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="CartPole-v1 must have flat Box"):
        train_source(TrainSourceSettings(env="CartPole-v1", output=tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        train_source(TrainSourceSettings(output=tmp_path / "file"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("env", "Nope-v0"), ("total_timesteps", 0), ("seed", 8_999), ("evaluation_episodes", 0)],
)
def test_settings_are_checked(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        TrainSourceSettings(**{name: value})  # type: ignore[arg-type]
