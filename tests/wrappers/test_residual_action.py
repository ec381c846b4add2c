"""Corrections on top of a policy."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.policies import BasePolicy

from generative_policies.policies import save_policy
from generative_policies.wrappers import ResidualActionWrapper, vector
from tests.wrappers.stand_ins import Recorder


def recorder_policy() -> Any:
    return PPO("MlpPolicy", Recorder(), policy_kwargs={"net_arch": [8]}, seed=0, device="cpu").policy


class Counter(BasePolicy):
    """A policy with a state: it answers with the number of its calls in the episode."""

    def _predict(self, observation: Any, deterministic: bool = False) -> Any:
        raise NotImplementedError

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> Any:
        count = np.zeros(len(observation)) if state is None else state[0]
        count = np.where(episode_start, 0, count)
        return np.repeat(0.1 * count[:, None], 2, axis=1).astype(np.float32), (count + 1,)


def test_the_env_gets_the_policys_action_and_the_correction() -> None:
    recorder, policy = Recorder(), recorder_policy()
    env = ResidualActionWrapper(recorder, policy, scale=0.2)
    assert env.action_space == Box(-1.0, 1.0, (2,), np.float32)
    observation, _ = env.reset(seed=0)
    own, _ = policy.predict(observation, deterministic=True)
    info = env.step(np.array([1.0, -1.0], np.float32))[4]
    assert np.allclose(info["policy_action"], own)
    # Half of the ranges [-1, 1] and [-2, 3] is 1 and 2.5.
    assert np.allclose(recorder.actions[0], np.clip(own + np.array([0.2, -0.5]), [-1, -2], [1, 3]), atol=1e-6)
    assert info["target_action"].tolist() == recorder.actions[0].tolist()


def test_no_correction_is_the_policy_itself() -> None:
    policy = PPO("MlpPolicy", "Hopper-v5", policy_kwargs={"net_arch": [8]}, seed=0, device="cpu")
    bare, env = gymnasium.make("Hopper-v5"), ResidualActionWrapper(gymnasium.make("Hopper-v5"), policy, block=1)
    observation, _ = bare.reset(seed=0)
    env.reset(seed=0)
    for _ in range(15):
        observation = bare.step(policy.predict(observation, deterministic=True)[0])[0]
        assert np.array_equal(observation, env.step(np.zeros(3, np.float32))[0])


def test_large_corrections_stay_inside_the_bounds() -> None:
    recorder = Recorder()
    env = ResidualActionWrapper(recorder, recorder_policy(), scale=10.0)
    env.reset(seed=0)
    env.step(np.array([1.0, -1.0], np.float32))
    assert recorder.actions[0].tolist() == [1, -2]


def test_a_policys_state_lives_as_long_as_the_episode() -> None:
    space = Recorder.observation_space
    counter = Counter(space, Recorder.action_space)
    env = ResidualActionWrapper(Recorder(), counter)
    for _ in range(2):
        env.reset()
        answers = [env.step(np.zeros(2, np.float32))[4]["policy_action"][0] for _ in range(4)]
        assert np.allclose(answers, [0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_policys_state_is_dropped_at_the_end_of_each_rows_episode(mode: AutoresetMode) -> None:
    makes = [lambda n=n: gymnasium.wrappers.TimeLimit(Recorder(), n) for n in (2, 3)]  # type: ignore[misc]
    counter = Counter(Recorder.observation_space, Recorder.action_space)
    envs = vector.ResidualActionWrapper(SyncVectorEnv(makes, autoreset_mode=mode), counter)
    envs.reset(seed=0)
    counts: list[list[float]] = [[], []]
    for _ in range(8):
        _, _, terminations, truncations, info = envs.step(np.zeros((2, 2), np.float32))
        ended = terminations | truncations
        for row in range(2):
            source = info["final_info"] if mode == AutoresetMode.SAME_STEP and ended[row] else info
            if "_policy_action" in source and source["_policy_action"][row]:
                counts[row].append(round(10 * float(source["policy_action"][row][0])))
        if mode == AutoresetMode.DISABLED and ended.any():
            envs.reset(options={"reset_mask": ended})
    length = 5 if mode == AutoresetMode.NEXT_STEP else 8
    assert counts[0][:length] == [0, 1, 0, 1, 0, 1, 0, 1][:length]
    assert counts[1][:length] == [0, 1, 2, 0, 1, 2, 0, 1][:length]


def test_what_does_not_fit_is_refused() -> None:
    hopper = PPO("MlpPolicy", "Hopper-v5", device="cpu")
    with pytest.raises(ValueError, match=r"policy's observations have shape \(11,\), the env's \(2,\)"):
        ResidualActionWrapper(Recorder(), hopper)
    with pytest.raises(ValueError, match=r"policy's observations have shape \(11,\), the env's \(17,\)"):
        ResidualActionWrapper(gymnasium.make("HalfCheetah-v5"), hopper.policy)
    for scale in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="scale"):
            ResidualActionWrapper(Recorder(), recorder_policy(), scale)
    with pytest.raises(TypeError, match="got Linear"):
        ResidualActionWrapper(Recorder(), torch.nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="action space must be a Box"):
        ResidualActionWrapper(gymnasium.make("CartPole-v1"), PPO("MlpPolicy", "CartPole-v1", device="cpu"))


def test_the_spec_rebuilds_the_env(tmp_path: Path) -> None:
    policy = PPO("MlpPolicy", "Hopper-v5", policy_kwargs={"net_arch": [8]}, device="cpu", seed=0).policy
    save_policy(policy, tmp_path / "policy")
    env = ResidualActionWrapper(gymnasium.make("Hopper-v5"), tmp_path / "policy", scale=0.3)
    assert env.spec is not None
    for spec in (env.spec, gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())):
        rebuilt = gymnasium.make(spec)
        told = []
        for one in (env, rebuilt):
            one.reset(seed=0)
            told.append(one.step(np.ones(3, np.float32))[4]["target_action"].tolist())
        assert told[0] == told[1]
    in_memory = ResidualActionWrapper(gymnasium.make("Hopper-v5"), policy)
    assert in_memory.spec is not None
    with pytest.raises(TypeError, match=r"policies.save_policy and pass the path"):
        in_memory.spec.to_json()


class Pictures(gymnasium.Env[Any, Any]):
    """Observes noise as a picture, channels last."""

    observation_space = Box(0, 255, (36, 36, 3), np.uint8)
    action_space = Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return self.picture(), {}

    def step(self, action: Any) -> Any:
        return self.picture(), 0.0, False, False, {}

    def picture(self) -> Any:
        return self.np_random.integers(0, 255, (36, 36, 3)).astype(np.uint8)


def test_policies_of_pictures_turn_the_channels_themselves() -> None:
    policy = PPO("CnnPolicy", Pictures(), device="cpu", seed=0).policy
    env = ResidualActionWrapper(Pictures(), policy)
    observation, _ = env.reset(seed=0)
    own, _ = policy.predict(observation, deterministic=True)
    assert np.allclose(env.step(np.zeros(2, np.float32))[4]["policy_action"], own, atol=1e-6)
