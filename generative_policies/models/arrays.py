"""The boundary of every model: a caller's arrays in, checked rows inside, the caller's kind of array out."""

import math
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from generative_policies.models.dimensions import check_dim

Array = NDArray[Any] | Tensor
ArrayT = TypeVar("ArrayT", bound=Array)

# What a network keeps of so many rows stays in a processor's cache: twice as fast as of a million, in memory that does
# not grow with them. A multiple of 16, as batches that must not matter are padded to.
CHUNK_ROWS = 1024

# Converting in numpy is faster than in torch, for the few rows that a model meets in an episode.
NUMPY_DTYPES: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.float64: np.float64}


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
    if _shell.rows_are_checked:
        return
    if like is not None and (value.device != like.device or (value.is_floating_point() and value.dtype != like.dtype)):
        raise ValueError(
            f"{name} must be {like.dtype} on {like.device} as the model is, got {value.dtype} on {value.device}; "
            f"convert it with .to(...), or use predict"
        )
    check_finite(name, value)


def check_finite(name: str, value: Tensor) -> None:
    """Check that a tensor holds neither NaN nor infinity.

    Raises:
        ValueError: If it does.
    """
    # Both survive a sum, which is one pass instead of two; a sum of large numbers may overflow.
    if not math.isfinite(value.sum().item()) and not torch.isfinite(value).all():
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
    if isinstance(value, np.ndarray):
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large becomes infinite, and is refused below
            own = value.astype(NUMPY_DTYPES.get(like.dtype, value.dtype), order="C")
            finite = like.dtype in NUMPY_DTYPES and math.isfinite(np.add.reduce(own, axis=None))
        rows = torch.from_numpy(own)
    else:
        rows = value.detach().clone()
        finite = False  # not known
    if rows.dtype != like.dtype or rows.device != like.device:
        rows = rows.to(device=like.device, dtype=like.dtype)
    rows = rows.unsqueeze(0) if value.ndim == len(feature_shape) else rows
    if not finite:
        check_finite(name, rows)
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
    rows = own(rows)[0] if single else own(rows)
    if isinstance(reference, Tensor):
        dtype = reference.dtype if reference.is_floating_point() else rows.dtype
        return cast(ArrayT, rows.to(device=reference.device, dtype=dtype))
    # numpy has no bfloat16.
    answer: NDArray[Any] = (rows.float() if rows.dtype == torch.bfloat16 else rows).cpu().numpy()
    return cast(ArrayT, answer.astype(reference.dtype, copy=False) if reference.dtype.kind == "f" else answer)


def own(rows: Tensor) -> Tensor:
    """Return a tensor that a loss may use: one of inference mode is copied."""
    return rows.clone() if rows.is_inference() else rows


def same_batch(**rows: Tensor) -> int:
    """Return the common number of rows of the named tensors.

    Raises:
        ValueError: If they differ, with every name and shape in the message.
    """
    if len({len(value) for value in rows.values()}) != 1:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in rows.items())
        raise ValueError(f"expected the same number of rows in all of: {shapes}")
    return len(next(iter(rows.values())))


def common_batch(batch_size: int | None, **given: Tensor | None) -> int:
    """Return the number of rows of the arrays that are given, else ``batch_size``.

    Raises:
        ValueError: If they differ, or there is neither.
    """
    rows = {name: value for name, value in given.items() if value is not None}
    if not rows:
        if batch_size is None:
            raise ValueError("batch_size is needed where no condition, source or noise is given")
        return check_dim("batch_size", batch_size, minimum=0)
    batch = same_batch(**rows)
    if batch_size is not None and batch_size != batch:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in rows.items())
        raise ValueError(f"batch_size is {batch_size}, but the arrays have {batch} rows: {shapes}")
    return batch


def in_chunks(function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """Call a function of rows on ``CHUNK_ROWS`` of them at a time, unless gradients are recorded.

    Args:
        function: Takes as many tensors, and returns ``(batch, ...)``.
        rows: ``(batch, ...)`` each.
    """
    batch = rows[0].shape[0]
    if batch <= CHUNK_ROWS or torch.is_grad_enabled():
        return function(*rows)
    return torch.cat(
        [function(*part) for part in zip(*(torch.split(values, CHUNK_ROWS) for values in rows), strict=True)]
    )


def parameter_like(module: nn.Module) -> Tensor:
    """Return a parameter or buffer of the module, whose device and dtype its inputs must take."""
    # This runs several times in each call of a model, and module.parameters() takes ten times as long.
    submodules = [module]
    for submodule in submodules:  # grows on the way, as far as the first parameter
        for parameter in submodule._parameters.values():
            if parameter is not None:
                return parameter
        if submodule._modules:
            submodules += [child for child in submodule._modules.values() if child is not None]
    for submodule in submodules:
        for buffer in submodule._buffers.values():
            if buffer is not None:
                return buffer
    return torch.zeros(())


def standard_normal(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw standard normal noise of the shape, on the generator's device, and give it ``like``'s device and dtype."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    device = like.device if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=device, dtype=like.dtype).to(like.device)


class evaluating:  # noqa: N801  # used as a function, like torch.no_grad
    """Put a module into evaluation mode without gradients, and restore each submodule's own mode afterwards.

    Where several threads do so, the last one restores it.

    Args:
        module: Any module.
        rows_are_checked: Whether all arrays went through ``as_rows``, so that inside ``check_rows`` looks at shapes
            alone.
        inference: Whether to use PyTorch's inference mode, which is faster; its tensors are no good for a loss, see
            ``own``.
    """

    def __init__(self, module: nn.Module, *, rows_are_checked: bool = False, inference: bool = False) -> None:
        self._submodules = _submodules(module)
        self._training: list[nn.Module] = []
        self._rows_are_checked = rows_are_checked
        self._no_grad = torch.inference_mode() if inference else torch.no_grad()

    def __enter__(self) -> None:
        with _mode_lock:
            self._training = [
                child
                for child in self._submodules
                if child.training or (_being_evaluated and child in _being_evaluated)
            ]
            for submodule in self._training:
                _being_evaluated[submodule] = _being_evaluated.get(submodule, 0) + 1
                submodule.training = False
        self._outside, _shell.rows_are_checked = _shell.rows_are_checked, self._rows_are_checked
        self._no_grad.__enter__()

    def __exit__(self, *exception: object) -> None:
        self._no_grad.__exit__(None, None, None)
        _shell.rows_are_checked = self._outside
        if not self._training:
            return
        with _mode_lock:
            for submodule in self._training:
                _being_evaluated[submodule] -= 1
                if not _being_evaluated[submodule]:
                    del _being_evaluated[submodule]
                    submodule.training = True


_mode_lock = threading.Lock()
# Submodules that are in evaluation mode for a while and were not before, with the number of those who need it.
_being_evaluated: dict[nn.Module, int] = {}


class _Shell(threading.local):
    """What the shell around a model's functions knows of their arguments."""

    rows_are_checked = False


_shell = _Shell()


def rows_are_checked() -> bool:
    """Return whether this code runs inside of a shell that has checked the rows."""
    return _shell.rows_are_checked


def _submodules(module: nn.Module) -> list[nn.Module]:
    """The module and all below it, as ``module.modules()`` gives them in ten times the time; shared ones come twice."""
    found = [module]
    for submodule in found:  # grows on the way
        if submodule._modules:
            found += [child for child in submodule._modules.values() if child is not None]
    return found


def readable_shape(shape: tuple[int | str, ...]) -> str:
    """Return a shape as text, names of free axes without quotes."""
    return "(" + ", ".join(str(size) for size in shape) + ("," if len(shape) == 1 else "") + ")"
