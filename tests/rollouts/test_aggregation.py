"""Iterated aggregation: each round with the latest translator, on all data, and resumable without a trace."""

from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generative_policies.action_translation import FlowActionPriorConditionedTranslator, MlpActionTranslator
from generative_policies.envs import make_env
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.rollouts import aggregation, load_expert, relabel, source_act, translated_act
from generative_policies.rollouts.aggregation import (
    Aggregated,
    Round,
    Rounds,
    aggregate,
    learn_model,
    matching,
    read_round,
    share_outside,
    write_round,
)
from generative_policies.rollouts.episodes import Episode, random_act, run_episodes, transitions
from generative_policies.training import FitSettings

SOURCE = source_act(load_expert("InvertedDoublePendulum-v5"))
SHORT = FitSettings(num_updates=20, batch_size=16)
TARGET = partial(make_env, "InvertedDoublePendulum-v5", "strong")


def relabelled(episodes: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inverse_dynamics = MlpInverseDynamics(1, 9, (16,))
    return relabel(transitions(episodes), inverse_dynamics)


def run(folder: Path | None = None, rounds: int = 3, episodes: int = 2, **arguments: Any) -> Aggregated:
    return aggregate(
        matching(lambda: FlowActionPriorConditionedTranslator(1, 9, (16,)), relabelled, SHORT),
        SOURCE,
        TARGET,
        Rounds(rounds, episodes),
        first_seed=1_500,
        rng=np.random.default_rng(0),
        generator=torch.Generator().manual_seed(0),
        folder=folder,
        progress=False,
        **arguments,
    )


def weights(result: Aggregated) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(result.translator.parameters())


def assert_same(one: Episode, other: Episode) -> None:
    for field in fields(Episode):
        ours, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(ours, np.ndarray):
            assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs), field.name
        else:
            assert ours == theirs, field.name


def test_each_round_collects_with_the_latest_translator_and_trains_on_all_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collected: list[Any] = []
    sizes: list[int] = []
    made: list[Any] = []
    run_for_real, fit_for_real = aggregation.run_episodes, aggregation.fit

    def record_run(make_env: Any, act: Any, seeds: Any, **arguments: Any) -> Any:
        collected.append((act, tuple(seeds)))
        return run_for_real(make_env, act, seeds, **arguments)

    def record_fit(model: Any, data: Any, settings: Any, **arguments: Any) -> Any:
        sizes.append(data.num_episodes)
        return fit_for_real(model, data, settings, **arguments)

    def record_act(source: Any, translator: Any) -> Any:
        made.append(translated_act(source, translator))
        return made[-1]

    monkeypatch.setattr(aggregation, "run_episodes", record_run)
    monkeypatch.setattr(aggregation, "fit", record_fit)
    monkeypatch.setattr(aggregation, "translated_act", record_act)
    result = run()
    assert [act for act, _ in collected] == [SOURCE, made[0], made[1]]
    assert sizes == [2, 4, 6]
    assert [seeds for _, seeds in collected] == [(1_500, 1_501), (1_502, 1_503), (1_504, 1_505)]
    assert [episode.seed for episode in result.episodes] == list(range(1_500, 1_506))


def test_a_learner_gets_all_episodes_and_the_translator_of_the_round_before() -> None:
    seen: list[Any] = []

    def learn(current: Round) -> MlpActionTranslator:
        seen.append((len(current.episodes), current.previous, MlpActionTranslator(1, 9, ())))
        return seen[-1][2]  # type: ignore[no-any-return]

    found = aggregate(
        learn,
        SOURCE,
        TARGET,
        Rounds(3, 1),
        first_seed=1_500,
        rng=np.random.default_rng(0),
        generator=torch.Generator(),
        progress=False,
    )
    assert [count for count, *_ in seen] == [1, 2, 3]
    assert [previous for _, previous, _ in seen] == [None, seen[0][2], seen[1][2]] and found.translator is seen[2][2]


@pytest.mark.parametrize("cut", ["collecting", "training"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_interrupted_aggregation_ends_as_one_that_was_not(
    cut: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run()
    name = "run_episodes" if cut == "collecting" else "fit"
    for_real, calls = getattr(aggregation, name), []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == number + 1:
            raise KeyboardInterrupt
        return for_real(*arguments, **options)

    monkeypatch.setattr(aggregation, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.setattr(aggregation, name, for_real)
    again = run(tmp_path)
    assert torch.equal(weights(whole), weights(again))
    assert len(whole.episodes) == len(again.episodes) == 6
    for ours, theirs in zip(whole.episodes, again.episodes, strict=True):
        assert_same(replace(ours, success=None), theirs)  # no learner looks at successes
    monkeypatch.setattr(aggregation, name, interrupted)  # nothing is left to do
    assert torch.equal(weights(run(tmp_path)), weights(whole)) and len(calls) == number + 1


def test_the_first_round_may_be_collected_by_another() -> None:
    at_random = random_act(TARGET().action_space)
    started = run(rounds=2, start=at_random)
    exploration = [np.random.default_rng(0).uniform(0.075, 0.2, 2).tolist()]
    first = run_episodes(TARGET, at_random, (1_500, 1_501), exploration=exploration[0])
    for ours, theirs in zip(first, started.episodes[:2], strict=True):
        assert_same(ours, theirs)
    # The second round is the translator's again, which one round of training made.
    translator = run(rounds=1, start=at_random).translator
    rng = np.random.default_rng(0)
    noise = [rng.uniform(0.075, 0.2, 2).tolist() for _ in range(2)][1]
    second = run_episodes(TARGET, translated_act(SOURCE, translator), (1_502, 1_503), exploration=noise)
    for ours, theirs in zip(second, started.episodes[2:], strict=True):
        assert_same(ours, theirs)


def test_states_are_recorded_where_they_are_asked_for(tmp_path: Path) -> None:
    without, kept = run(rounds=2), run(tmp_path, rounds=2, record_states=True)
    assert all(episode.states is None for episode in without.episodes)
    read = run(tmp_path, rounds=2, record_states=True)
    for bare, ours, theirs in zip(without.episodes, kept.episodes, read.episodes, strict=True):
        assert ours.states is not None and len(ours.states) == len(ours.actions) + 1
        assert_same(bare, replace(ours, states=None))
        assert_same(replace(ours, success=None), theirs)


def test_of_few_episodes_none_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    fractions: list[float] = []
    for_real = aggregation.fit

    def record(model: Any, data: Any, settings: Any, **arguments: Any) -> Any:
        fractions.append(settings.validation_fraction)
        return for_real(model, data, settings, **arguments)

    monkeypatch.setattr(aggregation, "fit", record)
    result = run(rounds=2, episodes=9)
    assert fractions == [0.0, SHORT.validation_fraction]
    for count in (9, 10):
        data = transitions(result.episodes[:count])
        learn_model(lambda: MlpInverseDynamics(1, 9, (16,)), data, 2, torch.Generator().manual_seed(0))
    assert fractions[2:] == [0.0, FitSettings().validation_fraction]


@pytest.mark.parametrize("with_states", [False, True])
def test_a_round_is_read_as_it_was_written(with_states: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    written = [
        Episode(
            1_500 + length,
            rng.standard_normal((length + 1, 3)),
            rng.standard_normal((length, 2)).astype(np.float32),
            rng.standard_normal(length),
            None,
            rng.standard_normal((length + 1, 5)) if with_states else None,
            terminated=length == 1,
        )
        for length in (4, 1, 7)
    ]
    generator = torch.Generator().manual_seed(3)
    write_round(written, generator, tmp_path / "round.npz")
    read, state = read_round(tmp_path / "round.npz")
    assert len(read) == 3 and torch.equal(state, generator.get_state())
    for ours, theirs in zip(written, read, strict=True):
        assert_same(ours, theirs)
    assert [path.name for path in tmp_path.iterdir()] == ["round.npz"]


def test_the_share_outside_of_the_training_data() -> None:
    last = np.full((1, 2), 9.0)  # nobody acted there
    parts = (np.array([[0.0, 0.0]]), np.array([[1.0, 2.0]]))
    training = [Episode(0, np.concatenate([part, last]), np.zeros((1, 1)), np.zeros(1), None) for part in parts]
    observations = np.array([[0.5, 1.0], [1.5, 1.0], [0.5, -0.1], [2.0, 3.0]])
    assert share_outside(training, observations) == 0.75


def test_wrong_rounds_are_refused() -> None:
    for arguments in ({"count": 0}, {"episodes": 0}, {"noise": (0.3, 0.1)}, {"noise": (-0.1, 0.1)}):
        with pytest.raises(ValueError, match="must be"):
            Rounds(**arguments)  # type: ignore[arg-type]
