"""Policies of this library as SB3 uses them: observations, state, noise, chunks, history, saving."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize
from torch import nn

from generative_policies import pickled_files
from generative_policies.action_translation import FlowActionPriorConditionedTranslator, MlpActionTranslator
from generative_policies.checkpoints import CheckpointError
from generative_policies.data import episode_generator
from generative_policies.data.episode_generator import Stream
from generative_policies.inverse_dynamics import FlowInverseDynamics, MlpInverseDynamics
from generative_policies.models import ConditionalUNet1D, DictObservationEncoder
from generative_policies.pickled_files import PickledFileWarning
from generative_policies.policies import (
    FlowPlanner,
    FlowPolicy,
    InverseDynamicsPolicy,
    MlpPolicy,
    TranslatedPolicy,
    load_policy,
    save_policy,
)
from generative_policies.rollouts import run_episodes, source_act
from generative_policies.wrappers import ActionTranslationWrapper

OBSERVED = Box(-np.inf, np.inf, (3,), np.float64)
ACTED = Box(np.array([-1, -2], np.float32), np.array([3, 2], np.float32))
PICTURED = Dict({"camera": Box(0, 255, (12, 12, 3), np.uint8), "joints": Box(-9, 9, (4,), np.float32)})


def scrambled(policy: Any) -> Any:
    """Weights by which the answer depends on all that is seen, and on the noise."""
    torch.manual_seed(0)
    for parameter in policy.parameters():
        nn.init.normal_(parameter, std=0.3)
    return policy.eval()


def planned(stochastic: bool = False, **arguments: Any) -> InverseDynamicsPolicy:
    kind = FlowInverseDynamics if stochastic else MlpInverseDynamics
    planner = FlowPlanner(3, (16,), horizon=4, num_steps=2)
    return InverseDynamicsPolicy(OBSERVED, ACTED, planner, kind(2, 3, (16,)), **arguments)


def translated(source: Any = None) -> TranslatedPolicy:
    source = source or scrambled(MlpPolicy(OBSERVED, ACTED, (16,)))
    return TranslatedPolicy(OBSERVED, ACTED, source, FlowActionPriorConditionedTranslator(2, 3, (16,)))


POLICIES: dict[str, Callable[[], Any]] = {
    "flow": lambda: FlowPolicy(OBSERVED, ACTED, (16,), num_steps=2),
    "mlp": lambda: MlpPolicy(OBSERVED, ACTED, (16,)),
    "chunks": lambda: FlowPolicy(OBSERVED, ACTED, (16,), horizon=6, replan_interval=3, history=2, num_steps=2),
    "mlp chunks": lambda: MlpPolicy(OBSERVED, ACTED, (16,), horizon=4, history=3),
    "squashed": lambda: FlowPolicy(OBSERVED, ACTED, (16,), num_steps=2, squash_output=True),
    "planned": planned,
    "planned, stochastic": lambda: planned(True, replan_interval=2),
    "translated": translated,
    "translated flow": lambda: translated(scrambled(FlowPolicy(OBSERVED, ACTED, (16,), horizon=3))),
}


class Drift(gymnasium.Env[Any, Any]):
    """Moves by its action; an episode's length, 5 to 24 steps, follows from its seed."""

    observation_space, action_space = OBSERVED, ACTED

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(5, 25))
        self.state = self.np_random.normal(size=3)
        return self.state.copy(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self.state = 0.9 * self.state + 0.1 * np.array([action[0], action[1], action.sum()])
        self.left -= 1
        return self.state.copy(), float(self.state.sum()), self.left == 0, False, {}


@pytest.mark.parametrize("name", POLICIES)
def test_an_action_depends_on_its_own_episode_alone(name: str) -> None:
    policy = scrambled(POLICIES[name]())
    rng = np.random.default_rng(0)
    count, steps = 21, 12
    observations = rng.normal(size=(steps, count, 3))
    starts = rng.random((steps, count)) < 0.2  # episodes end at different times
    seeds = np.arange(count) + 70
    state = policy.initial_state(seeds)
    together = []
    for t in range(steps):
        actions, state = policy.predict(observations[t], state, starts[t])
        together.append(actions)
    assert np.std(together, axis=(0, 1)).min() > 0.01
    checked = 0
    for row in (0, 7, 20):
        state = policy.initial_state(seeds[row : row + 1])
        for t in range(steps):
            action, state = policy.predict(observations[t, row], state, starts[t, row : row + 1])
            assert np.array_equal(action, together[t][row])
            checked += 1
    assert checked == 3 * steps


@pytest.mark.parametrize("name", POLICIES)
def test_the_state_decides_and_is_not_changed(name: str) -> None:
    policy = scrambled(POLICIES[name]())
    observation = np.random.default_rng(0).normal(size=(2, 3))
    _, state = policy.predict(observation, policy.initial_state([1, 2]))
    before = [array.copy() for array in state]
    answers = [policy.predict(observation, state) for _ in range(2)]
    assert np.array_equal(answers[0][0], answers[1][0])
    assert all(np.array_equal(*pair) for pair in zip(before, state, strict=True))


@pytest.mark.parametrize("name", POLICIES)
def test_evaluate_policy_equals_env_by_env(name: str) -> None:
    policy = scrambled(POLICIES[name]())
    venv = DummyVecEnv([lambda: Monitor(Drift())] * 4)
    venv.seed(40)
    returns, lengths = evaluate_policy(policy, venv, n_eval_episodes=11, return_episode_rewards=True)
    expected = []
    for row, count in enumerate((2, 3, 3, 3)):  # as evaluate_policy deals them out
        env, state = Drift(), None
        observation, _ = env.reset(seed=40 + row)
        for _ in range(count):
            total, steps, over, start = 0.0, 0, False, True
            while not over:
                action, state = policy.predict(observation, state, np.array([start]), deterministic=True)
                observation, reward, over, _, _ = env.step(action)
                total, steps, start = total + reward, steps + 1, False
            expected.append((steps, total))
            observation, _ = env.reset()
    assert isinstance(lengths, list) and len(set(lengths)) > 3
    found = sorted(zip(lengths, returns, strict=True))
    np.testing.assert_allclose(found, sorted(expected), atol=1e-3)  # VecEnvs give rewards in float32


@pytest.mark.parametrize("name", ["chunks", "flow", "planned, stochastic", "translated flow"])
def test_noise_depends_on_the_seed_and_number_of_the_episode(name: str) -> None:
    policy = scrambled(POLICIES[name]())
    alone = [run_episodes(Drift, source_act(policy, deterministic=False), [seed], num_envs=1)[0] for seed in (3, 4, 5)]
    together = run_episodes(Drift, source_act(policy, deterministic=False), [3, 4, 5], num_envs=2)
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.actions, other.actions) and np.array_equal(one.observations, other.observations)
    # The second episode of a seed has other noise than the first; so has the same number of another seed.
    observation = np.zeros((1, 3))
    state = policy.initial_state([3])
    first, state = policy.predict(observation, state)
    second, _ = policy.predict(observation, state, np.array([True]))
    other, _ = policy.predict(observation, policy.initial_state([4]))
    assert not np.array_equal(first, second) and not np.array_equal(first, other)


def test_deterministic_is_one_draw_for_all_rows_and_steps() -> None:
    policy = scrambled(FlowPolicy(OBSERVED, ACTED, (16,), num_steps=2))
    observations = np.tile(np.random.default_rng(0).normal(size=3), (4, 1))
    actions, state = policy.predict(observations, policy.initial_state([0, 1, 2, 3]), deterministic=True)
    assert (actions == actions[0]).all()
    again, _ = policy.predict(observations, state, deterministic=True)
    assert np.array_equal(actions, again)
    # It is a draw, not the prior's mean.
    mean = policy.model.predict(condition={"observation": observations}, num_steps=2, noise=np.zeros((4, 2)))
    assert np.abs(np.clip(mean, ACTED.low, ACTED.high) - actions).max() > 0.01


def test_noise_is_not_that_of_the_env_or_of_a_translator() -> None:
    draws = [episode_generator(3, 0, stream).standard_normal(4) for stream in Stream]
    draws.append(np.random.default_rng(3).standard_normal(4))
    assert len({draw[0] for draw in draws}) == len(Stream) + 1
    policy = scrambled(FlowPolicy(OBSERVED, ACTED, (16,), num_steps=2))
    observation = np.zeros(3)
    noise = episode_generator(3, 0, Stream.POLICY).standard_normal(2)
    expected = policy.model.predict(condition={"observation": observation}, num_steps=2, noise=noise)
    found, _ = policy.predict(observation, policy.initial_state([3]))
    np.testing.assert_allclose(found, np.clip(expected, ACTED.low, ACTED.high), atol=1e-6)


def test_without_seeds_sb3_sets_them() -> None:
    policy = scrambled(FlowPolicy(OBSERVED, ACTED, (16,), num_steps=2))
    answers = []
    for seed in (0, 0, 1):
        set_random_seed(seed)
        answers.append(policy.predict(np.zeros((2, 3)))[0])
    assert np.array_equal(answers[0], answers[1]) and not np.array_equal(answers[0], answers[2])
    assert not np.array_equal(answers[0][0], answers[0][1])


def test_a_plan_is_followed_and_then_made_anew() -> None:
    policy = scrambled(MlpPolicy(OBSERVED, ACTED, (16,), horizon=4, replan_interval=3))
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(7, 3))
    state, found = policy.initial_state([0]), []
    for observation in observations:
        action, state = policy.predict(observation, state)
        found.append(action)
    plans = policy.model.predict({"observation": observations[[0, 3, 6]]})
    expected = np.clip([*plans[0, :3], *plans[1, :3], plans[2, 0]], ACTED.low, ACTED.high)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_history_begins_with_the_first_observation_repeated() -> None:
    policy = scrambled(MlpPolicy(OBSERVED, ACTED, (16,), history=3))
    a, b, c, d = np.random.default_rng(0).normal(size=(4, 3))
    state, found = policy.initial_state([0]), []
    for observation, start in ((a, False), (b, False), (c, False), (d, False), (a, True), (b, False)):
        action, state = policy.predict(observation, state, np.array([start]))
        found.append(action)
    seen = np.stack([[a, a, a], [a, a, b], [a, b, c], [b, c, d], [a, a, a], [a, a, b]])
    expected = policy.model.predict({"observation": seen})
    np.testing.assert_allclose(found, np.clip(expected, ACTED.low, ACTED.high), atol=1e-6)


def test_squashed_output_is_scaled_to_the_action_space() -> None:
    policy = scrambled(FlowPolicy(OBSERVED, ACTED, (16,), num_steps=1, squash_output=True))
    observation = np.random.default_rng(0).normal(size=(5, 3))
    noise = np.stack([episode_generator(seed, 0, Stream.POLICY).standard_normal(2) for seed in range(5)])
    raw = policy.model.predict(condition={"observation": observation}, num_steps=1, noise=noise)
    found, _ = policy.predict(observation, policy.initial_state(range(5)))
    low, high = ACTED.low, ACTED.high
    np.testing.assert_allclose(found, low + 0.5 * (np.clip(raw, -1, 1) + 1) * (high - low), atol=1e-5)
    with pytest.raises(ValueError, match="bounded"):
        FlowPolicy(OBSERVED, Box(-np.inf, np.inf, (2,)), squash_output=True)


@pytest.mark.parametrize("space", [PICTURED, Box(0, 255, (3, 12, 12), np.uint8), Box(0, 255, (12, 12, 3), np.uint8)])
@pytest.mark.parametrize("history", [1, 2])
@pytest.mark.parametrize("kind", [FlowPolicy, MlpPolicy])
def test_dictionaries_and_images(space: Any, history: int, kind: Any) -> None:
    policy = scrambled(kind(space, ACTED, (16,), history=history, horizon=2))
    space.seed(0)
    rows = [space.sample() for _ in range(3)]
    batch = {k: np.stack([row[k] for row in rows]) for k in space} if isinstance(space, Dict) else np.stack(rows)
    actions, state = policy.predict(batch, policy.initial_state([5, 6, 7]))
    assert actions.shape == (3, 2) and actions.dtype == np.float32
    for k, row in enumerate(rows):
        single, single_state = policy.predict(row, policy.initial_state([5 + k]))
        assert single.shape == (2,) and np.array_equal(single, actions[k])
        assert all(np.array_equal(a[0], b[k]) for a, b in zip(single_state, state, strict=True))
    assert len(np.unique(actions)) > 1


def test_images_with_channels_last_are_turned_where_the_space_has_them_first() -> None:
    space = Box(0, 255, (3, 12, 12), np.uint8)
    policy = scrambled(MlpPolicy(space, ACTED, (16,)))
    space.seed(0)
    image = space.sample()
    assert np.array_equal(policy.predict(image)[0], policy.predict(image.transpose(1, 2, 0))[0])


def test_wrong_observations_states_and_spaces_are_refused() -> None:
    policy = FlowPolicy(OBSERVED, ACTED, (16,))
    for observation, message in (
        (np.zeros(4), "shape"),
        (np.zeros((2, 4)), "shape"),
        (np.zeros((1, 2, 3)), "shape"),
        ({"a": np.zeros(3)}, "got a dictionary"),
        ((np.zeros(3), {}), "tuple"),
        (np.zeros((0, 3)), "no row"),
        (np.full(3, np.nan), "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            policy.predict(observation)
    with pytest.raises(ValueError, match="state is of 2 rows, the observation of 3"):
        policy.predict(np.zeros((3, 3)), policy.initial_state([0, 1]))
    for other in (POLICIES["chunks"](), POLICIES["planned"]()):
        with pytest.raises(ValueError, match="this policy's are"):
            policy.predict(np.zeros((1, 3)), other.initial_state([0]))
    with pytest.raises(ValueError, match="this policy's are"):
        policy.predict(np.zeros((1, 3)), policy.initial_state([0])[:2])
    for seeds in ([1.5], [-1], 3):
        with pytest.raises(ValueError, match="seeds must be"):
            policy.initial_state(seeds)
    with pytest.raises(ValueError, match="episode_start"):
        policy.predict(np.zeros((3, 3)), None, np.array([True]))
    pictured = FlowPolicy(PICTURED, ACTED, (16,))
    for bad, message in (
        ({"joints": np.zeros(4)}, "dictionary of"),
        (np.zeros(4), "dictionary of"),
        ({"camera": np.zeros((2, 12, 12, 3), np.uint8), "joints": np.zeros((3, 4))}, "same number of rows"),
        ({"camera": np.zeros((2, 12, 12, 3), np.uint8), "joints": np.zeros(4)}, "same number of rows"),
    ):
        with pytest.raises(ValueError, match=message):
            pictured.predict(bad)
    with pytest.raises(TypeError, match="action_space must be a Box"):
        FlowPolicy(OBSERVED, Discrete(3))
    with pytest.raises(TypeError, match="Box or a Dict of Boxes"):
        MlpPolicy(Discrete(3), ACTED)
    with pytest.raises(ValueError, match="at most horizon=2"):
        MlpPolicy(OBSERVED, ACTED, horizon=2, replan_interval=3)
    with pytest.raises(ValueError, match="solver"):
        FlowPolicy(OBSERVED, ACTED, solver="guess")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precisions_of_observations(dtype: Any) -> None:
    policy = scrambled(FlowPolicy(OBSERVED, ACTED, (16,), num_steps=2))
    observation = np.random.default_rng(0).normal(size=(3, 3)).astype(dtype)
    actions, _ = policy.predict(observation, policy.initial_state([0, 1, 2]))
    reference, _ = policy.predict(observation.astype(np.float64), policy.initial_state([0, 1, 2]))
    assert actions.dtype == np.float32
    np.testing.assert_allclose(actions, reference, atol=1e-6)


def test_sb3_wrappers_of_observations() -> None:
    normalized = VecNormalize(DummyVecEnv([Drift] * 3))
    venv: Any = VecFrameStack(normalized, n_stack=2)
    policy = scrambled(FlowPolicy(venv.observation_space, ACTED, (16,), num_steps=2))
    venv.seed(0)
    stacked, before = venv.reset(), np.zeros((3, 3))
    seen = np.array(normalized.normalize_obs(normalized.get_original_obs()))
    states = [policy.initial_state([1, 2, 3])] * 2
    for _ in range(4):
        own, states[0] = policy.predict(np.concatenate([before, seen], axis=1), states[0])
        given, states[1] = policy.predict(stacked, states[1])
        np.testing.assert_allclose(own, given, atol=1e-5)
        stacked, _, _, _ = venv.step(given)
        before, seen = seen, np.array(normalized.normalize_obs(normalized.get_original_obs()))
    assert np.std(own, axis=0).min() > 0.01
    mean, _ = evaluate_policy(policy, venv, n_eval_episodes=6, warn=False)
    assert np.isfinite(mean)


def test_predict_leaves_the_mode_and_gradients_as_they_are() -> None:
    policy = FlowPolicy(OBSERVED, ACTED, (16,)).train()
    policy.predict(np.zeros(3))
    assert policy.training and policy.model.training
    batch = {"observation": torch.zeros(4, 3)}
    policy.loss(batch, torch.zeros(4, 1, 2)).backward()
    assert any(parameter.grad is not None for parameter in policy.parameters())


def test_sb3s_own_format_warns_once_that_it_can_run_any_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    FlowPolicy(OBSERVED, ACTED, (16,)).save(str(tmp_path / "policy.pt"))
    for file in (str(tmp_path / "policy.pt"), io.BytesIO((tmp_path / "policy.pt").read_bytes())):
        monkeypatch.setattr(pickled_files, "_has_warned", False)
        with pytest.raises(FileNotFoundError):  # nothing was loaded
            FlowPolicy.load(str(tmp_path / "nothing.pt"))
        recwarn.clear()
        FlowPolicy.load(file, device="cpu")
        FlowPolicy.load(str(tmp_path / "policy.pt"), device="cpu")
        (warning,) = [warning for warning in recwarn if warning.category is PickledFileWarning]
        assert str(file) in str(warning.message) and warning.filename == __file__


@pytest.mark.parametrize("name", POLICIES)
def test_both_formats_give_the_same_predictions(name: str, tmp_path: Path) -> None:
    policy = scrambled(POLICIES[name]())
    observations = np.random.default_rng(0).normal(size=(5, 3))
    policy.save(str(tmp_path / "policy.pt"))
    save_policy(policy, tmp_path / "policy", {"command": "none"})
    loaded = [type(policy).load(str(tmp_path / "policy.pt"), device="cpu"), load_policy(tmp_path / "policy")]
    for other in loaded:
        assert type(other) is type(policy)
        assert other.observation_space == OBSERVED and other.action_space == ACTED
        states = [some.initial_state(range(5)) for some in (policy, other)]
        for _ in range(4):  # into a second plan
            answers = [some.predict(observations, state) for some, state in zip((policy, other), states, strict=True)]
            assert np.array_equal(answers[0][0], answers[1][0])
            states = [answer[1] for answer in answers]


def test_policies_of_pictures_come_back(tmp_path: Path) -> None:
    policy = scrambled(FlowPolicy(PICTURED, ACTED, (16,), horizon=2, history=2))
    save_policy(policy, tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy")
    assert isinstance(loaded, FlowPolicy) and loaded.observation_space == PICTURED
    PICTURED.seed(0)
    observation = PICTURED.sample()
    answers = [some.predict(observation, some.initial_state([4]))[0] for some in (policy, loaded)]
    assert np.array_equal(*answers)


def test_what_cannot_be_written_without_pickles_is_refused(tmp_path: Path) -> None:
    source = scrambled(MlpPolicy(Box(-9, 9, (2,)), ACTED, (16,)))
    policy = TranslatedPolicy(
        OBSERVED, ACTED, source, MlpActionTranslator(2, 3), lambda row: row[:2].astype(np.float32)
    )
    with pytest.raises(CheckpointError, match="function"):
        save_policy(policy, tmp_path / "policy")

    class Own(MlpPolicy):
        pass

    with pytest.raises(CheckpointError, match="got Own"):
        save_policy(Own(OBSERVED, ACTED), tmp_path / "policy")
    assert not (tmp_path / "policy").exists()


@pytest.mark.parametrize("source_observation", [2, slice(0, 2), [0, 1]])
def test_a_translated_policy_sees_part_of_the_observation_and_comes_back(
    source_observation: Any, tmp_path: Path
) -> None:
    source = scrambled(MlpPolicy(Box(-9, 9, (2,)), ACTED, (16,)))
    policy = TranslatedPolicy(OBSERVED, ACTED, source, MlpActionTranslator(2, 3), source_observation)
    observations = np.random.default_rng(0).normal(size=(5, 3))
    expected = source.predict(observations[:, :2])[0]
    assert np.array_equal(policy.predict(observations)[0], expected)  # an untrained translator is the identity
    save_policy(policy, tmp_path / "policy")
    assert np.array_equal(load_policy(tmp_path / "policy").predict(observations)[0], expected)


def test_a_translated_policy_gives_what_the_wrapper_gives() -> None:
    expert = PPO("MlpPolicy", Drift(), seed=0, device="cpu")
    translator = scrambled(FlowActionPriorConditionedTranslator(2, 3, (16,)))
    policy = TranslatedPolicy(OBSERVED, ACTED, expert, translator)
    seeds = range(100, 106)
    directly = run_episodes(Drift, source_act(policy, deterministic=False), seeds, num_envs=3)
    behind = run_episodes(lambda: ActionTranslationWrapper(Drift(), translator), source_act(expert.policy), seeds)
    for one, other in zip(directly, behind, strict=True):
        assert np.array_equal(one.observations, other.observations) and np.array_equal(one.rewards, other.rewards)


def test_swapped_and_foreign_parts_are_refused() -> None:
    source = MlpPolicy(OBSERVED, ACTED, (16,))
    narrow = MlpPolicy(OBSERVED, Box(-1, 1, (1,)), (16,))
    with pytest.raises(ValueError, match="swapped"):
        TranslatedPolicy(OBSERVED, ACTED, narrow, MlpActionTranslator(1, 3, source_action_dim=2))
    with pytest.raises(ValueError, match="pass source_observation"):
        TranslatedPolicy(Box(-1, 1, (5,)), ACTED, source, MlpActionTranslator(2, 5))
    with pytest.raises(TypeError, match="ActionTranslator"):
        TranslatedPolicy(OBSERVED, ACTED, source, MlpInverseDynamics(2, 3))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="FlowPlanner"):
        InverseDynamicsPolicy(OBSERVED, ACTED, MlpInverseDynamics(2, 3), MlpInverseDynamics(2, 3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="next observation is what is planned"):
        InverseDynamicsPolicy(OBSERVED, ACTED, FlowPlanner(2), MlpInverseDynamics(2, 3))
    with pytest.raises(TypeError, match="Box with one axis"):
        InverseDynamicsPolicy(PICTURED["camera"], ACTED, FlowPlanner(3), MlpInverseDynamics(2, 3))


def test_the_planner_of_another_robot_sees_and_plans_the_leading_part() -> None:
    policy = InverseDynamicsPolicy(OBSERVED, ACTED, FlowPlanner(2, (16,)), MlpInverseDynamics(2, 3, next_obs_dim=2))
    scrambled(policy)
    observation = np.array([1.0, 2.0, 3.0])
    noise = episode_generator(4, 0, Stream.POLICY).standard_normal(2)
    goal = policy.planner.predict(observation[:2], noise=noise)
    expected = policy.inverse_dynamics.predict(observation, goal)
    action, _ = policy.predict(observation, policy.initial_state([4]))
    np.testing.assert_allclose(action, np.clip(expected, ACTED.low, ACTED.high), atol=1e-5)


@pytest.mark.parametrize("stochastic", [False, True])
def test_a_plan_of_several_steps_is_answered_from_what_is_observed(stochastic: bool) -> None:
    policy = scrambled(planned(stochastic, replan_interval=3))
    observations = np.random.default_rng(0).normal(size=(5, 3))
    state, found = policy.initial_state([9]), []
    for observation in observations:
        action, state = policy.predict(observation, state)
        found.append(action)
    generator, expected = episode_generator(9, 0, Stream.POLICY), []
    for first, steps in ((0, 3), (3, 2)):  # the second plan begins after the third step
        draw = generator.standard_normal(12 + (8 if stochastic else 0))
        goals = policy.planner.predict(observations[first], noise=draw[:12].reshape(4, 3))
        for k in range(steps):
            noise = draw[12 + 2 * k : 14 + 2 * k] if stochastic else None
            expected.append(policy.inverse_dynamics.predict(observations[first + k], goals[k], noise=noise))
    np.testing.assert_allclose(found, np.clip(expected, ACTED.low, ACTED.high), atol=1e-5)


def test_a_planner_may_see_a_history_the_current_observation_first() -> None:
    policy = InverseDynamicsPolicy(OBSERVED, ACTED, FlowPlanner(9, (16,), 3), MlpInverseDynamics(2, 3), history=3)
    scrambled(policy)
    a, b, c = np.random.default_rng(0).normal(size=(3, 3))
    state, found = policy.initial_state([9]), []
    for observation in (a, b, c):
        action, state = policy.predict(observation, state)
        found.append(action)
    noise = episode_generator(9, 0, Stream.POLICY).standard_normal((3, 3))
    seen = np.stack([np.concatenate(frames) for frames in ((a, a, a), (b, a, a), (c, b, a))])
    expected = policy.inverse_dynamics.predict(np.stack([a, b, c]), policy.planner.predict(seen, noise=noise))
    np.testing.assert_allclose(found, np.clip(expected, ACTED.low, ACTED.high), atol=1e-5)


def test_planning_with_dictionaries_changes_their_vectors_alone() -> None:
    encoder = DictObservationEncoder(PICTURED)
    inverse_dynamics = MlpInverseDynamics(2, encoder.output_dim, (16,), encoder=encoder)
    policy = scrambled(InverseDynamicsPolicy(PICTURED, ACTED, FlowPlanner(4, (16,)), inverse_dynamics))
    PICTURED.seed(0)
    observation = PICTURED.sample()
    noise = episode_generator(4, 0, Stream.POLICY).standard_normal(4)
    goal = policy.planner.predict(observation["joints"], noise=noise)
    expected = policy.inverse_dynamics.predict(observation, observation | {"joints": goal})
    action, _ = policy.predict(observation, policy.initial_state([4]))
    np.testing.assert_allclose(action, np.clip(expected, ACTED.low, ACTED.high), atol=1e-5)


def test_a_translation_of_a_translation_has_noise_of_its_own() -> None:
    inner = translated()
    policy = TranslatedPolicy(OBSERVED, ACTED, inner, FlowActionPriorConditionedTranslator(2, 3, (16,)))
    state = policy.initial_state([3])
    outer_seeds, inner_seeds = state[0], state[3]
    assert outer_seeds.tolist() == [3] and inner_seeds.tolist() != [3]


def test_a_network_of_ones_own_is_copied_saved_and_loaded(tmp_path: Path) -> None:
    network = ConditionalUNet1D(2, 2, 3, 8, (8,))
    policies = [scrambled(FlowPolicy(OBSERVED, ACTED, network=network)) for _ in range(2)]
    assert policies[0].model.network is not policies[1].model.network
    save_policy(policies[0], tmp_path / "policy")
    policies[0].save(str(tmp_path / "policy.pt"))
    observation = np.ones(3)
    answers = [
        policy.predict(observation, policy.initial_state([1]))[0]
        for policy in (
            policies[0],
            load_policy(tmp_path / "policy"),
            FlowPolicy.load(str(tmp_path / "policy.pt"), "cpu"),
        )
    ]
    assert np.array_equal(answers[0], answers[1]) and np.array_equal(answers[0], answers[2])


@pytest.mark.parametrize("bounds", ["uniform", "of their own"])
def test_actions_of_two_axes(bounds: str, tmp_path: Path) -> None:
    low = -np.ones((2, 3), np.float32) if bounds == "uniform" else -np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    policy = scrambled(FlowPolicy(OBSERVED, Box(low, -2 * low), (16,), horizon=2))
    save_policy(policy, tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy")
    assert loaded.action_space == policy.action_space
    actions, _ = policy.predict(np.ones((4, 3)), policy.initial_state(range(4)))
    assert actions.shape == (4, 2, 3)
    assert np.array_equal(loaded.predict(np.ones((4, 3)), loaded.initial_state(range(4)))[0], actions)  # type: ignore[operator]


def test_algorithms_of_sb3_do_not_take_them_for_their_own() -> None:
    assert not issubclass(FlowPolicy, BaseAlgorithm)
    with pytest.raises(ValueError, match="unknown"):
        PPO("FlowPolicy", Drift(), device="cpu")
