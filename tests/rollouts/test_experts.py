"""Experts without pickles."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import ActorCriticPolicy

from generative_policies.checkpoints import CheckpointError
from generative_policies.envs import make_env
from generative_policies.rollouts import evaluate_arm, load_expert, save_expert, source_act
from generative_policies.rollouts.experts import SHIPPED_FOLDER, shipped_experts


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


@pytest.mark.parametrize("activation", [torch.nn.Tanh, torch.nn.ReLU])
def test_policy_and_value_come_back(tmp_path: Path, activation: Any) -> None:
    kwargs = {"net_arch": {"pi": [16], "vf": [8, 8]}, "activation_fn": activation}
    model = PPO("MlpPolicy", "Pendulum-v1", policy_kwargs=kwargs, device="cpu", seed=0)
    save_expert(model.policy, tmp_path / "expert", {"command": "none"})
    loaded = load_expert(tmp_path / "expert")
    observations = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    assert np.array_equal(
        loaded.predict(observations, deterministic=True)[0], model.predict(observations, deterministic=True)[0]
    )
    values = [policy.predict_values(torch.as_tensor(observations)) for policy in (loaded, model.policy)]
    assert torch.equal(values[0], values[1])
    assert loaded.observation_space == model.observation_space and loaded.action_space == model.action_space


def test_soft_actor_critics_come_back_with_their_critics(tmp_path: Path) -> None:
    model = SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [16, 8]}, device="cpu", seed=0)
    save_expert(model.policy, tmp_path / "expert", {"command": "none"})
    loaded: Any = load_expert(tmp_path / "expert")
    observations = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    actions = model.predict(observations, deterministic=True)[0]
    assert np.array_equal(loaded.predict(observations, deterministic=True)[0], actions)
    rows = torch.as_tensor(observations), torch.as_tensor(actions)
    for critic, expected in zip(loaded.critic(*rows), model.critic(*rows), strict=True):
        assert torch.equal(critic, expected)


def test_infinite_bounds_survive_json() -> None:
    space = load_expert("Pusher-v5").observation_space
    config = json.loads((SHIPPED_FOLDER / "Pusher-v5" / "config.json").read_text())
    assert np.isinf(getattr(space, "low", np.zeros(1))).all()
    assert config["observation_space"]["low"] == [None] * 23


def test_other_policies_are_refused(tmp_path: Path) -> None:
    class Own(ActorCriticPolicy):
        pass

    model = PPO(Own, "Pendulum-v1", device="cpu")
    with pytest.raises(CheckpointError, match="ActorCriticPolicy or SACPolicy, got Own"):
        save_expert(model.policy, tmp_path / "expert", {})
    with_sde = PPO("MlpPolicy", "Pendulum-v1", device="cpu", use_sde=True)
    with pytest.raises(CheckpointError, match="more to it"):
        save_expert(with_sde.policy, tmp_path / "expert", {})
    discrete = PPO("MlpPolicy", "CartPole-v1", device="cpu")
    with pytest.raises(CheckpointError, match="Box"):
        save_expert(discrete.policy, tmp_path / "expert", {})
    assert not (tmp_path / "expert").exists()


def test_unknown_names_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no expert 'Nope-v0'.*Pusher-v5"):
        load_expert("Nope-v0")
    model = PPO("MlpPolicy", "Pendulum-v1", device="cpu")
    for file, content, message in (
        ("model.safetensors", b"", "no expert that can be read"),
        ("config.json", b"{", "cannot be read"),
        ("config.json", b'{"format_version": 1, "algorithm": "PPO"}', "no expert that can be read"),
        ("config.json", b'{"format_version": 9, "algorithm": "PPO"}', "format_version 1"),
    ):
        save_expert(model.policy, tmp_path / "expert", {})
        (tmp_path / "expert" / file).write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            load_expert(tmp_path / "expert")
