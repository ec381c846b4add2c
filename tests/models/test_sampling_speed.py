"""What makes sampling fast changes no sample: it is compared with the plain loop over the network."""

import copy
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from generative_policies.models import (
    SOLVERS,
    ConditionalFlowModel,
    ConditionalUNet1D,
    DictObservationEncoder,
    DiffusionTransformer,
    LatentBridgeModel,
    MlpRegressor,
    ResidualMlp,
    SourcePrior,
    integrate,
)
from generative_policies.models.arrays import CHUNK_ROWS
from generative_policies.models.solvers import evaluation_times

NETWORKS = {
    "unet": lambda cond_dim: ConditionalUNet1D(3, 3, cond_dim, 16, (16, 32)),
    "unet of chunks": lambda cond_dim: ConditionalUNet1D(3, 3, cond_dim, 16, (16, 32), horizon=5),
    "residual mlp": lambda cond_dim: ResidualMlp(3, cond_dim, (32, 32, 16), 16),
    "residual mlp of chunks": lambda cond_dim: ResidualMlp(3, cond_dim, (32, 32), 16, horizon=5),
    "transformer": lambda cond_dim: DiffusionTransformer(3, cond_dim, 32, horizon=5),
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def flow(network: str, cond_dim: int) -> ConditionalFlowModel:
    """A flow with weights and statistics that are trivial nowhere."""
    horizon = 5 if "chunks" in network or network == "transformer" else 1
    model = ConditionalFlowModel(3, cond_dim, horizon=horizon, network=NETWORKS[network](cond_dim))
    change(model)
    return model.eval()


def change(model: ConditionalFlowModel) -> None:
    """Give a flow other weights, in place."""
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter))
    shape = (64, *model.sample_shape)
    condition = 2 + 3 * torch.randn(64, model.cond_dim) if model.cond_dim else None
    like = next(model.network.parameters())
    model.fit_normalizers(1 - 2 * torch.randn(shape).to(like), condition if condition is None else condition.to(like))


def plain(model: ConditionalFlowModel, condition: Tensor | None, noise: Tensor, num_steps: int, solver: str) -> Tensor:
    """The textbook's sampler: the whole network anew at each evaluation."""
    x_0, features = model.start(condition=condition, noise=noise)
    x_1 = integrate(lambda x, t: model.network(x, t, features), x_0, num_steps, solver)
    return model.target_normalizer.denormalize(x_1)


def inputs(model: ConditionalFlowModel, batch: int) -> tuple[Tensor | None, Tensor]:
    like = next(model.network.parameters())
    condition = torch.randn(batch, model.cond_dim).to(like) if model.cond_dim else None
    return condition, torch.randn(batch, *model.sample_shape).to(like)


def assert_as_plain(model: ConditionalFlowModel, batch: int = 3, num_steps: int = 7, solver: str = "euler") -> None:
    condition, noise = inputs(model, batch)
    with torch.no_grad():
        expected = plain(model, condition, noise, num_steps, solver)
    got = model.predict(condition=condition, noise=noise, num_steps=num_steps, solver=solver)
    assert expected.std() > 0.1  # there is something to compare
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 16])
@pytest.mark.parametrize("cond_dim", [0, 4])
@pytest.mark.parametrize("network", NETWORKS)
def test_samples_are_those_of_the_plain_loop(network: str, cond_dim: int, batch: int) -> None:
    assert_as_plain(flow(network, cond_dim), batch)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("num_steps", [1, 2, 10])
@pytest.mark.parametrize("network", ["unet", "residual mlp"])
def test_every_solver_asks_at_its_own_times(network: str, solver: str, num_steps: int) -> None:
    assert_as_plain(flow(network, 4), 1, num_steps, solver)


@pytest.mark.parametrize("solver", SOLVERS)
def test_evaluation_times_are_those_at_which_a_solver_asks(solver: str) -> None:
    asked: list[float] = []

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        asked.extend(t.tolist())
        return x

    integrate(velocity, torch.ones(1, 1, dtype=torch.float64), 6, solver)
    assert asked == list(evaluation_times(6, solver))


@pytest.mark.parametrize("network", ["unet", "unet of chunks", "residual mlp"])
def test_gradients_are_those_of_the_plain_loop(network: str) -> None:
    model = flow(network, 4).double()
    condition, noise = inputs(model, 3)
    parameters = list(model.network.parameters())

    def gradients(samples: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(samples.square().sum(), parameters)

    fast = gradients(model.sample(condition=condition, noise=noise, num_steps=5))
    slow = gradients(plain(model, condition, noise, 5, "euler"))
    for got, expected in zip(fast, slow, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("network", ["unet", "residual mlp"])
class TestNothingGoesStale:
    def test_after_training(self, network: str, batch: int) -> None:
        model = flow(network, 4)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        assert_as_plain(model, batch)
        for _ in range(3):
            loss = model(torch.randn(8, 3), torch.randn(8, 4))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert_as_plain(model, batch)

    def test_after_weights_were_written(self, network: str, batch: int) -> None:
        model, other = flow(network, 4), flow(network, 4)
        condition, noise = inputs(model, batch)
        assert_as_plain(model, batch)
        model.load_state_dict(other.state_dict())
        arguments: dict[str, Any] = {"condition": condition, "noise": noise, "num_steps": 7}
        assert torch.equal(model.predict(**arguments), other.predict(**arguments))
        model.load_state_dict(flow(network, 4).state_dict(), assign=True)
        assert_as_plain(model, batch)
        for parameter in model.parameters():
            parameter.data = 0.9 * parameter.data  # no version counter sees this
        assert_as_plain(model, batch)

    def test_after_another_dtype(self, network: str, batch: int) -> None:
        model = flow(network, 4)
        assert_as_plain(model, batch)
        assert_as_plain(model.double(), batch)
        assert_as_plain(model.float(), batch)

    def test_in_a_copy(self, network: str, batch: int) -> None:
        model = flow(network, 4)
        assert_as_plain(model, batch)
        twin = copy.deepcopy(model)
        change(twin)
        assert_as_plain(twin, batch)
        assert_as_plain(model, batch)

    def test_the_state_is_weights_and_statistics_alone(self, network: str, batch: int) -> None:
        model = flow(network, 4)
        before, attributes = list(model.state_dict()), set(vars(model.network))
        assert_as_plain(model, batch)
        assert list(model.state_dict()) == before
        assert set(vars(model.network)) == attributes

    def test_threads_do_not_meet(self, network: str, batch: int) -> None:
        model = flow(network, 4)
        cases = [inputs(model, batch) for _ in range(8)]
        steps = [2 + k % 3 for k in range(8)]
        expected = [model.predict(condition=c, noise=n, num_steps=k) for (c, n), k in zip(cases, steps, strict=True)]
        got: list[list[Tensor]] = [[] for _ in cases]

        def run(k: int) -> None:
            condition, noise = cases[k]
            got[k] = [model.predict(condition=condition, noise=noise, num_steps=steps[k]) for _ in range(20)]

        threads = [threading.Thread(target=run, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(len(answers) == 20 for answers in got)
        assert all(torch.equal(answer, expected[k]) for k, answers in enumerate(got) for answer in answers)


def test_layers_that_were_hooked_or_replaced_are_called() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    model = flow("unet", 4)
    condition, noise = inputs(model, 1)
    before = model.predict(condition=condition, noise=noise, num_steps=4)
    network: Any = model.network
    calls: list[int] = []
    handle = network.down[0].layer_out.register_forward_hook(lambda *arguments: calls.append(1))
    hooked = model.predict(condition=condition, noise=noise, num_steps=4)
    torch.testing.assert_close(hooked, before, rtol=1e-5, atol=1e-5)
    assert len(calls) == 4
    handle.remove()
    layer = Doubled(16, 16)
    layer.load_state_dict(network.down[0].layer_out.state_dict())
    network.down[0].layer_out = layer
    assert not torch.allclose(model.predict(condition=condition, noise=noise, num_steps=4), before)
    assert_as_plain(model, 1)


def doubled(cls: Any) -> Any:
    """A subclass with a forward of its own."""

    class Doubled(cls):  # type: ignore[misc]  # any class
        def forward(self, *inputs: Any) -> Any:
            return 2 * super().forward(*inputs)

    return Doubled


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("cond_dim", [0, 4])
@pytest.mark.parametrize(
    "build",
    [
        lambda cond_dim: doubled(ConditionalUNet1D)(3, 3, cond_dim, 16, (16, 32)),
        lambda cond_dim: doubled(ResidualMlp)(3, cond_dim, (32, 32), 16),
    ],
    ids=["unet", "residual mlp"],
)
def test_a_network_with_a_forward_of_its_own_is_asked_by_it(build: Any, cond_dim: int, batch: int) -> None:
    model = ConditionalFlowModel(3, cond_dim, network=build(cond_dim))
    change(model)
    assert_as_plain(model.eval(), batch)


PARTS = ["network", "middle", "down.0", "down.0.layer_in", "down.0.norm_out", "middle.skip", "output"]


@pytest.mark.parametrize("cond_dim", [0, 4])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("part", PARTS)
def test_hooks_are_called_at_every_step(part: str, batch: int, cond_dim: int) -> None:
    model = flow("unet", cond_dim)
    network: nn.Module = model.network
    calls: list[int] = []
    module = network if part == "network" else network.get_submodule(part)
    module.register_forward_hook(lambda *arguments: calls.append(1))
    condition, noise = inputs(model, batch)
    model.predict(condition=condition, noise=noise, num_steps=5)
    assert len(calls) == 5
    assert_as_plain(model, batch)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("part", PARTS)
def test_a_forward_that_was_put_in_place_of_a_modules_own_is_the_one_that_counts(part: str, batch: int) -> None:
    model = flow("unet", 4)
    condition, noise = inputs(model, batch)
    before = model.predict(condition=condition, noise=noise, num_steps=5)
    module: Any = model.network if part == "network" else model.network.get_submodule(part)
    forward = module.forward
    module.forward = lambda *arguments: 2 * forward(*arguments)
    assert not torch.allclose(model.predict(condition=condition, noise=noise, num_steps=5), before)
    assert_as_plain(model, batch)


@pytest.mark.parametrize("batch", [1, 3])
def test_hooks_of_all_modules_see_all_of_them(batch: int) -> None:
    model = flow("unet", 4)
    condition, noise = inputs(model, batch)
    seen: list[nn.Module] = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *arguments: seen.append(module))
    try:
        model.predict(condition=condition, noise=noise, num_steps=2)
    finally:
        handle.remove()
    assert {module for module in model.network.modules() if type(module) is not nn.ModuleList} <= set(seen)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "norm", [nn.LayerNorm(32), doubled(nn.LayerNorm)(32, elementwise_affine=False), nn.RMSNorm(32)]
)
def test_another_norm_before_film_is_the_one_that_counts(norm: nn.Module, batch: int) -> None:
    model = flow("unet", 4)
    network: Any = model.network
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 2)
    network.middle.norm_out = norm
    assert_as_plain(model, batch)


def test_torchs_transforms_map_over_points_without_gradients() -> None:
    model = flow("unet", 4)
    condition, noise = inputs(model, 1)
    points = torch.randn(3, *noise.shape)
    with torch.no_grad():
        mapped = torch.vmap(lambda x: model.transport(x, condition, 4, "euler", None))(points)
        apart = [model.transport(x, condition, 4, "euler", None) for x in points]
    torch.testing.assert_close(mapped, torch.stack(apart), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_block_or_an_input_of_another_class_is_called(batch: int) -> None:
    model = flow("unet", 4)
    network: Any = model.network
    block = doubled(type(network.middle))(32, 32, False)
    block.load_state_dict(network.middle.state_dict())
    condition, noise = inputs(model, batch)
    before = model.predict(condition=condition, noise=noise, num_steps=4)
    network.middle = block
    assert not torch.allclose(model.predict(condition=condition, noise=noise, num_steps=4), before)
    assert_as_plain(model, batch)
    model = flow("residual mlp", 4)
    network = model.network
    layer = doubled(nn.Linear)(network.input.in_features, network.input.out_features)
    layer.load_state_dict(network.input.state_dict())
    network.input = layer
    assert_as_plain(model, batch)


@pytest.mark.parametrize("network", ["unet", "residual mlp"])
def test_features_of_another_number_of_rows_are_refused(network: str) -> None:
    model = flow(network, 4)
    for num_steps in (1, 5):
        with torch.no_grad(), pytest.raises(ValueError, match=r"condition must have shape \(5, 4\)"):
            model.transport(torch.randn(5, 3), torch.randn(1, 4), num_steps, "euler", None)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("network", ["unet", "residual mlp"])
@pytest.mark.parametrize("cond_dim", [0, 4])
def test_autocast(network: str, cond_dim: int, batch: int) -> None:
    model = flow(network, cond_dim)
    condition, noise = inputs(model, batch)
    exact = model.predict(condition=condition, noise=noise, num_steps=5)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.predict(condition=condition, noise=noise, num_steps=5)
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.3)  # bfloat16 has eight bits


def test_images_are_encoded_some_at_a_time() -> None:
    encoder = DictObservationEncoder({"camera": (3, 36, 36)}, 4)
    model = ConditionalFlowModel(
        2, encoder.output_dim, network=ResidualMlp(2, encoder.output_dim, (8,)), encoder=encoder
    )
    seen: list[int] = []
    convolution = next(module for module in encoder.modules() if isinstance(module, nn.Conv2d))
    convolution.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    images = torch.zeros(CHUNK_ROWS + 7, 3, 36, 36, dtype=torch.uint8)
    assert model.predict(condition={"camera": images}, num_steps=2).shape == (CHUNK_ROWS + 7, 2)
    assert seen == [CHUNK_ROWS, 7]


@pytest.mark.parametrize("name", ["layer_in", "layer_out", "skip"])
def test_a_layer_may_be_several_or_without_bias(name: str) -> None:
    for build in (
        lambda dim_in, dim_out: nn.Sequential(nn.Linear(dim_in, dim_out), nn.Tanh()),
        lambda dim_in, dim_out: nn.Linear(dim_in, dim_out, bias=False),
    ):
        model = flow("unet", 4)
        block: Any = model.network.down[1]  # type: ignore[index, union-attr]  # 16 to 32
        setattr(block, name, build(32 if name == "layer_out" else 16, 32))
        assert_as_plain(model, 1)


def test_answers_are_tensors_that_a_loss_may_use() -> None:
    model = flow("unet", 4)
    condition, noise = inputs(model, 1)
    weight = torch.ones(3, requires_grad=True)
    for answer in (
        model.predict(condition=condition, noise=noise, num_steps=3),
        model.predict(condition=condition[0], noise=noise[0], num_steps=3),
        flow("unet", 0).predict(2, num_steps=3),
    ):
        assert not answer.is_inference() and not answer.requires_grad
        (weight * answer).square().sum().backward()  # what it needs is saved for the backward pass
    assert weight.grad is not None


def test_bridges_sample_as_with_a_network_of_ones_own() -> None:
    """A network without ``at_times`` is asked step by step, and the answer is the same."""

    class Plain(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
            answer: Tensor = self.network(x, t, condition)
            return answer

    network = ConditionalUNet1D(3, 3, 4, 16, (16, 32))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    ode = [LatentBridgeModel(3, 4, network=kind) for kind in (network, Plain(network))]
    condition, noise = torch.randn(5, 4), torch.randn(5, 3)
    for solver in SOLVERS:
        fast, slow = (model.predict(condition=condition, noise=noise, num_steps=6, solver=solver) for model in ode)
        torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)
    network = ConditionalUNet1D(3, 3, 4 + 3, 16, (16, 32))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    prior = SourcePrior(3, noise_scale=0.0)
    sde = [LatentBridgeModel(3, 4, network=kind, prior=prior) for kind in (network, Plain(network))]
    fast, slow = (
        model.predict(condition=condition, source=noise, num_steps=6, generator=torch.Generator().manual_seed(3))
        for model in sde
    )
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)


def test_many_rows_are_those_of_few() -> None:
    """Some rows at a time, without gradients: the same samples of the same noise, drawn as ever."""
    model = flow("unet", 4)
    count = 2 * CHUNK_ROWS + 16
    condition, noise = inputs(model, count)
    whole = model.predict(condition=condition, noise=noise, num_steps=3)
    assert whole.shape == (count, 3)
    for rows in (slice(0, 5), slice(CHUNK_ROWS - 3, CHUNK_ROWS + 3), slice(count - 5, count)):
        part = model.predict(condition=condition[rows], noise=noise[rows], num_steps=3)
        torch.testing.assert_close(whole[rows], part, rtol=1e-5, atol=1e-5)
    drawn = model.predict(condition=condition, num_steps=3, generator=torch.Generator().manual_seed(1))
    with_gradients = model.sample(condition=condition, num_steps=3, generator=torch.Generator().manual_seed(1))
    assert with_gradients.requires_grad
    torch.testing.assert_close(drawn, with_gradients.detach(), rtol=1e-5, atol=1e-5)


def test_memory_does_not_grow_with_the_rows() -> None:
    """The largest batch that the network sees is a chunk, of flows and of regressions."""
    seen: list[int] = []
    model, regression = flow("unet", 4), MlpRegressor(3, 4, (8,))
    layers: list[nn.Module] = [model.network.output, next(iter(regression.network))]
    for layer in layers:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    condition, _ = inputs(model, 3 * CHUNK_ROWS + 1)
    assert model.predict(condition=condition, num_steps=2).shape == (len(condition), 3)
    assert seen == 2 * [CHUNK_ROWS] + 2 * [CHUNK_ROWS] + 2 * [CHUNK_ROWS] + 2 * [1]
    seen.clear()
    answer = regression.predict(condition)
    assert seen == 3 * [CHUNK_ROWS] + [1]
    torch.testing.assert_close(answer, regression.mean(condition).detach(), rtol=1e-5, atol=1e-5)
