"""What is exported of each kind of model: one function from tensors to a tensor, and the interface of it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from generative_policies.action_translation import ActionTranslator, FlowActionTranslator
from generative_policies.export.interface import DTYPES, Input, Interface
from generative_policies.export.recording import ExportError
from generative_policies.forward_dynamics import MlpForwardDynamics
from generative_policies.inverse_dynamics import FlowInverseDynamics, InverseDynamics
from generative_policies.models import SOLVERS, DictObservationEncoder, GenerativeModel, MlpRegressor, Normalizer
from generative_policies.models.arrays import parameter_like
from generative_policies.models.dimensions import check_dim
from generative_policies.models.encoders import Encoder

KINDS = (GenerativeModel, MlpRegressor, ActionTranslator, InverseDynamics, MlpForwardDynamics)
# All that a predict of these does beside what is exported is what a runner does: it checks and converts.
PREDICTS = {kind.predict for kind in (*KINDS, FlowActionTranslator, FlowInverseDynamics)}
# What turns a condition into inputs, and is no part of a graph.
OUTSIDE = ("inputs", "rows", "check", "reference")


def interface(model: nn.Module, num_steps: int | None, solver: str | None) -> tuple[Interface, Callable[..., Tensor]]:
    """Return the interface of a model, and the function of its inputs that is exported.

    Args:
        model: A generative model, a regressor, a translator, or an inverse or forward dynamics.
        num_steps: Steps of the solver; the model's own number by default.
        solver: Name of the solver; the model's own by default.

    Raises:
        ExportError: If the model has no solver and one is named, or a ``predict`` of its own.
        TypeError: If it is something else.
    """
    _check_predict(model)
    match model:
        case GenerativeModel():
            return _generative(model, num_steps, solver)
        case MlpRegressor():
            return _regressor(model, num_steps, solver)
        case ActionTranslator():
            return _translator(model, num_steps, solver)
        case InverseDynamics():
            return _inverse_dynamics(model, num_steps, solver)
        case MlpForwardDynamics():
            return _forward_dynamics(model, num_steps, solver)
    inside = getattr(model, "model", getattr(model, "flow", None))
    hint = f"; export its {type(inside).__name__}" if isinstance(inside, GenerativeModel | MlpRegressor) else ""
    raise TypeError(
        f"expected a generative model, an MlpRegressor, an action translator, or an inverse or forward dynamics, got "
        f"{type(model).__name__}{hint}"
    )


def _check_predict(model: nn.Module) -> None:
    """Check that a model's answers are those of the function that is exported.

    Raises:
        ExportError: If they pass a ``predict`` that is none of the library's.
    """
    if not isinstance(model, KINDS):
        return
    if type(model).predict not in PREDICTS or "predict" in vars(model):
        raise ExportError(
            f"{type(model).__name__} has a predict of its own, whose work would be missing in the file: an export "
            f"holds sample, mean, translate, actions or next_state; do the work there"
        )


def _generative(
    model: GenerativeModel, num_steps: int | None, solver: str | None
) -> tuple[Interface, Callable[..., Tensor]]:
    steps = model.default_num_steps if num_steps is None else check_dim("num_steps", num_steps)
    solver = solver or model.default_solver
    if solver == "sde":
        way = (
            f"choose one of {', '.join(SOLVERS)}"
            if model.prior.source_dim is None
            else "a bridge from a given source has no other"
        )
        raise ExportError(
            f"solver='sde' draws at every step, and in an exported model all noise must be an input; {way}"
        )
    inputs = [] if model.encoder is None else _inputs(model.encoder, "condition")
    count = len(inputs)
    if model.source_shape is not None:
        inputs.append(Input("source", model.source_shape))
    inputs.append(Input("noise", model.sample_shape))

    def sample(*tensors: Tensor) -> Tensor:
        condition = tensors[:count] if count else None
        source = tensors[count] if model.source_shape is not None else None
        return model.sample(None, condition, source, steps, solver, None, tensors[-1])

    arguments = {
        "target_dim": model.target_dim,
        "cond_dim": model.cond_dim,
        "horizon": model.horizon,
        "source_dim": model.prior.source_dim,
        "encoder": _encoder(model.encoder),
    }
    name = type(model).__name__
    return Interface("flow", name, tuple(inputs), "sample", model.sample_shape, steps, solver, arguments), sample


def _regressor(
    model: MlpRegressor, num_steps: int | None, solver: str | None
) -> tuple[Interface, Callable[..., Tensor]]:
    _refuse_solver(model, num_steps, solver)

    def mean(*tensors: Tensor) -> Tensor:
        return model.mean(tensors)

    inputs = tuple(_inputs(model.encoder, "condition"))
    arguments = {"encoder": _encoder(model.encoder)}
    return Interface("regressor", type(model).__name__, inputs, "mean", model.target_shape, None, None, arguments), mean


def _translator(
    model: ActionTranslator, num_steps: int | None, solver: str | None
) -> tuple[Interface, Callable[..., Tensor]]:
    steps, solver, options = _solver(model, num_steps, solver)
    inputs = _inputs(model.observation_encoder, "obs")
    count = len(inputs)
    inputs += [Input("source_actions", (model.source_action_dim,)), *_noise(model.noise_dim)]

    def translate(*tensors: Tensor) -> Tensor:
        obs, (source_actions, *noise) = tensors[:count], tensors[count:]
        return model.translate(obs, source_actions, noise=noise[0] if noise else None, **options)

    arguments = {
        "action_dim": model.action_dim,
        "obs_dim": model.obs_dim,
        "source_action_dim": model.source_action_dim,
        "noise_dim": model.noise_dim,
        "encoder": _encoder(model.observation_encoder),
    }
    name, shape = type(model).__name__, (model.action_dim,)
    return Interface("translator", name, tuple(inputs), "target_actions", shape, steps, solver, arguments), translate


def _inverse_dynamics(
    model: InverseDynamics, num_steps: int | None, solver: str | None
) -> tuple[Interface, Callable[..., Tensor]]:
    steps, solver, options = _solver(model, num_steps, solver)
    encoder = model.observation_encoder
    if encoder is None:
        inputs, count = [Input("obs", (model.obs_dim,)), Input("next_obs", (model.next_obs_dim,))], 1
    else:
        inputs, count = [*_inputs(encoder, "obs"), *_inputs(encoder, "next_obs")], len(encoder.input_shapes)
    inputs += _noise(model.noise_dim)

    def actions(*tensors: Tensor) -> Tensor:
        parts: list[Any] = [tensors[:count], tensors[count : 2 * count]]
        obs, next_obs = [part[0] for part in parts] if encoder is None else parts
        noise = tensors[-1] if model.noise_dim else None
        return model.actions(obs, next_obs, noise=noise, **options)

    arguments = {
        "action_dim": model.action_dim,
        "obs_dim": model.obs_dim,
        "next_obs_dim": model.next_obs_dim,
        "noise_dim": model.noise_dim,
        "encoder": None if encoder is None else _encoder(encoder),
        "observation_statistics": _statistics(model.observation_normalizer),
        "change_statistics": _statistics(model.change_normalizer),
    }
    name, shape = type(model).__name__, (model.action_dim,)
    return Interface("inverse_dynamics", name, tuple(inputs), "actions", shape, steps, solver, arguments), actions


def _forward_dynamics(
    model: MlpForwardDynamics, num_steps: int | None, solver: str | None
) -> tuple[Interface, Callable[..., Tensor]]:
    _refuse_solver(model, num_steps, solver)
    inputs = Input("obs", (model.obs_dim,)), Input("actions", (model.action_dim,))
    arguments = {"obs_dim": model.obs_dim, "action_dim": model.action_dim}
    name, shape = type(model).__name__, (model.obs_dim,)
    return Interface("forward_dynamics", name, inputs, "next_obs", shape, None, None, arguments), model.next_state


def _noise(dim: int) -> list[Input]:
    return [Input("noise", (dim,))] if dim else []


def _solver(
    model: ActionTranslator | InverseDynamics, num_steps: int | None, solver: str | None
) -> tuple[int | None, str | None, dict[str, Any]]:
    """Steps and solver of a flow translator or flow inverse dynamics, and how they are passed."""
    if not isinstance(model, FlowActionTranslator | FlowInverseDynamics):
        _refuse_solver(model, num_steps, solver)
        return None, None, {}
    steps = model.num_steps if num_steps is None else check_dim("num_steps", num_steps)
    solver = solver or model.flow.default_solver
    return steps, solver, {"num_steps": steps, "solver": solver}


def _refuse_solver(model: nn.Module, num_steps: int | None, solver: str | None) -> None:
    if num_steps is not None or solver is not None:
        raise ExportError(
            f"num_steps and solver are for models that are flows, and {type(model).__name__} is none; got "
            f"num_steps={num_steps} and solver={solver!r}"
        )


def _inputs(encoder: Encoder, name: str) -> list[Input]:
    """The inputs of an encoder: the argument's name, or with a part for each of several."""
    if isinstance(encoder, DictObservationEncoder):
        parts: Sequence[str] = [f"{name}.{key}" for key in encoder.keys]
    elif len(encoder.input_shapes) == 1:
        parts = [name]
    else:
        parts = [f"{name}.{k}" for k in range(len(encoder.input_shapes))]
    return [
        Input(part, tuple(shape), dtype)
        for part, shape, dtype in zip(parts, encoder.input_shapes, _dtypes(encoder), strict=True)
    ]


def _dtypes(encoder: Encoder) -> list[str]:
    """The types of an encoder's inputs.

    Raises:
        ExportError: If there is one that no runner gives.
    """
    words = {dtype: word for word, dtype in DTYPES.items()}
    found = [encoder.input_like(k).dtype for k in range(len(encoder.input_shapes))]
    if unknown := set(found) - set(words):
        raise ExportError(
            f"{type(encoder).__name__} takes {unknown.pop()}, an exported model takes {', '.join(DTYPES)}"
        )
    return [words[dtype] for dtype in found]


def _encoder(encoder: Encoder | None) -> dict[str, Any] | None:
    """What a runner must know of an encoder to take what it takes: it computes nothing outside of the graph."""
    if encoder is None:
        return None
    base = DictObservationEncoder if isinstance(encoder, DictObservationEncoder) else Encoder
    for name in OUTSIDE if base is Encoder else (*OUTSIDE, "input_like"):
        if getattr(type(encoder), name) is not getattr(base, name):
            raise ExportError(
                f"{type(encoder).__name__} turns what it is given into inputs in a way of its own, {name}, which is no "
                f"part of a graph; only DictObservationEncoder may"
            )
    if isinstance(encoder, DictObservationEncoder):
        return {"dictionary": {key: encoder.config[key] for key in ("shapes", "history", "image_dtype")}}
    return {"shapes": [list(shape) for shape in encoder.input_shapes]}


def _statistics(normalizer: Normalizer | None) -> dict[str, list[float]] | None:
    if normalizer is None:
        return None
    return {"mean": normalizer.mean.tolist(), "std": normalizer.std.tolist()}


def check_dtype(model: nn.Module) -> None:
    """Check that a model computes in torch.float32.

    Raises:
        ExportError: If it does not.
    """
    dtype = parameter_like(model).dtype
    if dtype != torch.float32:
        raise ExportError(f"a model is exported in torch.float32, got one in {dtype}; export model.float()")
