"""Every wrapper in its three forms: around one env, around vector envs, around SB3's ``VecEnv``."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from generative_policies import wrappers
from generative_policies.action_translation import MlpActionTranslator
from generative_policies.models import DictObservationEncoder
from generative_policies.policies import FlowPolicy, TranslatedPolicy
from generative_policies.wrappers import as_sb3_vec_env, vec_env, vector
from tests.wrappers.stand_ins import (
    AsDictionary,
    Function,
    Permuted,
    Recorder,
    flow,
    inverse_dynamics,
    observation_policy,
    randomize,
)

MODES = list(AutoresetMode)
Make = Callable[[], gymnasium.Env[Any, Any]]
Episodes = list[list[list[float]]]


def hopper() -> gymnasium.Env[Any, Any]:
    """Falls at a time of its own."""
    return gymnasium.make("Hopper-v5", max_episode_steps=60)


def policy() -> Any:
    return PPO("MlpPolicy", "Hopper-v5", policy_kwargs={"net_arch": [16]}, seed=0, device="cpu").policy


def flow_policy() -> Any:
    env = hopper()
    return randomize(FlowPolicy(env.observation_space, env.action_space, (16,), history=2, num_steps=2)).eval()


# Name of the wrapper, and its arguments, made once: all forms share one model.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "translation": ("ActionTranslationWrapper", {"translator": randomize(MlpActionTranslator(3, 11, (16,)), 0.3)}),
    "stochastic translation": ("ActionTranslationWrapper", {"translator": flow(3, 11)}),
    "inverse dynamics": ("InverseDynamicsWrapper", {"inverse_dynamics": inverse_dynamics(3, 11)}),
    "stochastic inverse dynamics": ("InverseDynamicsWrapper", {"inverse_dynamics": inverse_dynamics(3, 11, True)}),
    "residual": ("ResidualActionWrapper", {"policy": policy(), "scale": 0.5}),
    "residual on a flow": ("ResidualActionWrapper", {"policy": flow_policy(), "scale": 0.5}),
    "residual on a translated policy": (
        "ResidualActionWrapper",
        {"policy": TranslatedPolicy(hopper().observation_space, hopper().action_space, policy(), flow(3, 11))},
    ),
    "latent": ("LatentActionWrapper", {"policy": flow_policy()}),
}


def wrapped(case: str, form: Any, env: Any) -> Any:
    name, arguments = CASES[case]
    return getattr(form, name)(env, **arguments)


def alone(env: gymnasium.Env[Any, Any], seed: int, num_episodes: int) -> Episodes:
    """Target actions of some episodes, the first one seeded, by a policy that looks at the observation."""
    episodes: Episodes = []
    for k in range(num_episodes):
        observation, _ = env.reset(seed=seed if k == 0 else None)
        episodes.append([])
        over = False
        while not over:
            action = observation_policy(np.asarray(observation)[None], env.action_space)[0]
            observation, _, terminated, truncated, info = env.step(action)
            episodes[-1].append(info["target_action"].tolist())
            over = terminated or truncated
    return episodes


def in_vector(envs: Any, mode: AutoresetMode, seed: int, num_episodes: int) -> list[Episodes]:
    """The same of every env of a vector env."""
    records: list[Episodes] = [[[]] for _ in range(envs.num_envs)]
    observations, _ = envs.reset(seed=seed)
    while min(len(record) for record in records) <= num_episodes:
        actions = observation_policy(observations, envs.action_space)
        observations, _, terminations, truncations, info = envs.step(actions)
        ended = terminations | truncations
        for row, record in enumerate(records):
            source = info["final_info"] if mode == AutoresetMode.SAME_STEP and ended[row] else info
            if source["_target_action"][row]:
                record[-1].append(source["target_action"][row].tolist())
            if ended[row]:
                record.append([])
        if mode == AutoresetMode.DISABLED and ended.any():
            observations, _ = envs.reset(options={"reset_mask": ended})
    return [record[:num_episodes] for record in records]


def in_vec_env(venv: Any, seed: int, num_episodes: int) -> list[Episodes]:
    """The same of every env of a ``VecEnv``."""
    records: list[Episodes] = [[[]] for _ in range(venv.num_envs)]
    venv.seed(seed)
    observations = venv.reset()
    while min(len(record) for record in records) <= num_episodes:
        observations, _, dones, infos = venv.step(observation_policy(observations, venv.action_space))
        for record, done, info in zip(records, dones, infos, strict=True):
            record[-1].append(info["target_action"].tolist())
            if done:
                record.append([])
    return [record[:num_episodes] for record in records]


@pytest.mark.parametrize("case", CASES)
def test_an_env_gives_bit_for_bit_what_it_gives_alone_whatever_its_neighbours(case: str) -> None:
    expected = [alone(wrapped(case, wrappers, hopper()), 20 + row, 3) for row in range(3)]
    assert len({len(episode) for record in expected for episode in record}) > 1  # they end at different times
    for mode in MODES:
        envs = wrapped(case, vector, SyncVectorEnv([hopper] * 3, autoreset_mode=mode))
        assert in_vector(envs, mode, 20, 3) == expected, mode
    assert in_vec_env(wrapped(case, vec_env, DummyVecEnv([hopper] * 3)), 20, 3) == expected
    many = wrapped(case, vector, SyncVectorEnv([hopper] * 19))
    assert in_vector(many, AutoresetMode.NEXT_STEP, 20, 1)[:3] == [record[:1] for record in expected]


@pytest.mark.parametrize("mode", MODES)
def test_the_identity_translator_is_the_bare_vector_env_for_a_thousand_steps(mode: AutoresetMode) -> None:
    bare = SyncVectorEnv([hopper] * 3, autoreset_mode=mode)
    envs = vector.ActionTranslationWrapper(SyncVectorEnv([hopper] * 3, autoreset_mode=mode), MlpActionTranslator(3, 11))
    assert np.array_equal(bare.reset(seed=4)[0], envs.reset(seed=4)[0])
    bare.action_space.seed(0)
    ends = 0
    for _ in range(1_000):
        actions = bare.action_space.sample()
        expected, found = bare.step(actions), envs.step(actions)
        for one, other in zip(expected[:4], found[:4], strict=True):
            assert np.array_equal(one, other)
        done = expected[2] | expected[3]
        ends += int(done.sum())
        if mode == AutoresetMode.SAME_STEP and done.any():
            for row in np.flatnonzero(done):
                assert np.array_equal(expected[4]["final_obs"][row], found[4]["final_obs"][row])
        if mode == AutoresetMode.DISABLED and done.any():
            masks = [{"reset_mask": done.copy()} for _ in range(2)]
            assert np.array_equal(bare.reset(options=masks[0])[0], envs.reset(options=masks[1])[0])
    assert ends > 30


def test_the_identity_translator_is_the_bare_vec_env_for_a_thousand_steps() -> None:
    bare, venv = (DummyVecEnv([hopper] * 3) for _ in range(2))
    wrapped_venv = vec_env.ActionTranslationWrapper(venv, MlpActionTranslator(3, 11))
    for env in (bare, wrapped_venv):
        env.seed(4)
    assert np.array_equal(bare.reset(), wrapped_venv.reset())
    rng, ends = np.random.default_rng(0), 0
    for _ in range(1_000):
        actions = rng.uniform(-1, 1, (3, 3)).astype(np.float32)
        expected, found = bare.step(actions), wrapped_venv.step(actions)
        for one, other in zip(expected[:3], found[:3], strict=True):
            assert np.array_equal(one, other)
        for row in np.flatnonzero(expected[2]):
            ends += 1
            one, other = expected[3][row], found[3][row]
            assert np.array_equal(one["terminal_observation"], other["terminal_observation"])
            assert one["TimeLimit.truncated"] == other["TimeLimit.truncated"]
    assert ends > 30


@pytest.mark.parametrize("form", ["scalar", *MODES, "VecEnv"])
def test_a_permuted_and_mirrored_robot_with_its_known_translator_is_the_source(form: Any) -> None:
    make = partial(gymnasium.make, "HalfCheetah-v5")
    actions = np.random.default_rng(0).uniform(-1, 1, (200, 2, 6)).astype(np.float32)
    at_home = []
    for row in range(2):
        env = make()
        env.reset(seed=row)
        at_home.append([float(env.step(action)[1]) for action in actions[:, row]])

    def target() -> gymnasium.Env[Any, Any]:
        return Permuted(make())

    translator = Permuted.translator()
    if form == "scalar":
        rewards = []
        for row in range(2):
            env = wrappers.ActionTranslationWrapper(target(), translator)
            env.reset(seed=row)
            rewards.append([float(env.step(action)[1]) for action in actions[:, row]])
    elif form == "VecEnv":
        venv = vec_env.ActionTranslationWrapper(DummyVecEnv([target] * 2), translator)
        venv.seed(0)
        venv.reset()
        steps = np.array([venv.step(action)[1] for action in actions])
        assert np.array_equal(steps.T, np.array(at_home, np.float32))  # SB3 keeps rewards in float32
        return
    else:
        envs = vector.ActionTranslationWrapper(SyncVectorEnv([target] * 2, autoreset_mode=form), translator)
        envs.reset(seed=0)
        rewards = np.array([envs.step(action)[1] for action in actions]).T.tolist()
    assert rewards == at_home  # every reward, hence the return, exactly


@pytest.mark.parametrize("mode", MODES)
def test_what_a_policy_sees_is_the_source_observation_at_ends_of_episodes_too(mode: AutoresetMode) -> None:
    def make() -> gymnasium.Env[Any, Any]:
        return gymnasium.make("Hopper-v5", max_episode_steps=5)

    envs = vector.ActionTranslationWrapper(
        SyncVectorEnv([make] * 2, autoreset_mode=mode), MlpActionTranslator(3, 11), source_observation=lambda o: o[2:6]
    )
    bare = SyncVectorEnv([make] * 2, autoreset_mode=mode)
    assert envs.single_observation_space.shape == (4,) and envs.observation_space.shape == (2, 4)
    assert np.array_equal(envs.reset(seed=0)[0], bare.reset(seed=0)[0][:, 2:6])
    zeros = np.zeros((2, 3), np.float32)
    for _ in range(5):
        found, expected = envs.step(zeros), bare.step(zeros)
        assert np.array_equal(found[0], expected[0][:, 2:6])
    assert found[3].all()
    if mode == AutoresetMode.SAME_STEP:
        assert np.array_equal(np.stack(found[4]["final_obs"]), np.stack(expected[4]["final_obs"])[:, 2:6])


def test_terminal_observations_of_a_vec_env_are_source_observations() -> None:
    def make() -> gymnasium.Env[Any, Any]:
        return gymnasium.make("generative_policies/ArmReach3-v0", max_episode_steps=3)

    venv = vec_env.ActionTranslationWrapper(
        DummyVecEnv([make]), MlpActionTranslator(3, 17), source_observation="task_dim"
    )
    bare = DummyVecEnv([make])
    for env in (venv, bare):
        env.seed(0)
    assert np.array_equal(venv.reset(), bare.reset()[:, :8])
    assert venv.observation_space.shape == (8,)
    zeros = np.zeros((1, 3), np.float32)
    for _ in range(3):
        found, expected = venv.step(zeros), bare.step(zeros)
    assert np.array_equal(found[3][0]["terminal_observation"], expected[3][0]["terminal_observation"][:8])


def test_in_next_step_mode_the_action_after_the_end_may_be_anything() -> None:
    translator = Function(lambda obs, source: source / (obs[:, 1:2] < 3))  # infinite on the last observation
    inner = SyncVectorEnv([lambda: gymnasium.wrappers.TimeLimit(Recorder(), 3)])
    envs = vector.ActionTranslationWrapper(inner, translator, block=1)
    envs.reset(seed=0)
    for _ in range(3):
        _, _, _, truncations, _ = envs.step(np.ones((1, 2), np.float32))
    assert truncations.all()
    observations, _, _, _, info = envs.step(np.full((1, 2), np.nan, np.float32))
    assert observations.tolist() == [[100, 0]]
    assert "target_action" not in info or not info["_target_action"].any()
    assert envs.step(np.ones((1, 2), np.float32))[0].tolist() == [[100, 1]]


@pytest.mark.parametrize("form", ["vector", "VecEnv"])
def test_nan_names_wrapper_env_row_and_step_and_no_env_has_moved(form: str) -> None:
    recorders = [Recorder(), Recorder()]
    bad = [False]
    translator = Function(lambda obs, source: source + 0 * torch.log(source - 0.6) if bad[0] else source)
    makes = [lambda k=k: recorders[k] for k in range(2)]  # type: ignore[misc]
    env: Any
    if form == "vector":
        env = vector.ActionTranslationWrapper(SyncVectorEnv(makes), translator)
        env.reset(seed=0)
    else:
        env = vec_env.ActionTranslationWrapper(DummyVecEnv(makes), translator)
        env.reset()
    env.step(np.ones((2, 2), np.float32))
    bad[0] = True
    with pytest.raises(ValueError, match=r"ActionTranslationWrapper around env 1 of .* at step 1: the model answered"):
        env.step(np.array([[1, 1], [1, 0.5]], np.float32))
    assert [len(recorder.actions) for recorder in recorders] == [1, 1]
    bad[0] = False
    env.step(np.ones((2, 2), np.float32))
    assert [len(recorder.actions) for recorder in recorders] == [2, 2]


def test_resets_of_some_envs_leave_the_others_noise_where_it_was() -> None:
    def run(mask: bool) -> list[list[float]]:
        envs = vector.ActionTranslationWrapper(
            SyncVectorEnv([hopper] * 2, autoreset_mode=AutoresetMode.DISABLED), flow(3, 11)
        )
        envs.reset(seed=0)
        told = []
        for step in range(6):
            info = envs.step(np.zeros((2, 3), np.float32))[4]
            told.append(info["target_action"][0].tolist())
            if mask and step == 2:
                envs.reset(options={"reset_mask": np.array([False, True])})
        return told

    assert run(True) == run(False)


@pytest.mark.parametrize("form", [vector, vec_env])
def test_stepping_before_a_reset_says_so(form: Any) -> None:
    envs: Any = SyncVectorEnv([hopper]) if form is vector else DummyVecEnv([hopper])
    env = form.ActionTranslationWrapper(envs, MlpActionTranslator(3, 11))
    with pytest.raises(RuntimeError, match="call reset before step"):
        env.step(np.zeros((1, 3), np.float32))


def test_vector_envs_that_hide_their_mode_are_refused() -> None:
    envs = SyncVectorEnv([hopper])
    envs.metadata = {}
    with pytest.raises(ValueError, match="autoreset mode"):
        vector.ActionTranslationWrapper(envs, MlpActionTranslator(3, 11))


def test_one_call_of_the_model_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    translator = MlpActionTranslator(3, 11)
    batches: list[int] = []
    predict = translator.predict

    def counting(obs: Any, actions: Any, **arguments: Any) -> Any:
        batches.append(len(actions))
        return predict(obs, actions, **arguments)

    monkeypatch.setattr(translator, "predict", counting)
    envs = vector.ActionTranslationWrapper(SyncVectorEnv([hopper] * 5), translator)
    envs.reset(seed=0)
    for _ in range(3):
        envs.step(np.zeros((5, 3), np.float32))
    assert batches == [16, 16, 16]


def test_dictionaries_in_all_forms() -> None:
    def make() -> gymnasium.Env[Any, Any]:
        return AsDictionary(hopper())

    encoder = DictObservationEncoder(make().observation_space)
    translator = randomize(MlpActionTranslator(3, encoder.output_dim, (16,), encoder=encoder))
    env = wrappers.ActionTranslationWrapper(make(), translator)
    expected = []
    env.reset(seed=1)
    for _ in range(4):
        expected.append(env.step(np.full(3, 0.3, np.float32))[4]["target_action"].tolist())
    envs = vector.ActionTranslationWrapper(SyncVectorEnv([make] * 2), translator)
    envs.reset(seed=0)
    assert [envs.step(np.full((2, 3), 0.3, np.float32))[4]["target_action"][1].tolist() for _ in range(4)] == expected
    venv = vec_env.ActionTranslationWrapper(DummyVecEnv([make] * 2), translator)
    venv.seed(0)
    venv.reset()
    assert [venv.step(np.full((2, 3), 0.3, np.float32))[3][1]["target_action"].tolist() for _ in range(4)] == expected


def seeded(venv: Any) -> list[list[float]]:
    venv.reset()
    return [venv.step(np.zeros((2, 3), np.float32))[3][0]["target_action"].tolist() for _ in range(3)]


@pytest.mark.parametrize("adapted", [False, True])
def test_seeds_given_before_wrapping_count_once(adapted: bool) -> None:
    def venv() -> Any:
        return as_sb3_vec_env(SyncVectorEnv([hopper] * 2)) if adapted else DummyVecEnv([hopper] * 2)

    runs = []
    for _ in range(2):
        inner = venv()
        inner.seed(5)
        wrapped_venv = vec_env.ActionTranslationWrapper(inner, flow(3, 11))
        runs.append([seeded(wrapped_venv), seeded(wrapped_venv)])
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][1]  # a reset without a seed goes on to another episode
    expected = alone(wrappers.ActionTranslationWrapper(hopper(), flow(3, 11)), 5, 1)  # other actions, the same noise
    assert len(expected[0][0]) == 3


class Exploding(gymnasium.Env[Any, Any]):
    """Ends after two steps with an observation that is not finite."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.count = 0
        return np.zeros(2), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        over = self.count == 2
        return np.full(2, np.inf if over else self.count), 0.0, over, False, {}


@pytest.mark.parametrize("mode", MODES)
def test_an_episode_may_end_with_an_observation_that_is_not_finite(mode: AutoresetMode) -> None:
    envs = vector.ActionTranslationWrapper(
        SyncVectorEnv([Exploding] * 2, autoreset_mode=mode), MlpActionTranslator(2, 2)
    )
    envs.reset(seed=0)
    for _ in range(5):
        _, _, terminations, _, _ = envs.step(np.full((2, 2), 0.5, np.float32))
        if mode == AutoresetMode.DISABLED and terminations.any():
            envs.reset(options={"reset_mask": terminations})


@pytest.mark.parametrize("shape", [(1,), (3,)])
def test_an_answer_of_another_shape_is_refused_before_any_env_moves(shape: tuple[int, ...]) -> None:
    recorders = [Recorder(), Recorder()]
    makes = [lambda k=k: recorders[k] for k in range(2)]  # type: ignore[misc]
    translator = Function(lambda obs, source: torch.zeros(len(source), *shape))
    envs = vector.ActionTranslationWrapper(SyncVectorEnv(makes), translator)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=rf"answered 16 rows with shape \(16, {shape[0]}\).*shape \(2,\)"):
        envs.step(np.zeros((2, 2), np.float32))
    assert not recorders[0].actions and not recorders[1].actions


def test_a_refused_action_of_one_env_does_not_change_the_noise_of_another() -> None:
    def run(fail: bool) -> list[list[float]]:
        envs = vector.ActionTranslationWrapper(SyncVectorEnv([hopper] * 2), flow(3, 11))
        envs.reset(seed=0)
        told = []
        for step in range(4):
            if fail and step == 2:
                with pytest.raises(ValueError, match="env 1"):
                    envs.step(np.array([[0, 0, 0], [0, np.nan, 0]], np.float32))
            told.append(envs.step(np.zeros((2, 3), np.float32))[4]["target_action"][0].tolist())
        return told

    assert run(True) == run(False)


@pytest.mark.parametrize("form", ["scalar", "vector", "VecEnv"])
def test_stacked_wrappers_tell_what_the_env_got(form: str) -> None:
    mirror = Function(lambda obs, source: -source)
    correcting = PPO("MlpPolicy", Recorder(), policy_kwargs={"net_arch": [16]}, seed=0, device="cpu").policy
    recorder = Recorder()
    env: Any
    if form == "scalar":
        env = wrappers.ResidualActionWrapper(wrappers.ActionTranslationWrapper(recorder, mirror), correcting)
        env.reset(seed=0)
        info = env.step(np.ones(2, np.float32))[4]
        told = {name: info[name] for name in ("target_action", "source_action", "policy_action")}
    elif form == "vector":
        env = vector.ActionTranslationWrapper(SyncVectorEnv([lambda: recorder]), mirror)
        env = vector.ResidualActionWrapper(env, correcting)
        env.reset(seed=0)
        info = env.step(np.ones((1, 2), np.float32))[4]
        told = {name: info[name][0] for name in ("target_action", "source_action", "policy_action")}
    else:
        env = vec_env.ActionTranslationWrapper(DummyVecEnv([lambda: recorder]), mirror)
        env = vec_env.ResidualActionWrapper(env, correcting)
        env.reset()
        told = env.step(np.ones((1, 2), np.float32))[3][0]
    assert told["target_action"].tolist() == recorder.actions[0].tolist()
    assert np.allclose(told["target_action"], -told["source_action"])
    assert np.allclose(told["source_action"], told["policy_action"] + [0.1, 0.25], atol=1e-6)


def test_observations_are_kept_apart_from_what_others_write_into() -> None:
    translator = Function(lambda obs, source: obs[:, :2] / 100)
    envs = vector.ActionTranslationWrapper(SyncVectorEnv([Recorder] * 2, copy=False), translator)
    observations, _ = envs.reset(seed=0)
    observations *= 0
    info = envs.step(np.zeros((2, 2), np.float32))[4]
    assert info["target_action"].tolist() == [[1, 0], [1, 0]]
    venv = vec_env.ActionTranslationWrapper(DummyVecEnv([Recorder] * 2), translator)
    shown = venv.reset()
    shown *= 0  # type: ignore[operator]
    assert [info["target_action"].tolist() for info in venv.step(np.zeros((2, 2), np.float32))[3]] == [[1, 0], [1, 0]]
