"""Brownian bridges between a source and a target, sampled as an SDE or, from drawn noise, as an ODE.

With scale sigma the path is x_t = (1 - t) x_0 + t x_1 + sigma sqrt(t (1 - t)) eps. With D(x, t) = E[x_1 | x_t = x]

- the SDE dx = (D - x) / (1 - t) dt + sigma dW has the marginals of the bridge, and
- the ODE dx/dt = [(D - x) / (1 - t) + (x - S) / t] / 2, S(x, t) = E[x_0 | x_t = x], has them, too: its velocity is the
  mean of the drifts of the SDE and of the reversed SDE. For x_0 standard normal, S = (x - t D) / (1 - t + sigma^2 t).

The network answers F = (D - x) / sqrt(1 - t). Its regression target sqrt(1 - t) (x_1 - x_0) - sigma sqrt(t) eps has
about the same size at all times, where (D - x) / (1 - t) itself would be singular at the end.

Source: Albergo et al. 2023, Stochastic Interpolants; De Bortoli et al. 2023, Augmented Bridge Matching.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from generative_policies.models.arrays import standard_normal
from generative_policies.models.dimensions import check_dim, check_number
from generative_policies.models.encoders import Condition, Encoder
from generative_policies.models.generative_model import GenerativeModel
from generative_policies.models.priors import GaussianPrior, Prior, SourcePrior
from generative_policies.models.solvers import SOLVERS, evaluation_times, integrate_indexed
from generative_policies.models.velocity import uniform_times, velocity_at_times

# Where the ODE is evaluated last: its velocity is finite at t = 1, the network's part in it a ratio of two zeros.
LAST_TIME = 0.999


class LatentBridgeModel(GenerativeModel):
    """A Brownian bridge to p(target | condition), from a given source or from drawn noise.

    With a *given* source (``SourcePrior`` without noise) the network sees x_0 beside the condition, so that the SDE
    reproduces p(target | x_0, condition). An ODE from one point has no spread: only ``solver="sde"`` is offered then.
    From *drawn* noise (``GaussianPrior``) the SDE and the ODE solvers euler, midpoint, heun and rk4 are offered. Few
    steps misjudge spreads: the SDE's variance from a given source is some 12 % too large with 10 steps, 3 % with 50.

    Args:
        target_dim: Width D of the target.
        cond_dim: Width C of the condition features, 0 for an unconditional model.
        bridge_sigma: Scale of the bridge's noise, in normalised units.
        diffusion_step_embed_dim: Number of time features of the default network, even.
        down_dims: Widths of the default network, a ``ConditionalUNet1D``.
        horizon: Steps H of a chunk; at 1 targets are ``(batch, D)``, above ``(batch, H, D)``.
        network: A network that follows ``VelocityNetwork``, with ``network_cond_dim`` condition features: those of the
            condition and, with a given source, H * D of x_0.
        prior: ``GaussianPrior(target_dim)``, the default, or ``SourcePrior(target_dim, noise_scale=0.0)``.
        encoder: Maps the condition to ``cond_dim`` features; ``IdentityEncoder(cond_dim)`` by default.

    Raises:
        ValueError: If the parts do not fit together, or ``bridge_sigma`` is not positive.

    Example:
        >>> from generative_policies.models.priors import SourcePrior
        >>> model = LatentBridgeModel(target_dim=2, bridge_sigma=0.5, prior=SourcePrior(2, noise_scale=0.0))
        >>> loss = model(torch.randn(8, 2), source=torch.randn(8, 2))
        >>> model.predict(source=torch.randn(8, 2), num_steps=20).shape
        torch.Size([8, 2])
    """

    default_solver = "sde"

    def __init__(
        self,
        target_dim: int,
        cond_dim: int = 0,
        bridge_sigma: float = 0.5,
        diffusion_step_embed_dim: int = 32,
        down_dims: Sequence[int] = (32, 64, 128),
        *,
        horizon: int = 1,
        network: nn.Module | None = None,
        prior: Prior | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(
            target_dim,
            cond_dim,
            diffusion_step_embed_dim,
            down_dims,
            horizon=horizon,
            network=network,
            prior=prior,
            encoder=encoder,
        )
        self.bridge_sigma = check_number("bridge_sigma", bridge_sigma, positive=True)
        is_exact_source = isinstance(self.prior, SourcePrior) and self.prior.noise_scale == 0
        if not isinstance(self.prior, GaussianPrior) and not is_exact_source:
            # The network sees x_0: with noise around the source it would learn p(target | x_0), not p(target | source).
            raise ValueError(
                "a bridge starts at GaussianPrior(...) or at SourcePrior(..., noise_scale=0.0), "
                f"got {type(self.prior).__name__} with {self.prior.config}"
            )
        self.config |= {"bridge_sigma": self.bridge_sigma}

    def sample(
        self,
        batch_size: int | None = None,
        condition: Condition | None = None,
        source: Tensor | None = None,
        num_steps: int | None = None,
        solver: str | None = None,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Draw samples as every generative model does; ``noise`` is for the ODE alone.

        Raises:
            ValueError: Also where noise is given to the SDE, which draws at every step: it would fix the start alone.
        """
        if noise is not None and (solver or self.default_solver) == "sde":
            raise ValueError(
                "noise does not determine a sample of solver='sde', which draws at every step; "
                "use generator=torch.Generator().manual_seed(...)"
            )
        return super().sample(batch_size, condition, source, num_steps, solver, generator, noise)

    @property
    def network_cond_dim(self) -> int:
        """Width of the condition features that the network sees, the condition's and, where it is given, x_0's."""
        return self.cond_dim + (0 if self.prior.source_dim is None else self.horizon * self.target_dim)

    def path_loss(self, x_0: Tensor, x_1: Tensor, features: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Return ``E||F(x_t, t, c) - (x_1 - x_t) / sqrt(1 - t)||^2``."""
        t = uniform_times(x_1, generator)  # (B,)
        t_wide = t.reshape(-1, *[1] * (x_1.ndim - 1))
        noise = standard_normal(tuple(x_1.shape), x_1, generator)
        x_t = (1 - t_wide) * x_0 + t_wide * x_1 + self.bridge_sigma * (t_wide * (1 - t_wide)).sqrt() * noise
        target = (1 - t_wide).sqrt() * (x_1 - x_0) - self.bridge_sigma * t_wide.sqrt() * noise
        return nn.functional.mse_loss(self.network(x_t, t, self._with_source(features, x_0)), target)

    def transport(
        self, x_0: Tensor, features: Tensor | None, num_steps: int, solver: str, generator: torch.Generator | None
    ) -> Tensor:
        """Carry x_0 to t = 1 by the SDE, or by the ODE with the same marginals."""
        features = self._with_source(features, x_0)
        if solver == "sde":
            return self._integrate_sde(x_0, features, num_steps, generator)
        if self.prior.source_dim is not None:
            raise ValueError(
                f"solver must be 'sde' from a given source, got {solver!r}: an ODE from a point has no spread"
            )
        if not isinstance(solver, str) or solver not in SOLVERS:
            raise ValueError(f"solver must be one of sde, {', '.join(SOLVERS)}; got {solver!r}")

        times = tuple(min(t, LAST_TIME) for t in evaluation_times(num_steps, solver))
        answer = velocity_at_times(self.network, times, features, x_0)
        variance = self.bridge_sigma**2

        def velocity(x: Tensor, number: int) -> Tensor:
            t = times[number]
            scaled = answer(x, number)
            endpoint = x + math.sqrt(1 - t) * scaled  # D
            forward_drift = scaled / math.sqrt(1 - t)
            backward_drift = (endpoint + (variance - 1) * x) / (1 - t + variance * t)  # (x - S) / t
            return 0.5 * (forward_drift + backward_drift)

        return integrate_indexed(velocity, x_0, num_steps, solver)

    def _integrate_sde(
        self, x_0: Tensor, features: Tensor | None, num_steps: int, generator: torch.Generator | None
    ) -> Tensor:
        num_steps = check_dim("num_steps", num_steps)
        dt = 1 / num_steps
        times = evaluation_times(num_steps)
        answer = velocity_at_times(self.network, times, features, x_0)
        x = x_0
        for k, t in enumerate(times):
            drift = answer(x, k) / math.sqrt(1 - t)
            noise = standard_normal(tuple(x.shape), x, generator)
            x = x + dt * drift + self.bridge_sigma * math.sqrt(dt) * noise  # Euler-Maruyama step.
        return x

    def _with_source(self, features: Tensor | None, x_0: Tensor) -> Tensor | None:
        if self.prior.source_dim is None:
            return features
        return x_0.flatten(1) if features is None else torch.cat([features, x_0.flatten(1)], dim=-1)
