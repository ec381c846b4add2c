"""Both velocity networks keep the contract of ``VelocityNetwork``."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from generative_policies.models import ConditionalUNet1D, ResidualMlp

Build = Callable[[int, int], nn.Module]
NETWORKS: dict[str, Build] = {
    "unet": lambda dim, cond_dim: ConditionalUNet1D(dim, dim, cond_dim, 16, (16, 32)),
    "residual_mlp": lambda dim, cond_dim: ResidualMlp(dim, cond_dim, (32, 32, 16), 16),
}


@pytest.fixture(params=NETWORKS)
def build(request: pytest.FixtureRequest) -> Build:
    return NETWORKS[request.param]


def scramble(network: nn.Module) -> nn.Module:
    """Give a network weights that are zero nowhere, as training does."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


@pytest.mark.parametrize("cond_dim", [0, 5])
def test_velocity_has_the_shape_of_x_and_starts_at_zero(build: Build, cond_dim: int) -> None:
    x, t = torch.randn(7, 3), torch.rand(7)
    condition = torch.randn(7, cond_dim) if cond_dim else None
    network = build(3, cond_dim)
    assert torch.equal(network(x, t, condition), torch.zeros(7, 3))
    assert scramble(network)(x, t, condition).abs().min() > 0


def test_velocity_depends_on_point_time_and_condition_of_its_own_row_alone(build: Build) -> None:
    network = scramble(build(3, 5)).double()
    inputs = [torch.randn(4, 3).double(), torch.rand(4).double(), torch.randn(4, 5).double()]
    before = network(*inputs)
    for k in range(3):
        changed = [tensor.clone() for tensor in inputs]
        changed[k][1] += 0.5
        difference = (network(*changed) - before).abs().amax(dim=1)
        assert difference[1] > 1e-6
        assert difference[[0, 2, 3]].max() < 1e-12


def test_gradients_reach_every_parameter(build: Build) -> None:
    network = scramble(build(3, 5))
    network(torch.randn(8, 3), torch.rand(8), torch.randn(8, 5)).pow(2).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_residual_mlp_takes_chunks() -> None:
    network = scramble(ResidualMlp(2, 3, (16,), 8, horizon=4))
    assert network(torch.randn(5, 4, 2), torch.rand(5), torch.randn(5, 3)).shape == (5, 4, 2)


@pytest.mark.parametrize("net_arch", [(), (0,), (3.5,), (-2, 4)])
def test_widths_are_checked(net_arch: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="net_arch"):
        ResidualMlp(2, 0, net_arch)
    with pytest.raises(ValueError, match="net_arch"):
        ConditionalUNet1D(2, 2, 0, 16, net_arch)


@pytest.mark.parametrize("dim", [0, 1, 7])
def test_time_features_are_even(dim: int) -> None:
    with pytest.raises(ValueError, match="diffusion_step_embed_dim"):
        ResidualMlp(2, diffusion_step_embed_dim=dim)
