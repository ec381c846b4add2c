"""The dense U-Net for one row without gradients: as few operations as there can be, each on a few hundred numbers.

At this size an operation takes longer to start than to compute. So parameters are looked up once for all evaluations,
FiLM is the affine map of the norm that it follows, biases and sums go into the products, and nothing is allocated that
an operation can write over.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from generative_policies.models.velocity import is_hooked

Evaluate = Callable[[Tensor, Sequence[tuple[Tensor, Tensor]]], Tensor]


def single_row_velocity(unet: nn.Module, block_class: type[nn.Module]) -> Evaluate | None:
    """Return the way from the point ``(1, dim)`` to the velocity in its shape.

    It takes the point, and each block's FiLM scale and shift, ``(dim_out,)`` each.

    Args:
        unet: A ``ConditionalUNet1D`` with dense layers.
        block_class: The class of its blocks.

    Returns:
        The function; ``None`` where a block or a layer is no plain one, or has hooks.
    """
    parts: dict[str, Any] = unet._modules
    hooked = any(is_hooked(module) for module in unet.modules())
    if hooked or not _has(parts, {"input": nn.Linear, "output": nn.Linear, "output_norm": nn.LayerNorm}):
        return None
    layers = {"norm_in": nn.LayerNorm, "layer_in": nn.Linear, "norm_out": nn.LayerNorm, "layer_out": nn.Linear}
    for block in (*parts["down"], parts["middle"], *parts["up"]):
        if type(block) is not block_class:
            return None
        identity = type(block._modules["skip"]) is nn.Identity
        if not _has(block._modules, layers if identity else {**layers, "skip": nn.Linear}):
            return None
    count = len(parts["down"])
    blocks = [_block(block._modules) for block in (*parts["down"], parts["middle"], *parts["up"])]
    down, middle, up = blocks[:count], blocks[count], blocks[count + 1 :]
    (input_bias, input_weight), (output_bias, output_weight) = (_linear(parts[name]) for name in ("input", "output"))
    norm, shape, scale, shift, eps = _norm(parts["output_norm"])
    addmv, cat, silu = torch.addmv, torch.cat, nn.functional.silu

    def velocity(x: Tensor, modulations: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        h = addmv(input_bias, input_weight, x[0])  # vectors from here on: products with a matrix take longer
        skips = []
        for level, block in enumerate(down):
            h = block(h, *modulations[level])
            skips.append(h)
        h = middle(h, *modulations[count])
        for level in range(count - 1, -1, -1):
            h = up[level](cat((h, skips[level])), *modulations[count + 1 + level])
        h = silu(norm(h, shape, scale, shift, eps), inplace=True)
        return addmv(output_bias, output_weight, h).unsqueeze(0)

    return velocity


def _block(parts: dict[str, Any]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    norm, shape_in, scale_in, shift_in, eps = _norm(parts["norm_in"])
    (bias_in, weight_in), (bias_out, weight_out) = _linear(parts["layer_in"]), _linear(parts["layer_out"])
    shape_out = parts["norm_out"].normalized_shape
    addmv, silu = torch.addmv, nn.functional.silu
    skip = parts["skip"]
    has_skip = isinstance(skip, nn.Linear)
    bias_skip, weight_skip = _linear(skip) if has_skip else (bias_out, weight_out)
    bias = bias_skip + bias_out if has_skip else bias_out

    def block(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        h = addmv(bias_in, weight_in, silu(norm(x, shape_in, scale_in, shift_in, eps), inplace=True))
        h = silu(norm(h, shape_out, scale, shift, eps), inplace=True)
        return addmv(addmv(bias, weight_skip, x) if has_skip else x + bias, weight_out, h)

    return block


def _linear(layer: nn.Module) -> tuple[Tensor, Tensor]:
    parameters: dict[str, Any] = layer._parameters
    return parameters["bias"], parameters["weight"]


def _norm(layer: Any) -> tuple[Any, Any, Tensor, Tensor, float]:
    parameters: dict[str, Any] = layer._parameters
    return torch.layer_norm, layer.normalized_shape, parameters["weight"], parameters["bias"], layer.eps


def _has(parts: dict[str, Any], layers: dict[str, type[nn.Module]]) -> bool:
    """Whether layers are of these very classes, and the linear ones have a bias."""
    return all(
        type(parts[name]) is kind and (kind is not nn.Linear or parts[name].bias is not None)
        for name, kind in layers.items()
    )
