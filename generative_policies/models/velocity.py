"""The one contract of every velocity network, and what they share: the time embedding."""

import math
from typing import Protocol

import torch
from torch import Tensor, nn


class VelocityNetwork(Protocol):
    """A network that predicts dx_t/dt on the way from source (t = 0) to target (t = 1).

    A velocity network is an ``nn.Module`` that is called as ``network(x, t, condition)``:

    - ``x``: ``(batch, dim)``, or ``(batch, horizon, dim)`` for chunks, the point x_t in normalised units.
    - ``t``: ``(batch,)``, time in [0, 1].
    - ``condition``: ``(batch, cond_dim)`` features, or ``None`` where ``cond_dim`` is 0.

    It returns the velocity in the shape of ``x``, and zero before training: the untrained flow is the identity.
    """

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        """Return the velocity in the shape of ``x``."""
        ...


class TimeEmbedding(nn.Module):
    """Sinusoidal features of the time, ``(batch,)`` -> ``(batch, dim)``, at angular frequencies from 1 to 100.

    Args:
        dim: Number of features, even.

    Raises:
        ValueError: If ``dim`` is odd or smaller than 2.
    """

    frequencies: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim < 2 or dim % 2:
            raise ValueError(f"diffusion_step_embed_dim must be even and at least 2, got {dim}")
        self.register_buffer("frequencies", torch.logspace(0, 2, dim // 2))

    def forward(self, t: Tensor) -> Tensor:
        """Return sines and cosines of the time."""
        angles = 0.5 * math.pi * t[:, None] * self.frequencies  # (B, dim / 2)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def uniform_times(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw a time in [0, 1) for each row of ``like``, with its device and dtype."""
    device = like.device if generator is None else generator.device
    return torch.rand(len(like), generator=generator, device=device, dtype=like.dtype).to(like.device)
