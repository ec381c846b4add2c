"""A model of every kind, as after training, and calls of its predict."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from generative_policies.action_translation import (
    ComposedActionTranslator,
    FlowActionConditionedTranslator,
    FlowActionPriorConditionedTranslator,
    FlowActionPriorTranslator,
    MlpActionTranslator,
)
from generative_policies.forward_dynamics import MlpForwardDynamics
from generative_policies.inverse_dynamics import FlowInverseDynamics, MlpInverseDynamics
from generative_policies.models import (
    AverageVelocityModel,
    ConditionalFlowModel,
    DictObservationEncoder,
    DiffusionTransformer,
    DistilledFlowModel,
    IdentityTwoInputEncoder,
    LatentBridgeModel,
    LiftedSourcePrior,
    MlpRegressor,
    Normalizer,
    ObservationAndVectorEncoder,
    ResidualMlp,
    SourcePrior,
)

Shapes = dict[str, Any]  # of one row, by the name of predict's argument; a dictionary or tuple where it takes one

ACTION, OBS, SOURCE = 3, 5, 2  # widths
IMAGE = {"camera": (12, 16, 3), "joints": (4,)}


class Case(NamedTuple):
    """A model, what its predict takes, and the options of its export and of predict."""

    build: Callable[[], nn.Module]
    shapes: Shapes
    noise: tuple[int, ...] | None = None
    options: Mapping[str, Any] = MappingProxyType({})


def trained(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give a model weights and statistics that are nowhere zero, one or identity."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / max(1, parameter[0].numel()) ** 0.5)
    for module in model.modules():
        if isinstance(module, Normalizer):
            module.mean.copy_(2 * torch.randn(module.dim, generator=generator))
            module.std.copy_(0.5 + torch.rand(module.dim, generator=generator))
        if isinstance(module, LiftedSourcePrior):
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator))
            module.bias.copy_(torch.randn(module.bias.shape, generator=generator))
    return model.eval()


def images(dtype: str, history: int = 1) -> DictObservationEncoder:
    return DictObservationEncoder(IMAGE, image_features=8, history=history, image_dtype=dtype)


def frames(history: int) -> Shapes:
    return {key: shape if history == 1 else (history, *shape) for key, shape in IMAGE.items()}


def flow(target_dim: int, cond_dim: int = 0, **options: Any) -> Callable[[], nn.Module]:
    return lambda: ConditionalFlowModel(target_dim, cond_dim, 16, (16, 32), **options)


CASES: dict[str, Case] = {
    "u-net": Case(flow(ACTION, OBS), {"condition": (OBS,)}, (ACTION,), {"num_steps": 3}),
    "u-net, one step": Case(flow(ACTION, OBS), {"condition": (OBS,)}, (ACTION,), {"num_steps": 1}),
    "unconditional": Case(flow(ACTION), {}, (ACTION,), {"num_steps": 2, "solver": "rk4"}),
    "temporal u-net": Case(
        flow(ACTION, OBS, horizon=5), {"condition": (OBS,)}, (5, ACTION), {"num_steps": 2, "solver": "heun"}
    ),
    "temporal, unconditional": Case(flow(ACTION, horizon=4), {}, (4, ACTION), {"num_steps": 1}),
    "transformer": Case(
        flow(ACTION, OBS, horizon=4, network=DiffusionTransformer(ACTION, OBS, 16, horizon=4)),
        {"condition": (OBS,)},
        (4, ACTION),
        {"num_steps": 2, "solver": "midpoint"},
    ),
    "residual chunk": Case(
        flow(ACTION, OBS, horizon=4, network=ResidualMlp(ACTION, OBS, (32, 32, 16), horizon=4)),
        {"condition": (OBS,)},
        (4, ACTION),
        {"num_steps": 5},
    ),
    "source": Case(
        flow(ACTION, OBS, prior=SourcePrior(ACTION)),
        {"source": (ACTION,), "condition": (OBS,)},
        (ACTION,),
        {"num_steps": 2},
    ),
    "source without noise": Case(
        flow(ACTION, prior=SourcePrior(ACTION, 0.0)),
        {"source": (ACTION,)},
        (ACTION,),
        {"num_steps": 2, "solver": "euler"},
    ),
    "lifted source chunk": Case(
        flow(ACTION, horizon=4, prior=LiftedSourcePrior(ACTION, SOURCE)),
        {"source": (4, SOURCE)},
        (4, ACTION),
        {"num_steps": 2},
    ),
    "two inputs": Case(
        flow(ACTION, OBS + SOURCE, encoder=IdentityTwoInputEncoder(OBS, SOURCE)),
        {"condition": ((OBS,), (SOURCE,))},
        (ACTION,),
        {"num_steps": 2},
    ),
    "images of bytes": Case(
        lambda: flow(ACTION, images("uint8").output_dim, encoder=images("uint8"))(),
        {"condition": IMAGE},
        (ACTION,),
        {"num_steps": 2},
    ),
    "images of floats, history": Case(
        lambda: flow(ACTION, images("float", 2).output_dim, encoder=images("float", 2))(),
        {"condition": frames(2)},
        (ACTION,),
        {"num_steps": 2},
    ),
    "image beside a vector": Case(
        lambda: flow(ACTION, 12 + SOURCE, encoder=ObservationAndVectorEncoder(images("uint8"), SOURCE))(),
        {"condition": ((12, 16, 3), (4,), (SOURCE,))},
        (ACTION,),
        {"num_steps": 2},
    ),
    "distilled": Case(
        lambda: DistilledFlowModel(ACTION, OBS, 2, network=ResidualMlp(ACTION, OBS, (32, 32))),
        {"condition": (OBS,)},
        (ACTION,),
    ),
    "average velocity": Case(
        lambda: AverageVelocityModel(ACTION, OBS, 16, (16, 32)), {"condition": (OBS,)}, (ACTION,), {"num_steps": 1}
    ),
    "average velocity of chunks": Case(
        lambda: AverageVelocityModel(ACTION, OBS, 16, (16, 32), horizon=4),
        {"condition": (OBS,)},
        (4, ACTION),
        {"num_steps": 3},
    ),
    "bridge": Case(
        lambda: LatentBridgeModel(ACTION, OBS, 0.5, 16, (16, 32)),
        {"condition": (OBS,)},
        (ACTION,),
        {"num_steps": 4, "solver": "euler"},
    ),
    "bridge, heun": Case(
        lambda: LatentBridgeModel(ACTION, 0, 0.5, 16, (16,)), {}, (ACTION,), {"num_steps": 3, "solver": "heun"}
    ),
    "regressor": Case(lambda: MlpRegressor(ACTION, OBS), {"condition": (OBS,)}),
    "regressor of chunks": Case(
        lambda: MlpRegressor(ACTION, 12, horizon=4, encoder=images("uint8")), {"condition": IMAGE}
    ),
    "mlp translator": Case(lambda: MlpActionTranslator(ACTION, OBS), {"obs": (OBS,), "source_actions": (ACTION,)}),
    "linear translator": Case(
        lambda: MlpActionTranslator(ACTION, OBS, (), SOURCE), {"obs": (OBS,), "source_actions": (SOURCE,)}
    ),
    "mlp translator, images": Case(
        lambda: MlpActionTranslator(ACTION, 12, encoder=images("uint8")), {"obs": IMAGE, "source_actions": (ACTION,)}
    ),
    "prior": Case(
        lambda: FlowActionPriorTranslator(ACTION, OBS), {"obs": (OBS,), "source_actions": (ACTION,)}, (ACTION,)
    ),
    "prior, images": Case(
        lambda: FlowActionPriorTranslator(ACTION, 12, encoder=images("uint8")),
        {"obs": IMAGE, "source_actions": (ACTION,)},
        (ACTION,),
        {"num_steps": 2},
    ),
    "conditioned, images": Case(
        lambda: FlowActionConditionedTranslator(ACTION, 12, encoder=images("float")),
        {"obs": IMAGE, "source_actions": (ACTION,)},
        (ACTION,),
        {"num_steps": 2},
    ),
    "prior and conditioned, images": Case(
        lambda: FlowActionPriorConditionedTranslator(ACTION, 12, encoder=images("uint8")),
        {"obs": IMAGE, "source_actions": (ACTION,)},
        (ACTION,),
        {"num_steps": 2},
    ),
    "lifted prior": Case(
        lambda: FlowActionPriorTranslator(ACTION, OBS, source_action_dim=SOURCE),
        {"obs": (OBS,), "source_actions": (SOURCE,)},
        (ACTION,),
    ),
    "conditioned": Case(
        lambda: FlowActionConditionedTranslator(ACTION, OBS, source_action_dim=SOURCE),
        {"obs": (OBS,), "source_actions": (SOURCE,)},
        (ACTION,),
        {"num_steps": 3, "solver": "midpoint"},
    ),
    "prior and conditioned": Case(
        lambda: FlowActionPriorConditionedTranslator(ACTION, OBS),
        {"obs": (OBS,), "source_actions": (ACTION,)},
        (ACTION,),
    ),
    "composed": Case(
        lambda: ComposedActionTranslator(MlpInverseDynamics(ACTION, OBS), MlpForwardDynamics(OBS, SOURCE)),
        {"obs": (OBS,), "source_actions": (SOURCE,)},
    ),
    "composed of a flow": Case(
        lambda: ComposedActionTranslator(
            FlowInverseDynamics(ACTION, OBS, next_obs_dim=2), MlpForwardDynamics(OBS, SOURCE)
        ),
        {"obs": (OBS,), "source_actions": (SOURCE,)},
        (ACTION,),
    ),
    "inverse dynamics": Case(
        lambda: MlpInverseDynamics(ACTION, OBS, next_obs_dim=3), {"obs": (OBS,), "next_obs": (3,)}
    ),
    "inverse dynamics, images": Case(
        lambda: MlpInverseDynamics(ACTION, 12, encoder=images("float")), {"obs": IMAGE, "next_obs": IMAGE}
    ),
    "flow inverse dynamics": Case(
        lambda: FlowInverseDynamics(ACTION, OBS), {"obs": (OBS,), "next_obs": (OBS,)}, (ACTION,), {"num_steps": 4}
    ),
    "flow inverse dynamics, images": Case(
        lambda: FlowInverseDynamics(ACTION, 12, encoder=images("uint8")),
        {"obs": IMAGE, "next_obs": IMAGE},
        (ACTION,),
        {"num_steps": 2},
    ),
    "forward dynamics": Case(lambda: MlpForwardDynamics(OBS, SOURCE, members=3), {"obs": (OBS,), "actions": (SOURCE,)}),
}


def rows(case: Case, model: nn.Module, batch: int | None, seed: int = 0) -> dict[str, Any]:
    """Arguments of predict as tensors: a batch, or single rows for ``None``."""
    generator = torch.Generator().manual_seed(seed)

    def draw(shape: Any) -> Any:
        if isinstance(shape, dict):
            return {key: draw(part) for key, part in shape.items()}
        if shape and isinstance(shape[0], tuple):
            return tuple(draw(part) for part in shape)
        size = shape if batch is None else (batch, *shape)
        if len(shape) < 3:
            return 1 + 2 * torch.randn(size, generator=generator)
        values = torch.rand(size, generator=generator)
        floats = any(
            isinstance(part, DictObservationEncoder) and "float" in part.config["image_dtype"].values()
            for part in model.modules()
        )
        return values if floats else (255 * values).to(torch.uint8)

    drawn = {name: draw(shape) for name, shape in case.shapes.items()}
    if case.noise is not None:
        drawn["noise"] = torch.randn(case.noise if batch is None else (batch, *case.noise), generator=generator)
    return drawn


def as_numpy(values: Any, dtype: Any = None) -> Any:
    """Tensors as numpy arrays, floats in the dtype."""
    if isinstance(values, dict):
        return {key: as_numpy(value, dtype) for key, value in values.items()}
    if isinstance(values, tuple):
        return tuple(as_numpy(value, dtype) for value in values)
    array = values.numpy() if isinstance(values, Tensor) else values
    return array if dtype is None or array.dtype.kind != "f" else array.astype(dtype)
