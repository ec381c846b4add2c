"""Averaged weights."""

import pytest
import torch
from torch import nn

from generative_policies.training import ExponentialMovingAverage


def constant(value: float) -> nn.Module:
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, value)
    nn.init.constant_(layer.bias, value)
    return layer


def test_average_of_constant_weights_is_the_constant() -> None:
    model = constant(3.0)
    ema = ExponentialMovingAverage(model, 0.99)
    for _ in range(50):
        ema.update(model)
    target = constant(0.0)
    ema.copy_to(target)
    assert torch.equal(target.weight, model.weight)  # type: ignore[arg-type]


def test_a_step_in_the_weights_is_followed_at_the_rate_of_the_decay() -> None:
    ema = ExponentialMovingAverage(constant(0.0), 0.9)
    ema.num_updates = 10_000  # past the warm-up
    for _ in range(20):
        ema.update(constant(1.0))
    assert ema.averages[0].item() == pytest.approx(1 - 0.9**20, rel=1e-5)


def test_the_start_is_forgotten_quickly() -> None:
    ema = ExponentialMovingAverage(constant(100.0), 0.9999)
    for _ in range(200):
        ema.update(constant(1.0))
    assert ema.averages[0].item() == pytest.approx(1.0, abs=0.01)


def test_no_decay_keeps_the_last_weights() -> None:
    ema = ExponentialMovingAverage(constant(0.0), 0.0)
    ema.update(constant(5.0))
    assert ema.averages[0].item() == 5.0


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decay_is_checked(decay: float) -> None:
    with pytest.raises(ValueError, match="decay must be"):
        ExponentialMovingAverage(constant(0.0), decay)
