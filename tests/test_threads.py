"""Eight threads that share a model get what one gets alone, bit for bit."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from generative_policies.data import episode_generator
from generative_policies.export import OnnxModel, export_onnx
from generative_policies.models import AverageVelocityModel, IdentityEncoder, MlpRegressor
from tests.export.stand_ins import ACTION, CASES, OBS, Case, rows, trained
from tests.policies.test_episodic_policies import ACTED, POLICIES, scrambled

THREADS, REPEATS = 8, 6
MODELS = {
    **CASES,
    "average velocity": Case(
        lambda: AverageVelocityModel(ACTION, OBS, 16, (16, 32)), {"condition": (OBS,)}, (ACTION,), {"num_steps": 2}
    ),
}


def assert_as_serial(calls: Sequence[Callable[[], Any]]) -> None:
    """Compare calls, one a thread and all at once, with the same calls one after the other."""
    expected = [call() for call in calls]
    barrier = Barrier(len(calls))

    def repeat(call: Callable[[], Any]) -> list[Any]:
        torch.set_num_threads(1)  # each thread has a number of its own, with which sums differ in rounding
        barrier.wait()
        return [call() for _ in range(REPEATS)]

    with ThreadPoolExecutor(len(calls)) as pool:
        answers = list(pool.map(repeat, calls))
    compared = [same(answer, value) for value, found in zip(expected, answers, strict=True) for answer in found]
    assert len(compared) == len(calls) * REPEATS and all(compared)


def same(answer: Any, expected: Any) -> bool:
    if isinstance(expected, tuple):
        return all(same(a, b) for a, b in zip(answer, expected, strict=True))
    return bool(torch.equal(answer, expected) if isinstance(expected, Tensor) else np.array_equal(answer, expected))


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    model: Any = trained(MODELS[name].build())
    given = [rows(MODELS[name], model, 1 + k % 3, seed=k) | dict(MODELS[name].options) for k in range(THREADS)]
    assert_as_serial([lambda k=k: model.predict(**given[k]) for k in range(THREADS)])  # type: ignore[misc]  # a default


@pytest.mark.parametrize("name", CASES)
def test_exported_models(name: str, tmp_path: Path) -> None:
    model = trained(CASES[name].build())
    export_onnx(model, tmp_path / "model.onnx", **CASES[name].options)
    runner: Any = OnnxModel.load(tmp_path / "model.onnx")
    given = [rows(CASES[name], runner, 1 + k % 3, seed=k) for k in range(THREADS)]
    assert_as_serial([lambda k=k: runner.predict(**given[k]) for k in range(THREADS)])  # type: ignore[misc]


@pytest.mark.parametrize("name", POLICIES)
def test_policies_each_thread_with_episodes_of_its_own(name: str) -> None:
    policy = scrambled(POLICIES[name]())

    def episode(seed: int) -> tuple[Any, ...]:
        generator = episode_generator(seed)
        state, found = policy.initial_state([seed, seed + 1]), []
        for _ in range(4):
            observation = generator.standard_normal((2, *policy.observation_space.shape))
            actions, state = policy.predict(observation, state)
            found.append(actions)
        return tuple(found)

    answers = episode(0)
    assert len(answers) == 4 and answers[0].shape == (2, *ACTED.shape)
    assert_as_serial([lambda k=k: episode(2 * k) for k in range(THREADS)])  # type: ignore[misc]


class Forgetful(IdentityEncoder):
    """Has a layer that answers otherwise in training, and takes its time for it."""

    def __init__(self) -> None:
        super().__init__(OBS)
        self.dropout = nn.Dropout(0.5)

    def forward(self, *inputs: Tensor) -> Tensor:
        (observations,) = inputs
        for _ in range(20):
            observations = self.dropout(observations)
        return observations


def test_a_model_in_training_is_evaluated_until_the_last_thread_is_done() -> None:
    model: Any = trained(MlpRegressor(ACTION, OBS, (16,), encoder=Forgetful()))
    conditions = torch.randn(THREADS, 3, OBS, generator=torch.Generator().manual_seed(0))
    model.train()
    model.network.eval()  # a part that its owner has frozen
    modes = [module.training for module in model.modules()]
    assert True in modes and False in modes
    assert_as_serial([lambda k=k: tuple(model.predict(conditions[k]) for _ in range(20)) for k in range(THREADS)])  # type: ignore[misc]
    assert [module.training for module in model.modules()] == modes
