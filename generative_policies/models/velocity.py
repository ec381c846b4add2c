"""The one contract of every velocity network, and what they share: the time embedding."""

import math
from collections.abc import Callable
from typing import Any, Protocol, TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from generative_policies.models.arrays import evaluating, parameter_like, readable_shape
from generative_policies.models.dimensions import check_dim
from generative_policies.models.solvers import IndexedVelocity

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class VelocityNetwork(Protocol):
    """A network that predicts dx_t/dt on the way from source (t = 0) to target (t = 1).

    A velocity network is an ``nn.Module`` that is called as ``network(x, t, condition)``:

    - ``x``: ``(batch, dim)``, or ``(batch, horizon, dim)`` for chunks, the point x_t in normalised units.
    - ``t``: ``(batch,)``, time in [0, 1].
    - ``condition``: ``(batch, cond_dim)`` features, or ``None`` where ``cond_dim`` is 0.

    It returns the velocity in the shape of ``x``, and zero before training: the untrained flow is the identity. Inputs
    of other shapes are a ``ValueError``, see ``check_network_inputs``.

    It may also have ``at_times(times, condition)``, with times ``(num_evaluations,)`` that all rows share: the function
    of the point and the number of the time that it is there, with all that does not depend on the point computed once.
    The function belongs to the number of rows, and to the mode with or without gradients, that it was made in. Nothing
    is kept beyond it, so that there is nothing to go stale. Such a network also has ``point_shape``, the shape of one
    point with ``None`` for any size, and ``cond_dim``, against which inputs are checked before.
    """

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        """Return the velocity in the shape of ``x``."""
        ...


def check_network_inputs(
    x: Tensor, t: Tensor, condition: Tensor | None, point_shape: tuple[int | None, ...], cond_dim: int
) -> None:
    """Check the shapes of a velocity network's inputs; values are checked where they come in, by the models.

    Args:
        x: The point.
        t: The time.
        condition: The condition features.
        point_shape: The shape of one point; ``None`` stands for any size.
        cond_dim: Width of the features, 0 where the network takes none.

    Raises:
        ValueError: If a shape is wrong, or the condition is missing or superfluous.
    """
    fits = x.ndim == 1 + len(point_shape) and all(
        size in (None, given) for size, given in zip(point_shape, x.shape[1:], strict=True)
    )
    if not fits:
        shape = readable_shape(("batch", *("horizon" if size is None else size for size in point_shape)))
        raise ValueError(f"x must have shape {shape}, got {tuple(x.shape)}")
    if t.shape != x.shape[:1]:
        raise ValueError(f"t must have shape ({len(x)},), one time a row of x, got {tuple(t.shape)}")
    if cond_dim == 0 and condition is not None:
        raise ValueError(f"condition is superfluous: built with cond_dim=0, got one of shape {tuple(condition.shape)}")
    if cond_dim and (condition is None or condition.shape != (len(x), cond_dim)):
        got = "none" if condition is None else str(tuple(condition.shape))
        raise ValueError(f"condition must have shape ({len(x)}, {cond_dim}), got {got}")


def check_network(network: nn.Module, sample_shape: tuple[int, ...], cond_dim: int) -> None:
    """Check that a network takes a model's shapes and answers in the shape of the point, by asking it once.

    Args:
        network: Any module.
        sample_shape: The shape of one point.
        cond_dim: Width of the condition features, 0 for none.

    Raises:
        ValueError: If it does not.
    """
    like = parameter_like(network)
    x = like.new_zeros((1, *sample_shape))
    features = like.new_zeros((1, cond_dim)) if cond_dim else None
    expected = f"x {tuple(x.shape)} with {cond_dim} condition features"
    try:
        with evaluating(network):
            shape = tuple(network(x, like.new_zeros(1), features).shape)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ValueError(f"network does not take {expected}: {error}") from error
    if shape != tuple(x.shape):
        raise ValueError(f"network must answer {expected} in the shape of x, got {shape}")


def velocity_at_times(
    network: nn.Module, times: tuple[float, ...], condition: Tensor | None, like: Tensor
) -> IndexedVelocity:
    """Return a network's velocity as a function of the point and the number of the evaluation.

    Args:
        network: A network that follows ``VelocityNetwork``.
        times: The time of each evaluation, in [0, 1].
        condition: ``(batch, cond_dim)`` features, or ``None``.
        like: ``(batch, ...)``, a point, whose device and dtype the times take.

    Raises:
        ValueError: If the condition has another shape, or is missing or superfluous.
    """
    # Autocast chooses dtypes by operation, so that layers that were looked up do not fit each other.
    if len(times) > 1 and _has_own_times(network) and not torch.is_autocast_enabled(like.device.type):
        inputs: Any = network  # with the attributes of the networks of this library
        check_network_inputs(like, like.new_zeros(len(like)), condition, inputs.point_shape, inputs.cond_dim)
        at_times: Callable[[Tensor, Tensor | None], IndexedVelocity] = inputs.at_times
        return at_times(torch.tensor(times, dtype=like.dtype, device=like.device), condition)
    return lambda x, number: network(x, x.new_full((len(x),), times[number]), condition)


def as_function(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a layer as a function that has looked up its parameters, which takes a module longer than to use them.

    What is no plain layer, or somebody has hooked, is returned as it is.
    """
    parameters: dict[str, Any] = layer._parameters
    if is_plain(layer, nn.Linear):
        weight, bias = parameters["weight"], parameters["bias"]
        return lambda x: nn.functional.linear(x, weight, bias)
    if is_plain(layer, nn.LayerNorm):
        scale, shift, shape, eps = parameters["weight"], parameters["bias"], layer.normalized_shape, layer.eps
        return lambda x: torch.layer_norm(x, shape, scale, shift, eps)
    return layer


def is_plain(module: nn.Module, kind: type[ModuleT]) -> TypeGuard[ModuleT]:
    """Return whether a module is of this very class, and nobody would notice if it were not called itself."""
    return type(module) is kind and not is_hooked(module) and not all_are_hooked()


def is_hooked(module: nn.Module) -> bool:
    """Return whether somebody waits for the module itself to be called, or has given it another ``forward``."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in module.__dict__
    )


def all_are_hooked() -> bool:
    """Return whether somebody waits for every module of this process to be called."""
    return bool(
        torch_module._global_forward_hooks
        or torch_module._global_forward_pre_hooks
        or torch_module._global_backward_hooks
        or torch_module._global_backward_pre_hooks
    )


def _has_own_times(network: nn.Module) -> bool:
    """Whether a network's ``at_times`` stands for its ``forward``: a subclass may have a ``forward`` of its own."""
    for cls in type(network).__mro__:
        if "at_times" in vars(cls):
            return not is_hooked(network) and not all_are_hooked()
        if "forward" in vars(cls):
            return False
    return False


class TimeEmbedding(nn.Module):
    """Sinusoidal features of the time, ``(batch,)`` -> ``(batch, dim)``, at angular frequencies from 1 to 100.

    Args:
        dim: Number of features, even.

    Raises:
        ValueError: If ``dim`` is odd or smaller than 2.
    """

    frequencies: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        if check_dim("diffusion_step_embed_dim", dim) % 2:
            raise ValueError(f"diffusion_step_embed_dim must be even and at least 2, got {dim}")
        self.register_buffer("frequencies", torch.logspace(0, 2, dim // 2))

    def forward(self, t: Tensor) -> Tensor:
        """Return sines and cosines of the time."""
        angles = 0.5 * math.pi * t[:, None] * self.frequencies  # (B, dim / 2)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def uniform_times(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw a time in [0, 1) for each row of ``like``, with its device and dtype."""
    device = like.device if generator is None else generator.device
    return torch.rand(len(like), generator=generator, device=device, dtype=like.dtype).to(like.device)
