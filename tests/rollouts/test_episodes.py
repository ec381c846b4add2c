"""Running episodes: results follow the seed, not the company."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from generative_policies.action_translation import FlowActionPriorConditionedTranslator
from generative_policies.envs import PUSHER_P1, ExactDynamics, make_env
from generative_policies.rollouts import Episode, EpisodeContext, load_expert, run_episodes, source_act, translated_act
from generative_policies.rollouts.episodes import transitions
from generative_policies.wrappers import ActionTranslationWrapper

SEEDS = [10_003, 10_000, 10_007, 10_001, 10_002]


def zeros(observations: Any, contexts: Sequence[EpisodeContext]) -> Any:
    return np.zeros((len(observations), 7), np.float32)


def same(first: list[Episode], second: list[Episode]) -> bool:
    return all(
        a.seed == b.seed
        and np.array_equal(a.observations, b.observations)
        and np.array_equal(a.actions, b.actions)
        and a.success == b.success
        for a, b in zip(first, second, strict=True)
    )


def stochastic_translator() -> FlowActionPriorConditionedTranslator:
    torch.manual_seed(0)
    translator = FlowActionPriorConditionedTranslator(7, 23, (32, 32))
    for parameter in translator.parameters():
        nn.init.normal_(parameter, std=0.05)
    return translator


@pytest.mark.parametrize("num_envs", [2, 16])
def test_results_do_not_depend_on_the_number_of_envs(num_envs: int) -> None:
    act = translated_act(source_act(load_expert("Pusher-v5")), stochastic_translator())
    exploration = [0.0, 0.1, 0.2, 0.0, 0.3]
    runs = [
        run_episodes(lambda: make_env("Pusher-v5", PUSHER_P1), act, SEEDS, exploration=exploration, num_envs=n)
        for n in (1, num_envs)
    ]
    assert same(*runs)
    assert [episode.seed for episode in runs[0]] == SEEDS


def test_batched_translation_is_the_wrappers_bit_for_bit() -> None:
    source, translator = source_act(load_expert("Pusher-v5")), stochastic_translator()
    batched = run_episodes(lambda: make_env("Pusher-v5", PUSHER_P1), translated_act(source, translator), SEEDS)
    wrapped = run_episodes(
        lambda: ActionTranslationWrapper(make_env("Pusher-v5", PUSHER_P1), translator), source, SEEDS
    )
    for a, b in zip(batched, wrapped, strict=True):
        assert np.array_equal(a.observations, b.observations)
        assert np.array_equal(a.rewards, b.rewards)
        assert not np.array_equal(a.actions, b.actions)  # the target's and the source's


def test_episodes_agree_with_a_plain_loop() -> None:
    episode = run_episodes(lambda: make_env("Pusher-v5"), zeros, [3])[0]
    env = make_env("Pusher-v5")
    observation, _ = env.reset(seed=3)
    rewards, done = [], False
    while not done:
        assert np.array_equal(episode.observations[len(rewards)], observation)
        observation, reward, terminated, truncated, info = env.step(np.zeros(7, np.float32))
        rewards.append(reward)
        done = terminated or truncated
    assert len(rewards) == 100 == len(episode.actions)
    assert episode.total_reward == pytest.approx(sum(float(reward) for reward in rewards))
    assert episode.success == info["is_success"]


def test_episodes_of_different_lengths_are_each_counted_once() -> None:
    def push(observations: Any, contexts: Sequence[EpisodeContext]) -> Any:
        return np.stack([context.generator.uniform(-3, 3, 1) for context in contexts]).astype(np.float32)

    seeds = list(range(30))
    runs = [run_episodes(lambda: gymnasium.make("InvertedPendulum-v5"), push, seeds, num_envs=n) for n in (1, 7)]
    assert same(*runs)
    lengths = [len(episode.actions) for episode in runs[0]]
    assert len(set(lengths)) > 5 and [episode.seed for episode in runs[1]] == seeds
    assert all(episode.success is None for episode in runs[0])


def test_exploration_has_its_scale_and_stays_in_bounds() -> None:
    (episode,) = run_episodes(lambda: make_env("Pusher-v5"), zeros, [0], exploration=[0.1])
    # 700 numbers of spread 0.1 of half the range of 4: four standard errors.
    assert episode.actions.std() == pytest.approx(0.2, abs=4 * 0.2 / np.sqrt(2 * 700))
    (episode,) = run_episodes(lambda: make_env("Pusher-v5"), zeros, [0], exploration=[5.0])
    assert np.abs(episode.actions).max() == 2.0


def test_transitions_keep_episodes_apart() -> None:
    data = transitions(run_episodes(lambda: make_env("Pusher-v5"), zeros, [0, 1]))
    assert len(data) == 200 and data.num_episodes == 2
    assert np.array_equal(data.obs[1], data.next_obs[0])
    assert not np.array_equal(data.obs[100], data.next_obs[99])


def test_what_would_give_garbage_is_refused() -> None:
    env = make_env("Pusher-v5")
    with pytest.raises(ValueError, match="same one twice"):
        run_episodes(lambda: env, zeros, [0, 1])
    with pytest.raises(ValueError, match="num_envs"):
        run_episodes(lambda: make_env("Pusher-v5"), zeros, [0], num_envs=0)
    with pytest.raises(TypeError, match="bounded Box"):
        run_episodes(lambda: gymnasium.make("CartPole-v1"), zeros, [0])
    calls = iter([0.0, np.nan])
    with pytest.raises(ValueError, match=r"finite actions .* step 1 of the episode with seed 7"):
        run_episodes(lambda: make_env("Pusher-v5"), lambda obs, contexts: np.full((1, 7), next(calls)), [7])


def test_observations_are_copies() -> None:
    class Buffered(gymnasium.Env[Any, Any]):
        """Writes each observation into the same array."""

        observation_space = gymnasium.spaces.Box(-9, 9, (1,))
        action_space = gymnasium.spaces.Box(-1, 1, (7,))

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            self.buffer = np.zeros(1)
            return self.buffer, {}

        def step(self, action: Any) -> Any:
            self.buffer += 1
            return self.buffer, 0.0, False, bool(self.buffer[0] == 3), {}

    (episode,) = run_episodes(Buffered, zeros, np.arange(1))  # type: ignore[arg-type]
    assert episode.observations[:, 0].tolist() == [0, 1, 2, 3]


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="at least one seed"):
        run_episodes(lambda: make_env("Pusher-v5"), zeros, [])
    with pytest.raises(ValueError, match="got 2 and 1"):
        run_episodes(lambda: make_env("Pusher-v5"), zeros, [0, 1], exploration=[0.1])


def test_recorded_states_let_every_step_be_made_again() -> None:
    def push() -> gymnasium.Env[Any, Any]:
        return gymnasium.make("generative_policies/ArmPush2-v0")

    def alternate(observations: Any, contexts: Sequence[EpisodeContext]) -> Any:
        return np.sign(observations[:, :2])

    episodes = run_episodes(push, alternate, [4, 9], record_states=True, num_envs=2)
    dynamics = ExactDynamics(push())
    for episode in episodes:
        assert episode.states is not None and len(episode.states) == len(episode.observations)
        for t in (0, len(episode.actions) // 2, len(episode.actions) - 1):
            made = dynamics.step(episode.states[t], episode.actions[t])
            np.testing.assert_allclose(made, episode.states[t + 1], rtol=0, atol=1e-12)
    assert run_episodes(push, alternate, [4])[0].states is None


def test_states_of_an_env_without_a_simulator_are_refused() -> None:
    with pytest.raises(TypeError, match="MuJoCo env"):
        run_episodes(lambda: gymnasium.make("Pendulum-v1"), lambda o, g: np.zeros((len(o), 1)), [0], record_states=True)
