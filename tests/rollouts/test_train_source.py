"""Training a source expert, in a short form."""

import json
from pathlib import Path

import pytest
from stable_baselines3 import PPO

from generative_policies.rollouts import load_expert
from generative_policies.rollouts.train_source import TrainSourceSettings, train_source


def test_a_short_training_writes_what_load_expert_reads(tmp_path: Path) -> None:
    settings = TrainSourceSettings(
        env="InvertedPendulum-v5",
        total_timesteps=512,
        num_envs=2,
        num_steps=128,
        evaluation_episodes=3,
        output=tmp_path,
    )
    folder = train_source(settings)
    assert folder == tmp_path / "InvertedPendulum-v5"
    assert load_expert(folder).action_space.shape == (1,)
    assert PPO.load(tmp_path / "InvertedPendulum-v5.zip", device="cpu").num_timesteps == 512
    report = json.loads((tmp_path / "train_source.json").read_text())
    assert report["episodes"] == 3 and report["success_rate"] is None
    assert report["settings"]["env"] == "InvertedPendulum-v5"


def test_what_cannot_be_trained_or_written_is_refused_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="CartPole-v1 must have flat Box"):
        train_source(TrainSourceSettings(env="CartPole-v1", output=tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        train_source(TrainSourceSettings(output=tmp_path / "file"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("env", "Nope-v0"), ("num_envs", 0), ("seed", 8_999), ("learning_rate", -1.0), ("learning_rate", float("nan"))],
)
def test_settings_are_checked(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        TrainSourceSettings(**{name: value})  # type: ignore[arg-type]
