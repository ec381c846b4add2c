"""The cycle that is measured, and what arms reach in it and elsewhere."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy

from benchmarks.real_time_loop.robots import TASK_DIM, make_arm
from generative_policies.action_translation import ActionTranslator
from generative_policies.rollouts import Act, run_episodes, source_act
from generative_policies.rollouts.episodes import EpisodeContext
from generative_policies.wrappers import ActionTranslationWrapper

FIRST_TEST_SEED = 10_000
PARTS = ("source policy", "translation", "env")


class ClockedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Knows how long its last step took [ns]."""

    elapsed = 0

    def step(self, action: Any) -> Any:
        """Step the env."""
        begin = time.perf_counter_ns()
        answer = self.env.step(action)
        self.elapsed = time.perf_counter_ns() - begin
        return answer


class DrivenArm:
    """One cycle a call: the source policy acts on what the target's arm observes, the wrapper translates and steps.

    An episode's end is part of the cycle in which it falls, the reset included.

    Attributes:
        parts: The time of ``PARTS`` in each cycle [ns]; the wrapper's clipping and checks count as translation, a reset
            as the env's.
        ends: Whether the goal was reached in each episode that ended, and how far from it the finger was then [m].
    """

    def __init__(self, expert: BasePolicy, translator: ActionTranslator) -> None:
        self.expert = expert
        self.clocked = ClockedEnv(make_arm(3, fast=True))
        self.env = ActionTranslationWrapper(self.clocked, translator, expert.action_space, "task_dim", block=1)  # type: ignore[arg-type]  # a Box
        self.parts: list[tuple[int, int, int]] = []
        self.ends: list[tuple[bool, float]] = []
        self._observation, _ = self.env.reset(seed=FIRST_TEST_SEED)

    def __call__(self) -> None:
        """Run a cycle."""
        begin = time.perf_counter_ns()
        action, _ = self.expert.predict(self._observation, deterministic=True)
        decided = time.perf_counter_ns()
        self._observation, _, terminated, truncated, info = self.env.step(action)
        stepped = time.perf_counter_ns()
        env = self.clocked.elapsed
        translation = stepped - decided - env
        if terminated or truncated:
            self.ends.append((info["success"], info["distance"]))
            self._observation, _ = self.env.reset(seed=FIRST_TEST_SEED + len(self.ends))
            env += time.perf_counter_ns() - stepped
        self.parts.append((decided - begin, translation, env))

    def warm_up(self, cycles: int = 200) -> float:
        """Run cycles that do not count, and return the time of the first [µs]."""
        begin = time.perf_counter_ns()
        self()
        first = 1e-3 * (time.perf_counter_ns() - begin)
        for _ in range(cycles):
            self()
        self.parts.clear()
        self.ends.clear()
        self._observation, _ = self.env.reset(seed=FIRST_TEST_SEED)
        return first


def references(expert: BasePolicy, episodes: int) -> dict[str, dict[str, float]]:
    """Return what the expert reaches at 1 kHz at home, and on the target untranslated, out of real time."""
    at_home = source_act(expert)

    def untranslated(observations: NDArray[Any], contexts: Sequence[EpisodeContext]) -> NDArray[Any]:
        return np.pad(at_home(observations[:, :TASK_DIM], contexts), ((0, 0), (0, 1)))  # the last joint is left alone

    found = {}
    cases: Sequence[tuple[str, int, Act]] = (
        ("expert at home", 2, at_home),
        ("untranslated on the target", 3, untranslated),
    )
    for name, links, act in cases:
        seeds = range(FIRST_TEST_SEED, FIRST_TEST_SEED + episodes)
        ran = run_episodes(partial(make_arm, links, fast=True), act, seeds, progress=name)
        ends = [(bool(episode.success), float(np.linalg.norm(episode.observations[-1, 6:8]))) for episode in ran]
        found[name] = reached(ends)
    return found


def reached(ends: Sequence[tuple[bool, float]]) -> dict[str, float]:
    """Return the share of episodes that reached their goal, and the mean distance at their ends [mm]."""
    success, distance = np.array(ends, dtype=float).T
    return {"episodes": len(ends), "success": float(success.mean()), "millimetres": 1e3 * float(distance.mean())}
