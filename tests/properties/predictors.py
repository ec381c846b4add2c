"""Every model that has a ``predict``, as a function of named arrays, in any sizes."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import nn

from generative_policies import action_translation, forward_dynamics, inverse_dynamics, models, policies
from generative_policies.export import OnnxModel, export_onnx
from tests.export.stand_ins import trained


class Predictor(NamedTuple):
    """A model as a function.

    Attributes:
        cls: Its class.
        build: Makes it, of a width of its answer and of its observation.
        widths: The widths of its arrays, by name, from the same two.
        ask: Calls its ``predict`` with the arrays.
        reference: The array whose kind and dtype the answer takes.
    """

    cls: Any
    build: Callable[[int, int], nn.Module]
    widths: Callable[[int, int], dict[str, int]]
    ask: Callable[[Any, dict[str, Any]], Any]
    reference: str


def ask_flow(model: Any, arrays: dict[str, Any]) -> Any:
    return model.predict(**arrays, num_steps=1, solver="euler")


def ask(model: Any, arrays: dict[str, Any]) -> Any:
    return model.predict(**arrays)


def flow(cls: Any, **options: Any) -> Predictor:
    return Predictor(
        cls,
        lambda action, obs: cls(action, obs, **options),
        lambda action, obs: {"condition": obs, "noise": action},
        ask_flow,
        "condition",
    )


def translator(cls: Any, noise: bool) -> Predictor:
    return Predictor(
        cls,
        lambda action, obs: cls(action, obs, (8,)),
        lambda action, obs: {"obs": obs, "source_actions": action} | ({"noise": action} if noise else {}),
        ask,
        "source_actions",
    )


def inverse(cls: Any, noise: bool) -> Predictor:
    return Predictor(
        cls,
        lambda action, obs: cls(action, obs, (8,)),
        lambda action, obs: {"obs": obs, "next_obs": obs} | ({"noise": action} if noise else {}),
        ask,
        "obs",
    )


FORWARD = Predictor(
    forward_dynamics.MlpForwardDynamics,
    lambda action, obs: forward_dynamics.MlpForwardDynamics(obs, action, (8,)),
    lambda action, obs: {"obs": obs, "actions": action},
    ask,
    "obs",
)
COMPOSED = Predictor(
    action_translation.ComposedActionTranslator,
    lambda action, obs: action_translation.ComposedActionTranslator(
        inverse_dynamics.MlpInverseDynamics(action, obs, (8,)),
        forward_dynamics.MlpForwardDynamics(obs, action, (8,)),
    ),
    lambda action, obs: {"obs": obs, "source_actions": action},
    ask,
    "source_actions",
)
REGRESSOR = Predictor(
    models.MlpRegressor,
    lambda action, obs: models.MlpRegressor(action, obs, (8,)),
    lambda action, obs: {"condition": obs},
    ask,
    "condition",
)
PLANNER = Predictor(
    policies.FlowPlanner,
    lambda action, obs: policies.FlowPlanner(obs, (8,), num_steps=1),
    lambda action, obs: {"obs": obs, "noise": obs},
    ask,
    "obs",
)
PREDICTORS = {
    predictor.cls.__name__: predictor
    for predictor in (
        flow(models.ConditionalFlowModel, down_dims=(8,)),
        flow(models.LatentBridgeModel, down_dims=(8,)),
        flow(models.DistilledFlowModel),
        flow(models.AverageVelocityModel, down_dims=(8,)),
        REGRESSOR,
        inverse(inverse_dynamics.MlpInverseDynamics, noise=False),
        inverse(inverse_dynamics.FlowInverseDynamics, noise=True),
        FORWARD,
        translator(action_translation.MlpActionTranslator, noise=False),
        translator(action_translation.FlowActionPriorTranslator, noise=True),
        translator(action_translation.FlowActionConditionedTranslator, noise=True),
        translator(action_translation.FlowActionPriorConditionedTranslator, noise=True),
        COMPOSED,
        PLANNER,
    )
}
# One of each kind of exported model.
EXPORTED = ("ConditionalFlowModel", "MlpRegressor", "FlowInverseDynamics", "MlpForwardDynamics")
EXPORTED += ("FlowActionPriorConditionedTranslator", "MlpActionTranslator")


@cache
def built(name: str, action: int, obs: int) -> Any:
    """A model with random weights, small enough that no answer leaves a half-precision float's range."""
    predictor = PREDICTORS[name.removeprefix("exported ")]
    model = trained(predictor.build(action, obs))
    if not name.startswith("exported "):
        return model
    options = {"num_steps": 1} if isinstance(model, models.GenerativeModel) else {}
    with TemporaryDirectory() as folder:
        export_onnx(model, Path(folder) / "model.onnx", **options)
        return OnnxModel.load(Path(folder) / "model.onnx")


NAMES = [*PREDICTORS, *(f"exported {name}" for name in EXPORTED)]
FLOATS = (torch.float16, torch.float32, torch.float64)
