"""Laws of policies and wrappers in any spaces: actions are inside the bounds, rows do not see each other."""

from functools import cache
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.vector import SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import DummyVecEnv

from generative_policies import wrappers
from generative_policies.action_translation import FlowActionPriorTranslator
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.policies import (
    EpisodicPolicy,
    FlowPlanner,
    FlowPolicy,
    InverseDynamicsPolicy,
    MlpPolicy,
    TranslatedPolicy,
)
from tests.export.stand_ins import trained
from tests.properties.constructors import NOT_CONSTRUCTED, PACKAGES

few = settings(max_examples=20, deadline=None, derandomize=True, database=None)
WIDTHS = st.sampled_from([(1, 1), (1, 3), (3, 2), (2, 200)])  # of the action, of the observation
BOUNDS = st.sampled_from([(-1.0, 1.0), (-0.001, 0.001), (0.0, 5.0), (-1e6, 1e6), (0.5, 0.5), (-3.0, -1.0)])
OBSERVED = st.sampled_from([(-np.inf, np.inf), (-1.0, np.inf), (-1e30, 1e30), (0.0, 1.0)])
FLOATS = st.sampled_from(["float32", "float64"])
NUMBERS = st.sampled_from([0.0, -0.0, 5e-324, 1e-40, 1.0, -7.5, 1e6])
WIDE = st.sampled_from([np.nan, np.inf, -np.inf, 1e300])


class Plain(gymnasium.Env[Any, Any]):
    """Observes what it is told to, and keeps the actions that it gets."""

    def __init__(self, observed: Box, acted: Box) -> None:
        self.observation_space, self.action_space = observed, acted
        self.shown = np.zeros(observed.shape, observed.dtype)
        self.actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return self.shown.copy(), {}

    def step(self, action: Any) -> Any:
        self.actions.append(action)
        return self.shown.copy(), 0.0, False, False, {}


def spaces(
    widths: tuple[int, int], bounds: tuple[float, float], observed: tuple[float, float], dtype: str
) -> tuple[Box, Box]:
    action_dim, obs_dim = widths
    kind: Any = np.dtype(dtype).type
    return Box(*observed, (obs_dim,), kind), Box(*bounds, (action_dim,), np.float32)


@cache
def translator(action_dim: int, obs_dim: int) -> Any:
    return trained(FlowActionPriorTranslator(action_dim, obs_dim, (16,), num_steps=1))


@cache
def inverse_dynamics(action_dim: int, obs_dim: int) -> Any:
    return trained(MlpInverseDynamics(action_dim, obs_dim, (16,)))


def policy(kind: str, observed: Box, acted: Box) -> Any:
    (obs_dim,), (action_dim,) = observed.shape, acted.shape
    if kind == "FlowPolicy":
        return trained(FlowPolicy(observed, acted, (16,), horizon=2, num_steps=1))
    if kind == "MlpPolicy":
        return trained(MlpPolicy(observed, acted, (16,), history=2))
    if kind == "InverseDynamicsPolicy":
        planner = trained(FlowPlanner(obs_dim, (16,), num_steps=1))
        return InverseDynamicsPolicy(observed, acted, planner, inverse_dynamics(action_dim, obs_dim))  # type: ignore[arg-type]
    return TranslatedPolicy(observed, acted, policy("MlpPolicy", observed, acted), translator(action_dim, obs_dim))


KINDS = ("FlowPolicy", "MlpPolicy", "InverseDynamicsPolicy", "TranslatedPolicy")


def test_every_policy_is_in_the_table() -> None:
    public = [getattr(package, name) for package in PACKAGES for name in package.__all__]
    found = {value for value in public if isinstance(value, type) and issubclass(value, BasePolicy)}
    assert {cls.__name__ for cls in found - NOT_CONSTRUCTED} == set(KINDS)
    assert all(issubclass(cls, EpisodicPolicy) for cls in found)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(widths=WIDTHS, bounds=BOUNDS, observed=OBSERVED, dtype=FLOATS, number=NUMBERS, rows=st.integers(1, 5))
def test_a_policy_acts_inside_its_bounds_and_a_row_alone_as_among_others(
    kind: str,
    widths: tuple[int, int],
    bounds: tuple[float, float],
    observed: tuple[float, float],
    dtype: str,
    number: float,
    rows: int,
) -> None:
    observes, acts = spaces(widths, bounds, observed, dtype)
    acting = policy(kind, observes, acts)
    observations = np.full((rows, widths[1]), number, dtype) + np.arange(rows, dtype=dtype)[:, None]
    actions, state = acting.predict(observations, acting.initial_state(range(rows)))
    assert actions.shape == (rows, widths[0]) and actions.dtype == acts.dtype
    assert all(acts.contains(action) for action in actions)
    backwards = np.ascontiguousarray(observations[::-1, ::-1])[::-1, ::-1]
    assert np.array_equal(acting.predict(backwards, acting.initial_state(range(rows)))[0], actions)
    for k in range(rows):
        alone, _ = acting.predict(observations[k], acting.initial_state([k]))
        assert alone.shape == (widths[0],) and np.array_equal(alone, actions[k])
    actions, _ = acting.predict(observations, state)
    assert all(acts.contains(action) for action in actions)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(widths=WIDTHS, value=WIDE, dtype=FLOATS, data=st.data())
def test_a_policy_refuses_observations_that_are_no_numbers_or_none(
    kind: str, widths: tuple[int, int], value: float, dtype: str, data: st.DataObject
) -> None:
    observes, acts = spaces(widths, (-1.0, 1.0), (-np.inf, np.inf), dtype)
    acting = policy(kind, observes, acts)
    observations = np.zeros((3, widths[1]), dtype)
    with np.errstate(over="ignore"):
        observations[data.draw(st.integers(0, 2)), data.draw(st.integers(0, widths[1] - 1))] = value
    with pytest.raises(ValueError, match="finite"):
        acting.predict(observations)
    for wrong in (observations[:, :0], observations[:0], np.zeros((2, widths[1] + 1), dtype), np.zeros((1, 2, 3, 4))):
        with pytest.raises(ValueError, match=r"shape|row"):
            acting.predict(wrong)


def wrapped(kind: str, env: Any, module: Any, widths: tuple[int, int], observes: Box, acts: Box) -> Any:
    if kind == "ActionTranslationWrapper":
        return module.ActionTranslationWrapper(env, translator(*widths))
    if kind == "InverseDynamicsWrapper":
        return module.InverseDynamicsWrapper(env, inverse_dynamics(*widths))
    if kind == "LatentActionWrapper":
        flow = trained(FlowPolicy(observes, acts, (16,), num_steps=1))
        return module.LatentActionWrapper(env, flow)
    return module.ResidualActionWrapper(env, policy("MlpPolicy", observes, acts), scale=0.5)


WRAPPERS = ("ActionTranslationWrapper", "InverseDynamicsWrapper", "LatentActionWrapper", "ResidualActionWrapper")


def test_every_wrapper_is_in_the_table() -> None:
    for module in (wrappers, wrappers.vector, wrappers.vec_env):
        public = {name for name in module.__all__ if isinstance(getattr(module, name), type)}
        assert public == set(WRAPPERS)


@pytest.mark.parametrize("kind", WRAPPERS)
@few
@given(widths=WIDTHS, bounds=BOUNDS, observed=OBSERVED, dtype=FLOATS, number=NUMBERS, action=st.floats(width=32))
def test_a_wrapper_sends_what_is_inside_the_bounds_or_refuses_and_its_twins_do_the_same(
    kind: str,
    widths: tuple[int, int],
    bounds: tuple[float, float],
    observed: tuple[float, float],
    dtype: str,
    number: float,
    action: float,
) -> None:
    observes, acts = spaces(widths, bounds, observed, dtype)
    plains = [Plain(observes, acts) for _ in range(5)]
    for plain in plains:
        plain.shown = np.full(observes.shape, number, dtype)
    one = wrapped(kind, plains[0], wrappers, widths, observes, acts)
    many = SyncVectorEnv([lambda: plains[1], lambda: plains[2]])
    many = wrapped(kind, many, wrappers.vector, widths, observes, acts)
    venv = wrapped(kind, DummyVecEnv([lambda: plains[3], lambda: plains[4]]), wrappers.vec_env, widths, observes, acts)
    one.reset(seed=3)
    many.reset(seed=3)
    venv.seed(3)
    venv.reset()
    given_action = np.full(one.action_space.shape, action, np.float32)
    steps = (
        lambda: one.step(given_action),
        lambda: many.step(np.stack([given_action] * 2)),
        lambda: venv.step(np.stack([given_action] * 2)),
    )
    if np.isnan(action):
        for step in steps:
            with pytest.raises(ValueError, match=r"action"):
                step()
        assert not any(plain.actions for plain in plains)  # no env has moved
        return
    for step in steps:
        step()
    for plain in plains:
        assert len(plain.actions) == 1 and acts.contains(plain.actions[0])
    assert np.array_equal(plains[0].actions[0], plains[1].actions[0])
    assert np.array_equal(plains[0].actions[0], plains[3].actions[0])


@pytest.mark.parametrize("kind", WRAPPERS)
@few
@given(widths=WIDTHS, value=WIDE, dtype=FLOATS)
def test_a_wrapper_refuses_observations_that_are_no_numbers_before_the_env_moves(
    kind: str, widths: tuple[int, int], value: float, dtype: str
) -> None:
    observes, acts = spaces(widths, (-1.0, 1.0), (-np.inf, np.inf), dtype)
    plain = Plain(observes, acts)
    env = wrapped(kind, plain, wrappers, widths, observes, acts)
    with np.errstate(over="ignore"):
        plain.shown = np.zeros(observes.shape, dtype)
        plain.shown[-1] = value
    env.reset(seed=0)
    with pytest.raises(ValueError, match="finite"):
        env.step(np.zeros(env.action_space.shape, np.float32))
    assert not plain.actions


@pytest.mark.parametrize("kind", WRAPPERS)
def test_spaces_that_no_wrapper_takes(kind: str) -> None:
    observes = Box(-np.inf, np.inf, (3,))
    for acts in (Box(-np.inf, np.inf, (2,)), Box(-1.0, np.inf, (2,)), Box(-1, 1, (2, 1)), Box(-1, 1, ())):
        with pytest.raises((ValueError, TypeError), match=r"bound|axis|Box"):
            wrapped(kind, Plain(observes, acts), wrappers, (2, 3), observes, Box(-1, 1, (2,)))
    with pytest.raises(TypeError, match="Box"):
        wrapped(kind, Plain(observes, gymnasium.spaces.Discrete(2)), wrappers, (2, 3), observes, Box(-1, 1, (2,)))  # type: ignore[arg-type]
