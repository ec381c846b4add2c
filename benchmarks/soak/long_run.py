"""A translated policy in a vector env for very many steps: its memory, its actions, and its episodes played alone."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import SyncVectorEnv
from numpy.typing import NDArray

from generative_policies.action_translation import ActionTranslator, FlowActionConditionedTranslator
from generative_policies.data import ActionPairDataset
from generative_policies.envs import make_env
from generative_policies.rollouts import load_expert, run_episodes, source_act, transitions
from generative_policies.training import DistillationSettings, FitSettings, distill, fit
from generative_policies.wrappers import ActionTranslationWrapper, vector

ENV = "Reacher-v5"
GEAR = 0.7
SAMPLES = 100  # of the memory
WARM_UP = 0.1  # share of the steps


@dataclass(frozen=True)
class LongRun:
    """What a long run gave.

    Attributes:
        steps: Env steps, resets of finished episodes not counted.
        seconds: How long they took [s].
        episodes: Finished ones.
        wrong_actions: Actions that reached an env and were not finite, out of its bounds or of another shape or type.
        saturated: Share of the actions' entries at a bound.
        memory: Resident memory of the process [MB], from its first step to its last.
        memory_growth: Share by which the largest after the warm-up exceeds that at its end.
        compared: Episodes that were played alone as well: all of the first, the middle and the last env.
        different: How many of these had another return, in any bit.
    """

    steps: int
    seconds: float
    episodes: int
    wrong_actions: int
    saturated: float
    memory: list[float]
    memory_growth: float
    compared: int
    different: int


class RecordingWrapper(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Looks at every action that reaches an env."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.steps = self.wrong = self.saturated = 0

    def step(self, action: Any) -> Any:
        """Step the env with an action, whatever it is."""
        space: Any = self.env.action_space
        self.steps += 1
        fits = isinstance(action, np.ndarray) and action.shape == space.shape and action.dtype == space.dtype
        self.wrong += not (fits and bool(np.isfinite(action).all()) and space.contains(action))
        self.saturated += int(((action <= space.low) | (action >= space.high)).sum())
        return self.env.step(action)


def make_target() -> gymnasium.Env[Any, Any]:
    """Return the target robot, whose motors are weaker, under a record of its actions."""
    return RecordingWrapper(make_env(ENV, {"gear": GEAR}))


def train_student(seed: int, updates: int) -> ActionTranslator:
    """Return a one-step student of a flow translator, from pairs whose answer is known: the action over the gear.

    Args:
        seed: Of weights, batches and noise.
        updates: Gradient steps, of the teacher and of the student.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = transitions(
        run_episodes(lambda: make_env(ENV), source_act(load_expert(ENV)), range(1000, 1020), exploration=[0.3] * 20)
    )
    pairs = ActionPairDataset(steps.episodes, steps.obs, steps.actions, np.clip(steps.actions / GEAR, -1, 1))
    flow = FlowActionConditionedTranslator(steps.actions.shape[1], steps.obs.shape[1], [64, 64], num_steps=10)
    fit(flow, pairs, FitSettings(num_updates=updates), generator=generator)
    settings = DistillationSettings(num_updates=updates, num_samples=10_000)
    student: ActionTranslator = distill(flow, pairs, 1, settings, generator=generator)
    return student


def resident_memory() -> float:
    """Return the resident memory of this process [MB].

    Raises:
        OSError: If the system has no ``/proc``.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def run_long(
    translator: ActionTranslator, steps: int, num_envs: int, seed: int, on_steps: Callable[[int], object]
) -> LongRun:
    """Drive translated envs by the source's expert, with automatic resets, and play some of their episodes alone.

    Args:
        translator: Translates the expert's actions.
        steps: Env steps at least, of all envs together.
        num_envs: Envs in step.
        seed: Reset seed of the first env; the others count on.
        on_steps: Called with the number of new env steps.
    """
    policy = load_expert(ENV)
    envs = SyncVectorEnv([make_target] * num_envs)
    translated = vector.ActionTranslationWrapper(envs, translator)
    recorders: Any = envs.envs
    finished: list[list[float]] = [[] for _ in range(num_envs)]
    returns = np.zeros(num_envs)
    memory: list[tuple[int, float]] = []
    began, done = time.perf_counter(), 0
    observations, _ = translated.reset(seed=seed)
    fresh = np.zeros(num_envs, dtype=bool)  # rows whose next step is a reset
    while done < steps:
        observations, rewards, terminated, truncated, _ = translated.step(_act(policy, observations))
        returns = np.where(fresh, 0.0, returns + rewards)
        count = int((~fresh).sum())
        fresh = terminated | truncated
        for row in np.flatnonzero(fresh):
            finished[row].append(float(returns[row]))
        done += count
        on_steps(count)
        if done >= len(memory) * steps / SAMPLES:
            memory.append((done, resident_memory()))
    seconds = time.perf_counter() - began
    warm = [size for at, size in memory if at >= WARM_UP * steps]
    compared = [0, num_envs // 2, num_envs - 1]
    alone = [_alone(policy, translator, seed + row, len(finished[row])) for row in compared]
    taken = sum(recorder.steps for recorder in recorders)
    result = LongRun(
        steps=done,
        seconds=seconds,
        episodes=sum(map(len, finished)),
        wrong_actions=sum(recorder.wrong for recorder in recorders) + abs(taken - done),
        saturated=sum(recorder.saturated for recorder in recorders) / (taken * envs.single_action_space.shape[0]),  # type: ignore[index]  # of a Box
        memory=[round(size, 2) for _, size in memory],
        memory_growth=max(warm) / warm[0] - 1,
        compared=sum(map(len, alone)),
        different=sum(
            a != b for row, own in zip(compared, alone, strict=True) for a, b in zip(finished[row], own, strict=True)
        ),
    )
    translated.close()
    return result


def _act(policy: Any, observations: NDArray[Any]) -> NDArray[Any]:
    """The expert's actions, in batches of the same size for one env and for many."""
    rows = -len(observations) % 16
    padded = np.concatenate([observations, np.zeros_like(observations[:1]).repeat(rows, axis=0)])
    actions: NDArray[Any] = policy.predict(padded, deterministic=True)[0][: len(observations)]
    return actions


def _alone(policy: Any, translator: ActionTranslator, seed: int, episodes: int) -> list[float]:
    """The returns of an env's first episodes, without others beside it."""
    env = ActionTranslationWrapper(make_target(), translator)
    found = []
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed) if episode == 0 else env.reset()
        total, over = np.float64(0), False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(_act(policy, observation[None])[0])
            total, over = total + np.float64(reward), terminated or truncated
        found.append(float(total))
    env.close()
    return found
