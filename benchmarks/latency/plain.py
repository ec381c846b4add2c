"""The reference: the same network and sampler as one would write them down, with nothing computed ahead of time."""

import math
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from generative_policies.models import ConditionalFlowModel


class Block(nn.Module):
    """A residual block with its own FiLM layer.

    Args:
        dim_in: Width of the input.
        dim_out: Width of the output.
        embed_dim: Width of the embedding of time and condition.
    """

    def __init__(self, dim_in: int, dim_out: int, embed_dim: int) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(dim_in)
        self.layer_in = nn.Linear(dim_in, dim_out)
        self.film = nn.Linear(embed_dim, 2 * dim_out)
        self.norm_out = nn.LayerNorm(dim_out, elementwise_affine=False)
        self.layer_out = nn.Linear(dim_out, dim_out)
        self.skip = nn.Linear(dim_in, dim_out) if dim_in != dim_out else nn.Identity()
        self.activation = nn.SiLU()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map ``(batch, dim_in)`` to ``(batch, dim_out)``."""
        h = self.layer_in(self.activation(self.norm_in(x)))
        scale, shift = self.film(embedding).chunk(2, dim=-1)
        h = self.norm_out(h) * (1 + scale) + shift
        out: Tensor = self.skip(x) + self.layer_out(self.activation(h))
        return out


class UNet(nn.Module):
    """The velocity network.

    Args:
        dim: Width of the point.
        cond_dim: Width of the condition.
        time_dim: Number of time features.
        dims: Widths of the levels, top to bottom.
    """

    frequencies: Tensor
    condition_mean: Tensor
    condition_std: Tensor

    def __init__(self, dim: int, cond_dim: int, time_dim: int, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(0, 2, time_dim // 2))
        self.register_buffer("condition_mean", torch.zeros(cond_dim))
        self.register_buffer("condition_std", torch.ones(cond_dim))
        self.time_layers = nn.Sequential(
            nn.Linear(time_dim, 4 * time_dim), nn.SiLU(), nn.Linear(4 * time_dim, time_dim), nn.SiLU()
        )
        self.input = nn.Linear(dim, dims[0])
        embed_dim = time_dim + cond_dim
        self.down = nn.ModuleList(Block(a, b, embed_dim) for a, b in pairwise((dims[0], *dims)))
        self.middle = Block(dims[-1], dims[-1], embed_dim)
        self.up = nn.ModuleList(Block(2 * b, a, embed_dim) for a, b in pairwise((dims[0], *dims)))
        self.output_norm = nn.LayerNorm(dims[0])
        self.activation = nn.SiLU()
        self.output = nn.Linear(dims[0], dim)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Return the velocity at ``(batch, dim)``, time ``(batch,)`` and raw condition ``(batch, cond_dim)``."""
        angles = 0.5 * math.pi * t[:, None] * self.frequencies
        time = self.time_layers(torch.cat([angles.sin(), angles.cos()], dim=-1))
        condition = (condition - self.condition_mean) / self.condition_std
        embedding = torch.cat([time, condition], dim=-1)
        h = self.input(x)
        skips = []
        for block in self.down:
            h = block(h, embedding)
            skips.append(h)
        h = self.middle(h, embedding)
        for block in reversed(self.up):
            h = block(torch.cat([h, skips.pop()], dim=-1), embedding)
        velocity: Tensor = self.output(self.activation(self.output_norm(h)))
        return velocity


class PlainFlow(nn.Module):
    """Flow matching with that network.

    Args:
        network: The velocity network.
        dim: Width of the target.
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(self, network: UNet, dim: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("target_mean", torch.zeros(dim))
        self.register_buffer("target_std", torch.ones(dim))

    @classmethod
    def of(cls, model: ConditionalFlowModel) -> Self:
        """Return the plain form of a flow with the default network, with copies of its weights and statistics."""
        config: dict[str, Any] = model.config
        dims = config["down_dims"]
        network = UNet(model.target_dim, model.cond_dim, config["diffusion_step_embed_dim"], dims)
        plain = cls(network, model.target_dim)
        plain.load_state_dict(_renamed(dict(model.state_dict()), [*dims, dims[-1], dims[0], *dims[:-1]], len(dims)))
        return plain

    def loss(self, target: Tensor, condition: Tensor) -> Tensor:
        """Return the flow matching loss of ``(batch, dim)`` given ``(batch, cond_dim)``, both raw."""
        x_1 = (target - self.target_mean) / self.target_std
        x_0 = torch.randn_like(x_1)
        t = torch.rand(len(x_1))
        x_t = (1 - t[:, None]) * x_0 + t[:, None] * x_1
        return nn.functional.mse_loss(self.network(x_t, t, condition), x_1 - x_0)

    @torch.no_grad()
    def predict(
        self, condition: NDArray[np.float32], noise: NDArray[np.float32], num_steps: int
    ) -> NDArray[np.float32]:
        """Return samples ``(batch, dim)``, by Euler steps from noise ``(batch, dim)``."""
        given, x = torch.from_numpy(condition), torch.from_numpy(noise)
        dt = 1 / num_steps
        for k in range(num_steps):
            t = torch.full((len(x),), k * dt)
            x = x + dt * self.network(x, t, given)
        samples: NDArray[np.float32] = (x * self.target_std + self.target_mean).numpy()
        return samples


def _renamed(state: dict[str, Tensor], block_dims: list[int], levels: int) -> dict[str, Any]:
    """The library's weights under the names above; its FiLM layers of all blocks are one."""
    blocks = [*(f"down.{k}" for k in range(levels)), "middle", *(f"up.{k}" for k in range(levels))]
    film = torch.cat([state.pop("network.film_time.weight"), state.pop("network.film_condition.weight")], dim=1)
    bias = state.pop("network.film_time.bias")
    found: dict[str, Tensor] = {}
    scales, shifts = (torch.split(part, block_dims) for part in film.chunk(2))
    scale_biases, shift_biases = (torch.split(part, block_dims) for part in bias.chunk(2))
    for k, block in enumerate(blocks):
        found[f"network.{block}.film.weight"] = torch.cat([scales[k], shifts[k]])
        found[f"network.{block}.film.bias"] = torch.cat([scale_biases[k], shift_biases[k]])
    for part, name in (("mean", "condition_mean"), ("std", "condition_std")):
        found[f"network.{name}"] = state.pop(f"encoder.normalizer.{part}")
        found[f"target_{part}"] = state.pop(f"target_normalizer.{part}")
    found["network.frequencies"] = state.pop("network.time_embedding.0.frequencies")
    for k in (1, 3):
        for part in ("weight", "bias"):
            found[f"network.time_layers.{k - 1}.{part}"] = state.pop(f"network.time_embedding.{k}.{part}")
    return found | state
