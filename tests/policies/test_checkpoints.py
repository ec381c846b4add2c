"""Policies without pickles."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.policies import ActorCriticPolicy

from generative_policies.checkpoints import CheckpointError
from generative_policies.policies import load_policy, save_policy


@pytest.mark.parametrize("activation", [torch.nn.Tanh, torch.nn.ReLU])
def test_policy_and_value_come_back(tmp_path: Path, activation: Any) -> None:
    kwargs = {"net_arch": {"pi": [16], "vf": [8, 8]}, "activation_fn": activation}
    model = PPO("MlpPolicy", "Pendulum-v1", policy_kwargs=kwargs, device="cpu", seed=0)
    save_policy(model.policy, tmp_path / "policy", {"command": "none"})
    loaded = load_policy(tmp_path / "policy")
    observations = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    assert np.array_equal(
        loaded.predict(observations, deterministic=True)[0], model.predict(observations, deterministic=True)[0]
    )
    values = [policy.predict_values(torch.as_tensor(observations)) for policy in (loaded, model.policy)]
    assert torch.equal(values[0], values[1])
    assert loaded.observation_space == model.observation_space and loaded.action_space == model.action_space


def test_soft_actor_critics_come_back_with_their_critics(tmp_path: Path) -> None:
    model = SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [16, 8]}, device="cpu", seed=0)
    save_policy(model.policy, tmp_path / "policy", {"command": "none"})
    loaded: Any = load_policy(tmp_path / "policy")
    observations = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    actions = model.predict(observations, deterministic=True)[0]
    assert np.array_equal(loaded.predict(observations, deterministic=True)[0], actions)
    rows = torch.as_tensor(observations), torch.as_tensor(actions)
    for critic, expected in zip(loaded.critic(*rows), model.critic(*rows), strict=True):
        assert torch.equal(critic, expected)


def test_other_policies_are_refused(tmp_path: Path) -> None:
    class Own(ActorCriticPolicy):
        pass

    model = PPO(Own, "Pendulum-v1", device="cpu")
    with pytest.raises(CheckpointError, match="ActorCriticPolicy or SACPolicy, got Own"):
        save_policy(model.policy, tmp_path / "policy", {})
    with_sde = PPO("MlpPolicy", "Pendulum-v1", device="cpu", use_sde=True)
    with pytest.raises(CheckpointError, match="more to it"):
        save_policy(with_sde.policy, tmp_path / "policy", {})
    discrete = PPO("MlpPolicy", "CartPole-v1", device="cpu")
    with pytest.raises(CheckpointError, match="Box"):
        save_policy(discrete.policy, tmp_path / "policy", {})
    assert not (tmp_path / "policy").exists()


def hostile(**changes: Any) -> bytes:
    """A description of a flow policy with something wrong in it."""
    box = {"dtype": "float32", "low": [-1, -1], "high": [1, 1]}
    config = {
        "format_version": 1,
        "policy": "FlowPolicy",
        "observation_space": box,
        "action_space": box,
        "arguments": {},
    }
    return json.dumps(config | changes).encode()


@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_a_loaded_policy_can_be_trained(algorithm: Any, tmp_path: Path) -> None:
    settings = {"n_steps": 64, "batch_size": 32} if algorithm is PPO else {"learning_starts": 10}
    model = algorithm("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, device="cpu", seed=0, **settings)
    save_policy(model, tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy")
    held = [
        p
        for value in vars(loaded).values()
        if isinstance(value, torch.optim.Optimizer)
        for g in value.param_groups
        for p in g["params"]
    ]
    held += [
        p
        for part in loaded.children()
        if hasattr(part, "optimizer")
        for g in part.optimizer.param_groups
        for p in g["params"]
    ]
    own = {id(parameter) for parameter in loaded.parameters()}
    assert held and all(id(parameter) in own for parameter in held)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no policy at .*nowhere"):
        load_policy(tmp_path / "nowhere")
    model = PPO("MlpPolicy", "Pendulum-v1", device="cpu")
    cases = (
        ("model.safetensors", b"", "missing, truncated or foreign"),
        ("config.json", b"{", "cannot be read"),
        ("config.json", b'{"format_version": 1, "algorithm": "PPO"}', "no policy that can be read"),
        ("config.json", b'{"format_version": 9, "algorithm": "PPO"}', "format_version 1"),
        ("config.json", b'{"format_version": 1, "policy": "Own"}', "format_version 1"),
        ("config.json", b'{"format_version": 1, "policy": "FlowPolicy"}', "no policy that can be read"),
        ("config.json", b'{"format_version": 1, "policy": []}', "format_version 1"),
        ("config.json", b'{"format_version": 1, "algorithm": {}}', "format_version 1"),
        (
            "config.json",
            hostile(observation_space={"dtype": "float32", "shape": [3, 3], "low": [], "high": []}),
            "read",
        ),
        (
            "config.json",
            hostile(observation_space={"dtype": "float32", "shape": [10**7] * 2, "low": [0], "high": [1]}),
            "more than",
        ),
        ("config.json", hostile(arguments={"block": 10**9}), "block must be at most"),
        ("config.json", hostile(arguments={"squash_output": "no"}), "True or False"),
        ("config.json", hostile(arguments={"horizon": 10**9}), "read|fit"),
        ("config.json", hostile(arguments={"surprise": 1}), "surprise"),
        ("config.json", hostile(arguments={"network": {"class": "os.system", "arguments": {}}}), "not on the list"),
    )
    for number, (file, content, message) in enumerate(cases):
        folder = tmp_path / f"policy{number}"
        save_policy(model.policy, folder, {})
        (folder / file).write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            load_policy(folder)


@pytest.mark.parametrize("algorithm", [PPO, SAC])
@pytest.mark.parametrize(
    "net_arch", [[10**6, 10**6], {"pi": [10**9], "vf": [8]}, {"pi": [8], "qf": [10**5] * 50}, [8.5], "8", [8] * 2_000]
)
def test_layers_that_the_weights_do_not_fill_are_refused_before_they_are_built(
    algorithm: Any, net_arch: Any, tmp_path: Path
) -> None:
    model = algorithm("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, device="cpu")
    save_policy(model, tmp_path / "policy")
    file = tmp_path / "policy" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"net_arch": net_arch}))
    with pytest.raises(CheckpointError, match=r"policy.*net_arch"):
        load_policy(tmp_path / "policy")


@pytest.mark.parametrize("dtype", ["S1000000000", "O", "U5", "complex128", 3])
def test_spaces_are_of_numbers(dtype: Any, tmp_path: Path) -> None:
    save_policy(PPO("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, device="cpu"), tmp_path / "policy")
    file = tmp_path / "policy" / "config.json"
    config = json.loads(file.read_text())
    config["action_space"]["dtype"] = dtype
    file.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"policy.*a space is of one of"):
        load_policy(tmp_path / "policy")


def test_spaces_together_are_no_larger_than_one_may_be(tmp_path: Path) -> None:
    save_policy(PPO("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, device="cpu"), tmp_path / "policy")
    file = tmp_path / "policy" / "config.json"
    config = json.loads(file.read_text())
    image = {"dtype": "uint8", "shape": [1_000, 1_000, 3], "low": [0], "high": [255]}
    config["observation_space"] = {"dict": {str(k): image for k in range(10)}}
    file.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"policy.*entries"):
        load_policy(tmp_path / "policy")
