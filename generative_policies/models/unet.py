"""The conditional U-Net velocity network, dense at horizon 1."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from generative_policies.models.mlp import check_dim, check_net_arch
from generative_policies.models.velocity import TimeEmbedding


class ResidualBlock(nn.Module):
    """Two normalised layers with a FiLM modulation between them and a skip around them.

    FiLM (feature-wise scale and shift) is a sum of one projection of the time and one of the condition, so that each
    can be computed once where the other varies.

    Args:
        dim_in: Width of the input.
        dim_out: Width of the output.
        time_dim: Width of the time features.
        cond_dim: Width of the condition features, 0 for none.
    """

    def __init__(self, dim_in: int, dim_out: int, time_dim: int, cond_dim: int) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(dim_in)
        self.linear_in = nn.Linear(dim_in, dim_out)
        self.film_time = nn.Linear(time_dim, 2 * dim_out)
        self.film_condition = nn.Linear(cond_dim, 2 * dim_out, bias=False) if cond_dim else None
        self.norm_out = nn.LayerNorm(dim_out, elementwise_affine=False)  # FiLM is its affine map
        self.linear_out = nn.Linear(dim_out, dim_out)
        self.skip = nn.Linear(dim_in, dim_out) if dim_in != dim_out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor, condition: Tensor | None) -> Tensor:
        """Map ``(batch, dim_in)`` to ``(batch, dim_out)``."""
        film = self.film_time(time)
        if self.film_condition is not None:
            film = film + self.film_condition(condition)
        scale, shift = film.chunk(2, dim=-1)  # (B, dim_out) each
        h = self.linear_in(nn.functional.silu(self.norm_in(x)))
        h = (1 + scale) * self.norm_out(h) + shift
        out: Tensor = self.skip(x) + self.linear_out(nn.functional.silu(h))
        return out


class ConditionalUNet1D(nn.Module):
    """Residual U-Net with FiLM conditioning; at horizon 1 its convolutions are dense layers.

    Follows the contract of ``VelocityNetwork`` with x of shape ``(batch, in_channels)``.

    Args:
        in_channels: Width of the point x_t.
        out_channels: Width of the velocity.
        cond_dim: Width of the condition features, 0 for none.
        diffusion_step_embed_dim: Number of time features, even.
        down_dims: Widths of the levels, top to bottom.

    Source: the U-Net of Chi et al. 2023 (Diffusion Policy), at horizon 1.

    Example:
        >>> network = ConditionalUNet1D(7, 7, cond_dim=64)
        >>> network(torch.zeros(5, 7), torch.zeros(5), torch.zeros(5, 64)).shape
        torch.Size([5, 7])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        cond_dim: int = 0,
        diffusion_step_embed_dim: int = 32,
        down_dims: Sequence[int] = (32, 64, 128),
    ) -> None:
        super().__init__()
        dims = check_net_arch(down_dims)
        self.config = {
            "in_channels": check_dim("in_channels", in_channels),
            "out_channels": check_dim("out_channels", out_channels),
            "cond_dim": check_dim("cond_dim", cond_dim, minimum=0),
            "diffusion_step_embed_dim": diffusion_step_embed_dim,
            "down_dims": dims,
        }
        time_dim = diffusion_step_embed_dim
        self.time_embedding = nn.Sequential(
            TimeEmbedding(time_dim), nn.Linear(time_dim, 4 * time_dim), nn.SiLU(), nn.Linear(4 * time_dim, time_dim)
        )
        self.input = nn.Linear(in_channels, dims[0])

        def block(dim_in: int, dim_out: int) -> ResidualBlock:
            return ResidualBlock(dim_in, dim_out, time_dim, cond_dim)

        self.down = nn.ModuleList(block(a, b) for a, b in zip((dims[0], *dims[:-1]), dims, strict=True))
        self.middle = block(dims[-1], dims[-1])
        # The way up meets the way down's outputs as skips, the lowest first.
        self.up = nn.ModuleList(block(2 * b, a) for a, b in zip((dims[0], *dims[:-1]), dims, strict=True))
        self.output_norm = nn.LayerNorm(dims[0])
        self.output = nn.Linear(dims[0], out_channels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        """Return the velocity ``(batch, out_channels)``, see ``VelocityNetwork``."""
        time = nn.functional.silu(self.time_embedding(t))
        h = self.input(x)
        skips = []
        for block in self.down:
            h = block(h, time, condition)
            skips.append(h)
        h = self.middle(h, time, condition)
        for block in reversed(self.up):
            h = block(torch.cat([h, skips.pop()], dim=-1), time, condition)
        velocity: Tensor = self.output(nn.functional.silu(self.output_norm(h)))
        return velocity
