"""Source policies: shipped, saved by this library, or any zip of Stable-Baselines3."""

import pickle
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from generative_policies.checkpoints import CheckpointError
from generative_policies.pickled_files import warn_of_pickles
from generative_policies.policies import EpisodicPolicy
from generative_policies.rollouts.episodes import Act, EpisodeContext, source_act
from generative_policies.rollouts.experts import SHIPPED_FOLDER, load_expert
from generative_policies.rollouts.provenance import digest


@dataclass(frozen=True)
class ObservationStatistics:
    """What ``VecNormalize`` does to observations, as plain arrays.

    Attributes:
        mean: ``(obs_dim,)``.
        std: ``(obs_dim,)``.
        clip: Largest absolute value.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    clip: float

    def __call__(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Normalise observations ``(batch, obs_dim)``."""
        return np.clip((observations - self.mean) / self.std, -self.clip, self.clip).astype(np.float32)

    def normalize(self, observations: Tensor) -> Tensor:
        """Normalise observations ``(batch, obs_dim)`` as a call does, differentiable."""
        mean, std = (torch.as_tensor(values, device=observations.device) for values in (self.mean, self.std))
        return ((observations - mean) / std).clamp(-self.clip, self.clip).float()


@dataclass(frozen=True)
class SourcePolicy:
    """A policy with the statistics that it was trained with.

    Attributes:
        policy: Of SB3 or of this library.
        statistics: Of its observations, ``None`` where they come as they are.
    """

    policy: BasePolicy
    statistics: ObservationStatistics | None = None

    def act(self) -> Act:
        """Return its deterministic actions as a function of a batch."""
        act = source_act(self.policy)
        statistics = self.statistics
        if statistics is None:
            return act

        def act_normalized(observations: NDArray[Any], contexts: list[EpisodeContext]) -> NDArray[Any]:
            return act(statistics(observations), contexts)

        return act_normalized  # type: ignore[return-value]  # a list is a sequence

    def observe(self) -> Callable[[Tensor], Tensor] | None:
        """Return the ``observe`` of ``policies.source_actions``; ``None`` where observations come as they are."""
        return None if self.statistics is None else self.statistics.normalize


def load_source(path: str | Path, vecnormalize: Path | None = None) -> SourcePolicy:
    """Load a source policy.

    Args:
        path: The name of a shipped expert, a folder that ``policies.save_policy`` wrote, or a zip of any algorithm of
            SB3. A zip is pickled: load it only from somebody you trust. The first one of a process warns of that.
        vecnormalize: The ``VecNormalize`` statistics that the policy was trained with, as SB3 saves them, pickled too.

    Raises:
        CheckpointError: If there is none, or it cannot be read.
    """
    file = Path(path)
    is_zip = file.suffix == ".zip" or (file.is_file() and not file.is_dir())
    policy = load_zip(file) if is_zip else load_expert(path)
    return SourcePolicy(policy, None if vecnormalize is None else load_statistics(vecnormalize))


def source_digests(path: str | Path, vecnormalize: Path | None = None) -> dict[str, str]:
    """Return digests of what ``load_source`` reads, so that another policy under the same name is seen."""
    shipped = SHIPPED_FOLDER / path
    found = {"policy": digest(shipped if shipped.is_dir() else Path(path))}
    return found if vecnormalize is None else found | {"vecnormalize": digest(vecnormalize)}


def load_zip(path: Path) -> BasePolicy:
    """Load the policy of an SB3 zip, of whatever algorithm, in evaluation mode and on the CPU.

    Raises:
        CheckpointError: If there is none, or it cannot be read.
    """
    if not path.is_file():
        raise CheckpointError(f"no policy at {path}: no such file")
    warn_of_pickles(path)
    try:
        data, params, _ = load_from_zip_file(path, device="cpu")
        assert data is not None and params is not None  # a zip of SB3 has both
        policy_class = data["policy_class"]
        arguments: dict[str, Any] = dict(data.get("policy_kwargs") or {})
        if not issubclass(policy_class, EpisodicPolicy):
            arguments["lr_schedule"] = lambda progress_remaining: 0.0
        if data.get("use_sde"):
            arguments["use_sde"] = True
        policy: BasePolicy = policy_class(data["observation_space"], data["action_space"], **arguments)
        weights: Any = params["policy"]
        policy.load_state_dict(weights)
    except (AssertionError, AttributeError, EOFError, LookupError, OSError) as error:
        raise CheckpointError(f"{path} is no zip of SB3 that can be read: {error!r}") from error
    except (RuntimeError, TypeError, ValueError, pickle.UnpicklingError, zlib.error) as error:
        raise CheckpointError(f"{path} is no zip of SB3 that can be read: {error}") from error
    policy.set_training_mode(False)
    return policy


def load_statistics(path: Path) -> ObservationStatistics | None:
    """Read the observation statistics of a ``VecNormalize`` that SB3 saved; ``None`` where it normalises rewards alone.

    Raises:
        CheckpointError: If the file is missing or something else.
    """
    if path.is_file():
        warn_of_pickles(path)
    try:
        with path.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions that differ
            normalize = pickle.load(stream)  # SB3 has no other format; the docstrings warn of it
    except (AttributeError, EOFError, ImportError, LookupError, OSError) as error:
        raise CheckpointError(f"{path} holds no VecNormalize statistics that can be read: {error!r}") from error
    except (TypeError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} holds no VecNormalize statistics that can be read: {error}") from error
    if not isinstance(normalize, VecNormalize):
        raise CheckpointError(f"{path} must hold a VecNormalize, got {type(normalize).__name__}")
    if not normalize.norm_obs:
        return None
    statistics: Any = normalize.obs_rms
    if isinstance(statistics, dict):
        raise CheckpointError(f"{path} normalises dictionaries, a source policy observes vectors")
    return ObservationStatistics(
        np.array(statistics.mean), np.sqrt(np.array(statistics.var) + normalize.epsilon), float(normalize.clip_obs)
    )
