"""A small diffusion transformer as velocity network for chunks.

Source: Peebles & Xie 2023, Scalable Diffusion Models with Transformers (adaptive layer norm, zero at the start).
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from generative_policies.models.dimensions import check_dim
from generative_policies.models.velocity import TimeEmbedding, check_network_inputs


class TransformerBlock(nn.Module):
    """Self-attention and a feed-forward layer, each scaled, shifted and gated by time and condition.

    The gates are zero at the start, so that an untrained block is the identity.

    Args:
        dim: Width of a token.
        num_heads: Attention heads; a divisor of ``dim``.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.queries_keys_values = nn.Linear(dim, 3 * dim)
        self.attention_output = nn.Linear(dim, dim)
        self.feed_forward_norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.feed_forward = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.modulation = nn.Linear(dim, 6 * dim)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """Map tokens ``(batch, horizon, dim)``, given the context ``(batch, dim)``, to tokens."""
        modulation = self.modulation(nn.functional.silu(context))[:, None]  # (B, 1, 6 dim)
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulation.chunk(6, dim=-1)
        h = (1 + scale_1) * self.attention_norm(tokens) + shift_1
        q, k, v = rearrange(self.queries_keys_values(h), "b h (three n d) -> three b n h d", three=3, n=self.num_heads)
        attended = nn.functional.scaled_dot_product_attention(q, k, v)  # (B, heads, H, dim / heads)
        tokens = tokens + gate_1 * self.attention_output(rearrange(attended, "b n h d -> b h (n d)"))
        h = (1 + scale_2) * self.feed_forward_norm(tokens) + shift_2
        out: Tensor = tokens + gate_2 * self.feed_forward(h)
        return out


class DiffusionTransformer(nn.Module):
    """Transformer over the steps of a chunk, conditioned by adaptive layer norms.

    Follows the contract of ``VelocityNetwork`` with x of shape ``(batch, horizon, target_dim)``; every step attends to
    every other.

    Args:
        target_dim: Width of one step of the target.
        cond_dim: Width of the condition features, 0 for none.
        embed_dim: Width of a token, even and a multiple of ``num_heads``.
        num_layers: Transformer blocks.
        num_heads: Attention heads.
        horizon: Steps of a chunk, at least 2.

    Raises:
        ValueError: If ``embed_dim`` is not a multiple of ``num_heads``, or a size is not positive.

    Example:
        >>> network = DiffusionTransformer(7, cond_dim=64, horizon=8)
        >>> network(torch.zeros(5, 8, 7), torch.zeros(5), torch.zeros(5, 64)).shape
        torch.Size([5, 8, 7])
    """

    def __init__(
        self,
        target_dim: int,
        cond_dim: int = 0,
        embed_dim: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
        *,
        horizon: int = 8,
    ) -> None:
        super().__init__()
        self.config = {
            "target_dim": check_dim("target_dim", target_dim),
            "cond_dim": check_dim("cond_dim", cond_dim, minimum=0),
            "embed_dim": check_dim("embed_dim", embed_dim),
            "num_layers": check_dim("num_layers", num_layers),
            "num_heads": check_dim("num_heads", num_heads),
            "horizon": check_dim("horizon", horizon, minimum=2),
        }
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim must be a multiple of num_heads={num_heads}, got {embed_dim}")
        self.cond_dim = cond_dim
        self.point_shape = (horizon, target_dim)
        self.input = nn.Linear(target_dim, embed_dim)
        self.position = nn.Parameter(0.02 * torch.randn(horizon, embed_dim))
        self.time_embedding = nn.Sequential(
            TimeEmbedding(embed_dim), nn.Linear(embed_dim, embed_dim), nn.SiLU(), nn.Linear(embed_dim, embed_dim)
        )
        self.condition_embedding = nn.Linear(cond_dim, embed_dim) if cond_dim else None
        self.blocks = nn.ModuleList(TransformerBlock(embed_dim, num_heads) for _ in range(num_layers))
        self.output_norm = nn.LayerNorm(embed_dim)
        self.output = nn.Linear(embed_dim, target_dim)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        """Return the velocity in the shape of ``x``, see ``VelocityNetwork``."""
        check_network_inputs(x, t, condition, self.point_shape, self.cond_dim)
        context = self.time_embedding(t)  # (B, embed_dim)
        if self.condition_embedding is not None:
            context = context + self.condition_embedding(condition)
        tokens = self.input(x) + self.position
        for block in self.blocks:
            tokens = block(tokens, context)
        velocity: Tensor = self.output(self.output_norm(tokens))
        return velocity
