"""Wrappers and policies take an exported model as they take the model, or its path."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from generative_policies.action_translation import FlowActionConditionedTranslator, FlowActionPriorConditionedTranslator
from generative_policies.checkpoints import CheckpointError, save
from generative_policies.export import OnnxModel, export_onnx
from generative_policies.inverse_dynamics import FlowInverseDynamics, MlpInverseDynamics
from generative_policies.models import ConditionalFlowModel
from generative_policies.policies import FlowPlanner, FlowPolicy, InverseDynamicsPolicy, TranslatedPolicy, save_policy
from generative_policies.wrappers import ActionTranslationWrapper, InverseDynamicsWrapper, vec_env, vector
from tests.export.stand_ins import trained

ACTION, OBS = 3, 11  # of Hopper


def hopper() -> gymnasium.Env[Any, Any]:
    return gymnasium.make("Hopper-v5", max_episode_steps=30)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    """Models, and the files that were exported of them."""
    folder = tmp_path_factory.mktemp("exported")
    found: dict[str, tuple[Any, Path]] = {
        "translator": (trained(FlowActionPriorConditionedTranslator(ACTION, OBS)), folder / "translator.onnx"),
        "inverse_dynamics": (trained(FlowInverseDynamics(ACTION, OBS, num_steps=2)), folder / "inverse.onnx"),
        "deterministic": (trained(MlpInverseDynamics(ACTION, OBS)), folder / "deterministic.onnx"),
        "flow": (trained(ConditionalFlowModel(ACTION, OBS, 8, (8,))), folder / "flow.onnx"),
    }
    for name, (model, file) in found.items():
        export_onnx(model, file, **({"num_steps": 2} if name == "flow" else {}))
    return found


def actions_of(env: Any, seed: int = 5, steps: int = 40) -> Any:
    """Target actions over ends of episodes, by actions that are a function of the step."""
    env.reset(seed=seed)
    taken = []
    for k in range(steps):
        _, _, terminated, truncated, info = env.step(
            np.sin(k + np.arange(env.action_space.shape[0])).astype(np.float32)
        )
        taken.append(info["target_action"])
        if terminated or truncated:
            env.reset()
    return np.array(taken)


def test_a_wrapped_env_is_the_same_with_the_exported_model(files: dict[str, tuple[Any, Path]]) -> None:
    compared = 0
    for name, wrap in (
        ("translator", ActionTranslationWrapper),
        ("inverse_dynamics", InverseDynamicsWrapper),
        ("deterministic", lambda env, model: InverseDynamicsWrapper(env, model, absolute=True)),
    ):
        model, file = files[name]
        expected = actions_of(wrap(hopper(), model))
        assert np.abs(np.diff(expected, axis=0)).max() > 0.1
        by_path = actions_of(wrap(hopper(), file))
        # The env carries a difference in the last digit on.
        np.testing.assert_allclose(by_path[:10], expected[:10], atol=1e-4)
        assert np.array_equal(actions_of(wrap(hopper(), OnnxModel.load(file))), by_path)
        compared += 1
    assert compared == 3


def test_a_spec_with_the_path_of_an_exported_model_survives_json(
    files: dict[str, tuple[Any, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, file = files["translator"]
    monkeypatch.chdir(file.parent)
    env = ActionTranslationWrapper(hopper(), file.name)
    assert env.spec is not None
    text = env.spec.to_json()
    monkeypatch.chdir("/")
    again = gymnasium.make(EnvSpec.from_json(text))
    assert np.array_equal(actions_of(again), actions_of(env))


def test_exported_models_do_not_mix_the_rows_of_a_batch(files: dict[str, tuple[Any, Path]]) -> None:
    """Bit for bit, in the blocks of rows that wrappers pad to."""
    runner = OnnxModel.load(files["translator"][1])
    rng = np.random.default_rng(0)
    obs, actions, noise = (rng.normal(size=(400, width)).astype(np.float32) for width in (OBS, ACTION, ACTION))
    whole = runner.predict(obs, actions, noise=noise)
    for count in (16, 32, 96, 208):
        assert np.array_equal(runner.predict(obs[:count], actions[:count], noise=noise[:count]), whole[:count])


@pytest.mark.parametrize("form", ["vector", "vec_env"])
def test_the_vector_twins_take_it_and_give_what_an_env_gives_alone(
    form: str, files: dict[str, tuple[Any, Path]]
) -> None:
    for name, wrapper in (("translator", "ActionTranslationWrapper"), ("inverse_dynamics", "InverseDynamicsWrapper")):
        _, file = files[name]
        wrap: Callable[..., Any] = {"vector": vector, "vec_env": vec_env}[form].__dict__[wrapper]
        alone = {"translator": ActionTranslationWrapper, "inverse_dynamics": InverseDynamicsWrapper}[name]
        zeros = np.zeros((3, *alone(hopper(), file).action_space.shape), np.float32)  # type: ignore[misc]
        expected = []
        for row in range(3):
            env = alone(hopper(), file)
            env.reset(seed=7 + row)
            expected.append([env.step(zeros[0])[4]["target_action"].tolist() for _ in range(5)])
        if form == "vector":
            envs = wrap(SyncVectorEnv([hopper] * 3, autoreset_mode=AutoresetMode.NEXT_STEP), file)
            envs.reset(seed=7)
            found = [envs.step(zeros)[4]["target_action"].tolist() for _ in range(5)]
        else:
            envs = wrap(DummyVecEnv([hopper] * 3), file)
            envs.seed(7)
            envs.reset()
            found = [[info["target_action"].tolist() for info in envs.step(zeros)[3]] for _ in range(5)]
        assert [list(row) for row in zip(*found, strict=True)] == expected


def test_policies_take_it(files: dict[str, tuple[Any, Path]]) -> None:
    env = hopper()
    spaces = env.observation_space, env.action_space
    source = PPO("MlpPolicy", env, policy_kwargs={"net_arch": [16]}, seed=0, device="cpu")
    planner: Any = trained(FlowPlanner(OBS, (16,), num_steps=2))
    observations = np.random.default_rng(0).normal(size=(40, 5, OBS))
    compared = 0
    for name, build in (
        ("translator", lambda model: TranslatedPolicy(*spaces, source, model)),
        ("inverse_dynamics", lambda model: InverseDynamicsPolicy(*spaces, planner, model)),
    ):
        model, file = files[name]
        for deterministic in (True, False):
            answers = []
            for policy in (build(model), build(OnnxModel.load(file))):
                state, rows = policy.initial_state(np.arange(5)), []
                for k in range(10):
                    action, state = policy.predict(observations[k], state, deterministic=deterministic)
                    rows.append(action)
                answers.append(np.array(rows))
            np.testing.assert_allclose(*answers, atol=1e-4)
            assert answers[0].std() > 0.01
            compared += 1
    assert compared == 4


def test_flow_policies_and_planners_take_an_exported_flow(tmp_path: Path) -> None:
    env = hopper()
    spaces = env.observation_space, env.action_space
    policy = FlowPolicy(*spaces, (16,), horizon=2, num_steps=3, solver="heun")
    trained(policy.model)
    planner: Any = trained(FlowPlanner(OBS, (16,), horizon=2, num_steps=3))
    for flow, file in ((policy.model, "policy.onnx"), (planner.flow, "planner.onnx")):
        export_onnx(flow, tmp_path / file, num_steps=3, solver="heun")
    exported = [OnnxModel.load(tmp_path / file) for file in ("policy.onnx", "planner.onnx")]

    observations = np.random.default_rng(0).normal(size=(6, 5, OBS))
    answers = []
    for acting in (
        policy,
        policy.with_flow(exported[0]),
        FlowPolicy(*spaces, horizon=2, flow=exported[0], solver="heun"),
    ):
        state, rows = acting.initial_state(np.arange(5)), []
        for k in range(6):
            action, state = acting.predict(observations[k], state)
            rows.append(action)
        answers.append(np.array(rows))
    assert answers[0].std() > 0.01
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-5)
    assert np.array_equal(answers[2], answers[1])

    obs, noise = observations[0], np.random.default_rng(1).normal(size=(5, 2, OBS))
    replanned: Any = planner.with_flow(exported[1])
    assert (replanned.num_steps, replanned.predict(obs).shape) == (3, (5, 2, OBS))
    expected = planner.predict(obs, noise=noise, solver="heun")
    np.testing.assert_allclose(replanned.predict(obs, noise=noise), expected, rtol=1e-5, atol=1e-5)

    with pytest.raises(NotImplementedError, match="it does not learn"):
        replanned(torch.zeros(2, OBS), torch.zeros(2, 2, OBS))
    for keep in (
        lambda: save(replanned, tmp_path / "planner"),
        lambda: save_policy(policy.with_flow(exported[0]), tmp_path / "policy"),
    ):
        with pytest.raises(CheckpointError, match=r"\.onnx is an exported model and no part of a checkpoint"):
            keep()
    with pytest.raises(ValueError, match="exported with num_steps=3 and solver='heun'"):
        FlowPolicy(*spaces, horizon=2, flow=exported[0])
    with pytest.raises(ValueError, match="must have horizon 1, got 2"):
        FlowPlanner(OBS, flow=exported[1])
    with pytest.raises(TypeError, match="got FlowPolicy; export its ConditionalFlowModel"):
        export_onnx(policy, tmp_path / "other.onnx")


def test_another_kind_of_model_or_file_says_what_is_expected(
    files: dict[str, tuple[Any, Path]], tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=r"must be an ActionTranslator.*got OnnxFlow"):
        ActionTranslationWrapper(hopper(), files["flow"][1])
    with pytest.raises(TypeError, match=r"must be an InverseDynamics.*got OnnxActionTranslator"):
        InverseDynamicsWrapper(hopper(), files["translator"][1])
    with pytest.raises(CheckpointError, match=r"nothing\.onnx"):
        ActionTranslationWrapper(hopper(), tmp_path / "nothing.onnx")
    export_onnx(FlowActionConditionedTranslator(ACTION, OBS + 1), tmp_path / "wide.onnx")
    with pytest.raises(ValueError, match=r"takes observations of shape \(12,\)"):
        ActionTranslationWrapper(hopper(), tmp_path / "wide.onnx")


def test_threads_of_torch_are_left_alone(files: dict[str, tuple[Any, Path]]) -> None:
    before = torch.get_num_threads()
    OnnxModel.load(files["flow"][1], num_threads=2).predict(condition=np.zeros((4, OBS)))
    assert torch.get_num_threads() == before
