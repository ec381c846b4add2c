"""Distributions in the plane and on the line whose every figure is known."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians of one width.

    Args:
        centers: ``(modes, dim)``.
        masses: ``(modes,)``, their sum 1.
        std: Standard deviation of every mode in every direction.
    """

    centers: Floats
    masses: Floats
    std: float

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw samples ``(n, dim)``."""
        modes = rng.choice(len(self.centers), size=n, p=self.masses)
        return self.centers[modes] + self.std * rng.standard_normal((n, self.centers.shape[1]))


BIMODAL = Mixture(np.array([[-1.0, 0.0], [1.0, 0.0]]), np.array([0.3, 0.7]), std=0.15)
GRID = Mixture(
    np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0)), axis=-1).reshape(16, 2) - 1.5, np.full(16, 1 / 16), std=0.08
)


@dataclass(frozen=True)
class Spiral:
    """A spiral of one and a half turns around the origin, of radius 2, with Gaussian noise around the curve.

    Args:
        std: Standard deviation of the noise in both directions.
    """

    std: float

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw samples ``(n, 2)``."""
        return self._curve(np.sqrt(rng.uniform(0.02, 1, n))) + self.std * rng.standard_normal((n, 2))

    def distances(self, samples: Floats) -> Floats:
        """Return the distance of samples ``(n, 2)`` to the nearest point of the curve, ``(n,)``."""
        distances, _ = KDTree(self._curve(np.linspace(np.sqrt(0.02), 1, 5_000))).query(samples)
        return np.asarray(distances)

    def _curve(self, radius: Floats) -> Floats:
        """The point at a share of the radius."""
        angle = 3 * np.pi * radius
        return 2 * np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


SPIRAL = Spiral(std=0.05)


def conditional_mean(c: Floats) -> Floats:
    """Mean of the conditional experiment's target."""
    return np.sin(2 * c)


def conditional_std(c: Floats) -> Floats:
    """Standard deviation of the conditional experiment's target."""
    return 0.1 + 0.4 * c**2


def draw_conditional(n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw conditions, uniform on [-1, 1], and targets N(sin(2 c), (0.1 + 0.4 c^2)^2), ``(n, 1)`` each."""
    c = rng.uniform(-1, 1, (n, 1))
    return c, conditional_mean(c) + conditional_std(c) * rng.standard_normal((n, 1))


def batches(
    draw: Callable[[int, np.random.Generator], Floats], rng: np.random.Generator, batch_size: int = 256
) -> Iterator[dict[str, Any]]:
    """Yield fresh targets of a distribution for ever, as arguments of a loss."""
    while True:
        yield {"target": as_tensor(draw(batch_size, rng))}


def as_tensor(x: Floats) -> torch.Tensor:
    """Return a float32 tensor."""
    return torch.as_tensor(x, dtype=torch.float32)
