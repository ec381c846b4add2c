"""The plain multilayer perceptron that regression models stand on."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from generative_policies.models.arrays import in_chunks
from generative_policies.models.dimensions import check_dim, check_flag, check_net_arch


class Mlp(nn.Sequential):
    """Linear layers with SiLU between them, ``(batch, input_dim)`` -> ``(batch, output_dim)``.

    Args:
        input_dim: Width of the input.
        output_dim: Width of the output.
        net_arch: Hidden widths, SB3's word for them; none for a linear map.
        zero_output: Start with a last layer of zeros, for residual parametrisations.

    Example:
        >>> import torch
        >>> Mlp(3, 2, (16,))(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, input_dim: int, output_dim: int, net_arch: Sequence[int], *, zero_output: bool = False) -> None:
        widths = (check_dim("input_dim", input_dim), *check_net_arch(net_arch, minimum=0))
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            layers += [nn.Linear(width_in, width_out), nn.SiLU()]
        output = nn.Linear(widths[-1], check_dim("output_dim", output_dim))
        if check_flag("zero_output", zero_output):
            nn.init.zeros_(output.weight)
            nn.init.zeros_(output.bias)
        super().__init__(*layers, output)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, output_dim)``; without gradients many rows are taken some at a time."""
        layers = super().forward
        return in_chunks(layers, x)
