"""The velocity networks keep the contract of ``VelocityNetwork``."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from generative_policies.models import ConditionalFlowModel, ConditionalUNet1D, DiffusionTransformer, ResidualMlp

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


CHUNK_NETWORKS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "unet": lambda dim, cond_dim, horizon: ConditionalUNet1D(dim, dim, cond_dim, 16, (16, 32, 16), horizon=horizon),
    "transformer": lambda dim, cond_dim, horizon: DiffusionTransformer(dim, cond_dim, 16, 2, 2, horizon=horizon),
    "residual_mlp": lambda dim, cond_dim, horizon: ResidualMlp(dim, cond_dim, (64, 64), 16, horizon=horizon),
}


@pytest.mark.parametrize("horizon", range(2, 34))
@pytest.mark.parametrize("name", CHUNK_NETWORKS)
def test_chunks_of_any_length_keep_their_shape_and_pass_gradients(name: str, horizon: int) -> None:
    network = CHUNK_NETWORKS[name](3, 5, horizon)
    x = torch.randn(4, horizon, 3, requires_grad=True)
    t, condition = torch.rand(4), torch.randn(4, 5, requires_grad=True)
    assert torch.equal(network(x, t, condition), torch.zeros(4, horizon, 3))
    velocity = scramble(network)(x, t, condition)
    assert velocity.shape == x.shape
    velocity.pow(2).sum().backward()
    assert x.grad is not None and (x.grad.abs().sum(dim=(0, 2)) > 0).all()
    assert condition.grad is not None and condition.grad.abs().min() > 0
    unused = [n for n, p in network.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert not unused


@pytest.mark.parametrize("name", CHUNK_NETWORKS)
def test_chunks_of_other_rows_do_not_matter(name: str) -> None:
    network = scramble(CHUNK_NETWORKS[name](3, 5, 7)).double()
    inputs = [torch.randn(4, 7, 3).double(), torch.rand(4).double(), torch.randn(4, 5).double()]
    before = network(*inputs)
    for k in range(3):
        changed = [tensor.clone() for tensor in inputs]
        changed[k][1] += 0.5
        difference = (network(*changed) - before).abs().amax(dim=(1, 2))
        assert difference[1] > 1e-6
        assert difference[[0, 2, 3]].max() < 1e-12


NETWORKS_BY_SHAPE: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    **{name: (build(3, 5), (3,)) for name, build in NETWORKS.items()},
    **{f"{name}, chunks": (build(3, 5, 6), (6, 3)) for name, build in CHUNK_NETWORKS.items()},
}


@pytest.mark.parametrize("name", NETWORKS_BY_SHAPE)
def test_inputs_of_wrong_shapes_are_refused(name: str) -> None:
    network, shape = NETWORKS_BY_SHAPE[name]
    x, t, condition = torch.zeros(4, *shape), torch.zeros(4), torch.zeros(4, 5)
    assert network(x, t, condition).shape == x.shape
    for bad in (torch.zeros(4, 6, 6, 3), torch.zeros(4, *shape[:-1], 4), torch.zeros(*shape), torch.zeros(4)):
        with pytest.raises(ValueError, match="x must have shape"):
            network(bad, torch.zeros(len(bad)), condition)
    for bad in (torch.zeros(()), torch.zeros(4, 1), torch.zeros(3)):
        with pytest.raises(ValueError, match="t must have shape"):
            network(x, bad, condition)
    for bad in (torch.zeros(4, 6), torch.zeros(1, 5), torch.zeros(4, 1, 5), None):
        with pytest.raises(ValueError, match="condition must have shape"):
            network(x, t, bad)


@pytest.mark.parametrize("name", [*NETWORKS, *CHUNK_NETWORKS])
def test_a_condition_is_never_ignored(name: str) -> None:
    horizon = 1 if name in NETWORKS else 6
    network = NETWORKS[name](3, 0) if name in NETWORKS else CHUNK_NETWORKS[name](3, 0, horizon)
    x = torch.zeros(4, 3) if horizon == 1 else torch.zeros(4, horizon, 3)
    with pytest.raises(ValueError, match="condition is superfluous"):
        network(x, torch.zeros(4), torch.zeros(4, 5))
    with pytest.raises(ValueError, match=r"network does not take .* with 5 condition features"):
        ConditionalFlowModel(3, 5, horizon=horizon, network=network)


def test_a_shift_of_the_chunk_shifts_the_velocity_away_from_the_borders() -> None:
    """By a multiple of 4, for three levels halve the steps twice; borders reach some 50 steps inwards."""
    network = scramble(ConditionalUNet1D(2, 2, 3, 16, (8, 8, 8), horizon=256)).double()
    x = torch.zeros(1, 256, 2).double()
    x[:, 120:128] = torch.randn(1, 8, 2).double()
    t, condition = torch.rand(1).double(), torch.randn(1, 3).double()
    velocity, shifted = network(x, t, condition), network(x.roll(8, dims=1), t, condition)
    assert (velocity[:, 120:128] - velocity[:, 80:88]).abs().max() > 1e-3  # the bump is seen
    assert torch.allclose(shifted[:, 88:168], velocity[:, 80:160], atol=1e-9)


@pytest.mark.slow  # 25 s each
@pytest.mark.parametrize("name", ["unet", "transformer"])
def test_correlations_between_the_steps_of_a_chunk_are_learned(name: str) -> None:
    """An autoregressive chunk; its marginals are N(0, 1), so steps drawn one by one would be uncorrelated."""
    horizon, rho = 6, 0.9
    rng = np.random.default_rng(0)

    def draw(batch: int) -> torch.Tensor:
        steps = [rng.standard_normal(batch)]
        for _ in range(horizon - 1):
            steps.append(rho * steps[-1] + np.sqrt(1 - rho**2) * rng.standard_normal(batch))
        return torch.as_tensor(np.stack(steps, axis=1)[..., None], dtype=torch.float32)

    def batches() -> Iterator[torch.Tensor]:
        while True:
            yield draw(256)

    torch.manual_seed(0)
    networks = {
        "unet": lambda: ConditionalUNet1D(1, 1, 0, 16, (32, 32), horizon=horizon),
        "transformer": lambda: DiffusionTransformer(1, 0, 32, 2, 2, horizon=horizon),
    }
    model = ConditionalFlowModel(1, horizon=horizon, network=networks[name]())
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1500)
    generator = torch.Generator().manual_seed(0)
    for _, target in zip(range(1500), batches(), strict=False):
        loss = model(target, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    samples = model.predict(5000, num_steps=50, generator=generator)
    correlation = np.corrcoef(np.asarray(samples)[..., 0].T)
    lags = np.abs(np.subtract.outer(np.arange(horizon), np.arange(horizon)))
    assert np.abs(correlation - rho**lags).max() < 0.05
    assert np.abs(np.asarray(samples).std(axis=0) - 1).max() < 0.05


def test_the_unet_is_the_default_for_chunks() -> None:
    model = ConditionalFlowModel(2, 3, down_dims=(8, 16), horizon=5)
    assert isinstance(model.network, ConditionalUNet1D)
    assert model.predict(condition=np.zeros((4, 3)), num_steps=2).shape == (4, 5, 2)


def test_transformer_heads_must_divide_its_width() -> None:
    with pytest.raises(ValueError, match="multiple of num_heads=3"):
        DiffusionTransformer(2, embed_dim=16, num_heads=3)
    with pytest.raises(ValueError, match="horizon must be an integer of at least 2"):
        DiffusionTransformer(2, horizon=1)


@pytest.mark.parametrize("net_arch", [(), (0,), (3.5,), (-2, 4)])
def test_widths_are_checked(net_arch: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="net_arch"):
        ResidualMlp(2, 0, net_arch)
    with pytest.raises(ValueError, match="down_dims"):
        ConditionalUNet1D(2, 2, 0, 16, net_arch)


@pytest.mark.parametrize("dim", [-2, 1, 7])
def test_time_features_are_even(dim: int) -> None:
    for build in (
        lambda: ResidualMlp(2, diffusion_step_embed_dim=dim),
        lambda: ConditionalUNet1D(2, 2, diffusion_step_embed_dim=dim),
    ):
        with pytest.raises(ValueError, match="diffusion_step_embed_dim"):
            build()


@pytest.mark.parametrize("cond_dim", [0, 3])
def test_without_time_features_the_time_does_not_matter(cond_dim: int) -> None:
    network: Any = scramble(ResidualMlp(2, cond_dim, (16, 16), 0))
    x, condition = torch.randn(5, 2), torch.randn(5, cond_dim) if cond_dim else None
    velocity = network(x, torch.zeros(5), condition)
    assert velocity.abs().min() > 0
    assert torch.equal(network(x, torch.rand(5), condition), velocity)
    at_times = network.at_times(torch.rand(3), condition)
    for number in range(3):
        torch.testing.assert_close(at_times(x, number), velocity)
