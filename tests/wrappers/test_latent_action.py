"""Steering a frozen policy by its noise: the plan's steps, their rewards, and where they stop."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.policies import (
    BehaviorCloning,
    FlowPlanner,
    FlowPolicy,
    InverseDynamicsPolicy,
    MlpPolicy,
    save_policy,
)
from generative_policies.wrappers import LatentActionWrapper, check_wrapper, vec_env, vector
from tests.wrappers.stand_ins import Recorder, randomize


def recorder(max_steps: int = 100) -> Any:
    return gymnasium.wrappers.TimeLimit(Recorder(), max_steps)


def policy(**arguments: Any) -> Any:
    flow = FlowPolicy(Recorder.observation_space, Recorder.action_space, (16,), num_steps=2, **arguments)
    return randomize(flow, 0.3).eval()


def test_the_action_is_the_noise_of_the_policys_own_sampler() -> None:
    flow = policy()
    env = LatentActionWrapper(recorder(), flow)
    assert env.action_space.shape == (2,) and env.action_space.high.max() == 1.5
    observation, _ = env.reset(seed=0)
    noise = np.array([0.4, -1.2], np.float32)
    expected = flow.model.predict(condition={"observation": observation}, noise=noise, num_steps=2)
    info = env.step(noise)[4]
    np.testing.assert_allclose(info["target_action"], np.clip(expected, [-1, -2], [1, 3]), atol=1e-6)
    assert info["steps"] == 1


def test_a_chunk_is_taken_whole_with_its_rewards_summed() -> None:
    flow = policy(horizon=5, replan_interval=3)
    inner = Recorder()
    env = LatentActionWrapper(inner, flow)
    observation, _ = env.reset(seed=0)
    rng = np.random.default_rng(0)
    for k in range(4):
        noise = rng.uniform(-1.5, 1.5, 10).astype(np.float32)
        plan = flow.model.predict(condition={"observation": observation}, noise=noise.reshape(5, 2), num_steps=2)
        observation, reward, _, _, info = env.step(noise)
        assert reward == 3.0 and info["steps"] == 3 and observation[1] == 3 * (k + 1)
        np.testing.assert_allclose(inner.actions[-3:], np.clip(plan[:3], [-1, -2], [1, 3]), atol=1e-5)
    assert len(inner.actions) == 12


def test_info_is_that_of_the_last_step() -> None:
    class Tells(Recorder):
        def step(self, action: Any) -> Any:
            observation, reward, terminated, truncated, _ = super().step(action)
            return observation, reward, terminated, truncated, {"is_success": self.step_index >= 3}

    env = LatentActionWrapper(Tells(), policy(horizon=2))
    env.reset(seed=0)
    noise = np.zeros(4, np.float32)
    assert [env.step(noise)[4]["is_success"] for _ in range(2)] == [False, True]


def test_the_algorithm_of_a_policy_may_be_given() -> None:
    episodes = [(np.zeros((6, 2)), np.zeros((5, 2), np.float32))] * 2
    model = BehaviorCloning("FlowPolicy", Recorder(), episodes, device="cpu")
    assert LatentActionWrapper(Recorder(), model).policy is model.policy


def test_an_episode_that_ends_cuts_the_plan_off_and_a_time_limit_is_one() -> None:
    flow = policy(horizon=4)
    env = LatentActionWrapper(recorder(6), flow)
    for _ in range(2):
        env.reset(seed=0)
        noise = np.ones(8, np.float32)
        first, second = env.step(noise), env.step(noise)
        assert (first[1], first[3], first[4]["steps"]) == (4.0, False, 4)
        assert (second[1], second[2], second[3], second[4]["steps"]) == (2.0, False, True, 2)
        # The next episode begins with a plan of its own, not amid the last one.
        observation, _ = env.reset()
        plan = flow.model.predict(condition={"observation": observation}, noise=noise.reshape(4, 2), num_steps=2)
        assert env.step(noise)[4]["steps"] == 4
        inner: Any = env.unwrapped
        np.testing.assert_allclose(inner.actions[-4:], np.clip(plan, [-1, -2], [1, 3]), atol=1e-5)


def test_the_history_goes_on_within_a_chunk() -> None:
    flow = policy(horizon=2, history=3)
    env = LatentActionWrapper(Recorder(), flow)
    observation, _ = env.reset(seed=0)
    noise = np.linspace(-1, 1, 4).astype(np.float32)
    seen = [observation] * 3
    for _ in range(3):
        window = np.stack(seen[-3:])
        plan = flow.model.predict(condition={"observation": window}, noise=noise.reshape(2, 2), num_steps=2)
        observation = env.step(noise)[0]
        inner: Any = env.unwrapped
        np.testing.assert_allclose(inner.actions[-2:], np.clip(plan, [-1, -2], [1, 3]), atol=1e-5)
        seen += [observation - [0, 1], observation]


def test_gaussian_noise_is_the_policy_itself() -> None:
    flow = policy()
    env = LatentActionWrapper(Recorder(), flow, limit=9.0)
    state = flow.initial_state([5])
    draws = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(0, 3))).standard_normal((4, 2))
    observation, _ = env.reset(seed=5)
    for noise in draws:
        action, state = flow.predict(observation, state)
        observation, _, _, _, info = env.step(noise.astype(np.float32))
        np.testing.assert_allclose(info["target_action"], action, atol=1e-5)


@pytest.mark.parametrize("algorithm", [PPO, SAC])
@pytest.mark.parametrize("replan_interval", [1, 3])
def test_unmodified_algorithms_steer(algorithm: Any, replan_interval: int) -> None:
    env = gymnasium.make("Pendulum-v1", max_episode_steps=40)
    flow = FlowPolicy(env.observation_space, env.action_space, (16,), horizon=3, replan_interval=replan_interval)
    settings = {"n_steps": 64} if algorithm is PPO else {"learning_starts": 50, "train_freq": 8, "gradient_steps": 1}
    model = algorithm("MlpPolicy", Monitor(LatentActionWrapper(env, randomize(flow).eval())), device="cpu", **settings)
    model.learn(600)
    lengths = {int(info["l"]) for info in model.ep_info_buffer}
    assert lengths == {-(-40 // replan_interval)}


def test_twins_steer_single_steps_alone() -> None:
    chunked = policy(horizon=3)
    with pytest.raises(ValueError, match=r"takes 3 steps of each plan.*wrap each env"):
        vector.LatentActionWrapper(SyncVectorEnv([recorder] * 2), chunked)
    with pytest.raises(ValueError, match=r"takes 3 steps of each plan.*wrap each env"):
        vec_env.LatentActionWrapper(DummyVecEnv([recorder] * 2), chunked)
    receding = policy(horizon=3, replan_interval=1)
    assert vector.LatentActionWrapper(SyncVectorEnv([recorder] * 2), receding).single_action_space.shape == (6,)


@pytest.mark.filterwarnings("ignore")
def test_chunks_pass_the_conformance_check() -> None:
    env = gymnasium.make("Hopper-v5")
    flow = FlowPolicy(env.observation_space, env.action_space, (16,), horizon=4, history=2, num_steps=2)
    frozen = randomize(flow).eval()
    check_wrapper(lambda: LatentActionWrapper(gymnasium.make("Hopper-v5"), frozen))


def test_a_planner_is_steered_too() -> None:
    env = gymnasium.make("Hopper-v5")
    planned = InverseDynamicsPolicy(
        env.observation_space, env.action_space, FlowPlanner(11, (16,)), MlpInverseDynamics(3, 11)
    )
    wrapped = LatentActionWrapper(env, randomize(planned).eval())
    wrapped.reset(seed=0)
    assert wrapped.step(wrapped.action_space.sample())[4]["target_action"].shape == (3,)


def test_the_spec_rebuilds_the_env(tmp_path: Path) -> None:
    env = gymnasium.make("Hopper-v5")
    save_policy(randomize(FlowPolicy(env.observation_space, env.action_space, (16,))), tmp_path / "policy")
    wrapped = LatentActionWrapper(env, tmp_path / "policy", limit=2.0)
    assert wrapped.spec is not None
    rebuilt = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(wrapped.spec.to_json()))
    told = []
    for one in (wrapped, rebuilt):
        one.reset(seed=0)
        told.append(one.step(np.full(3, 2.0, np.float32))[4]["target_action"].tolist())
    assert told[0] == told[1]


def test_what_cannot_be_steered_is_refused() -> None:
    with pytest.raises(ValueError, match="takes no noise"):
        LatentActionWrapper(Recorder(), MlpPolicy(Recorder.observation_space, Recorder.action_space))
    with pytest.raises(TypeError, match="ChunkPolicy"):
        LatentActionWrapper(Recorder(), PPO("MlpPolicy", Recorder(), device="cpu").policy)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="observations have shape"):
        LatentActionWrapper(gymnasium.make("Hopper-v5"), policy())
    with pytest.raises(ValueError, match="limit"):
        LatentActionWrapper(Recorder(), policy(), limit=0.0)
