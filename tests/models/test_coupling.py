"""Conditional optimal transport: short paths that leave conditional distributions intact."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from generative_policies.models import (
    ConditionalFlowModel,
    ResidualMlp,
    SourcePrior,
    conditional_optimal_transport,
)


def test_transport_is_a_permutation_and_never_longer_than_the_identity(generator: torch.Generator) -> None:
    x_0, x_1 = (torch.randn(64, 3, generator=generator) for _ in range(2))
    indices = conditional_optimal_transport(x_0, x_1, None)
    assert sorted(indices.tolist()) == list(range(64))
    assert (x_0[indices] - x_1).square().sum() < 0.8 * (x_0 - x_1).square().sum()


def test_in_one_dimension_transport_sorts(generator: torch.Generator) -> None:
    x_0, x_1 = (torch.randn(50, 1, generator=generator) for _ in range(2))
    matched = x_0[conditional_optimal_transport(x_0, x_1, None)]
    assert torch.equal(matched[x_1[:, 0].argsort()][:, 0], x_0[:, 0].sort().values)


def test_rows_of_other_conditions_are_not_exchanged(generator: torch.Generator) -> None:
    x_0, x_1 = (torch.randn(40, 2, generator=generator) for _ in range(2))
    condition = torch.arange(40).remainder(4)[:, None].float()
    indices = conditional_optimal_transport(x_0, x_1, condition, condition_weight=1e6)
    assert torch.equal(condition[indices], condition)
    assert not torch.equal(indices, torch.arange(40))


def test_the_scale_of_the_conditions_does_not_matter(generator: torch.Generator) -> None:
    x_0, x_1 = (torch.randn(40, 2, generator=generator) for _ in range(2))
    condition = torch.randn(40, 3, generator=generator)
    constant = torch.full((40, 1), 7.3)
    scaled = torch.cat([condition * torch.tensor([1e-3, 1.0, 1e4]) + 5, constant], dim=1)
    expected = conditional_optimal_transport(x_0, x_1, condition, condition_weight=1.0)
    assert torch.equal(conditional_optimal_transport(x_0, x_1, scaled, condition_weight=1.0), expected)
    assert not torch.equal(conditional_optimal_transport(x_0, x_1, condition, condition_weight=0.0), expected)


def test_half_precision_and_a_single_row_are_coupled_and_unequal_lengths_refused() -> None:
    x = torch.tensor([[0.0], [1.0]], dtype=torch.bfloat16)
    assert conditional_optimal_transport(x, x.flip(0), x * 0).tolist() == [1, 0]
    assert conditional_optimal_transport(x[:1], x[:1], x[:1]).tolist() == [0]
    with pytest.raises(ValueError, match="same number of rows"):
        conditional_optimal_transport(x, x[:1], None)


@pytest.mark.slow  # 40 s
def test_conditional_transport_leaves_conditionals_intact_where_the_naive_one_harms_them() -> None:
    """Target | c is N(2 c, 0.5^2) with c = -1 or 1: naive transport gives low noise to c = -1 in training."""
    rng = np.random.default_rng(0)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            c = rng.choice([-1.0, 1.0], (128, 1))
            target = 2 * c + 0.5 * rng.standard_normal(c.shape)
            yield torch.as_tensor(target, dtype=torch.float32), torch.as_tensor(c, dtype=torch.float32)

    def spread_error(**coupling: Any) -> float:
        torch.manual_seed(0)
        model = ConditionalFlowModel(1, 1, network=ResidualMlp(1, 1, (64, 64)), **coupling)
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1500)
        data = batches()
        for _ in range(1500):
            loss = model(*next(data), generator=torch.Generator().manual_seed(int(rng.integers(2**31))))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        errors = []
        for c in (-1.0, 1.0):
            samples = model.predict(5000, torch.tensor([c]), num_steps=50, generator=torch.Generator().manual_seed(1))
            assert isinstance(samples, torch.Tensor)
            errors += [abs(samples.mean().item() - 2 * c), abs(samples.std().item() - 0.5)]
        return max(errors)

    independent = spread_error()
    conditional = spread_error(coupling="conditional_optimal_transport", condition_weight=100.0)
    naive = spread_error(coupling="conditional_optimal_transport", condition_weight=0.0)
    assert independent < 0.1 and conditional < 0.1
    assert naive > 0.3


def test_the_default_is_independent_and_bad_couplings_are_refused() -> None:
    assert ConditionalFlowModel(2).coupling == "independent"
    with pytest.raises(ValueError, match="one of independent, conditional_optimal_transport"):
        ConditionalFlowModel(2, coupling="sinkhorn")
    with pytest.raises(ValueError, match="paired with its own target"):
        ConditionalFlowModel(2, prior=SourcePrior(2), coupling="conditional_optimal_transport")
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="condition_weight"):
            ConditionalFlowModel(2, condition_weight=weight)
