"""Where a generative model starts: the distribution of x_0, in the target's normalised units."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from generative_policies.models.dimensions import check_dim, check_number
from generative_policies.models.normalizer import Normalizer


class Prior(nn.Module, ABC):
    """Turns standard normal noise, and a source where there is one, into x_0.

    Args:
        dim: Width of x_0 and of the target.
        source_dim: Width of the source that it starts at, ``None`` without a source.
    """

    def __init__(self, dim: int, source_dim: int | None) -> None:
        super().__init__()
        self.config: dict[str, Any] = {}
        self.dim = check_dim("dim", dim)
        self.source_dim = None if source_dim is None else check_dim("source_dim", source_dim)

    @abstractmethod
    def x_0(self, noise: Tensor, source: Tensor | None, target_normalizer: Normalizer) -> Tensor:
        """Return the start of the path.

        Args:
            noise: ``(batch, dim)`` or ``(batch, horizon, dim)``, standard normal.
            source: ``(batch, source_dim)`` or ``(batch, horizon, source_dim)`` in raw units; ``None`` without a source.
            target_normalizer: Maps raw units of the target to those of x_0.
        """

    def fit(self, source: Tensor, target: Tensor, target_normalizer: Normalizer) -> None:
        """Fit what is not learned by the model's loss from paired sources and targets, in raw units; here nothing."""
        return


class GaussianPrior(Prior):
    """Standard normal x_0, independent of everything.

    Args:
        dim: Width of x_0.

    Example:
        >>> GaussianPrior(2).x_0(torch.ones(1, 2), None, Normalizer(2))
        tensor([[1., 1.]])
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, source_dim=None)
        self.config = {"dim": dim}

    def x_0(self, noise: Tensor, source: Tensor | None, target_normalizer: Normalizer) -> Tensor:
        """Return the noise itself."""
        return noise


class SourcePrior(Prior):
    """A given source sample with Gaussian noise around it, x_0 = source + noise_scale * noise.

    Source and target are of one kind and share the target's normaliser. Without noise two sources can never lead to
    different targets, and paths that cross merge.

    Args:
        dim: Width of x_0, of the source and of the target.
        noise_scale: Standard deviation of the noise, in normalised units.

    Raises:
        ValueError: If ``noise_scale`` is negative or not finite.

    Example:
        >>> SourcePrior(1, noise_scale=0.5).x_0(torch.ones(1, 1), torch.ones(1, 1), Normalizer(1))
        tensor([[1.5000]])
    """

    def __init__(self, dim: int, noise_scale: float = 0.3) -> None:
        super().__init__(dim, source_dim=dim)
        self.noise_scale = check_number("noise_scale", noise_scale)
        self.config = {"dim": dim, "noise_scale": self.noise_scale}

    def x_0(self, noise: Tensor, source: Tensor | None, target_normalizer: Normalizer) -> Tensor:
        """Return the normalised source with noise around it."""
        if source is None:
            raise ValueError("a source prior needs the source argument")
        return target_normalizer.normalize(source) + self.noise_scale * noise


class LiftedSourcePrior(Prior):
    """A given source of another width, carried over by an affine map, x_0 = lift(source) + noise_scale * noise.

    The map is the least-squares fit of the normalised target from the source. It is fixed before training: were it
    trained by the flow's loss, it would learn the mean of the target and leave the flow nothing but noise.

    Args:
        dim: Width of x_0 and of the target.
        source_dim: Width of the source.
        noise_scale: Standard deviation of the noise, in normalised units of the target.

    Raises:
        ValueError: If ``noise_scale`` is negative or not finite.

    Example:
        >>> prior = LiftedSourcePrior(2, source_dim=3, noise_scale=0.0)
        >>> prior.x_0(torch.zeros(5, 2), torch.ones(5, 3), Normalizer(2)).shape
        torch.Size([5, 2])
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, dim: int, source_dim: int, noise_scale: float = 0.3) -> None:
        super().__init__(dim, check_dim("source_dim", source_dim))
        self.noise_scale = check_number("noise_scale", noise_scale)
        self.config = {"dim": dim, "source_dim": source_dim, "noise_scale": self.noise_scale}
        self.register_buffer("weight", torch.eye(dim, source_dim))
        self.register_buffer("bias", torch.zeros(dim))

    def x_0(self, noise: Tensor, source: Tensor | None, target_normalizer: Normalizer) -> Tensor:
        """Return the lifted source with noise around it."""
        if source is None:
            raise ValueError("a source prior needs the source argument")
        return nn.functional.linear(source, self.weight, self.bias) + self.noise_scale * noise

    @torch.no_grad()
    def fit(self, source: Tensor, target: Tensor, target_normalizer: Normalizer) -> None:
        """Fit the affine map by least squares, of minimal norm where the source does not determine it."""
        rows = source.reshape(-1, source.shape[-1]).double()
        normalized = target_normalizer.normalize(target).reshape(len(rows), -1).double()
        mean, std = rows.mean(0), rows.std(0, correction=0)
        scale = torch.where(std > 1e-6 * mean.abs().clamp_min(1), std, torch.inf)  # a constant entry gets no weight
        # Directions below the precision of float32 data are rounding, not signal.
        solution = torch.linalg.pinv((rows - mean) / scale, rtol=1e-5) @ (normalized - normalized.mean(0))
        weight = (solution / scale[:, None]).T  # (dim, source_dim)
        self.weight.copy_(weight)
        self.bias.copy_(normalized.mean(0) - weight @ mean)
