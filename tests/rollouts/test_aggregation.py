"""Iterated aggregation: each round with the latest translator, on all data, and resumable without a trace."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generative_policies.action_translation import FlowActionPriorConditionedTranslator
from generative_policies.data import ActionPairDataset
from generative_policies.envs import make_env
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.rollouts import aggregation, load_expert, relabel, source_act, translated_act
from generative_policies.rollouts.aggregation import Rounds, aggregate, share_outside
from generative_policies.training import FitSettings

SOURCE = source_act(load_expert("InvertedDoublePendulum-v5"))


def run(folder: Path | None = None, rounds: int = 3, seed: int = 0) -> Any:
    torch.manual_seed(0)
    inverse_dynamics = MlpInverseDynamics(1, 9, (16,))
    return aggregate(
        lambda: FlowActionPriorConditionedTranslator(1, 9, (16,)),
        SOURCE,
        lambda: make_env("InvertedDoublePendulum-v5", "strong"),
        lambda data: relabel(data, inverse_dynamics),
        Rounds(rounds, 2),
        FitSettings(num_updates=20, batch_size=16),
        first_seed=1_500,
        rng=np.random.default_rng(seed),
        generator=torch.Generator().manual_seed(seed),
        folder=folder,
        progress=False,
    )


def weights(result: Any) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(result.translator.parameters())


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
    run()
    assert [act for act, _ in collected] == [SOURCE, made[0], made[1]]
    assert sizes == [2, 4, 6]
    assert [seeds for _, seeds in collected] == [(1_500, 1_501), (1_502, 1_503), (1_504, 1_505)]


@pytest.mark.parametrize("cut", ["collecting", "training"])
@pytest.mark.parametrize("number", [1, 2])
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
    assert np.array_equal(whole.pairs.target_actions, again.pairs.target_actions)
    monkeypatch.setattr(aggregation, name, interrupted)  # nothing is left to do
    assert torch.equal(weights(run(tmp_path)), weights(whole)) and len(calls) == number + 1


def test_the_share_outside_of_the_training_data() -> None:
    data = ActionPairDataset(np.zeros(2, int), np.array([[0.0, 0.0], [1.0, 2.0]]), np.zeros((2, 1)), np.zeros((2, 1)))
    observations = np.array([[0.5, 1.0], [1.5, 1.0], [0.5, -0.1], [2.0, 3.0]])
    assert share_outside(data, observations) == 0.75


def test_wrong_rounds_are_refused() -> None:
    for arguments in ({"count": 0}, {"episodes": 0}, {"noise": (0.3, 0.1)}, {"noise": (-0.1, 0.1)}):
        with pytest.raises(ValueError, match="must be"):
            Rounds(**arguments)  # type: ignore[arg-type]
