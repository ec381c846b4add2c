"""The boundary of every model: a caller's arrays in, checked rows inside, the caller's kind of array out."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[Any] | Tensor
ArrayT = TypeVar("ArrayT", bound=Array)


def check_rows(
    name: str,
    value: Tensor,
    feature_shape: tuple[int, ...],
    batch: int | None = None,
    like: Tensor | None = None,
) -> None:
    """Check that a tensor is a batch of finite rows.

    Args:
        name: The argument's name, for the message.
        value: Any tensor.
        feature_shape: The expected shape of one row.
        batch: The expected number of rows; ``None`` accepts any.
        like: A tensor (a model's parameter) whose dtype a floating-point ``value`` must have, and whose device.

    Raises:
        TypeError: If ``value`` is not a tensor.
        ValueError: If the shape, dtype or device differs, or an entry is NaN or infinite.
    """
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor here, got {type(value).__name__}; predict also takes numpy arrays"
        )
    expected = ("batch" if batch is None else batch, *feature_shape)
    if value.ndim != len(expected) or value.shape[1:] != feature_shape or (batch is not None and len(value) != batch):
        raise ValueError(f"{name} must have shape {readable_shape(expected)}, got {tuple(value.shape)}")
    if like is not None and (value.device != like.device or (value.is_floating_point() and value.dtype != like.dtype)):
        raise ValueError(
            f"{name} must be {like.dtype} on {like.device} as the model is, got {value.dtype} on {value.device}; "
            f"convert it with .to(...), or use predict"
        )
    if not _is_finite(value):
        raise ValueError(f"{name} must be finite, got NaN or infinite entries; shape {tuple(value.shape)}")


def as_rows(name: str, value: Array, feature_shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Turn a caller's single or batched array into checked rows.

    Args:
        name: The argument's name, for the message.
        value: ``feature_shape`` or ``(batch, *feature_shape)``, numpy or torch, any real dtype.
        feature_shape: The expected shape of one row.
        like: A tensor (a model's parameter) whose device and dtype the rows take.

    Returns:
        ``(batch, *feature_shape)``, in memory of its own.

    Raises:
        ValueError: If the shape differs, or an entry is not finite.
        TypeError: If ``value`` is neither numeric array nor tensor.
    """
    if not isinstance(value, np.ndarray | Tensor):
        raise TypeError(f"{name} must be a numpy array or a torch.Tensor, got {type(value).__name__}")
    if value.is_complex() if isinstance(value, Tensor) else value.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {value.dtype}")
    if tuple(value.shape) != feature_shape and tuple(value.shape[1:]) != feature_shape:
        batched = readable_shape(("batch", *feature_shape))
        raise ValueError(
            f"{name} must have shape {readable_shape(feature_shape)} or {batched}, got {tuple(value.shape)}"
        )
    # A copy always: a read-only array is no tensor, and a model may work in place.
    rows = torch.as_tensor(np.array(value, order="C")) if isinstance(value, np.ndarray) else value.detach().clone()
    rows = rows.to(device=like.device, dtype=like.dtype)
    rows = rows.unsqueeze(0) if value.ndim == len(feature_shape) else rows
    check_rows(name, rows, feature_shape)
    return rows


def as_caller(rows: Tensor, reference: ArrayT, single: bool) -> ArrayT:
    """Give rows back in the kind and dtype of the array that the caller passed in.

    Args:
        rows: ``(batch, ...)``, a model's answer.
        reference: The caller's array; an integer one is answered in the rows' own dtype.
        single: Whether to drop the batch axis.

    Returns:
        ``(batch, ...)``, or ``(...)`` for a single row.
    """
    rows = rows[0] if single else rows
    if isinstance(reference, Tensor):
        dtype = reference.dtype if reference.is_floating_point() else rows.dtype
        return cast(ArrayT, rows.to(device=reference.device, dtype=dtype))
    # numpy has no bfloat16.
    answer: NDArray[Any] = (rows.float() if rows.dtype == torch.bfloat16 else rows).cpu().numpy()
    return cast(ArrayT, answer.astype(reference.dtype, copy=False) if reference.dtype.kind == "f" else answer)


def same_batch(**rows: Tensor) -> int:
    """Return the common number of rows of the named tensors.

    Raises:
        ValueError: If they differ, with every name and shape in the message.
    """
    if len({len(value) for value in rows.values()}) != 1:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in rows.items())
        raise ValueError(f"expected the same number of rows in all of: {shapes}")
    return len(next(iter(rows.values())))


def parameter_like(module: nn.Module) -> Tensor:
    """Return a parameter or buffer of the module, whose device and dtype its inputs must take."""
    # This runs several times in each call of a model, and module.parameters() takes ten times as long.
    for submodule in _submodules(module):
        for parameter in submodule._parameters.values():
            if parameter is not None:
                return parameter
    first = next(module.buffers(), None)
    return torch.zeros(()) if first is None else first


def standard_normal(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw standard normal noise of the shape, on the generator's device, and give it ``like``'s device and dtype."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    device = like.device if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=device, dtype=like.dtype).to(like.device)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode without gradients, and restore each submodule's own mode afterwards."""
    training = [submodule for submodule in _submodules(module) if submodule.training]
    for submodule in training:
        object.__setattr__(submodule, "training", False)  # torch's own looks for parameters first
    try:
        with torch.no_grad():
            yield
    finally:
        for submodule in training:
            object.__setattr__(submodule, "training", True)


def _is_finite(value: Tensor) -> bool:
    # NaN and infinity survive a sum, which is one pass instead of two; a sum of large numbers may overflow.
    return math.isfinite(value.sum().item()) or bool(torch.isfinite(value).all())


def _submodules(module: nn.Module) -> Iterator[nn.Module]:
    """The module and all below it, as ``module.modules()`` gives them in ten times the time; shared ones come twice."""
    yield module
    for child in module._modules.values():
        if child is not None:
            yield from _submodules(child)


def readable_shape(shape: tuple[int | str, ...]) -> str:
    """Return a shape as text, names of free axes without quotes."""
    return "(" + ", ".join(str(size) for size in shape) + ("," if len(shape) == 1 else "") + ")"
