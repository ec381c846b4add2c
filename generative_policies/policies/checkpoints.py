"""Policies as JSON and safetensors: rebuilt by class, never unpickled, value functions and critics included."""

import math
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Space
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.sac.policies import SACPolicy
from torch import nn

from generative_policies.checkpoints import (
    CONFIG_FILE,
    CheckpointError,
    brief,
    build,
    describe,
    load_weights,
    read_config,
    read_header,
    read_whole,
    write_folder,
)
from generative_policies.models.dimensions import check_net_arch
from generative_policies.policies.cloned_policies import FlowPolicy, MlpPolicy
from generative_policies.policies.episodic_policy import EpisodicPolicy
from generative_policies.policies.inverse_dynamics_policy import InverseDynamicsPolicy
from generative_policies.policies.translated_policy import TranslatedPolicy
from generative_policies.weights import building

FORMAT_VERSION = 1
MAX_ENTRIES = 10_000_000  # of all spaces, some hundred large images
DTYPES = tuple(np.dtype(kind).name for kind in "efdbhilBHIL?")
# SB3's policy classes by the name of the algorithm that trains them.
ALGORITHMS: dict[str, type[ActorCriticPolicy] | type[SACPolicy]] = {"PPO": ActorCriticPolicy, "SAC": SACPolicy}
ACTIVATIONS: dict[str, type[nn.Module]] = {"Tanh": nn.Tanh, "ReLU": nn.ReLU, "ELU": nn.ELU, "SiLU": nn.SiLU}
OWN_POLICIES: dict[str, type[EpisodicPolicy]] = {
    cls.__name__: cls for cls in (FlowPolicy, MlpPolicy, InverseDynamicsPolicy, TranslatedPolicy)
}


def save_policy(
    policy: BasePolicy | BaseAlgorithm, path: str | os.PathLike[str], provenance: Mapping[str, Any] | None = None
) -> None:
    """Write a policy as a folder; one that is there already is replaced as a whole.

    Args:
        policy: One of this library, or of SB3's PPO or SAC with its value function or critics, an MLP policy over a
            flat Box observation; or the algorithm that has it.
        path: The folder; its parents are made.
        provenance: What made it: command, seed, steps, time, score.

    Raises:
        CheckpointError: If the policy could not be rebuilt from JSON, or ``path`` is something else.
    """
    policy = policy.policy if isinstance(policy, BaseAlgorithm) else policy
    config = {"format_version": FORMAT_VERSION, **_describe(policy), "provenance": dict(provenance or {})}
    write_folder(Path(path), config, policy)


def load_policy(path: str | os.PathLike[str]) -> BasePolicy:
    """Rebuild a policy from the folder that ``save_policy`` wrote, in evaluation mode and on the CPU.

    Args:
        path: The folder.

    Returns:
        The policy; ``policy.predict`` works as ever, as do PPO's ``policy.predict_values`` and SAC's ``policy.critic``.

    Raises:
        CheckpointError: If the folder is missing, or its files are truncated or foreign.
    """
    return read_whole(path, _load)


def _load(path: Path) -> BasePolicy:
    if not path.is_dir():
        raise CheckpointError(f"no policy at {path}: not a folder")
    config = read_config(path / CONFIG_FILE)
    version = config.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION or not _is_known(config):
        raise CheckpointError(
            f"{path / CONFIG_FILE} must have format_version {FORMAT_VERSION}, and an algorithm of "
            f"{', '.join(ALGORITHMS)} or a policy of {', '.join(OWN_POLICIES)}; got {config.get('format_version')!r}, "
            f"{config.get('algorithm')!r} and {config.get('policy')!r}"
        )
    shapes = read_header(path)
    try:
        _check_claims(config, sum(math.prod(shape) for shape in shapes.values()))
        with building(len(shapes)):
            policy = _rebuild(config)
        load_weights(policy, path)
    except CheckpointError as error:
        raise error if str(path) in str(error) else CheckpointError(f"{path / CONFIG_FILE}: {error}") from error
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is no policy that can be read: {brief(error)}") from error
    policy.set_training_mode(False)
    return policy


def _is_known(config: Mapping[str, Any]) -> bool:
    algorithm, policy = config.get("algorithm"), config.get("policy")
    return (isinstance(algorithm, str) and algorithm in ALGORITHMS) or (
        isinstance(policy, str) and policy in OWN_POLICIES
    )


def _describe(policy: BasePolicy) -> dict[str, Any]:
    """JSON of everything but the tensors."""
    spaces = {
        "observation_space": _describe_space(policy.observation_space),
        "action_space": _describe_space(policy.action_space),
    }
    if isinstance(policy, EpisodicPolicy):
        if type(policy) not in OWN_POLICIES.values():
            raise CheckpointError(f"expected a policy of {', '.join(OWN_POLICIES)}, got {type(policy).__name__}")
        arguments = {name: _describe_argument(name, value) for name, value in policy.config.items()}
        return {"policy": type(policy).__name__, **spaces, "arguments": arguments}
    algorithms = {cls: algorithm for algorithm, cls in ALGORITHMS.items()}
    if not isinstance(policy, ActorCriticPolicy | SACPolicy) or type(policy) not in algorithms:
        expected = " or ".join(cls.__name__ for cls in algorithms)
        raise CheckpointError(f"expected a policy of this library or an {expected}, got {type(policy).__name__}")
    for space in (policy.observation_space, policy.action_space):
        if not isinstance(space, Box) or len(space.shape) != 1:
            raise CheckpointError(f"expected a Box with one axis, got {space}")
    activation = policy.activation_fn.__name__
    if activation not in ACTIVATIONS:
        raise CheckpointError(f"expected an activation of {', '.join(ACTIVATIONS)}; got {activation}")
    config = {
        "algorithm": algorithms[type(policy)],
        **spaces,
        "net_arch": policy.net_arch,
        "activation": activation,
    }
    shapes = {name: tensor.shape for name, tensor in _rebuild(config).state_dict().items()}
    if shapes != {name: tensor.shape for name, tensor in policy.state_dict().items()}:
        raise CheckpointError("the policy has more to it than spaces, net_arch and activation")
    return config


def _rebuild(config: Mapping[str, Any]) -> BasePolicy:
    """The policy of a description, with weights of its own."""
    # SB3's classes check their spaces themselves.
    spaces: tuple[Any, Any] = _build_space(config["observation_space"]), _build_space(config["action_space"])
    if "policy" in config:
        # Shapes alone, so that no file can claim memory before its weights are there.
        with torch.device("meta"):
            arguments = {name: _build_argument(value) for name, value in config["arguments"].items()}
            return OWN_POLICIES[config["policy"]](*spaces, **arguments)
    with torch.device("cpu"):
        return ALGORITHMS[config["algorithm"]](
            *spaces,
            lr_schedule=lambda progress_remaining: 0.0,
            net_arch=config["net_arch"],
            activation_fn=ACTIVATIONS[config["activation"]],
        )


def _describe_argument(name: str, value: Any) -> Any:
    if isinstance(value, BasePolicy):
        return {"policy": _describe(value)}
    if name == "source_observation" and value is not None:
        if isinstance(value, slice):
            return {"slice": [value.start, value.stop, value.step]}
        if callable(value):
            raise CheckpointError("a source_observation that is a function cannot be saved; pass indices or a number")
        return np.asarray(value).tolist()
    return describe(value, {})


def _is_policy(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"policy"}


def _build_argument(value: Any) -> Any:
    if _is_policy(value):
        if not isinstance(value["policy"], dict) or not _is_known(value["policy"]):
            raise CheckpointError("expected the description of a policy")
        return _rebuild(value["policy"])
    if isinstance(value, dict) and set(value) == {"slice"}:
        return slice(*value["slice"])
    return build(value, {})


def _describe_space(space: Space[Any]) -> dict[str, Any]:
    if isinstance(space, Dict):
        return {"dict": {name: _describe_space(entry) for name, entry in space.items()}}
    if not isinstance(space, Box):
        raise CheckpointError(f"expected a Box with one axis, or a Dict of Boxes, got {space}")
    bounds = {"low": space.low.reshape(-1), "high": space.high.reshape(-1)}
    if len(space.shape) != 1 and all((bound == bound[:1]).all() for bound in bounds.values()):
        bounds = {name: bound[:1] for name, bound in bounds.items()}  # of images
    # JSON knows no infinity.
    described = {
        name: [float(bound) if np.isfinite(bound) else None for bound in values] for name, values in bounds.items()
    }
    shape = {} if len(space.shape) == 1 else {"shape": list(space.shape)}
    return {"dtype": np.dtype(space.dtype).name, **shape, **described}


def _check_claims(config: Mapping[str, Any], num_weights: int) -> None:
    """Check that what takes memory before the weights do, here and in policies inside, is no more than they allow.

    SB3 builds its policies with memory; their hidden layers have as many weights as the file, or fewer.
    """
    entries, weights, policies = 0, 0, [config]
    while policies:
        policy = policies.pop()
        spaces = policy["observation_space"], policy["action_space"]
        entries += sum(_num_entries(space) for space in spaces)
        if "algorithm" in policy:
            branches = policy["net_arch"]
            for widths in branches.values() if isinstance(branches, dict) else [branches]:
                sizes = [*map(_num_entries, spaces[:1]), *check_net_arch(widths, minimum=0)]
                weights += sum(width_in * width_out for width_in, width_out in pairwise(sizes))
        policies += [value["policy"] for value in policy.get("arguments", {}).values() if _is_policy(value)]
    if entries > MAX_ENTRIES:
        raise CheckpointError(f"the spaces have {entries} entries, more than {MAX_ENTRIES}")
    if weights > num_weights:
        raise CheckpointError(f"net_arch needs {weights} weights, the file has {num_weights}: it does not fit")


def _num_entries(space: Any) -> int:
    if "dict" in space:
        return sum(_num_entries(entry) for entry in space["dict"].values())
    if space["dtype"] not in DTYPES:
        raise CheckpointError(f"a space is of one of {', '.join(DTYPES)}; got {space['dtype']!r:.50}")
    shape = space.get("shape", [len(space["low"])])
    if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
        raise CheckpointError(f"the shape of a space is a list of sizes; got {shape!r:.50}")
    return math.prod(shape)


def _build_space(description: Mapping[str, Any]) -> Box | Dict:
    if "dict" in description:
        return Dict({name: _build_space(entry) for name, entry in description["dict"].items()})
    dtype = np.dtype(description["dtype"])
    low = np.array([-np.inf if bound is None else bound for bound in description["low"]], dtype=dtype)
    high = np.array([np.inf if bound is None else bound for bound in description["high"]], dtype=dtype)
    shape = tuple(description.get("shape", low.shape))
    if low.size == high.size == 1:
        return Box(low.item(), high.item(), shape, dtype=dtype.type)
    return Box(low.reshape(shape), high.reshape(shape), dtype=dtype.type)
