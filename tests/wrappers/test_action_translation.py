"""The translation wrapper on real envs, with an env that records what it was sent."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.seeding import np_random
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from torch import nn

from generative_policies.action_translation import MlpActionTranslator
from generative_policies.checkpoints import save
from generative_policies.data import episode_generator
from generative_policies.envs import PUSHER_P1, make_env
from generative_policies.wrappers import ActionTranslationWrapper
from tests.wrappers.stand_ins import Function, Recorder, flow


def actions_of(env: gymnasium.Env[Any, Any], seeds: list[int | None], steps: int = 5) -> list[list[list[float]]]:
    """Target actions of an episode a seed, all source actions being zero."""
    episodes = []
    for seed in seeds:
        env.reset(seed=seed)
        zeros = np.zeros(env.action_space.shape or (), np.float32)
        episodes.append([env.step(zeros)[4]["target_action"].tolist() for _ in range(steps)])
    return episodes


def test_identity_translator_is_the_bare_env() -> None:
    bare = gymnasium.make("HalfCheetah-v5", max_episode_steps=40)
    env = ActionTranslationWrapper(gymnasium.make("HalfCheetah-v5", max_episode_steps=40), MlpActionTranslator(6, 17))
    bare.action_space.seed(0)
    compared = 0
    for seed in (0, 1, None):
        first, second = bare.reset(seed=seed or 5), env.reset(seed=seed or 5)
        assert np.array_equal(first[0], second[0])
        ended = False
        while not ended:
            action = bare.action_space.sample()
            expected, answer = bare.step(action), env.step(action)
            assert np.array_equal(expected[0], answer[0])
            assert expected[1:4] == answer[1:4]
            ended = answer[2] or answer[3]
            compared += 1
    assert compared == 120


def test_the_translator_sees_the_last_observation_and_the_clipped_source_action() -> None:
    translator = Function(lambda obs, source: source)
    env = ActionTranslationWrapper(Recorder(), translator, Box(-0.5, 0.5, (2,)), block=1)
    env.reset(seed=0)
    env.step(np.array([9.0, -0.25]))
    _, _, _, _, info = env.step(np.array([0.0, 0.0]))
    seen_obs, seen_source = (np.concatenate(rows) for rows in zip(*translator.seen, strict=True))
    assert seen_obs.tolist() == [[100, 0], [100, 1]]
    assert seen_source.tolist() == [[0.5, -0.25], [0, 0]]
    assert info["from"] == "step" and info["source_action"].tolist() == [0, 0]


def test_the_callers_changes_of_an_observation_do_not_matter() -> None:
    translator = Function(lambda obs, source: source)
    env = ActionTranslationWrapper(Recorder(), translator, block=1)
    observation, _ = env.reset(seed=0)
    observation *= 0
    env.step(np.zeros(2))
    assert translator.seen[0][0].tolist() == [[100, 0]]


def test_actions_that_leave_are_inside_the_targets_bounds() -> None:
    recorder = Recorder()
    env = ActionTranslationWrapper(recorder, Function(lambda obs, source: 100 * source))
    env.reset(seed=0)
    for action in ([1, 1], [-1, -1]):
        info = env.step(np.array(action, np.float32))[4]
        assert info["target_action"].tolist() == recorder.actions[-1].tolist()
    assert [action.tolist() for action in recorder.actions] == [[1, 3], [-1, -2]]
    assert all(action.dtype == np.float32 for action in recorder.actions)


def test_the_wrapped_env_shows_the_sources_action_space() -> None:
    source_space = Box(-3, 3, (3,))
    translator = Function(lambda obs, source: source[:, :2] + source[:, 2:], (2, 2, 3))
    env = ActionTranslationWrapper(Recorder(), translator, source_space)
    assert env.action_space == source_space
    env.reset(seed=0)
    assert env.step(np.array([0.5, -0.5, 0.25]))[4]["target_action"].tolist() == [0.75, -0.25]


def test_noise_depends_on_seed_and_episode_alone() -> None:
    def make() -> gymnasium.Env[Any, Any]:
        return ActionTranslationWrapper(Recorder(), flow(2, 2))

    first = actions_of(make(), [3, None, None, 4])
    assert len({str(episode) for episode in first}) == 4  # an unseeded reset goes on to another episode
    assert len({str(step) for step in first[0]}) == 5  # fresh noise each step
    torch.manual_seed(99)
    again = make()
    actions_of(again, [8, None])
    assert actions_of(again, [3, None, None, 4]) == first
    assert actions_of(make(), [None]) != actions_of(make(), [None])  # an unseeded first reset draws a seed


def test_block_of_one_gives_the_same_to_rounding() -> None:
    blocks = [actions_of(ActionTranslationWrapper(Recorder(), flow(2, 2), block=block), [0]) for block in (1, 16)]
    assert np.allclose(blocks[0], blocks[1], atol=1e-6)


def test_nan_from_the_translator_raises_and_leaves_the_env_usable() -> None:
    answers = iter([1.0, float("nan"), 1.0])
    recorder = Recorder()
    env = ActionTranslationWrapper(recorder, Function(lambda obs, source: source * next(answers)))
    env.reset(seed=0)
    env.step(np.ones(2, np.float32))
    with pytest.raises(ValueError, match=r"ActionTranslationWrapper around .*Recorder.* at step 1"):
        env.step(np.ones(2, np.float32))
    assert len(recorder.actions) == 1
    env.step(np.ones(2, np.float32))
    assert len(recorder.actions) == 2


@pytest.mark.parametrize("action", [np.ones(3), np.full(2, np.nan), np.ones((1, 2)), np.float32(1)])
def test_bad_source_actions_never_reach_the_env(action: np.ndarray) -> None:
    recorder = Recorder()
    env = ActionTranslationWrapper(recorder, MlpActionTranslator(2, 2))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"at step 0: expected (actions of shape \(2,\)|numbers as actions)"):
        env.step(action)
    assert not recorder.actions


def test_step_before_reset_says_so() -> None:
    with pytest.raises(RuntimeError, match="call reset before step"):
        ActionTranslationWrapper(Recorder(), MlpActionTranslator(2, 2)).step(np.zeros(2))


def test_a_checkpoint_path_survives_the_specs_json_round_trip(tmp_path: Path) -> None:
    translator = flow(7, 23)
    save(translator, tmp_path / "translator")
    env = ActionTranslationWrapper(gymnasium.make("Pusher-v5"), tmp_path / "translator")
    assert env.spec is not None
    expected = actions_of(env, [0])
    for spec in (env.spec, gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())):
        rebuilt = gymnasium.make(spec)
        assert actions_of(rebuilt, [0]) == expected


def test_the_spec_keeps_another_action_space_and_any_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(MlpActionTranslator(7, 23, (8,), source_action_dim=3), "translator")
    space = Box(np.array([-1, -2, -3], np.float32), np.array([1, 2, 3], np.float32))
    env = ActionTranslationWrapper(gymnasium.make("Pusher-v5"), "translator", space)
    assert env.spec is not None
    text = env.spec.to_json()
    monkeypatch.chdir(tmp_path.parent)
    rebuilt = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(text))
    assert rebuilt.action_space == space
    assert actions_of(rebuilt, [0]) == actions_of(env, [0])


def test_a_number_of_leading_entries_is_what_the_source_sees_and_survives_json(tmp_path: Path) -> None:
    save(flow(7, 23), tmp_path / "translator")
    env = ActionTranslationWrapper(gymnasium.make("Pusher-v5"), tmp_path / "translator", source_observation=14)
    assert env.spec is not None and env.observation_space.shape == (14,)
    whole = ActionTranslationWrapper(gymnasium.make("Pusher-v5"), tmp_path / "translator")
    assert np.array_equal(env.reset(seed=0)[0], whole.reset(seed=0)[0][:14])
    rebuilt = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert rebuilt.observation_space == env.observation_space and actions_of(rebuilt, [0]) == actions_of(env, [0])
    with pytest.raises(ValueError, match="ends at entry 24 of an observation with 23"):
        ActionTranslationWrapper(gymnasium.make("Pusher-v5"), flow(7, 23), source_observation=24)


def test_the_spec_keeps_the_shift_inside(tmp_path: Path) -> None:
    save(MlpActionTranslator(7, 23), tmp_path / "translator")
    env = ActionTranslationWrapper(make_env("Pusher-v5", PUSHER_P1), tmp_path / "translator")
    assert env.spec is not None
    rebuilt: Any = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    inner: Any = env
    assert rebuilt.unwrapped.model.body_mass.sum() == inner.unwrapped.model.body_mass.sum()
    assert rebuilt.reset(seed=0)[1]["is_success"] is False


def test_the_translators_noise_is_not_the_envs_own() -> None:
    for seed in range(20):
        own = np_random(seed)[0].standard_normal(4)
        assert not np.isin(episode_generator(seed).standard_normal(4), own).any()


def test_unbounded_spaces_and_bad_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="finite bounds"):
        ActionTranslationWrapper(Recorder(), MlpActionTranslator(2, 2), Box(-np.inf, np.inf, (2,)))
    for block in (0, 1.5):
        with pytest.raises(ValueError, match="block"):
            ActionTranslationWrapper(Recorder(), MlpActionTranslator(2, 2), block=block)  # type: ignore[arg-type]


def test_a_model_in_memory_is_used_not_copied() -> None:
    translator = MlpActionTranslator(7, 23)
    env = ActionTranslationWrapper(gymnasium.make("Pusher-v5"), translator)
    assert env.translator is translator
    assert env.spec is not None and env.spec.additional_wrappers[-1].kwargs is not None
    assert env.spec.additional_wrappers[-1].kwargs["translator"].value is translator
    outer = gymnasium.wrappers.TimeAwareObservation(env)  # Gymnasium copies the specs of what is inside
    rebuilt = gymnasium.make(outer.spec)
    assert rebuilt.get_wrapper_attr("translator") is translator
    with pytest.raises(TypeError, match=r"MlpActionTranslator is in memory alone.*checkpoints.save and pass the path"):
        env.spec.to_json()


@pytest.mark.parametrize("env_id", ["Pusher-v5", "HalfCheetah-v5"])
def test_gymnasiums_and_sb3s_checks_pass(env_id: str) -> None:
    def make() -> gymnasium.Env[Any, Any]:
        bare = gymnasium.make(env_id)
        assert bare.action_space.shape and bare.observation_space.shape
        return ActionTranslationWrapper(bare, flow(bare.action_space.shape[0], bare.observation_space.shape[0]))

    check_env(make(), skip_render_check=True)
    sb3_check_env(make(), warn=False, skip_render_check=True)


def test_what_does_not_fit_is_refused_with_both_widths() -> None:
    for translator, message in (
        (MlpActionTranslator(2, 3), r"observations of shape \(3,\), but the env's have shape \(2,\)"),
        (MlpActionTranslator(3, 2, source_action_dim=2), "actions of width 3, but the target env takes 2.*swapped"),
        (MlpActionTranslator(2, 2, source_action_dim=4), "source actions of width 4.*pass source_action_space"),
    ):
        with pytest.raises(ValueError, match=message):
            ActionTranslationWrapper(Recorder(), translator)
    with pytest.raises(ValueError, match=r"width 2, but .*source_action_space has 3"):
        ActionTranslationWrapper(Recorder(), MlpActionTranslator(2, 2), Box(-1, 1, (3,)))
    with pytest.raises(TypeError, match="action space must be a Box"):
        ActionTranslationWrapper(gymnasium.make("CartPole-v1"), MlpActionTranslator(2, 4))
    with pytest.raises(TypeError, match="source_action_space must be a Box"):
        ActionTranslationWrapper(Recorder(), MlpActionTranslator(2, 2), Discrete(2))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Linear"):
        ActionTranslationWrapper(Recorder(), nn.Linear(2, 2))  # type: ignore[arg-type]
