"""The conditional U-Net velocity network: temporal convolutions for chunks, dense layers for single vectors.

Source: the U-Net of Chi et al. 2023, Diffusion Policy.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from generative_policies.models.dimensions import check_dim, check_net_arch
from generative_policies.models.single_row import single_row_velocity
from generative_policies.models.solvers import IndexedVelocity
from generative_policies.models.velocity import TimeEmbedding, as_function, check_network_inputs, is_plain

silu = nn.functional.silu

# FiLM (feature-wise scale and shift) of a block: (dim_out,) each where all rows share it, else (batch, dim_out).
Modulation = tuple[Tensor, Tensor]
Block = Callable[[Tensor, Modulation], Tensor]


class TemporalConvolution(nn.Module):
    """Convolution over the steps of a chunk.

    ``(batch, horizon, dim_in)`` -> ``(batch, ceil(horizon / stride), dim_out)``.

    Args:
        dim_in: Width of a step.
        dim_out: Width of a step of the output.
        stride: 1, or 2 to halve the number of steps.
    """

    def __init__(self, dim_in: int, dim_out: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(dim_in, dim_out, kernel_size=3, stride=stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, with zeros beyond both ends."""
        out: Tensor = self.convolution(x.transpose(1, 2))
        return out.transpose(1, 2)


class ResidualBlock(nn.Module):
    """Two normalised layers with a FiLM modulation between them and a skip around them.

    Args:
        dim_in: Width of the input.
        dim_out: Width of the output.
        temporal: Whether the layers are convolutions over the steps of a chunk.
    """

    def __init__(self, dim_in: int, dim_out: int, temporal: bool) -> None:
        super().__init__()
        layer = TemporalConvolution if temporal else nn.Linear
        self.dim_out = dim_out
        self.norm_in = nn.LayerNorm(dim_in)
        self.layer_in = layer(dim_in, dim_out)
        self.norm_out = nn.LayerNorm(dim_out, elementwise_affine=False)  # FiLM is its affine map
        self.layer_out = layer(dim_out, dim_out)
        self.skip = nn.Linear(dim_in, dim_out) if dim_in != dim_out else nn.Identity()

    def forward(self, x: Tensor, modulation: Modulation) -> Tensor:
        """Map ``(batch, dim_in)`` or ``(batch, horizon, dim_in)`` to the same with ``dim_out``."""
        return self.as_function()(x, modulation)

    def as_function(self) -> Block:
        """Return ``forward`` with the parameters looked up, for many evaluations."""
        modules = self._modules
        norm_in, layer_in, norm_out, layer_out = (
            as_function(modules[name])  # type: ignore[arg-type]  # none of them is None
            for name in ("norm_in", "layer_in", "norm_out", "layer_out")
        )
        skip = None if is_plain(self.skip, nn.Identity) else as_function(self.skip)
        norm: Any = self.norm_out
        fuse = is_plain(norm, nn.LayerNorm) and norm.weight is None  # FiLM is the affine map that it lacks

        def block(x: Tensor, modulation: Modulation) -> Tensor:
            scale, shift = modulation
            h = layer_in(silu(norm_in(x)))
            if fuse and scale.ndim == 1:
                h = torch.layer_norm(h, norm.normalized_shape, scale, shift, norm.eps)
            else:
                h = torch.addcmul(shift, scale, norm_out(h))
            return (x if skip is None else skip(x)) + layer_out(silu(h))

        return block


def _as_block(block: nn.Module) -> Block:
    """A block as a function; one of another class, or that somebody has hooked, is called itself."""
    return block.as_function() if is_plain(block, ResidualBlock) else block


class ConditionalUNet1D(nn.Module):
    """Residual U-Net with FiLM conditioning.

    Follows the contract of ``VelocityNetwork``. At horizon 1 x is ``(batch, in_channels)`` and all layers are dense;
    above, x is ``(batch, horizon, in_channels)``, layers are convolutions over the steps, and each level has half of
    the steps of the one above it, rounded up.

    Args:
        in_channels: Width of the point x_t, or of one step of it.
        out_channels: Width of the velocity, or of one step of it.
        cond_dim: Width of the condition features, 0 for none.
        diffusion_step_embed_dim: Number of time features, even.
        down_dims: Widths of the levels, top to bottom.
        horizon: Steps of a chunk. The weights do not depend on it beyond 1.

    Example:
        >>> network = ConditionalUNet1D(7, 7, cond_dim=64)
        >>> network(torch.zeros(5, 7), torch.zeros(5), torch.zeros(5, 64)).shape
        torch.Size([5, 7])
        >>> network = ConditionalUNet1D(7, 7, cond_dim=64, horizon=10)
        >>> network(torch.zeros(5, 10, 7), torch.zeros(5), torch.zeros(5, 64)).shape
        torch.Size([5, 10, 7])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        cond_dim: int = 0,
        diffusion_step_embed_dim: int = 32,
        down_dims: Sequence[int] = (32, 64, 128),
        *,
        horizon: int = 1,
    ) -> None:
        super().__init__()
        dims = check_net_arch(down_dims, name="down_dims")
        self.config = {
            "in_channels": check_dim("in_channels", in_channels),
            "out_channels": check_dim("out_channels", out_channels),
            "cond_dim": check_dim("cond_dim", cond_dim, minimum=0),
            "diffusion_step_embed_dim": diffusion_step_embed_dim,
            "down_dims": dims,
            "horizon": check_dim("horizon", horizon),
        }
        temporal = horizon > 1
        self.cond_dim = cond_dim
        self.point_shape = (None, in_channels) if temporal else (in_channels,)
        time_dim = diffusion_step_embed_dim
        self.time_embedding = nn.Sequential(
            TimeEmbedding(time_dim), nn.Linear(time_dim, 4 * time_dim), nn.SiLU(), nn.Linear(4 * time_dim, time_dim)
        )
        self.input = nn.Linear(in_channels, dims[0])

        def block(dim_in: int, dim_out: int) -> ResidualBlock:
            return ResidualBlock(dim_in, dim_out, temporal)

        self.down = nn.ModuleList(block(a, b) for a, b in pairwise((dims[0], *dims)))
        self.middle = block(dims[-1], dims[-1])
        # The way up meets the way down's outputs as skips, the lowest first.
        self.up = nn.ModuleList(block(2 * b, a) for a, b in pairwise((dims[0], *dims)))
        # All blocks' modulations at once, scales before shifts: a sum of one projection of the time and one of the
        # condition, so that each can be computed once where the other varies.
        self.block_dims = [module.dim_out for module in (*self.down, self.middle, *self.up)]
        self.film_time = nn.Linear(time_dim, 2 * sum(self.block_dims))
        self.film_condition = nn.Linear(cond_dim, 2 * sum(self.block_dims), bias=False) if cond_dim else None
        self.shrink = nn.ModuleList(TemporalConvolution(d, d, stride=2) for d in dims[:-1] if temporal)
        self.grow = nn.ModuleList(TemporalConvolution(d, d) for d in dims[:-1] if temporal)
        self.output_norm = nn.LayerNorm(dims[0])
        self.output = nn.Linear(dims[0], out_channels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        """Return the velocity in the shape of ``x`` with ``out_channels``, see ``VelocityNetwork``."""
        check_network_inputs(x, t, condition, self.point_shape, self.cond_dim)
        film = self.film_time(silu(self.time_embedding(t)))
        if self.film_condition is not None:
            film = film + self.film_condition(condition)
        return self._as_function()(x, self._modulations(self._around_one(film)))

    def at_times(self, times: Tensor, condition: Tensor | None) -> IndexedVelocity:
        """Return the velocity at each of the times ``(num_evaluations,)``, see ``VelocityNetwork``."""
        film = self.film_time(silu(self.time_embedding(times)))  # (num_evaluations, F)
        shared = None if self.film_condition is None else self.film_condition(condition)  # (B, F)
        if shared is not None and len(shared) == 1:
            film = film + shared
            if len(self.point_shape) == 1 and not torch.is_grad_enabled():
                single = single_row_velocity(self, ResidualBlock, film)
                if single is not None:
                    return single
        film = self._around_one(film)
        function = self._as_function()
        if shared is not None and len(shared) != 1:
            return lambda x, number: function(x, self._modulations(film[number] + shared))
        columns = self._modulations(film)
        rows = list(zip(*(zip(scale.unbind(), shift.unbind(), strict=True) for scale, shift in columns), strict=True))
        return lambda x, number: function(x, rows[number])

    def _modulations(self, film: Tensor) -> list[Modulation]:
        """Split ``(..., F)`` into each block's scale and shift ``(..., dim_out)``."""
        parts = torch.split(film, self.block_dims + self.block_dims, -1)
        return list(zip(parts[: len(self.block_dims)], parts[len(self.block_dims) :], strict=True))

    def _around_one(self, film: Tensor) -> Tensor:
        """Add one to the scales of ``(..., F)``, so that a network that answers zero changes nothing."""
        scales, shifts = film.chunk(2, dim=-1)
        return torch.cat([scales + 1, shifts], dim=-1)

    def _as_function(self) -> Callable[[Tensor, Sequence[Modulation]], Tensor]:
        """Return the way from the point to the velocity with the parameters looked up."""
        temporal = len(self.point_shape) == 2
        functions, last = [_as_block(block) for block in (*self.down, self.middle, *self.up)], len(self.down)
        down, middle, up = functions[:last], functions[last], functions[last + 1 :]
        enter, leave, output_norm = (as_function(layer) for layer in (self.input, self.output, self.output_norm))

        def velocity(x: Tensor, modulations: Sequence[Modulation]) -> Tensor:
            if temporal:
                modulations = [
                    (scale, shift) if scale.ndim == 1 else (scale[:, None], shift[:, None])
                    for scale, shift in modulations
                ]
            h = enter(x)
            skips: list[Tensor] = []
            for level, block in enumerate(down):
                if level and temporal:
                    h = self.shrink[level - 1](h)
                h = block(h, modulations[level])
                skips.append(h)
            h = middle(h, modulations[last])
            for level in reversed(range(last)):
                h = up[level](torch.cat([h, skips[level]], dim=-1), modulations[last + 1 + level])
                if level and temporal:
                    # Repeat each step up to the length of the skip, which need not be twice as long.
                    steps = torch.arange(skips[level - 1].shape[1], device=h.device) // 2
                    h = self.grow[level - 1](h[:, steps])
            return leave(silu(output_norm(h)))

        return velocity
