"""Asking a model of any class for an answer, in the sizes that it has."""

import math
from typing import Any

import numpy as np
import torch

from generative_policies.action_translation import ActionTranslator
from generative_policies.forward_dynamics import MlpForwardDynamics
from generative_policies.inverse_dynamics import InverseDynamics
from generative_policies.models import DictObservationEncoder, GenerativeModel
from generative_policies.policies import FlowPlanner

ROWS = 3
MAX_ENTRIES = 10_000_000


def ask(model: Any) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the shape of a model's answer, and the shape that it should have, see ``answer``."""
    found = answer(model)
    return None if found is None else (tuple(found[0].shape), found[1])


def answer(model: Any) -> tuple[Any, tuple[int, ...]] | None:
    """Return a model's answer to rows of zeros, and the shape that it should have.

    Args:
        model: What ``load`` or ``OnnxModel.load`` returned; parts of models are asked for nothing.
    """
    noise = torch.Generator().manual_seed(0)
    found: Any
    if isinstance(model, GenerativeModel):
        source = None if model.source_shape is None else _zeros(model.source_shape)
        condition = None if model.encoder is None else _inputs(model.encoder)
        found = model.predict(ROWS if source is None else None, condition, source, generator=noise)
        return found, (ROWS, *model.sample_shape)
    if isinstance(model, ActionTranslator):
        obs = _inputs(model.observation_encoder)
        found = model.predict(obs, _zeros((model.source_action_dim,)), generator=noise)
        return found, (ROWS, model.action_dim)
    if isinstance(model, InverseDynamics):
        encoder = model.observation_encoder
        obs = _zeros((model.obs_dim,)) if encoder is None else _inputs(encoder)
        next_obs = _zeros((model.next_obs_dim,)) if encoder is None else _inputs(encoder)
        found = model.predict(obs, next_obs, generator=noise)
        return found, (ROWS, model.action_dim)
    if isinstance(model, MlpForwardDynamics) or type(model).__name__ == "OnnxForwardDynamics":
        found = model.predict(_zeros((model.obs_dim,)), _zeros((model.action_dim,)))
        return found, (ROWS, model.obs_dim)
    if isinstance(model, FlowPlanner):
        found = model.predict(_zeros((model.obs_dim,)), generator=noise)
        return found, (ROWS, *model.flow.sample_shape)
    if hasattr(model, "target_shape"):  # a regressor, or an exported one
        found = model.predict(_inputs(model.encoder))
        return found, (ROWS, *model.target_shape)
    return None


def _inputs(encoder: Any) -> Any:
    """Rows of zeros of what an encoder takes."""
    if isinstance(encoder, DictObservationEncoder):
        return {
            key: _zeros(shape, np.uint8 if key in encoder.images and encoder.images[key].is_uint8 else np.float32)
            for key, shape in zip(encoder.keys, encoder.input_shapes, strict=True)
        }
    rows = tuple(_zeros(shape) for shape in encoder.input_shapes)
    return rows[0] if len(rows) == 1 else rows


def _zeros(shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
    if math.prod(shape) > MAX_ENTRIES:
        raise ValueError(f"a row of {math.prod(shape)} numbers is not asked")
    return np.zeros((ROWS, *shape), dtype)
