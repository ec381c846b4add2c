"""The tensors of a checkpoint in one safetensors file, held against a model before any of them is read.

What the header claims has to agree with the model's names and shapes, which are built without memory, and the file is
as long as its header says. So no file takes more memory than it has bytes.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

MAX_HEADER_BYTES = 10_000_000
# A part may build what another part then takes the place of.
TENSORS_BUILT_PER_TENSOR, TENSORS_BUILT = 8, 1_000


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes that a file's header claims, by the tensors' names; the library checks them with its length.

    Raises:
        OSError: If there is no such file, or it is none.
        SafetensorError: If it is truncated or foreign.
        ValueError: If its header is too long.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no file {file.name}")
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
    if file.stat().st_size >= 8 and length > min(MAX_HEADER_BYTES, file.stat().st_size):
        raise ValueError(f"its header is said to have {length} bytes, of {file.stat().st_size} in the file")
    with safe_open(file, framework="pt") as opened:
        return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118  # no mapping


def check_fit(model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that a model has tensors of these names and shapes, and no others.

    Raises:
        RuntimeError: If it has others.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if different := sorted(set(expected) ^ set(shapes)):
        raise RuntimeError(f"tensors missing or superfluous: {', '.join(different[:10])}")
    for name, shape in expected.items():
        if shape != shapes[name]:
            raise RuntimeError(f"{name} has the shape {shapes[name]}, expected {shape}")


def read_into(model: nn.Module, file: Path) -> None:
    """Give a model the tensors of a file.

    Raises:
        OSError: If the file cannot be read.
        SafetensorError: If it is truncated or foreign.
        RuntimeError: If its tensors do not fit the model.
        ValueError: If they are of several types, or other than finite real numbers.
    """
    check_fit(model, read_shapes(file))
    tensors: dict[str, Tensor] = {}
    with safe_open(file, framework="pt") as opened:
        for name in opened.keys():  # noqa: SIM118  # no mapping
            # A copy, since tensors of the file are mapped memory that another save would pull away.
            tensors[name] = opened.get_tensor(name).clone()
    if len({tensor.dtype for tensor in tensors.values()}) > 1:
        raise ValueError(f"tensors of several types: {sorted({str(tensor.dtype) for tensor in tensors.values()})}")
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds other than finite real numbers")
    state = model.state_dict()
    # Shapes alone get the file's tensors; what has memory keeps it, since an optimizer may hold it.
    hollow = {name for name, tensor in state.items() if tensor.is_meta}
    model.load_state_dict({name: tensors[name] for name in hollow}, strict=False, assign=True)
    model.load_state_dict({name: tensors[name] for name in set(state) - hollow}, strict=False)


@contextmanager
def building(num_tensors: int) -> Iterator[None]:
    """Let this thread build a model for so many tensors, and not one of a million layers.

    Raises:
        ValueError: As soon as it has built several times as many.
    """
    thread, limit, built = threading.get_ident(), TENSORS_BUILT_PER_TENSOR * num_tensors + TENSORS_BUILT, 0

    def count(module: nn.Module, name: str, tensor: object) -> None:
        nonlocal built
        if threading.get_ident() == thread:
            built += 1
            if built > limit:
                raise ValueError(f"it describes a model of more than {limit} tensors, the file has {num_tensors}")

    handles = register_module_parameter_registration_hook(count), register_module_buffer_registration_hook(count)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
