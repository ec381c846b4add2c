"""Where a flow starts: the distribution of x_0, in normalised units."""

import math
from abc import ABC, abstractmethod

from torch import Tensor, nn

from generative_policies.models.mlp import check_dim


class Prior(nn.Module, ABC):
    """Turns standard normal noise, and a source where there is one, into x_0.

    Args:
        dim: Width of x_0.
    """

    uses_source: bool

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = check_dim("dim", dim)

    @abstractmethod
    def x_0(self, noise: Tensor, source: Tensor | None) -> Tensor:
        """Return the start of the flow.

        Args:
            noise: ``(batch, dim)`` or ``(batch, horizon, dim)``, standard normal.
            source: In the shape of ``noise`` and in normalised units, or ``None`` without a source.
        """


class GaussianPrior(Prior):
    """Standard normal x_0, independent of everything.

    Args:
        dim: Width of x_0.

    Example:
        >>> import torch
        >>> GaussianPrior(2).x_0(torch.ones(1, 2), None)
        tensor([[1., 1.]])
    """

    uses_source = False

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.config = {"dim": dim}

    def x_0(self, noise: Tensor, source: Tensor | None) -> Tensor:
        """Return the noise itself."""
        return noise


class SourcePrior(Prior):
    """A given source sample with Gaussian noise around it, x_0 = source + noise_scale * noise.

    Without noise two sources can never lead to different targets, and paths that cross merge.

    Args:
        dim: Width of x_0, of the source and of the target.
        noise_scale: Standard deviation of the noise, in normalised units.

    Raises:
        ValueError: If ``noise_scale`` is negative or not finite.

    Example:
        >>> import torch
        >>> SourcePrior(1, noise_scale=0.5).x_0(torch.ones(1, 1), torch.ones(1, 1))
        tensor([[1.5000]])
    """

    uses_source = True

    def __init__(self, dim: int, noise_scale: float = 0.3) -> None:
        super().__init__(dim)
        if not (math.isfinite(noise_scale) and noise_scale >= 0):
            raise ValueError(f"noise_scale must be finite and not negative, got {noise_scale!r}")
        self.noise_scale = noise_scale
        self.config = {"dim": dim, "noise_scale": noise_scale}

    def x_0(self, noise: Tensor, source: Tensor | None) -> Tensor:
        """Return the source with noise around it."""
        if source is None:
            raise ValueError("a source prior needs the source argument")
        return source + self.noise_scale * noise
