"""The dense U-Net for one row without gradients: as few operations as there can be, each on a few hundred numbers.

At this size an operation takes longer to start than to compute. So parameters are looked up once for all evaluations,
FiLM is the affine map of the norm that it follows, and a product adds to a vector that is there already. All these
vectors lie in one, which an evaluation begins by filling with its FiLM and with the biases.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from generative_policies.models.solvers import IndexedVelocity
from generative_policies.models.velocity import is_hooked

layer_norm = torch.layer_norm
silu_ = torch._C._nn.silu_  # what nn.functional.silu calls, which takes a third longer

Modules = dict[str, Any]


def single_row_velocity(unet: nn.Module, block_class: type[nn.Module], film: Tensor) -> IndexedVelocity | None:
    """Return the way from the point ``(1, dim)`` and the number of the evaluation to the velocity in its shape.

    Args:
        unet: A ``ConditionalUNet1D`` with dense layers.
        block_class: The class of its blocks.
        film: ``(num_evaluations, F)``, what FiLM adds to one and zero: scales of all blocks, then their shifts.

    Returns:
        The function, for one thread at a time; ``None`` where a block or a layer is no plain one, or has hooks, and
        inside of ``torch.func``'s transforms, which cannot follow what is written in place.
    """
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return None
    parts: Modules = unet._modules
    down, up = (list(parts[name]._modules.values()) for name in ("down", "up"))
    blocks = _plain_blocks([*down, parts["middle"], *reversed(up)], block_class)
    if blocks is None or not _is_plain(parts, {"input": nn.Linear, "output": nn.Linear, "output_norm": nn.LayerNorm}):
        return None
    depth, count = len(down), len(blocks)
    (bias_in, weight_in), (bias_out, weight_out) = _linear(parts["input"]), _linear(parts["output"])
    hidden_biases = [_linear(block["layer_in"])[0] for block in blocks]
    end_biases = [_end_bias(block) for block in blocks]
    # A block on the way up reads the end of the block before it and that of its level's way down: neighbours.
    pairs = [bias for level in range(depth) for bias in (end_biases[-2 - level], end_biases[level])]
    vectors = (bias_in, *hidden_biases, *pairs, end_biases[-1])
    rows = torch.cat((film, torch.cat(vectors).expand(film.shape[0], -1)), dim=1)
    rows[:, : film.shape[1] // 2] += 1  # the scales
    by_number = rows.unbind()
    work = torch.empty_like(by_number[0])
    order = [*range(depth + 1), *range(count - 1, depth, -1)]  # FiLM has the way up from top to bottom
    film_dims = [hidden_biases[i].shape[0] for i in order]  # as wide as what it scales
    views = torch.split(work, [*film_dims, *film_dims, *(vector.shape[0] for vector in vectors)])
    scales, shifts = [views[i] for i in order], [views[count + i] for i in order]
    entry, hidden = views[2 * count], views[2 * count + 1 : 3 * count + 1]
    lower, across, end = views[3 * count + 1 : -1 : 2], views[3 * count + 2 : -1 : 2], views[-1]
    both = [work.narrow(0, x.storage_offset(), 2 * x.shape[0]) for x in lower]
    inputs, outputs = (entry, *across, *reversed(both)), (*across, *reversed(lower), end)
    steps = [_block(*given) for given in zip(blocks, inputs, scales, shifts, hidden, outputs, strict=True)]
    norm, fill, enter, leave = _norm(parts["output_norm"]), work.copy_, entry.unsqueeze(0).addmm_, torch.addmm
    weight_in, weight_out, last = weight_in.t(), weight_out.t(), end.unsqueeze(0)

    def velocity(x: Tensor, number: int) -> Tensor:
        fill(by_number[number])
        enter(x, weight_in)
        for step in steps:
            step()
        # In memory of its own, since a solver keeps several answers.
        return leave(bias_out, silu_(layer_norm(last, *norm)), weight_out)

    return velocity


def _block(
    block: Modules, x: Tensor, scale: Tensor, shift: Tensor, hidden: Tensor, end: Tensor
) -> Callable[[], object]:
    """Return the step that reads ``x``, and adds to ``hidden`` and ``end``."""
    shape_in, scale_in, shift_in, eps_in = _norm(block["norm_in"])
    shape, eps = block["norm_out"].normalized_shape, block["norm_out"].eps
    weight_in, weight_out = block["layer_in"]._parameters["weight"], block["layer_out"]._parameters["weight"]
    weight_skip = block["skip"]._parameters.get("weight")
    skip, add_hidden, add_end = end.add_ if weight_skip is None else end.addmv_, hidden.addmv_, end.addmv_
    given = (x,) if weight_skip is None else (weight_skip, x)

    def step() -> None:
        add_hidden(weight_in, silu_(layer_norm(x, shape_in, scale_in, shift_in, eps_in)))
        skip(*given)
        add_end(weight_out, silu_(layer_norm(hidden, shape, scale, shift, eps)))

    return step


def _plain_blocks(blocks: Sequence[nn.Module], block_class: type[nn.Module]) -> list[Modules] | None:
    """The layers of blocks that are all of the class; ``None`` where one is not, or a layer is none of the usual."""
    layers = {"norm_in": nn.LayerNorm, "layer_in": nn.Linear, "norm_out": nn.LayerNorm, "layer_out": nn.Linear}
    for block in blocks:
        if type(block) is not block_class or is_hooked(block):
            return None
        skip = type(block._modules["skip"])
        parts: Modules = block._modules
        if not _is_plain(parts, {**layers, "skip": nn.Identity if skip is nn.Identity else nn.Linear}):
            return None
        if parts["norm_out"].weight is not None:  # FiLM would take its place
            return None
    return [block._modules for block in blocks]


def _is_plain(parts: Modules, layers: dict[str, type[nn.Module]]) -> bool:
    """Whether layers are of these very classes, nobody waits for them to be called, and linear ones have a bias."""
    return all(
        type(parts[name]) is kind
        and not is_hooked(parts[name])
        and (kind is not nn.Linear or parts[name]._parameters["bias"] is not None)
        for name, kind in layers.items()
    )


def _end_bias(block: Modules) -> Tensor:
    bias, skip = _linear(block["layer_out"])[0], block["skip"]._parameters.get("bias")
    return bias if skip is None else bias + skip


def _linear(layer: nn.Module) -> tuple[Tensor, Tensor]:
    parameters: Modules = layer._parameters
    return parameters["bias"], parameters["weight"]


def _norm(layer: nn.LayerNorm) -> tuple[Any, Tensor, Tensor, float]:
    parameters: Modules = layer._parameters
    return layer.normalized_shape, parameters["weight"], parameters["bias"], layer.eps
