"""The ensemble: each member is a perceptron of its own."""

import pytest
import torch
from torch import nn

from generative_policies.forward_dynamics.ensemble import EnsembleLinear, MlpEnsemble
from generative_policies.models.mlp import Mlp


def test_each_member_is_the_perceptron_of_its_weights() -> None:
    ensemble = MlpEnsemble(3, 2, (16, 8), members=4)
    x = torch.randn(5, 3)
    answers = ensemble(x)
    assert answers.shape == (4, 5, 2)
    for member in range(4):
        single = Mlp(3, 2, (16, 8))
        for layer, stacked in zip(single, ensemble, strict=True):
            if isinstance(layer, nn.Linear) and isinstance(stacked, EnsembleLinear):
                layer.weight.data.copy_(stacked.weight[member].T)
                layer.bias.data.copy_(stacked.bias[member, 0])
        assert torch.allclose(answers[member], single(x), atol=1e-6)


def test_members_start_apart_with_the_spread_of_a_linear_layer() -> None:
    torch.manual_seed(0)
    layer, reference = EnsembleLinear(100, 200, members=3), nn.Linear(100, 200)
    for member in range(3):
        for stacked, single in ((layer.weight, reference.weight), (layer.bias, reference.bias)):
            assert stacked[member].abs().max() <= 0.1
            assert stacked[member].std().item() == pytest.approx(single.std().item(), rel=0.15)
        assert not torch.equal(layer.weight[member], layer.weight[member - 1])
        assert not torch.equal(layer.bias[member], layer.bias[member - 1])


def test_a_members_gradient_is_its_own() -> None:
    ensemble = MlpEnsemble(3, 2, (16,), members=2)
    ensemble(torch.randn(5, 3))[0].sum().backward()
    for parameter in ensemble.parameters():
        assert parameter.grad is not None
        assert parameter.grad[0].abs().sum() > 0 and parameter.grad[1].abs().sum() == 0


def test_members_and_widths_are_checked() -> None:
    for members in (0, -1, 1.5):
        with pytest.raises(ValueError, match="members must be an integer of at least 1"):
            MlpEnsemble(3, 2, (16,), members=members)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="net_arch"):
        MlpEnsemble(3, 2, (), members=2)
