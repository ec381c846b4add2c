"""Policies of SB3 as JSON and safetensors: rebuilt by class, never unpickled, value function included."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.sac.policies import SACPolicy
from torch import nn

from generative_policies.checkpoints import CheckpointError, read_config, write_synced

FORMAT_VERSION = 1
# The policy classes by the name of the algorithm that trains them.
POLICIES: dict[str, type[ActorCriticPolicy] | type[SACPolicy]] = {"PPO": ActorCriticPolicy, "SAC": SACPolicy}
ACTIVATIONS: dict[str, type[nn.Module]] = {"Tanh": nn.Tanh, "ReLU": nn.ReLU, "ELU": nn.ELU, "SiLU": nn.SiLU}


def save_policy(policy: BasePolicy, path: str | os.PathLike[str], provenance: Mapping[str, Any] | None = None) -> None:
    """Write the policy of SB3's PPO or SAC with its value function or critics.

    Args:
        policy: An MLP policy over a flat Box observation with a flat Box action.
        path: The folder, made where it is missing.
        provenance: What made it: command, seed, steps, time, score.

    Raises:
        CheckpointError: If the policy could not be rebuilt from JSON.
    """
    path = Path(path)
    algorithms = {cls: algorithm for algorithm, cls in POLICIES.items()}
    if not isinstance(policy, ActorCriticPolicy | SACPolicy) or type(policy) not in algorithms:
        expected = " or ".join(cls.__name__ for cls in algorithms)
        raise CheckpointError(f"expected an {expected}, got {type(policy).__name__}")
    activation = policy.activation_fn.__name__
    if activation not in ACTIVATIONS:
        raise CheckpointError(f"expected an activation of {', '.join(ACTIVATIONS)}; got {activation}")
    config = {
        "format_version": FORMAT_VERSION,
        "algorithm": algorithms[type(policy)],
        "observation_space": _describe_box(policy.observation_space),
        "action_space": _describe_box(policy.action_space),
        "net_arch": policy.net_arch,
        "activation": activation,
        "provenance": dict(provenance or {}),
    }
    tensors = {name: tensor.cpu().contiguous() for name, tensor in policy.state_dict().items()}
    try:
        _build(config).load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"the policy has more to it than spaces, net_arch and activation: {error}") from error
    path.mkdir(parents=True, exist_ok=True)
    weights, description = path / ".model.safetensors.new", path / ".config.json.new"
    write_synced(weights, serialize(tensors))
    write_synced(description, (json.dumps(config, indent=2) + "\n").encode())
    weights.replace(path / "model.safetensors")
    description.replace(path / "config.json")


def load_policy(path: str | os.PathLike[str]) -> BasePolicy:
    """Rebuild a policy of SB3 from the folder that ``save_policy`` wrote, in evaluation mode and on the CPU.

    Args:
        path: The folder.

    Returns:
        The policy; ``policy.predict`` works as ever, as do PPO's ``policy.predict_values`` and SAC's ``policy.critic``.

    Raises:
        CheckpointError: If the folder is missing, or its files are truncated or foreign.
    """
    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(f"no policy at {path}: not a folder")
    config = read_config(path / "config.json")
    if config.get("format_version") != FORMAT_VERSION or config.get("algorithm") not in POLICIES:
        raise CheckpointError(
            f"{path / 'config.json'} must have format_version {FORMAT_VERSION} and algorithm {' or '.join(POLICIES)}, "
            f"got {config.get('format_version')!r} and {config.get('algorithm')!r}"
        )
    try:
        policy = _build(config)
        policy.load_state_dict(load_file(path / "model.safetensors"), strict=True)
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is no policy that can be read: {error}") from error
    policy.set_training_mode(False)
    return policy


def _build(config: Mapping[str, Any]) -> BasePolicy:
    return POLICIES[config["algorithm"]](
        _build_box(config["observation_space"]),
        _build_box(config["action_space"]),
        lr_schedule=lambda progress_remaining: 0.0,
        net_arch=config["net_arch"],
        activation_fn=ACTIVATIONS[config["activation"]],
    )


def _describe_box(space: Any) -> dict[str, Any]:  # whatever space the policy has
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise CheckpointError(f"expected a Box with one axis, got {space}")
    return {
        "dtype": np.dtype(space.dtype).name,
        # JSON knows no infinity.
        "low": [float(bound) if np.isfinite(bound) else None for bound in space.low],
        "high": [float(bound) if np.isfinite(bound) else None for bound in space.high],
    }


def _build_box(description: Mapping[str, Any]) -> Box:
    low = [-np.inf if bound is None else bound for bound in description["low"]]
    high = [np.inf if bound is None else bound for bound in description["high"]]
    dtype = np.dtype(description["dtype"])
    return Box(np.array(low, dtype=dtype), np.array(high, dtype=dtype), dtype=dtype.type)
