"""Experts without pickles."""

import json
import warnings

import numpy as np
import pytest
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from generative_policies.checkpoints import CheckpointError
from generative_policies.envs import make_env
from generative_policies.rollouts import evaluate_arm, load_expert, source_act
from generative_policies.rollouts.experts import SHIPPED_FOLDER, has_its_physics, shipped_experts

PUSHER = pytest.mark.skipif(not has_its_physics("Pusher-v5"), reason="this MuJoCo has other contacts than its training")


@PUSHER
def test_the_shipped_pusher_pushes() -> None:
    expert = load_expert("Pusher-v5")
    result = evaluate_arm(lambda: make_env("Pusher-v5"), source_act(expert), range(20_000, 20_020))
    assert result.successes is not None and np.mean(result.successes) >= 0.9  # 99 of 100 when it was trained
    env = Monitor(make_env("Pusher-v5"))  # and it is a policy for SB3's own tools
    env.reset(seed=20_000)
    assert np.mean(evaluate_policy(expert, env, n_eval_episodes=5, return_episode_rewards=True)[0]) > -30


def test_every_shipped_expert_is_small_complete_and_tells_its_origin() -> None:
    assert "Pusher-v5" in shipped_experts()
    for name in shipped_experts():
        folder = SHIPPED_FOLDER / name
        assert sum(file.stat().st_size for file in folder.iterdir()) < 2_000_000
        provenance = json.loads((folder / "config.json").read_text())["provenance"]
        assert provenance["command"].startswith("generative-policies train-source --env")
        assert {"seed", "timesteps", "score", "seconds"} <= set(provenance)
        assert load_expert(name).training is False


def test_infinite_bounds_survive_json() -> None:
    space = load_expert("Pusher-v5").observation_space
    config = json.loads((SHIPPED_FOLDER / "Pusher-v5" / "config.json").read_text())
    assert np.isinf(getattr(space, "low", np.zeros(1))).all()
    assert config["observation_space"]["low"] == [None] * 23


def test_unknown_names_are_told_with_those_there_are() -> None:
    with pytest.raises(CheckpointError, match=r"no expert 'Nope-v0'.*Pusher-v5"):
        load_expert("Nope-v0")


def test_an_expert_warns_where_the_simulator_has_changed_since_its_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mujoco.__version__", "3.17.0")
    with pytest.warns(UserWarning, match=r"'Pusher-v5' was trained .* 3\.17\.0 simulates other contacts"):
        load_expert("Pusher-v5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_expert("HalfCheetah-v5")
        monkeypatch.setattr("mujoco.__version__", "3.16.0")
        load_expert("Pusher-v5")
