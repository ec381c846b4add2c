"""Source policies of any origin act as they did when they were trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from generative_policies import pickled_files
from generative_policies.checkpoints import CheckpointError
from generative_policies.pickled_files import PickledFileWarning
from generative_policies.policies import BehaviorCloning, save_policy, source_actions
from generative_policies.rollouts.source_policies import load_source, load_statistics

OBSERVATIONS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


@pytest.mark.parametrize("algorithm", [PPO, A2C, SAC, TD3])
def test_a_zip_of_any_algorithm(algorithm: Any, tmp_path: Path) -> None:
    model = algorithm("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, seed=0, device="cpu")
    model.save(tmp_path / "model.zip")
    source = load_source(tmp_path / "model.zip")
    expected, _ = model.predict(OBSERVATIONS, deterministic=True)
    np.testing.assert_allclose(source.act()(OBSERVATIONS, []), expected, atol=1e-6)


def test_zips_with_state_dependent_exploration_and_of_this_library(tmp_path: Path) -> None:
    with_sde = PPO("MlpPolicy", "Pendulum-v1", use_sde=True, seed=0, device="cpu")
    with_sde.save(tmp_path / "sde.zip")
    expected, _ = with_sde.predict(OBSERVATIONS, deterministic=True)
    np.testing.assert_allclose(load_source(tmp_path / "sde.zip").act()(OBSERVATIONS, []), expected, atol=1e-6)
    episodes = [(np.zeros((6, 3)), np.zeros((5, 1)))] * 2
    cloned = BehaviorCloning("MlpPolicy", "Pendulum-v1", episodes, seed=0, device="cpu").learn(2)
    cloned.save(tmp_path / "cloned.zip")
    loaded = load_source(tmp_path / "cloned.zip").policy
    assert np.array_equal(loaded.predict(OBSERVATIONS)[0], cloned.predict(OBSERVATIONS)[0])


def test_statistics_that_a_policy_was_trained_with(tmp_path: Path) -> None:
    venv = VecNormalize(make_vec_env("Pendulum-v1", n_envs=2, seed=0), clip_obs=2.0)
    model = PPO("MlpPolicy", venv, n_steps=16, batch_size=16, seed=0, device="cpu").learn(64)
    model.save(tmp_path / "model.zip")
    venv.save(str(tmp_path / "vecnormalize.pkl"))
    observations = 5 * OBSERVATIONS
    expected, _ = model.predict(np.asarray(venv.normalize_obs(observations)), deterministic=True)
    source = load_source(tmp_path / "model.zip", tmp_path / "vecnormalize.pkl")
    np.testing.assert_allclose(source.act()(observations, []), expected, atol=1e-5)
    unnormalised, _ = model.predict(observations, deterministic=True)
    assert np.abs(unnormalised - expected).max() > 1e-3
    rewards_alone = VecNormalize(make_vec_env("Pendulum-v1"), norm_obs=False)
    rewards_alone.save(str(tmp_path / "rewards.pkl"))
    assert load_statistics(tmp_path / "rewards.pkl") is None


def test_statistics_are_the_same_on_tensors(tmp_path: Path) -> None:
    venv = VecNormalize(make_vec_env("Pendulum-v1", n_envs=2, seed=0), clip_obs=2.0)
    model = PPO("MlpPolicy", venv, n_steps=16, batch_size=16, seed=0, device="cpu").learn(64)
    model.save(tmp_path / "model.zip")
    venv.save(str(tmp_path / "vecnormalize.pkl"))
    source = load_source(tmp_path / "model.zip", tmp_path / "vecnormalize.pkl")
    observe, statistics = source.observe(), source.statistics
    assert observe is not None and statistics is not None
    observations = torch.as_tensor(5 * OBSERVATIONS).requires_grad_()
    seen = observe(observations)
    expected = statistics(5 * OBSERVATIONS)
    assert seen.dtype == torch.float32 and np.array_equal(seen.detach(), expected)
    inside = np.abs(expected) < 2
    assert inside.any() and not inside.all()
    (gradient,) = torch.autograd.grad(seen.sum(), observations)
    np.testing.assert_allclose(gradient, np.where(inside, 1 / statistics.std, 0), rtol=1e-5)
    actions = source_actions(source.policy, observe)(observations)
    np.testing.assert_allclose(actions.detach(), source.act()(5 * OBSERVATIONS, []), atol=1e-6)
    assert load_source(tmp_path / "model.zip").observe() is None


def test_shipped_experts_and_saved_folders(tmp_path: Path) -> None:
    assert load_source("Pusher-v5").policy.action_space.shape == (7,)
    model = PPO("MlpPolicy", "Pendulum-v1", seed=0, device="cpu")
    save_policy(model, tmp_path / "policy")
    assert load_source(tmp_path / "policy").policy.action_space.shape == (1,)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"no zip")
    (tmp_path / "broken.pkl").write_bytes(b"no pickle")
    for path, statistics in (
        (tmp_path / "missing.zip", None),
        (tmp_path / "broken.zip", None),
        ("no-such-expert", None),
        ("Pusher-v5", tmp_path / "broken.pkl"),
        ("Pusher-v5", tmp_path / "missing.pkl"),
    ):
        with pytest.raises(CheckpointError, match=r"missing|broken|no-such"):
            load_source(path, statistics)


def test_the_first_pickled_file_of_a_process_warns_and_the_shipped_experts_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(pickled_files, "_has_warned", False)
    model = PPO("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, device="cpu")
    model.save(tmp_path / "model.zip")
    venv = VecNormalize(make_vec_env("Pendulum-v1", n_envs=1))
    venv.save(str(tmp_path / "vecnormalize.pkl"))
    save_policy(model, tmp_path / "saved")
    recwarn.clear()
    for safe in ("Pusher-v5", tmp_path / "saved"):
        load_source(safe)
    assert not [warning for warning in recwarn if warning.category is PickledFileWarning]
    with pytest.raises(CheckpointError):  # nothing was loaded
        load_source(tmp_path / "nothing.zip")
    for _ in range(2):
        load_source(tmp_path / "model.zip", tmp_path / "vecnormalize.pkl")
    (warning,) = [warning for warning in recwarn if warning.category is PickledFileWarning]
    assert str(tmp_path / "model.zip") in str(warning.message) and "people you trust" in str(warning.message)
    monkeypatch.setattr(pickled_files, "_has_warned", False)
    with pytest.warns(PickledFileWarning, match=r"vecnormalize\.pkl"):
        load_statistics(tmp_path / "vecnormalize.pkl")
