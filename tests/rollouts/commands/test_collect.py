"""Collecting: what run_episodes gives, kept episode by episode."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import PendulumEnv

from generative_policies.action_translation import MlpActionTranslator
from generative_policies.checkpoints import save
from generative_policies.data import Demonstrations
from generative_policies.envs import make_env
from generative_policies.rollouts import load_expert, random_act, run_episodes, source_act
from generative_policies.rollouts.commands import collect as module
from generative_policies.rollouts.commands.collect import CollectSettings, collect
from generative_policies.rollouts.episodes import Episode
from generative_policies.rollouts.minari_datasets import DatasetError, dataset_env, read_dataset, write_dataset

ENV = "InvertedDoublePendulum-v5"


def settings(folder: Path, **changes: Any) -> CollectSettings:
    given: dict[str, Any] = {"env": ENV, "policy": ENV, "shift": "strong", "noise": (0.1, 0.3), "episodes": 5}
    return CollectSettings(**given | {"output": folder / "data"} | changes)


def same(found: list[Episode], expected: list[Episode]) -> bool:
    return len(found) == len(expected) and all(
        one.seed == other.seed
        and np.array_equal(one.observations, other.observations)
        and np.array_equal(one.actions, other.actions)
        and np.array_equal(one.rewards, other.rewards)
        and (one.success, one.terminated) == (other.success, other.terminated)
        and np.array_equal(one.states, other.states)  # type: ignore[arg-type]
        for one, other in zip(found, expected, strict=True)
    )


def test_a_dataset_holds_the_episodes_with_states_seeds_and_how_they_ended(tmp_path: Path) -> None:
    path = collect(settings(tmp_path))
    noise = np.random.default_rng([1_000, 5]).uniform(0.1, 0.3, 5)
    expected = run_episodes(
        lambda: make_env(ENV, "strong"),
        source_act(load_expert(ENV)),
        range(1_000, 1_005),
        exploration=noise.tolist(),
        record_states=True,
    )
    assert same(read_dataset(path), expected)
    assert any(episode.terminated for episode in expected)
    spec = dataset_env(path)
    assert spec is not None and gymnasium.make(spec).unwrapped.spec.id == ENV  # type: ignore[union-attr]
    content = json.loads((path / "settings.json").read_text())
    assert content["settings"]["shift"] == "strong" and "torch" in content["versions"]
    assert Demonstrations.from_minari(path).num_episodes == 5


def test_an_interrupted_collection_goes_on_and_gives_the_same_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_dataset(collect(settings(tmp_path / "whole")))
    played: list[int] = []
    for_real = run_episodes

    def interrupted(make: Any, act: Any, seeds: Any, **options: Any) -> Any:
        keep = options.pop("on_episode")

        def stop(number: int, episode: Episode) -> None:
            if len(played) == 3:
                raise KeyboardInterrupt
            played.append(episode.seed)
            keep(number, episode)

        return for_real(make, act, seeds, on_episode=stop, **options)

    monkeypatch.setattr(module, "run_episodes", interrupted)
    cut = settings(tmp_path / "cut", num_envs=2)
    with pytest.raises(KeyboardInterrupt):
        collect(cut)
    assert not cut.output.exists()
    with pytest.raises(ValueError, match="other settings"):
        collect(replace(cut, noise=(0.0, 0.0)))

    def remaining(make: Any, act: Any, seeds: Any, **options: Any) -> Any:
        assert set(seeds) == set(range(1_000, 1_005)) - set(played)
        return for_real(make, act, seeds, **options)

    monkeypatch.setattr(module, "run_episodes", remaining)
    assert same(read_dataset(collect(replace(cut, num_envs=1))), whole)
    assert [path.name for path in cut.output.parent.iterdir()] == ["data"]


def test_a_relative_output_is_one_below_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    collect(settings(Path("runs"), episodes=2))
    assert len(read_dataset(tmp_path / "runs" / "data")) == 2


def test_an_env_that_was_registered_by_its_class_is_collected_without_its_spec(tmp_path: Path) -> None:
    gymnasium.register("Test/ByClass-v0", type("ByClass", (PendulumEnv,), {}), max_episode_steps=5)
    try:
        path = collect(
            settings(tmp_path, env="Test/ByClass-v0", shift=None, policy="random", noise=(0.0, 0.0), episodes=2)
        )
    finally:
        del gymnasium.registry["Test/ByClass-v0"]
    assert dataset_env(path) is None and len(read_dataset(path)) == 2


def test_an_observation_that_is_no_number_is_not_recorded(tmp_path: Path) -> None:
    class Breaks(PendulumEnv):
        def step(self, action: Any) -> Any:
            observation, *rest = super().step(action)
            return (np.full_like(observation, np.nan), *rest)

    with pytest.raises(ValueError, match=r"not finite in step 0 of the episode with seed 7"):
        run_episodes(lambda: gymnasium.wrappers.TimeLimit(Breaks(), 5), random_act(Breaks().action_space), [7])


def test_the_same_command_again_does_nothing_and_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = settings(tmp_path, episodes=2)
    collect(first)
    monkeypatch.setattr(module, "run_episodes", None)  # it would fail
    assert collect(replace(first, num_envs=3)) == first.output
    with pytest.raises(FileExistsError, match="other settings"):
        collect(replace(first, episodes=3))


def test_random_actions_and_envs_without_a_simulator(tmp_path: Path) -> None:
    path = collect(settings(tmp_path, env="Pendulum-v1", shift=None, policy="random", noise=(0.0, 0.0), episodes=2))
    make = lambda: gymnasium.make("Pendulum-v1")  # noqa: E731
    expected = run_episodes(make, random_act(make().action_space), [1_000, 1_001])
    found = read_dataset(path)
    assert all(np.array_equal(one.actions, other.actions) for one, other in zip(found, expected, strict=True))
    assert found[0].states is None and not found[0].terminated


def test_translated_policies_collect(tmp_path: Path) -> None:
    save(MlpActionTranslator(1, 9, (8,)), tmp_path / "translator")  # the identity
    translated = read_dataset(collect(settings(tmp_path, translator=tmp_path / "translator")))
    plain = read_dataset(collect(settings(tmp_path / "plain")))
    assert same(translated, plain)


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    wide = tmp_path.with_name(f"{tmp_path.name}-wide")
    save(MlpActionTranslator(2, 17, (8,)), wide)
    for changes, error, message in (
        ({"env": "Nope-v0"}, ValueError, "module:id"),
        ({"env": "CartPole-v1", "shift": None}, TypeError, "Box"),
        ({"policy": "Pusher-v5"}, ValueError, "the policy observes"),
        (
            {"policy": "HalfCheetah-v5", "env": "Walker2d-v5", "shift": None, "translator": wide},
            ValueError,
            r"not \(6, 6, 17\)",
        ),
        ({"shift": "{broken"}, ValueError, "JSON"),
    ):
        with pytest.raises(error, match=message):
            collect(settings(tmp_path, **changes))
    assert not list(tmp_path.iterdir())
    for changes, message in (
        ({"seed": 9_999}, "those above are for tests"),
        ({"episodes": 0}, "an episode"),
        ({"noise": (0.3, 0.1)}, "noise"),
        ({"policy": "random", "translator": Path("x")}, "neither"),
    ):
        with pytest.raises(ValueError, match=message):
            settings(tmp_path, **changes)


def test_datasets_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        read_dataset(tmp_path / "nowhere")
    (tmp_path / "broken" / "data").mkdir(parents=True)
    (tmp_path / "broken" / "data" / "metadata.json").write_text("{}")
    with pytest.raises(DatasetError, match="broken"):
        read_dataset(tmp_path / "broken")
    env = gymnasium.make("Pendulum-v1")
    with pytest.raises(ValueError, match="at least one episode"):
        write_dataset(tmp_path / "empty", [], env, {})
    assert not (tmp_path / "empty").exists()
