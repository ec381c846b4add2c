"""Running episodes: many envs in step, one batched call of the policy, results that depend on the seed alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from tqdm import tqdm

from generative_policies.action_translation import ActionTranslator
from generative_policies.data import TransitionDataset, episode_generator, pad_rows
from generative_policies.data.episode_generator import Stream
from generative_policies.envs import get_state
from generative_policies.policies import EpisodicPolicy

MakeEnv = Callable[[], gymnasium.Env[Any, Any]]


@dataclass
class EpisodeContext:
    """What a policy knows of an episode beside its observations, and keeps along it.

    Attributes:
        seed: The seed of its reset.
        generator: The episode's own source of randomness.
        state: SB3's ``state`` of one row, ``None`` at the start.
    """

    seed: int
    generator: np.random.Generator
    state: tuple[NDArray[Any], ...] | None = None


Act = Callable[[NDArray[Any], Sequence[EpisodeContext]], NDArray[Any]]
"""Actions ``(batch, action_dim)`` for observations ``(batch, obs_dim)``, one context a row."""


@dataclass(frozen=True)
class Episode:
    """One episode.

    Attributes:
        seed: The seed of its reset.
        observations: ``(T + 1, obs_dim)``.
        actions: ``(T, action_dim)``, as they were given to the env.
        rewards: ``(T,)``.
        success: ``info["is_success"]`` at the end, ``None`` where the env reports none.
        states: ``(T + 1, state_size)``, physics states as of ``envs.get_state``, where they were asked for.
        source_actions: ``(T, source_action_dim)``, what a source policy would do or did there, where that is known.
        terminated: Whether the env ended it, and not a time limit.
    """

    seed: int
    observations: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[np.float64]
    success: bool | None
    states: NDArray[np.float64] | None = None
    source_actions: NDArray[Any] | None = None
    terminated: bool = False

    @property
    def total_reward(self) -> float:
        """The undiscounted return."""
        return float(self.rewards.sum())


def source_act(policy: BasePolicy, block: int = 16, *, deterministic: bool = True) -> Act:
    """Return the actions of a policy, clipped to its action space, as a function of a batch.

    Args:
        policy: Any SB3 policy over flat observations. One of this library keeps its plans and noise along an episode,
            by the reset seed; others must be stateless.
        block: Batches are padded to a multiple of this many rows, so that a row's action does not depend on them.
        deterministic: As in ``policy.predict``.

    Raises:
        ValueError: If a policy of SB3 is to act at random, which no seed of an episode determines.
    """
    if isinstance(policy, EpisodicPolicy):

        def act_along(observations: NDArray[Any], contexts: Sequence[EpisodeContext]) -> NDArray[Any]:
            rows = [policy.initial_state([c.seed]) if c.state is None else c.state for c in contexts]
            state = tuple(np.concatenate(arrays) for arrays in zip(*rows, strict=True))
            actions, state = policy.predict(observations, state, None, deterministic)
            for row, context in enumerate(contexts):
                context.state = tuple(array[row : row + 1] for array in state)
            return actions

        return act_along
    if not deterministic:
        raise ValueError(
            f"{type(policy).__name__} draws from a global generator: only deterministic=True is repeatable"
        )

    def act(observations: NDArray[Any], contexts: Sequence[EpisodeContext]) -> NDArray[Any]:
        actions, _ = policy.predict(pad_rows(observations, block), deterministic=True)
        return actions[: len(observations)]

    return act


def random_act(action_space: gymnasium.Space[Any]) -> Act:
    """Return uniformly random actions from each episode's generator.

    Args:
        action_space: A bounded Box.
    """
    space: Any = action_space

    def act(observations: NDArray[Any], contexts: Sequence[EpisodeContext]) -> NDArray[Any]:
        return np.stack([context.generator.uniform(space.low, space.high) for context in contexts])

    return act


def translated_act(source: Act, translator: ActionTranslator, block: int = 16) -> Act:
    """Return target actions for a source's, one batched call of the translator a step.

    The same numbers, bit for bit, as ``ActionTranslationWrapper`` around each env; the caller clips.

    Args:
        source: Gives source actions, inside the source's bounds.
        translator: Its noise is drawn from each row's generator.
        block: Batches are padded to a multiple of this many rows.
    """

    def act(observations: NDArray[Any], contexts: Sequence[EpisodeContext]) -> NDArray[Any]:
        source_actions = source(observations, contexts)
        noise = None
        if translator.noise_dim:
            rows = np.stack([context.generator.standard_normal(translator.noise_dim) for context in contexts])
            noise = pad_rows(rows, block)
        actions = translator.predict(pad_rows(observations, block), pad_rows(source_actions, block), noise=noise)
        return actions[: len(observations)]

    return act


def run_episodes(
    make_env: MakeEnv,
    act: Act,
    seeds: Sequence[int],
    *,
    exploration: Sequence[float] | None = None,
    num_envs: int = 16,
    record_states: bool = False,
    progress: str | None = None,
    on_episode: Callable[[int, Episode], None] | None = None,
) -> list[Episode]:
    """Run one episode a seed; the result does not depend on the number of envs.

    Args:
        make_env: Makes one env with a bounded Box action space and a time limit.
        act: The policy.
        seeds: One reset seed an episode.
        exploration: Standard deviation of Gaussian noise on the actions, one an episode, in units of half the action
            range; none by default.
        num_envs: Envs in step.
        record_states: Whether to keep the physics states of MuJoCo envs, so that any step can be made again.
        progress: Name of a progress bar, none by default.
        on_episode: Called with the number of an episode in ``seeds`` and the episode, as soon as it is over.

    Returns:
        The episodes in the order of the seeds. Actions are clipped to the env's bounds.

    Raises:
        ValueError: If there is no seed, ``exploration`` has another length, ``make_env`` gives an env twice, or the
            policy an action that is not finite or of another shape.
        TypeError: If the action space is no bounded Box, or states are asked of another than a MuJoCo env.
    """
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs}")
    if len(seeds) == 0 or (exploration is not None and len(exploration) != len(seeds)):
        given = "none" if exploration is None else len(exploration)
        raise ValueError(f"expected at least one seed and one exploration scale each, got {len(seeds)} and {given}")
    episodes: dict[int, Episode] = {}
    waiting = list(range(len(seeds)))[::-1]
    envs = [make_env() for _ in range(min(num_envs, len(seeds)))]
    if len({id(env.unwrapped) for env in envs}) < len(envs):
        raise ValueError("make_env must make a new env at each call, it gave the same one twice")
    space = envs[0].action_space
    if not isinstance(space, gymnasium.spaces.Box) or not space.is_bounded():
        raise TypeError(f"episodes need an env with a bounded Box action space, got {space}")
    bar = tqdm(total=len(seeds), desc=progress, disable=progress is None, unit="episode", mininterval=0.5)
    try:
        running = [_Running(env, waiting.pop(), seeds, exploration, record_states) for env in envs]
        while running:
            observations = np.stack([row.observations[-1] for row in running])
            actions = act(observations, [row.context for row in running])
            still_running = []
            for row, action in zip(running, actions, strict=True):
                if row.step(action):
                    episodes[row.number] = row.episode()
                    if on_episode is not None:
                        on_episode(row.number, episodes[row.number])
                    bar.update()
                    if not waiting:
                        continue
                    row = _Running(row.env, waiting.pop(), seeds, exploration, record_states)
                still_running.append(row)
            running = still_running
    finally:
        bar.close()
        for env in envs:
            env.close()
    return [episodes[number] for number in range(len(seeds))]


def transitions(episodes: Sequence[Episode]) -> TransitionDataset:
    """Return the transitions of whole episodes.

    Args:
        episodes: At least one, of observations that are vectors; an episode of T steps gives T rows.

    Returns:
        Rows ``(obs, actions, next_obs)`` in the episodes' order; ``episodes`` of the result counts from 0.

    Raises:
        ValueError: If there is no episode.
    """
    return TransitionDataset.from_episodes(
        [episode.observations for episode in episodes], [episode.actions for episode in episodes]
    )


def count_steps(episodes: Sequence[Episode]) -> int:
    """Return the number of steps of episodes."""
    return sum(len(episode.actions) for episode in episodes)


class _Running:
    """An episode under way in one env."""

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        number: int,
        seeds: Sequence[int],
        exploration: Sequence[float] | None,
        record_states: bool,
    ) -> None:
        self.env = env
        self.number = number
        self.seed = int(seeds[number])
        self.context = EpisodeContext(self.seed, episode_generator(self.seed))
        self.exploration = 0.0 if exploration is None else float(exploration[number])
        self.exploration_generator = episode_generator(self.seed, stream=Stream.EXPLORATION)
        observation, _ = env.reset(seed=self.seed)
        self.observations = [np.array(observation)]  # some envs write the next one into the same array
        self.actions: list[NDArray[Any]] = []
        self.rewards: list[float] = []
        self.success: bool | None = None
        self.terminated = False
        self.states = [get_state(env)] if record_states else None

    def step(self, action: NDArray[Any]) -> bool:
        """Step the env with the action, noisy and clipped, and return whether the episode is over."""
        space = self.env.action_space
        assert isinstance(space, gymnasium.spaces.Box)  # checked at the start
        if self.exploration:
            half_range = 0.5 * (space.high - space.low)
            noise = self.exploration_generator.standard_normal(space.shape)
            action = action + self.exploration * half_range * noise
        if action.shape != space.shape or not np.isfinite(action).all():
            raise ValueError(
                f"the policy must give finite actions of shape {space.shape}, got {action} in step "
                f"{len(self.actions)} of the episode with seed {self.seed}"
            )
        action = np.clip(action, space.low, space.high).astype(space.dtype)
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.observations.append(np.array(observation))
        self.actions.append(action)
        self.rewards.append(float(reward))
        if "is_success" in info:
            self.success = bool(info["is_success"])
        if self.states is not None:
            self.states.append(get_state(self.env))
        self.terminated = bool(terminated)
        if not (terminated or truncated) and not np.isfinite(observation).all():
            raise ValueError(
                f"the env gave an observation that is not finite in step {len(self.actions) - 1} of the episode with "
                f"seed {self.seed}: {observation}"
            )
        return bool(terminated or truncated)

    def episode(self) -> Episode:
        return Episode(
            self.seed,
            np.stack(self.observations),
            np.stack(self.actions),
            np.array(self.rewards),
            self.success,
            None if self.states is None else np.stack(self.states),
            terminated=self.terminated,
        )
