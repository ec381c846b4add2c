"""The plain multilayer perceptron that regression models stand on."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from torch import nn

MAX_LAYERS = 1_000


def check_net_arch(net_arch: Sequence[int]) -> tuple[int, ...]:
    """Return hidden widths as a tuple.

    Raises:
        ValueError: If there are none, too many, or one of them is not a positive integer.
    """
    widths = tuple(net_arch)
    if not 1 <= len(widths) <= MAX_LAYERS:
        raise ValueError(f"net_arch must hold 1 to {MAX_LAYERS} widths, got {len(widths)}")
    return tuple(check_dim("a width in net_arch", width) for width in widths)


def check_dim(name: str, value: int, minimum: int = 1) -> int:
    """Return a dimension.

    Raises:
        ValueError: If it is not an integer of at least ``minimum``.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")
    return int(value)


class Mlp(nn.Sequential):
    """Linear layers with SiLU between them, ``(batch, input_dim)`` -> ``(batch, output_dim)``.

    Args:
        input_dim: Width of the input.
        output_dim: Width of the output.
        net_arch: Hidden widths, SB3's word for them.
        zero_output: Start with a last layer of zeros, for residual parametrisations.

    Example:
        >>> import torch
        >>> Mlp(3, 2, (16,))(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, input_dim: int, output_dim: int, net_arch: Sequence[int], *, zero_output: bool = False) -> None:
        widths = (input_dim, *check_net_arch(net_arch))
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            layers += [nn.Linear(width_in, width_out), nn.SiLU()]
        output = nn.Linear(widths[-1], output_dim)
        if zero_output:
            nn.init.zeros_(output.weight)
            nn.init.zeros_(output.bias)
        super().__init__(*layers, output)
