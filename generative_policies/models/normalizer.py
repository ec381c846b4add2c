"""Standardisation that travels with a model."""

import torch
from torch import Tensor, nn

from generative_policies.models.dimensions import check_dim


class Normalizer(nn.Module):
    """Zero mean and unit standard deviation per feature; the identity until fitted.

    The statistics are buffers, so they are saved, loaded and moved with the model. A feature that does not vary in the
    data keeps its scale, so that a later change of it is not blown up.

    Args:
        dim: Number of features, the last axis.

    Example:
        >>> normalizer = Normalizer(1)
        >>> normalizer.fit(torch.tensor([[1.0], [3.0]]))
        >>> normalizer.normalize(torch.tensor([[3.0]]))
        tensor([[1.]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = check_dim("dim", dim)
        self.config = {"dim": dim}
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Set the statistics from data.

        Args:
            x: ``(..., dim)``, at least one row.

        Raises:
            ValueError: If the last axis differs from ``dim``, there is no row, or an entry is not finite.
        """
        if x.ndim < 2 or x.shape[-1] != self.dim or x.numel() == 0:
            raise ValueError(f"expected a non-empty array of shape (..., {self.dim}), got {tuple(x.shape)}")
        rows = x.reshape(-1, self.dim).double()  # in float32 a constant far from zero seems to vary
        if not torch.isfinite(rows).all():
            raise ValueError("expected finite data to normalise, got NaN or infinite entries")
        mean, std = rows.mean(0), rows.std(0, correction=0)
        constant = std <= 1e-6 * mean.abs().clamp_min(1)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(constant, 1.0, std))

    def normalize(self, x: Tensor) -> Tensor:
        """Map raw units ``(..., dim)`` to standard ones."""
        buffers = self._buffers  # an attribute of a module takes as long to find as a difference to compute
        return (x - buffers["mean"]) / buffers["std"]  # type: ignore[operator]  # neither is None

    def denormalize(self, x: Tensor) -> Tensor:
        """Map standard units ``(..., dim)`` to raw ones."""
        buffers = self._buffers
        return x * buffers["std"] + buffers["mean"]  # type: ignore[operator]  # neither is None
