"""Several multilayer perceptrons of one shape, evaluated together."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from generative_policies.models.dimensions import check_dim, check_net_arch


class EnsembleLinear(nn.Module):
    """A linear layer a member, all in one batched product.

    Each member starts with weights of its own, distributed as those of ``nn.Linear``.

    Args:
        input_dim: Width of the input.
        output_dim: Width of the output.
        members: Number of layers.
    """

    def __init__(self, input_dim: int, output_dim: int, members: int) -> None:
        super().__init__()
        bound = input_dim**-0.5
        self.weight = nn.Parameter(torch.empty(members, input_dim, output_dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, output_dim).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(members, batch, input_dim)`` to ``(members, batch, output_dim)``."""
        return torch.baddbmm(self.bias, x, self.weight)


class MlpEnsemble(nn.Sequential):
    """Members of linear layers with SiLU between them, ``(batch, input_dim)`` -> ``(members, batch, output_dim)``.

    Args:
        input_dim: Width of the input.
        output_dim: Width of the output.
        net_arch: Hidden widths of each member.
        members: Number of members.

    Raises:
        ValueError: If a width or the number of members is not positive.

    Example:
        >>> MlpEnsemble(3, 2, (16,), members=4)(torch.zeros(5, 3)).shape
        torch.Size([4, 5, 2])
    """

    def __init__(self, input_dim: int, output_dim: int, net_arch: Sequence[int], members: int) -> None:
        members = check_dim("members", members)
        widths = (input_dim, *check_net_arch(net_arch))
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            layers += [EnsembleLinear(width_in, width_out, members), nn.SiLU()]
        super().__init__(*layers, EnsembleLinear(widths[-1], output_dim, members))
        self.members = members

    def forward(self, x: Tensor) -> Tensor:
        """Return every member's answer to the same rows."""
        answer: Tensor = super().forward(x.expand(self.members, *x.shape))  # type: ignore[no-untyped-call]  # as torch's
        return answer
