"""A conformance check for wrapped envs, for those who write translators of their own."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from generative_policies.policies.observation_map import take_row
from generative_policies.wrappers.transform_wrapper import TransformWrapper
from generative_policies.wrappers.vector.transform_wrapper import TransformVectorWrapper

MakeWrapped = Callable[[], gymnasium.Env[Any, Any]]


class WrapperError(AssertionError):
    """A wrapped env that does not keep what its users rely on; the message says what."""


def check_wrapper(env_fn: MakeWrapped, *, num_steps: int = 50, seed: int = 0) -> None:
    """Check an env with a wrapper of this library outermost.

    It runs the checks of Gymnasium and of Stable-Baselines3, and then: actions that reach the env are finite, inside
    its bounds and of its dtype; the same seed gives the same episode; an env gives the same alone, in a vector env, and
    behind the vector twin with its one call of the model a step, where it has one.

    Args:
        env_fn: Makes the wrapped env; every call a new one. The envs may share one model.
        num_steps: Steps of each comparison; episodes that end are begun anew.
        seed: Of the resets and actions.

    Raises:
        TypeError: If the outermost wrapper is not one of this library.
        WrapperError: If the wrapped env fails one of the library's own checks.
        AssertionError: If it fails one of Gymnasium's or SB3's.

    Example:
        >>> from generative_policies.action_translation import MlpActionTranslator
        >>> from generative_policies.wrappers import ActionTranslationWrapper
        >>> translator = MlpActionTranslator(action_dim=1, obs_dim=3)
        >>> check_wrapper(lambda: ActionTranslationWrapper(gymnasium.make("Pendulum-v1"), translator))
    """
    env = env_fn()
    if not isinstance(env, TransformWrapper):
        raise TypeError(f"the outermost wrapper must be one of this library, got {env}")
    check_env(env, skip_render_check=True)
    sb3_check_env(env_fn(), warn=False, skip_render_check=True)

    env.action_space.seed(seed)
    plan = [env.action_space.sample() for _ in range(num_steps)]
    # Corners, and beyond them: what a policy that is not clipped sends.
    corners = [env.action_space.low, env.action_space.high, 3 * env.action_space.high]  # type: ignore[attr-defined]
    plan[: len(corners)] = corners
    alone = _play(env_fn(), plan, seed)
    _compare("a second run from the same seed", alone, _play(env_fn(), plan, seed))

    count = 3
    others = [_play(env_fn(), plan, seed + row) for row in range(count)]
    vectors: dict[str, Any] = {"in a vector env": SyncVectorEnv([env_fn] * count)}
    transform = _transform(env_fn())
    if transform.steps_per_action == 1:  # others have no twin
        bare = SyncVectorEnv([lambda: _inner(env_fn())] * count)
        vectors["behind the vector twin"] = TransformVectorWrapper(bare, transform)
    for name, envs in vectors.items():
        for row, (alone_row, row_found) in enumerate(zip(others, _play_vector(envs, plan, seed), strict=True)):
            _compare(f"env {row} of {count} {name}", alone_row, row_found)


Record = list[tuple[Any, float]]


def _play(env: gymnasium.Env[Any, Any], plan: list[Any], seed: int) -> Record:
    """Observations and rewards of a plan of actions; checks what reaches the env."""
    guard = _Guard(_inner(env))
    assert isinstance(env, gymnasium.Wrapper)  # check_wrapper saw to it
    env.env = guard
    observation, _ = env.reset(seed=seed)
    record: Record = [(observation, 0.0)]
    over = False
    for action in plan:
        if over:  # as vector envs do in NEXT_STEP mode, the action being lost
            observation, _ = env.reset()
            record.append((observation, 0.0))
            over = False
        else:
            observation, reward, terminated, truncated, _ = env.step(action)
            record.append((observation, float(reward)))
            over = terminated or truncated
    env.close()
    return record


def _play_vector(envs: Any, plan: list[Any], seed: int) -> list[Record]:
    """The records of each env of a vector env in NEXT_STEP mode."""
    observations, _ = envs.reset(seed=seed)
    records: list[Record] = [[(take_row(observations, row), 0.0)] for row in range(envs.num_envs)]
    for action in plan:
        observations, rewards, _, _, _ = envs.step(np.repeat(np.asarray(action)[None], envs.num_envs, axis=0))
        for row, record in enumerate(records):
            record.append((take_row(observations, row), float(rewards[row])))
    envs.close()
    return records


class _Guard(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Looks at what reaches an env."""

    def step(self, action: Any) -> Any:
        """Check an action, and step the env."""
        space: Any = self.env.action_space
        problem = ""
        if not isinstance(action, np.ndarray) or action.shape != space.shape or action.dtype != space.dtype:
            kind = f"{action.dtype} {action.shape}" if isinstance(action, np.ndarray) else type(action).__name__
            problem = f"is {kind} instead of {space.dtype} {space.shape}"
        elif not np.isfinite(action).all():
            problem = "is not finite"
        elif (action < space.low).any() or (action > space.high).any():
            problem = f"lies outside {space}"
        if problem:
            raise WrapperError(f"an action that reached the env {problem}: {action}")
        return self.env.step(action)


def _compare(name: str, expected: Record, found: Record) -> None:
    for step, ((observation, reward), (other, other_reward)) in enumerate(zip(expected, found, strict=True)):
        same = reward == other_reward and all(
            np.array_equal(*pair) for pair in zip(_leaves(observation), _leaves(other), strict=True)
        )
        if not same:
            raise WrapperError(
                f"{name} differs from the env alone, first after {step} steps: {other} and reward {other_reward} "
                f"instead of {observation} and {reward}"
            )


def _leaves(observation: Any) -> list[Any]:
    return [observation[name] for name in sorted(observation)] if isinstance(observation, dict) else [observation]


def _inner(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    assert isinstance(env, TransformWrapper)  # check_wrapper saw to it
    return env.env


def _transform(env: gymnasium.Env[Any, Any]) -> Any:
    assert isinstance(env, TransformWrapper)  # check_wrapper saw to it
    return env.transform
