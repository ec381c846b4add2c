"""The wrappers under the checks, trainers and process pools of Gymnasium, SB3 and rl-zoo3."""

import copy
import importlib
import pickle
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
import yaml
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from generative_policies.action_translation import FlowActionConditionedTranslator, MlpActionTranslator
from generative_policies.checkpoints import save
from generative_policies.envs import PUSHER_P1, make_env
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.models import DictObservationEncoder
from generative_policies.policies import FlowPolicy, save_policy
from generative_policies.rollouts import evaluate_arm, load_expert, source_act, translated_act
from generative_policies.wrappers import (
    ActionTranslationWrapper,
    InverseDynamicsWrapper,
    LatentActionWrapper,
    ResidualActionWrapper,
    check_wrapper,
)
from generative_policies.wrappers.check_wrapper import WrapperError
from tests.wrappers.stand_ins import AsDictionary, Function, Recorder, Threads, flow, randomize

REACH = "generative_policies/ArmReach2-v0"


class Loose(ActionTranslationWrapper):
    """Forgets the bounds."""

    def step(self, action: Any) -> Any:
        return self.env.step(2 * np.asarray(action))


def dictionary() -> gymnasium.Env[Any, Any]:
    return AsDictionary(gymnasium.make("Hopper-v5"))


def encoder() -> DictObservationEncoder:
    return DictObservationEncoder(dictionary().observation_space)


def wrap(name: str, observations: str) -> gymnasium.Env[Any, Any]:
    """A wrapper around an env of one kind of observation."""
    env = {"box": lambda: gymnasium.make("Hopper-v5"), "dict": dictionary, "task": lambda: gymnasium.make(REACH)}[
        observations
    ]()
    action_dim, obs_dim = {"box": (3, 11), "dict": (3, 11), "task": (2, 14)}[observations]
    own = {"encoder": encoder()} if observations == "dict" else {}
    width = own["encoder"].output_dim if own else obs_dim
    if name == "translation":
        source = "task_dim" if observations == "task" else None
        return ActionTranslationWrapper(
            env, randomize(MlpActionTranslator(action_dim, width, (16,), **own)), None, source
        )
    if name == "inverse dynamics":
        model = randomize(MlpInverseDynamics(action_dim, width, (16,), **own))
        return InverseDynamicsWrapper(env, model, spread=np.full(11, 0.1) if own else None)
    if name == "latent":
        steered = FlowPolicy(env.observation_space, env.action_space, (16,), num_steps=2)
        return LatentActionWrapper(env, randomize(steered).eval())
    kind = "MultiInputPolicy" if own else "MlpPolicy"
    return ResidualActionWrapper(env, PPO(kind, env, policy_kwargs={"net_arch": [16]}, device="cpu", seed=0))


@pytest.mark.parametrize("observations", ["box", "dict", "task"])
@pytest.mark.parametrize("name", ["translation", "inverse dynamics", "residual", "latent"])
def test_the_checks_of_gymnasium_of_sb3_and_of_the_library_pass(name: str, observations: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(wrap(name, observations), skip_render_check=True)
        sb3_check_env(wrap(name, observations), warn=False, skip_render_check=True)
        check_wrapper(partial(wrap, name, observations), num_steps=40)


def test_the_check_passes_a_stochastic_translator_and_is_not_fooled() -> None:
    class Unsteady(MlpActionTranslator):
        """Draws from the global generator, as nobody should."""

        def translate(self, *args: Any, **kwargs: Any) -> Any:
            answer = super().translate(*args, **kwargs)
            return answer + 0.1 * torch.randn_like(answer)

    class Crowded(MlpActionTranslator):
        """Answers with what the batch has in common."""

        def translate(self, *args: Any, **kwargs: Any) -> Any:
            answer = super().translate(*args, **kwargs)
            return answer + answer.mean(dim=0)

    def wrapped(translator: Any) -> Any:
        return lambda: ActionTranslationWrapper(gymnasium.make("Hopper-v5"), translator)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_wrapper(wrapped(flow(3, 11)))
        # Gymnasium's own check of determinism speaks first.
        with pytest.raises(AssertionError, match=r"[Dd]etermin|differs|equivalent"):
            check_wrapper(wrapped(Unsteady(3, 11)))
        with pytest.raises(WrapperError, match="behind the vector twin differs"):
            check_wrapper(wrapped(Crowded(3, 11)))
        with pytest.raises(TypeError, match="outermost"):
            check_wrapper(lambda: gymnasium.make("Hopper-v5"))


def test_the_check_sees_actions_out_of_bounds() -> None:
    with warnings.catch_warnings(), pytest.raises(WrapperError, match="reached the env lies outside"):
        warnings.simplefilter("ignore")
        check_wrapper(lambda: Loose(gymnasium.make("Hopper-v5"), MlpActionTranslator(3, 11)))


@pytest.mark.slow
@pytest.mark.parametrize("context", ["spawn", "fork"])
def test_wrapped_envs_in_worker_processes(context: str, tmp_path: Path) -> None:
    save(flow(3, 11), tmp_path / "translator")
    torch.randn(600, 600) @ torch.randn(600, 600)  # the parent's threads are there

    def make() -> gymnasium.Env[Any, Any]:
        return Threads(ActionTranslationWrapper(gymnasium.make("Hopper-v5"), str(tmp_path / "translator")))

    expected = []
    for row in range(2):
        env = make()
        env.reset(seed=row)
        expected.append([env.step(np.full(3, 0.2, np.float32))[0].tolist() for _ in range(5)])
    actions = np.full((2, 3), 0.2, np.float32)
    envs = AsyncVectorEnv([make] * 2, context=context)
    try:
        assert envs.get_attr("threads") == (1, 1)
        envs.reset(seed=0)
        found = [envs.step(actions)[0] for _ in range(5)]
        assert np.array(found).swapaxes(0, 1).tolist() == expected
    finally:
        envs.close()
    venv = SubprocVecEnv([make] * 2, start_method=context)
    try:
        assert venv.get_attr("threads") == [1, 1]
        venv.seed(0)
        venv.reset()
        found = [venv.step(actions)[0] for _ in range(5)]
        assert np.array(found).swapaxes(0, 1).tolist() == expected
    finally:
        venv.close()


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [PPO, SAC])
@pytest.mark.parametrize("name", ["translation", "inverse dynamics", "residual", "latent"])
def test_unmodified_algorithms_train_through_each_wrapper(name: str, algorithm: Any) -> None:
    env = Monitor(wrap(name, "box"))
    settings: dict[str, Any] = (
        {"n_steps": 500, "batch_size": 100} if algorithm is PPO else {"learning_starts": 200, "train_freq": 4}
    )
    model = algorithm("MlpPolicy", env, policy_kwargs={"net_arch": [32]}, seed=0, device="cpu", **settings)
    before = [parameter.detach().clone() for parameter in model.policy.parameters()]
    model.learn(2_000)
    assert model.num_timesteps == 2_000
    assert any(not torch.equal(*pair) for pair in zip(before, model.policy.parameters(), strict=True))
    assert all(torch.isfinite(parameter).all() for parameter in model.policy.parameters())


def wrapper_from_yaml(entry: Any) -> Any:
    """What rl-zoo3 makes of ``env_wrapper`` in its hyperparameters: a dotted path, with keyword arguments below it."""
    ((path, arguments),) = entry.items()
    module, _, name = path.rpartition(".")
    wrapper = getattr(importlib.import_module(module), name)
    return lambda env: wrapper(env, **arguments)


def test_an_rl_zoo_entry_builds_the_env(tmp_path: Path) -> None:
    save(flow(3, 11), tmp_path / "translator")
    text = f"""
    Hopper-v5:
      env_wrapper:
        generative_policies.wrappers.ActionTranslationWrapper:
          translator: {tmp_path / "translator"}
          source_action_space:
            low: [-0.5, -0.5, -0.5]
            high: [0.5, 0.5, 0.5]
    """
    entry = yaml.safe_load(text)["Hopper-v5"]["env_wrapper"]
    env = wrapper_from_yaml(entry)(gymnasium.make("Hopper-v5"))
    assert env.action_space.high.tolist() == [0.5] * 3
    env.reset(seed=0)
    assert env.step(np.ones(3, np.float32))[4]["source_action"].tolist() == [0.5] * 3
    venv = DummyVecEnv([lambda: wrapper_from_yaml(entry)(gymnasium.make("Hopper-v5"))])
    PPO("MlpPolicy", venv, n_steps=32, batch_size=32, device="cpu").learn(32)


@pytest.mark.slow  # 32 episodes of 100 steps, twice
def test_sb3s_evaluation_gives_the_returns_of_the_librarys_own() -> None:
    expert, translator = load_expert("Pusher-v5"), flow(7, 23)
    count = 16

    def make() -> gymnasium.Env[Any, Any]:
        return Monitor(ActionTranslationWrapper(make_env("Pusher-v5", PUSHER_P1), translator))

    venv = DummyVecEnv([make] * count)
    venv.seed(10_000)
    found, _ = evaluate_policy(expert, venv, n_eval_episodes=count, return_episode_rewards=True)
    act = translated_act(source_act(expert), translator)
    seeds = range(10_000, 10_000 + count)
    expected = evaluate_arm(lambda: make_env("Pusher-v5", PUSHER_P1), act, seeds).returns
    assert isinstance(found, list)
    # Episodes all end after 100 steps, in the order of the envs; Monitor rounds to six digits.
    assert np.allclose(found, expected, rtol=0, atol=1e-6)


def test_dictionaries_need_an_encoder_and_the_right_one() -> None:
    with pytest.raises(ValueError, match=r"does not take what the env observes, Dict.*DictObservationEncoder"):
        ActionTranslationWrapper(dictionary(), MlpActionTranslator(3, 11))
    with pytest.raises(TypeError, match="Box with one axis, got Dict"):
        InverseDynamicsWrapper(dictionary(), MlpInverseDynamics(3, 11))
    other = DictObservationEncoder({"first": (5,), "other": (6,)})
    with pytest.raises(ValueError, match="does not take what the env observes"):
        ActionTranslationWrapper(dictionary(), MlpActionTranslator(3, other.output_dim, encoder=other))


def test_a_source_observation_by_attribute_or_function() -> None:
    translator = MlpActionTranslator(2, 14)
    env = gymnasium.make(REACH)
    bare, _ = env.reset(seed=0)
    cases: list[tuple[Any, Any]] = [("task_dim", bare[:8]), (lambda o: o[4:6], bare[4:6])]
    for source, expected in cases:
        wrapped = ActionTranslationWrapper(gymnasium.make(REACH), translator, source_observation=source)
        shown, _ = wrapped.reset(seed=0)
        assert np.array_equal(shown, expected) and wrapped.observation_space.shape == expected.shape
        stepped = wrapped.step(np.zeros(2, np.float32))[0]
        assert stepped.shape == expected.shape and wrapped.observation_space.contains(stepped)
    for attribute, expected in (("a_slice", bare[2:9:3]), ("indices", bare[[5, 0]])):
        env = gymnasium.make(REACH)
        env.unwrapped.a_slice, env.unwrapped.indices = slice(2, 9, 3), [5, 0]  # type: ignore[attr-defined]
        wrapped = ActionTranslationWrapper(env, translator, source_observation=attribute)
        assert np.array_equal(wrapped.reset(seed=0)[0], expected)
    spec = ActionTranslationWrapper(gymnasium.make(REACH), translator, source_observation=lambda o: o[:2]).spec
    assert spec is not None
    assert gymnasium.make(spec).observation_space.shape == (2,)
    with pytest.raises(AttributeError, match="nowhere"):
        ActionTranslationWrapper(gymnasium.make(REACH), translator, source_observation="nowhere")
    with pytest.raises(TypeError, match="source_observation must be a function"):
        ActionTranslationWrapper(gymnasium.make(REACH), translator, source_observation="arm")


def test_the_source_policys_observation_may_come_by_json(tmp_path: Path) -> None:
    save(MlpActionTranslator(2, 14), tmp_path / "translator")
    env = ActionTranslationWrapper(gymnasium.make(REACH), tmp_path / "translator", source_observation="task_dim")
    assert env.spec is not None
    rebuilt = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert rebuilt.observation_space == env.observation_space and rebuilt.observation_space.shape == (8,)


def test_an_expert_of_another_arm_sees_its_own_task_and_moves_its_own_motors() -> None:
    """Source actions of three motors, target motors two: shapes all the way."""
    expert = load_expert("ArmReach3-v0")
    translator = randomize(FlowActionConditionedTranslator(2, 14, (16,), source_action_dim=3))
    env = ActionTranslationWrapper(
        gymnasium.make(REACH),
        translator,
        expert.action_space,
        source_observation="task_dim",  # type: ignore[arg-type]
    )
    assert env.observation_space.shape == expert.observation_space.shape and env.action_space == expert.action_space
    observation, _ = env.reset(seed=0)
    info = env.step(expert.predict(observation, deterministic=True)[0])[4]
    assert info["source_action"].shape == (3,) and info["target_action"].shape == (2,)
    swapped = FlowActionConditionedTranslator(3, 14, (16,), source_action_dim=2)
    with pytest.raises(ValueError, match=r"actions of width 3, but the target env takes 2; are source and target"):
        ActionTranslationWrapper(gymnasium.make(REACH), swapped)


def test_whatever_a_translator_answers_the_env_gets_numbers_inside_its_bounds() -> None:
    rng = np.random.default_rng(0)
    scales = 10.0 ** rng.uniform(-3, 30, 200)
    answers = iter(scales)
    recorder = Recorder()
    env = ActionTranslationWrapper(recorder, Function(lambda obs, source: (source * next(answers)).float()), block=1)
    env.reset(seed=0)
    for _ in scales:
        env.step(rng.uniform(-1, 1, 2))
    sent = np.array(recorder.actions)
    assert np.isfinite(sent).all()
    assert (sent >= recorder.action_space.low).all() and (sent <= recorder.action_space.high).all()


def test_policies_by_path_are_loaded_without_pickles(tmp_path: Path) -> None:
    save_policy(PPO("MlpPolicy", "Hopper-v5", device="cpu").policy, tmp_path / "policy")
    env = ResidualActionWrapper(gymnasium.make("Hopper-v5"), tmp_path / "policy")
    assert sorted(path.name for path in (tmp_path / "policy").iterdir()) == ["config.json", "model.safetensors"]
    env.reset(seed=0)
    assert env.step(np.zeros(3, np.float32))[4]["policy_action"].shape == (3,)


def test_the_check_sees_answers_of_another_shape() -> None:
    translator = Function(lambda obs, source: source[:, :1], (3, 11, 3))
    with warnings.catch_warnings(), pytest.raises(ValueError, match=r"answered 16 rows with shape \(16, 1\)"):
        warnings.simplefilter("ignore")
        check_wrapper(lambda: ActionTranslationWrapper(gymnasium.make("Hopper-v5"), translator))


def test_specs_with_models_in_memory_can_be_pickled_and_copied() -> None:
    translator = MlpActionTranslator(3, 11)
    spec = ActionTranslationWrapper(gymnasium.make("Hopper-v5"), translator).spec
    assert spec is not None
    for other in (pickle.loads(pickle.dumps(spec)), copy.copy(spec), copy.deepcopy(spec)):
        assert gymnasium.make(other).get_wrapper_attr("translator").action_dim == 3


def test_a_space_keeps_its_dtype_in_the_spec(tmp_path: Path) -> None:
    save(MlpActionTranslator(3, 11, source_action_dim=2), tmp_path / "translator")
    space = gymnasium.spaces.Box(-0.1, 0.2, (2,), np.float64)
    env = ActionTranslationWrapper(gymnasium.make("Hopper-v5"), tmp_path / "translator", space)
    assert env.spec is not None
    rebuilt = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert rebuilt.action_space == env.action_space == space
    arrays: Any = {"low": np.full(2, -1.0), "high": np.full(2, 1.0)}
    described = ActionTranslationWrapper(gymnasium.make("Hopper-v5"), tmp_path / "translator", arrays)
    assert described.spec is not None and "float32" in described.spec.to_json()
    with pytest.raises(ValueError, match="low and high"):
        ActionTranslationWrapper(gymnasium.make("Hopper-v5"), tmp_path / "translator", {"low": [0.0, 0.0]})


def test_what_hides_ends_or_selects_nothing_is_refused() -> None:
    with pytest.raises(TypeError, match="Autoreset"):
        ActionTranslationWrapper(gymnasium.wrappers.Autoreset(gymnasium.make("Hopper-v5")), MlpActionTranslator(3, 11))
    for width in (0, 99):
        env = gymnasium.make("Hopper-v5")
        env.unwrapped.width = width  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match=f"ends at entry {width} of an observation with 11"):
            ActionTranslationWrapper(env, MlpActionTranslator(3, 11), source_observation="width")
    with pytest.raises(TypeError, match="arrays of numbers"):
        ActionTranslationWrapper(
            gymnasium.make("Hopper-v5"), MlpActionTranslator(3, 11), source_observation=lambda o: o > 0
        )
