"""Every arm in a minute form: it runs, says what it did, and does the same again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generative_policies.rollouts import aggregation
from generative_policies.rollouts.aggregation import Rounds
from generative_policies.rollouts.arms import (
    ARMS,
    UNTRAINED,
    ArmTask,
    Study,
    identified,
    run_arm,
    train_by_matching,
    train_linear,
)
from generative_policies.rollouts.arms.matching import train_composed
from generative_policies.rollouts.arms.translated import simulated_composition
from generative_policies.rollouts.episodes import run_episodes
from generative_policies.rollouts.robots import Robot

PENDULUM = "InvertedDoublePendulum-v5"
REWARDED = {"residual_sac", "residual_sac_untranslated", "sac_from_scratch"}
LONG = ("exact", *(arm for arm in ARMS if arm.endswith("_no_shift")))  # their pendulum stands for 1,000 steps
TIMED = ("milliseconds", "training_seconds")


def task(arm: str, **changes: Any) -> ArmTask:
    given = ArmTask(
        arm=arm,
        seed=0,
        source=Robot(PENDULUM),
        target=Robot(PENDULUM, "strong"),
        policy=PENDULUM,
        vecnormalize=None,
        episodes=1 if arm in LONG else 2,
        first_seed=10_000,
        source_episodes=2,
        inverse_dynamics_updates=20,
        rounds=1 if arm in LONG else 2,
        episodes_per_round=2,
        updates=20,
        hidden_width=16,
        model_updates=20,
        guide_updates=5,
        matching_steps=2,
        target_steps=128,
        simulated_steps=64,
    )
    return replace(given, **changes)


@pytest.fixture(autouse=True)
def few_simulated_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identified, "SIMULATED_ROUNDS", Rounds(1, 2))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of the source, the same for all arms."""
    return tmp_path_factory.mktemp("models")


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_and_is_evaluated_on_the_test_seeds(arm: str, models: Path) -> None:
    settings = task(arm)
    found = run_arm(settings, str(models), 2)
    assert found["arm"] == arm and found["seed"] == 0 and found["successes"] is None
    assert found["reset_seeds"] == list(range(10_000, 10_000 + settings.episodes))
    assert len(found["returns"]) == len(found["lengths"]) == settings.episodes
    assert np.isfinite(found["returns"]).all() and min(found["lengths"]) > 0
    assert found["task"]["target"]["shift"] == "strong" and found["versions"]["torch"]
    if arm in UNTRAINED:
        assert "target_steps" not in found and "outside" not in found
    elif arm in REWARDED:
        assert found["target_steps"] == 128 and found["curve"] == []
        assert found.get("translator_steps", 0) < 128
    else:
        assert found["target_steps"] >= 2 and 0 <= found["outside"] <= 1
    if arm == "exact":
        assert found["lengths"] == [1_000]  # twice the gear is half the action: it stands as at home


def test_the_policy_stands_at_home_and_falls_on_the_target(models: Path) -> None:
    lengths = {arm: run_arm(task(arm), str(models), 2)["lengths"] for arm in ("source", "untranslated", "random")}
    assert lengths["source"] == [1_000, 1_000]
    assert max(lengths["untranslated"] + lengths["random"]) < 100


@pytest.mark.parametrize("arm", ["linear", "flow_conditioned", "value_guided", "identified", "sac_from_scratch"])
def test_the_same_arm_gives_the_same_figures(arm: str, tmp_path: Path) -> None:
    figures = []
    # Anew, with another number of envs, and with its rounds already there.
    for folder, num_envs in (("a", 2), ("b", 1), ("a", 2)):
        found = run_arm(task(arm), str(tmp_path / folder), num_envs)
        figures.append({name: value for name, value in found.items() if name not in TIMED})
    assert figures[0] == figures[1] == figures[2]
    other = run_arm(task(arm, seed=1), str(tmp_path / "other"), 2)
    assert other["returns"] != figures[0]["returns"] and other["reset_seeds"] == figures[0]["reset_seeds"]


def test_a_curve_has_its_points(models: Path) -> None:
    found = run_arm(task("sac_from_scratch", curve_steps=64), str(models), 2)
    assert [steps for steps, _ in found["curve"]] == [0, 64, 128]
    assert np.isfinite([score for _, score in found["curve"]]).all()


def test_a_correction_needs_more_steps_than_its_translator_took(models: Path) -> None:
    with pytest.raises(ValueError, match="target_steps must be more than the translator's"):
        run_arm(task("residual_sac", target_steps=4), str(models), 2)


def test_an_unknown_arm_is_refused(models: Path) -> None:
    with pytest.raises(ValueError, match="arm must be one of random, source"):
        run_arm(task("mpl"), str(models), 2)


def test_the_shift_is_identified_up_to_what_no_motion_tells(models: Path) -> None:
    study = Study(task("identified"), models, 2)
    simulated, episodes, details = identified.identify(study)
    factors = details["identified"]
    # Twice the force on all of it moves as half the mass and damping do.
    assert factors["gear"] / factors["mass"] == pytest.approx(2.0, abs=0.01)
    assert factors["damping"] / factors["mass"] == pytest.approx(1.0, abs=0.01)
    assert details["identification_error"] < 1e-3 < details["identification_error_before"]
    assert details["target_steps"] == sum(len(episode.actions) for episode in episodes)
    # In the simulator that was found, the target's actions lead the same way.
    for episode in episodes[:1]:
        env = simulated.make()
        observation, _ = env.reset(seed=episode.seed)
        reached = [observation, *(env.step(action)[0] for action in episode.actions)]
        assert np.allclose(np.stack(reached), episode.observations, atol=1e-3)


def test_what_is_no_shift_of_the_source_is_not_identified(models: Path) -> None:
    for changes in (
        {"source": Robot(PENDULUM, "strong")},
        {"target": Robot(PENDULUM, "strong", motors=(0,), motor_signs=(-1,))},
    ):
        with pytest.raises(ValueError, match="what is identified is a shift"):
            run_arm(task("identified", **changes), str(models), 2)


def test_the_composition_through_a_simulator_asks_for_what_the_source_reaches(models: Path) -> None:
    study = Study(task("composed_simulator"), models, 2)
    inverse = train_composed(study).translator.inverse_dynamics  # type: ignore[union-attr]
    mirrored = Robot(PENDULUM, motors=(0,), motor_signs=(-1,))
    for source, sign in ((Robot(PENDULUM), 1), (mirrored, -1)):
        env = simulated_composition(study.task.target.make, source.make, inverse)
        at_home, target = study.task.source.make(), study.task.target.make()
        observation, _ = env.reset(seed=3)
        at_home.reset(seed=3)
        target.reset(seed=3)
        action = np.array([0.3], np.float32)
        asked = inverse.predict(observation, at_home.step(sign * action)[0])
        assert np.allclose(env.step(action)[0], target.step(asked.clip(-1, 1).astype(np.float32))[0], atol=1e-9)


REACH = {
    "source": Robot("generative_policies/ArmReach2-v0", env_arguments=(("proprioception", False),)),
    "target": Robot("generative_policies/ArmReach3-v0"),
    "policy": "ArmReach2-v0",
    "source_observation": 8,
}


def test_matching_goes_across_bodies_and_models_do_not(tmp_path: Path) -> None:
    study = Study(task("mlp", **REACH, rounds=1), tmp_path, 2)
    found = train_by_matching(study, "mlp")
    assert all(episode.states is not None for episode in found.episodes)
    assert (found.translator.source_action_dim, found.translator.action_dim) == (2, 3)
    assert found.translator.obs_dim == 17  # all that the target observes
    result = run_arm(study.task, str(tmp_path), 2)
    assert np.isfinite(result["returns"]).all() and result["target_steps"] == 100 and "outside" not in result
    for arm in ("value_guided", "multi_step", "value_guided_flow_prior"):
        with pytest.raises(ValueError, match="bodies and motors must be the same"):
            run_arm(task(arm, **REACH), str(tmp_path), 2)
    with pytest.raises(ValueError, match="the same observations"):
        run_arm(task("linear", **REACH), str(tmp_path), 2)


def test_a_few_episodes_tell_how_motors_are_wired(tmp_path: Path) -> None:
    settings = task(
        "linear",
        source=Robot("Reacher-v5"),
        target=Robot("Reacher-v5", motors=(1, 0), motor_signs=(1, -1)),
        policy="Reacher-v5",
        source_episodes=40,
        inverse_dynamics_updates=1_500,
        hidden_width=64,
        episodes_per_round=4,
    )
    study = Study(settings, tmp_path, 16)
    found = train_linear(study)
    # The first round is random: what the source's motors do is no guess.
    exploration = Study(settings, tmp_path).rng(1).uniform(*settings.noise, 4).tolist()
    first = run_episodes(settings.target.make, study.source, range(1_500, 1_504), exploration=exploration)
    assert not np.array_equal(first[0].actions, found.episodes[0].actions)
    obs = np.concatenate([episode.observations[:-1] for episode in found.episodes[4:]])
    asked = np.random.default_rng(0).uniform(-0.8, 0.8, (len(obs), 2))
    answers = found.translator.predict(obs, asked)
    # The first motor of an action drives the second of the source's, the second the first in reverse.
    assert np.abs(answers - np.column_stack([asked[:, 1], -asked[:, 0]])).mean() < 0.15


@pytest.mark.parametrize("arm", ["value_guided_no_shift", "value_expansion_no_shift"])
def test_a_control_without_a_shift_learns_and_is_judged_at_home(
    arm: str, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected: list[Any] = []
    for_real = aggregation.run_episodes

    def record(make_env: Any, *arguments: Any, **options: Any) -> Any:
        collected.append(make_env())
        return for_real(make_env, *arguments, **options)

    monkeypatch.setattr(aggregation, "run_episodes", record)
    trained = ARMS[arm](Study(task(arm), tmp_path, 2, models))
    gears = [env.unwrapped.model.actuator_gear[0, 0] for env in (*collected, trained.make())]
    assert len(gears) == 2 and set(gears) == {Robot(PENDULUM).make().unwrapped.model.actuator_gear[0, 0]}
