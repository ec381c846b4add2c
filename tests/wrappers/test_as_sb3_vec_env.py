"""Gymnasium's vector envs under SB3, beside SB3's own ``DummyVecEnv``."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from packaging.version import Version
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from generative_policies.action_translation import MlpActionTranslator
from generative_policies.wrappers import as_sb3_vec_env, vector
from tests.wrappers.stand_ins import AsDictionary, observation_policy

MODES = list(AutoresetMode)


def hopper() -> gymnasium.Env[Any, Any]:
    return gymnasium.make("Hopper-v5", max_episode_steps=25)


def reach() -> gymnasium.Env[Any, Any]:
    return gymnasium.make("generative_policies/ArmReach2-v0", max_episode_steps=10)


def compare(venv: Any, reference: Any, steps: int) -> int:
    """Step both with the same actions; count the ends of episodes."""
    for env in (venv, reference):
        env.seed(3)
    observations, expected = venv.reset(), reference.reset()
    ends = 0
    for _ in range(steps):
        same(observations, expected)
        assert [sorted(info) for info in venv.reset_infos] == [sorted(info) for info in reference.reset_infos]
        actions = observation_policy(expected, venv.action_space)
        actions = np.clip(actions, venv.action_space.low, venv.action_space.high)
        observations, rewards, dones, infos = venv.step(actions)
        expected, expected_rewards, expected_dones, expected_infos = reference.step(actions)
        same(rewards, expected_rewards)
        same(dones, expected_dones)
        for info, expected_info in zip(infos, expected_infos, strict=True):
            same(info, expected_info, dtypes=False)  # Gymnasium keeps numbers in float64
        ends += int(dones.sum())
    return ends


def same(one: Any, other: Any, dtypes: bool = True) -> None:
    if isinstance(other, dict):
        assert sorted(one) == sorted(other)
        for name in other:
            same(one[name], other[name], dtypes)
    else:
        assert np.array_equal(one, other)
        assert not dtypes or np.asarray(one).dtype == np.asarray(other).dtype


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", [hopper, reach, lambda: AsDictionary(hopper())], ids=["hopper", "reach", "dict"])
def test_it_is_sb3s_own_vec_env_bit_for_bit(make: Any, mode: AutoresetMode) -> None:
    venv = as_sb3_vec_env(SyncVectorEnv([make] * 3, autoreset_mode=mode))
    assert compare(venv, DummyVecEnv([make] * 3), 120) > 10


@pytest.mark.parametrize("mode", MODES)
def test_in_other_processes_too(mode: AutoresetMode) -> None:
    venv = as_sb3_vec_env(AsyncVectorEnv([hopper] * 2, autoreset_mode=mode))
    try:
        assert compare(venv, DummyVecEnv([hopper] * 2), 60) > 3
    finally:
        venv.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_vector_wrapper_inside_keeps_its_info(mode: AutoresetMode) -> None:
    envs = vector.ActionTranslationWrapper(
        SyncVectorEnv([hopper] * 2, autoreset_mode=mode), MlpActionTranslator(3, 11), source_observation=lambda o: o[:4]
    )
    venv = as_sb3_vec_env(envs)
    venv.seed(0)
    assert venv.reset().shape == (2, 4)
    ends = 0
    for _ in range(40):
        _, _, dones, infos = venv.step(np.full((2, 3), 0.1, np.float32))
        for done, info in zip(dones, infos, strict=True):
            assert info["target_action"].shape == info["source_action"].shape == (3,)
            assert ("terminal_observation" in info) == done
            if done:
                assert info["terminal_observation"].shape == (4,)
        ends += int(dones.sum())
    assert ends >= 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_sb3_trains_on_it(algorithm: Any, mode: AutoresetMode) -> None:
    venv = VecMonitor(as_sb3_vec_env(SyncVectorEnv([hopper] * 2, autoreset_mode=mode)))
    settings = {"n_steps": 64, "batch_size": 32} if algorithm is PPO else {"learning_starts": 50}
    model = algorithm("MlpPolicy", venv, policy_kwargs={"net_arch": [16]}, seed=0, device="cpu", **settings)
    model.learn(256)
    assert model.num_timesteps >= 256 and len(model.ep_info_buffer) > 5


def test_eval_callback_counts_successes(tmp_path: Any) -> None:
    def venv() -> Any:
        return VecMonitor(as_sb3_vec_env(SyncVectorEnv([reach] * 2)))

    model = PPO("MlpPolicy", venv(), n_steps=32, batch_size=32, device="cpu", seed=0)
    callback = EvalCallback(venv(), n_eval_episodes=4, eval_freq=32, log_path=str(tmp_path), verbose=0)
    model.learn(64, callback=callback)
    assert np.load(tmp_path / "evaluations.npz")["successes"].shape[1] == 4


def test_seeds_count_once_and_evaluation_is_that_of_sb3s_own() -> None:
    model = PPO("MlpPolicy", "Hopper-v5", policy_kwargs={"net_arch": [16]}, seed=0, device="cpu")
    returns = []
    for venv in (as_sb3_vec_env(SyncVectorEnv([hopper] * 4)), DummyVecEnv([hopper] * 4)):
        monitored = VecMonitor(venv)
        monitored.seed(5)
        returns.append(evaluate_policy(model, monitored, n_eval_episodes=8, return_episode_rewards=True)[0])
        assert monitored.seed(7) == [7, 8, 9, 10]
    assert returns[0] == returns[1]


def test_attributes_and_methods_of_the_envs() -> None:
    venv = as_sb3_vec_env(SyncVectorEnv([hopper] * 3))
    assert venv.get_attr("frame_skip") == [4, 4, 4] and venv.get_attr("frame_skip", [0, 2]) == [4, 4]
    venv.set_attr("marker", 5)
    venv.set_attr("marker", 6, indices=1)
    assert venv.get_attr("marker") == [5, 6, 5]
    assert len(venv.env_method("state_vector")) == 3
    assert venv.env_method("state_vector", indices=[1])[0].shape == (12,)
    assert venv.env_is_wrapped(gymnasium.wrappers.TimeLimit) == [True] * 3
    assert venv.env_is_wrapped(gymnasium.wrappers.ClipAction, indices=0) == [False]
    assert VecNormalize(venv).reset().shape == (3, 11)


def test_methods_of_some_envs_in_other_processes_are_refused() -> None:
    venv = as_sb3_vec_env(AsyncVectorEnv([hopper] * 2))
    try:
        assert len(venv.env_method("state_vector")) == 2
        assert venv.env_is_wrapped(gymnasium.wrappers.TimeLimit) == [True, True]
        with pytest.raises(NotImplementedError, match="indices=None"):
            venv.env_method("state_vector", indices=0)
    finally:
        venv.close()


@pytest.mark.slow
def test_pictures_of_all_envs() -> None:
    make = partial(gymnasium.make, "generative_policies/ArmReach2-v0", render_mode="rgb_array", width=64, height=64)
    venv = as_sb3_vec_env(SyncVectorEnv([make] * 2))
    venv.reset()
    assert [image.shape for image in venv.get_images()] == [(64, 64, 3)] * 2


def test_other_things_are_refused() -> None:
    with pytest.raises(TypeError, match="VectorEnv, got DummyVecEnv"):
        as_sb3_vec_env(DummyVecEnv([hopper]))  # type: ignore[arg-type]
    envs = SyncVectorEnv([hopper])
    envs.metadata = {}
    with pytest.raises(ValueError, match="autoreset mode"):
        as_sb3_vec_env(envs)


class Counting(gymnasium.Env[Any, Any]):
    """Ends after as many steps as it was told."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, length: int) -> None:
        self.length = length

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.count, self.options = 0, options
        return np.zeros(1), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        over = self.count == self.length
        return np.full(1, float(self.count)), 1.0, over, over, {}


def test_an_end_at_the_time_limit_is_an_end() -> None:
    venv = as_sb3_vec_env(SyncVectorEnv([lambda: Counting(1)]))
    venv.reset()
    _, _, dones, infos = venv.step(np.zeros((1, 1), np.float32))
    assert dones.all() and infos[0]["TimeLimit.truncated"] is False


def test_vector_envs_of_one_piece_need_the_mode_that_needs_no_mask() -> None:
    with pytest.raises(ValueError, match="SAME_STEP"):
        as_sb3_vec_env(gymnasium.make_vec("CartPole-v1", num_envs=3, vectorization_mode="vector_entry_point"))
    one_piece = {"autoreset_mode": AutoresetMode.SAME_STEP}
    envs = gymnasium.make_vec("CartPole-v1", num_envs=3, vectorization_mode="vector_entry_point")
    envs.metadata = {**envs.metadata, **one_piece}
    venv = as_sb3_vec_env(envs)
    assert venv.reset().shape == (3, 4)  # seeds come as it takes them
    venv.seed(3)
    assert venv.reset().shape == (3, 4)


def test_statistics_of_gymnasium_need_same_step_and_are_kept_there() -> None:
    makes = [lambda n=n: Counting(n) for n in (2, 3)]  # type: ignore[misc]
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED):
        envs = gymnasium.wrappers.vector.RecordEpisodeStatistics(SyncVectorEnv(makes, autoreset_mode=mode))
        with pytest.raises(ValueError, match=r"RecordEpisodeStatistics takes no reset of some envs.*VecMonitor"):
            as_sb3_vec_env(envs)
    envs = gymnasium.wrappers.vector.RecordEpisodeStatistics(
        SyncVectorEnv(makes, autoreset_mode=AutoresetMode.SAME_STEP)
    )
    if Version(gymnasium.__version__) < Version("1.4"):  # which would count 2, 1, 1
        with pytest.raises(ValueError, match="misses the first step"):
            as_sb3_vec_env(envs)
        return
    venv = as_sb3_vec_env(envs)
    venv.reset()
    lengths: list[list[int]] = [[], []]
    for _ in range(7):
        for row, info in enumerate(venv.step(np.zeros((2, 1), np.float32))[3]):
            if "terminal_observation" in info:
                lengths[row].append(int(info["episode"]["l"]))
    assert lengths == [[2, 2, 2], [3, 3]]


def test_options_reach_the_envs_once_and_must_be_the_same() -> None:
    envs = SyncVectorEnv([lambda: Counting(2)] * 2)
    venv = as_sb3_vec_env(envs)
    venv.set_options({"x": 1})
    venv.reset()
    assert [env.unwrapped.options for env in envs.envs] == [{"x": 1}] * 2  # type: ignore[attr-defined]
    venv.reset()
    assert [env.unwrapped.options for env in envs.envs] == [None] * 2  # type: ignore[attr-defined]
    venv.set_options([{"x": 1}, {"x": 2}])
    with pytest.raises(ValueError, match="one dictionary of options"):
        venv.reset()


def test_an_attribute_may_be_set_on_one_env_alone() -> None:
    envs = SyncVectorEnv([lambda: Counting(2)] * 2)
    venv = as_sb3_vec_env(envs)
    venv.set_attr("fresh", 1, indices=0)
    assert envs.envs[0].get_wrapper_attr("fresh") == 1 and not envs.envs[1].has_wrapper_attr("fresh")
