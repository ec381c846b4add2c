"""Envs and models that the tests of the wrappers share."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict
from torch import Tensor, nn

import generative_policies.envs  # noqa: F401  # registers its ids
from generative_policies.action_translation import ActionTranslator, FlowActionPriorConditionedTranslator
from generative_policies.inverse_dynamics import FlowInverseDynamics, MlpInverseDynamics


class Recorder(gymnasium.Env[Any, Any]):
    """Keeps the actions it gets; observations count the steps."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float64)
    action_space = Box(np.array([-1, -2], np.float32), np.array([1, 3], np.float32))

    def __init__(self) -> None:
        self.actions: list[np.ndarray] = []
        self.step_index = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.step_index = 0
        return np.array([100.0, 0.0]), {"from": "reset"}

    def step(self, action: Any) -> Any:
        self.actions.append(action)
        self.step_index += 1
        return np.array([100.0, self.step_index]), 1.0, False, False, {"from": "step"}


class Function(ActionTranslator):
    """A translator made of a function of arrays, which records what it saw."""

    noise_dim = 0

    def __init__(self, function: Any, dims: tuple[int, int, int] = (2, 2, 2)) -> None:
        super().__init__(*dims)
        self.function = function
        self.seen: list[tuple[np.ndarray, np.ndarray]] = []

    def forward(self, obs: Tensor, source_actions: Tensor, target_actions: Tensor, **_: Any) -> Tensor:
        raise NotImplementedError

    def fit_normalizers(self, obs: Tensor, source_actions: Tensor, target_actions: Tensor) -> None:
        raise NotImplementedError

    def translate(self, obs: Tensor, source_actions: Tensor, **_: Any) -> Tensor:
        self.seen.append((obs.numpy().copy(), source_actions.numpy().copy()))
        answer: Tensor = self.function(obs, source_actions)
        return answer


def flow(action_dim: int, obs_dim: int) -> FlowActionPriorConditionedTranslator:
    """A stochastic translator whose output depends on all it sees."""
    torch.manual_seed(0)
    translator = FlowActionPriorConditionedTranslator(action_dim, obs_dim, (16,))
    for parameter in translator.parameters():
        nn.init.normal_(parameter, std=0.1)
    return translator


class Permuted(gymnasium.ActionWrapper[Any, Any, Any]):
    """A robot whose motors are wired in another order, some of them turning the other way."""

    order = np.array([2, 0, 1, 5, 3, 4])
    signs = np.array([1, -1, 1, -1, -1, 1], np.float32)

    def action(self, action: Any) -> Any:
        return (self.signs * action)[self.order]

    @classmethod
    def translator(cls) -> Function:
        """The known answer: which commands do on it what a source action does at home."""
        back = np.argsort(cls.order)
        signs = torch.as_tensor(cls.signs)
        return Function(lambda obs, source: (source[:, back] * signs).float(), (6, 17, 6))


class AsDictionary(gymnasium.ObservationWrapper[Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """The observation's halves as entries of a dictionary."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self)
        gymnasium.ObservationWrapper.__init__(self, env)
        space: Any = env.observation_space
        self.half = space.shape[0] // 2
        self.observation_space = Dict(
            {
                "rest": Box(space.low[self.half :], space.high[self.half :], dtype=space.dtype.type),
                "first": Box(space.low[: self.half], space.high[: self.half], dtype=space.dtype.type),
            }
        )

    def observation(self, observation: Any) -> Any:
        return {"first": observation[: self.half].copy(), "rest": observation[self.half :].copy()}


class Threads(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Tells how many threads torch uses where the env lives."""

    @property
    def threads(self) -> int:
        return torch.get_num_threads()


def randomize(model: nn.Module, std: float = 0.1) -> Any:
    """Give a model weights by which its answer depends on all it sees."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=std)
    return model


def inverse_dynamics(action_dim: int, obs_dim: int, stochastic: bool = False) -> Any:
    """An inverse dynamics with fitted statistics."""
    kind = FlowInverseDynamics if stochastic else MlpInverseDynamics
    model = randomize(kind(action_dim, obs_dim, (16,)))
    generator = torch.Generator().manual_seed(0)
    obs = torch.randn(50, obs_dim, generator=generator)
    change = 0.1 * torch.randn(50, obs_dim, generator=generator)
    model.fit_normalizers(obs, obs + change, torch.rand(50, action_dim, generator=generator))
    return model


def observation_policy(observations: Any, action_space: Any) -> Any:
    """Actions ``(batch, action_dim)`` that depend on observations ``(batch, ...)`` alone, partly out of bounds."""
    leaves: Sequence[Any] = [observations]
    if isinstance(observations, dict):
        leaves = [observations[name] for name in sorted(observations)]
    sums = sum(np.asarray(leaf, np.float64).reshape(len(leaf), -1).sum(axis=1) for leaf in leaves)
    size = action_space.shape[-1]
    return (1.5 * np.sin(np.outer(7 * sums, 1 + np.arange(size)))).astype(np.float32)
