"""From recorded data to a translator: labels whose answer is known, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from generative_policies.checkpoints import load, save
from generative_policies.envs import make_env
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.policies import BehaviorCloning, save_policy
from generative_policies.rollouts.commands import train as train_module
from generative_policies.rollouts.commands.collect import CollectSettings, collect
from generative_policies.rollouts.commands.evaluate import EvaluateSettings, evaluate
from generative_policies.rollouts.commands.pair import PairSettings, pair, read_pairs
from generative_policies.rollouts.commands.train import TrainSettings, train
from generative_policies.rollouts.minari_datasets import DatasetError, read_dataset

ENV = "InvertedDoublePendulum-v5"
WEAK = '{"gear": 0.5}'


def recorded(folder: Path, name: str, shift: str | None, **changes: Any) -> Path:
    given: dict[str, Any] = {"env": ENV, "policy": ENV, "shift": shift, "noise": (0.1, 0.3), "episodes": 4}
    return collect(CollectSettings(**given | {"output": folder / name} | changes))


def test_relabelling_through_the_simulator_halves_the_commands_of_a_robot_with_half_the_gear(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = recorded(tmp_path, "target", WEAK)
    pairs = read_pairs(pair(PairSettings(data, exact=True, source_env=ENV, output=tmp_path / "pairs")))
    np.testing.assert_allclose(pairs.source_actions, 0.5 * pairs.target_actions, atol=1e-4)
    steps = [episode.observations[:-1] for episode in read_dataset(data)]
    np.testing.assert_array_equal(pairs.obs, np.concatenate(steps))
    assert "cycle error" in capsys.readouterr().out


def test_matching_through_the_simulators_doubles_them(tmp_path: Path) -> None:
    data = recorded(tmp_path, "target", WEAK)
    pairs = read_pairs(
        pair(
            PairSettings(
                data,
                method="match",
                exact=True,
                source_env=ENV,
                target_env=ENV,
                target_shift=WEAK,
                policy=ENV,
                output=tmp_path / "pairs",
            )
        )
    )
    inside = np.abs(pairs.source_actions) < 0.49
    assert inside.mean() > 0.5
    np.testing.assert_allclose(pairs.target_actions[inside], 2 * pairs.source_actions[inside], atol=1e-3)


def test_data_of_the_source_are_labelled_with_the_targets_actions(tmp_path: Path) -> None:
    data = recorded(tmp_path, "source", None, policy="random", noise=(0.0, 0.0), episodes=8)  # it falls soon
    settings = PairSettings(
        data, data_of="source", exact=True, target_env=ENV, target_shift=WEAK, output=tmp_path / "pairs"
    )
    pairs = read_pairs(pair(settings))
    inside = np.abs(pairs.source_actions) < 0.49
    np.testing.assert_allclose(pairs.target_actions[inside], 2 * pairs.source_actions[inside], atol=1e-3)


@pytest.mark.slow  # 20 s
def test_from_two_recorded_datasets_alone_to_a_translator_that_is_evaluated(tmp_path: Path) -> None:
    noise = {"noise": (0.1, 0.5), "episodes": 30, "states": False}
    source, target = recorded(tmp_path, "source", None, **noise), recorded(tmp_path, "target", "strong", **noise)
    pairs = pair(PairSettings(target, other_data=source, updates=1_500, hidden_width=64, output=tmp_path / "pairs"))
    # A gear of two: half of the command does the same.
    labels = read_pairs(pairs)
    inside = np.abs(labels.target_actions) < 0.45
    error = np.abs(labels.source_actions - 2 * labels.target_actions)[inside]
    assert np.median(error) < 0.1
    model = train(TrainSettings((pairs,), updates=1_500, hidden_width=64, output=tmp_path / "translator"))
    figures = {
        name: evaluate(
            EvaluateSettings(ENV, "strong", ENV, translator=path, episodes=8, output=tmp_path / f"{name}.json")
        )["mean_return"]
        for name, path in (("translated", model), ("untranslated", None))
    }
    assert figures["translated"] > 2 * figures["untranslated"]


def test_a_match_with_a_learned_inverse_dynamics(tmp_path: Path) -> None:
    data = recorded(tmp_path, "target", WEAK, episodes=2)
    save(MlpInverseDynamics(1, 9, (8,)), tmp_path / "inverse")
    settings = PairSettings(
        data,
        method="match",
        inverse_dynamics=tmp_path / "inverse",
        source_env=ENV,
        policy=ENV,
        output=tmp_path / "pairs",
    )
    assert read_pairs(pair(settings)).target_actions.shape[1] == 1


def test_a_match_asks_policies_with_plans_step_by_step(tmp_path: Path) -> None:
    data = recorded(tmp_path, "target", WEAK, episodes=2)
    episodes = read_dataset(data)
    demonstrations = [(episode.observations, episode.actions) for episode in episodes]
    chunks = {"net_arch": (8,), "horizon": 3}
    cloned = BehaviorCloning("FlowPolicy", make_env(ENV), demonstrations, policy_kwargs=chunks, device="cpu", seed=0)
    save_policy(cloned.learn(5), tmp_path / "policy")
    save(MlpInverseDynamics(1, 9, (8,)), tmp_path / "inverse")
    settings = PairSettings(
        data,
        method="match",
        inverse_dynamics=tmp_path / "inverse",
        source_env=ENV,
        policy=str(tmp_path / "policy"),
        output=tmp_path / "pairs",
    )
    found = read_pairs(pair(settings)).source_actions
    state, expected = cloned.policy.initial_state([episodes[0].seed]), []
    for observation in episodes[0].observations[:-1]:
        action, state = cloned.policy.predict(observation, state, deterministic=True)
        expected.append(action)
    np.testing.assert_allclose(found[: len(expected)], expected, atol=1e-6)
    assert pair(settings) == settings.output  # it is complete
    with pytest.raises(FileExistsError, match="other settings"):
        pair(replace(settings, seed=1))


def test_what_cannot_be_paired_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    data = recorded(tmp_path, "target", WEAK, episodes=2)
    bare = recorded(tmp_path, "bare", WEAK, episodes=2, states=False)
    other = recorded(tmp_path, "other", None, env="Reacher-v5", policy="random", noise=(0.0, 0.0), episodes=2)
    save(MlpInverseDynamics(1, 5, (8,)), tmp_path / "narrow")
    out = tmp_path / "pairs"
    base = PairSettings(data, exact=True, source_env=ENV, output=out)
    for settings, message in (
        (replace(base, data=bare), "no physics states"),
        (replace(base, data=other), "physics states have"),
        (replace(base, data=other, target_env=ENV), f"played in Reacher-v5, not in {ENV}"),
        (replace(base, exact=False, other_data=other), "must observe the same|played in"),
        (replace(base, exact=False, other_data=data), "with the shift"),
        (replace(base, target_env=ENV, target_shift="strong"), "with the shift"),
        (replace(base, exact=False, inverse_dynamics=tmp_path / "narrow"), "observes 5 entries"),
        (replace(base, data=tmp_path / "nothing"), "nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            pair(settings)
    assert not out.exists() and not [path for path in tmp_path.iterdir() if path.name.startswith(".pairs")]
    with pytest.raises(DatasetError, match="no source actions"):
        read_pairs(data)
    for arguments, message in (
        ({}, "who tells"),
        ({"exact": True, "other_data": data}, "who tells"),
        ({"exact": True}, "needs the env"),
        ({"exact": True, "method": "match", "target_env": ENV}, "match needs"),
    ):
        with pytest.raises(ValueError, match=message):
            PairSettings(data, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", ["inverse_dynamics", "forward_dynamics"])
def test_training_goes_on_where_it_was_cut(
    model: Literal["inverse_dynamics", "forward_dynamics"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = recorded(tmp_path, "data", None)
    settings = TrainSettings((data,), model, updates=60, hidden_width=16, output=tmp_path / "whole")
    train(settings)
    for_real = train_module.fit

    def cut(*arguments: Any, **options: Any) -> Any:
        def stop(update: int, figures: Any) -> None:
            if update >= 24:
                raise KeyboardInterrupt

        return for_real(*arguments, log=stop, **options)

    monkeypatch.setattr(train_module, "fit", cut)
    parts = replace(settings, output=tmp_path / "parts")
    with pytest.raises(KeyboardInterrupt):
        train(parts)
    assert not parts.output.exists()
    monkeypatch.setattr(train_module, "fit", for_real)
    train(parts)
    weights = [torch.nn.utils.parameters_to_vector(load(s.output).parameters()) for s in (settings, parts)]
    assert torch.equal(weights[0], weights[1])
    monkeypatch.setattr(train_module, "fit", None)  # it would fail
    train(parts)
    with pytest.raises(FileExistsError, match="other settings"):
        train(replace(parts, updates=61))


def test_rounds_are_trained_by_command_and_the_model_is_any_of_the_library(tmp_path: Path) -> None:
    data = recorded(tmp_path, "data", None)
    inverse = train(TrainSettings((data,), "flow_inverse_dynamics", 20, 16, output=tmp_path / "inverse"))
    settings = TrainSettings(
        model="flow_prior",
        updates=20,
        hidden_width=16,
        rounds=2,
        episodes_per_round=2,
        env=ENV,
        shift=WEAK,
        policy=ENV,
        inverse_dynamics=inverse,
        output=tmp_path / "translator",
    )
    assert type(load(train(settings))).__name__ == "FlowActionPriorTranslator"
    for arguments, message in (
        ({}, "pass data"),
        ({"rounds": 2}, "need env"),
        ({"data": (data,), "updates": 0}, "positive"),
        ({"data": (data,), "seed": 9}, "seed must lie"),
    ):
        with pytest.raises(ValueError, match=message):
            TrainSettings(**arguments)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="no source actions"):
        train(TrainSettings((data,), output=tmp_path / "none"))


def test_an_evaluation_does_not_depend_on_the_number_of_envs(tmp_path: Path) -> None:
    reports = [
        evaluate(EvaluateSettings(ENV, policy="random", episodes=5, num_envs=count, output=tmp_path / f"{count}.json"))[
            "returns"
        ]
        for count in (1, 4)
    ]
    assert reports[0] == reports[1]
    again = EvaluateSettings(ENV, policy="random", episodes=5, num_envs=2, output=tmp_path / "1.json")
    assert evaluate(again)["returns"] == reports[0]  # as it was written
    with pytest.raises(FileExistsError, match="other settings"):
        evaluate(replace(again, episodes=4))
    with pytest.raises(ValueError, match="neither"):
        EvaluateSettings(ENV, policy="random", translator=tmp_path)
    with pytest.raises(ValueError, match="pass a translator"):
        evaluate(EvaluateSettings(ENV, policy="Pusher-v5", output=tmp_path / "x.json"))
