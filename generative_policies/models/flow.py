"""Conditional flow matching.

Time runs from t = 0 (source) to t = 1 (target) along x_t = (1 - t) x_0 + t x_1.

Source: Lipman et al. 2023, Flow Matching for Generative Modeling; Liu et al. 2023, Flow Straight and Fast.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from generative_policies.models.arrays import parameter_like
from generative_policies.models.coupling import conditional_optimal_transport
from generative_policies.models.dimensions import check_number
from generative_policies.models.encoders import Condition, Encoder
from generative_policies.models.generative_model import GenerativeModel
from generative_policies.models.priors import Prior
from generative_policies.models.solvers import (
    SOLVERS,
    IndexedVelocity,
    evaluation_times,
    integrate_indexed,
    trajectory_indexed,
)
from generative_policies.models.velocity import uniform_times, velocity_at_times

COUPLINGS = ("independent", "conditional_optimal_transport")


class PathLength(NamedTuple):
    """How long the paths of samples are, in raw units.

    Attributes:
        integrated: ``(batch,)``, the length along each path, at least the straight one.
        straight: ``(batch,)``, the distance between the two ends of the same path.
    """

    integrated: Tensor
    straight: Tensor


class FlowInputs(NamedTuple):
    """What the flow inside of a larger model, a translator say, sees of that model's inputs.

    Attributes:
        condition: What its encoder takes, ``None`` for none.
        source: ``(batch, ...)``, where its prior starts at one.
    """

    condition: Condition | None
    source: Tensor | None = None


class ConditionalFlowModel(GenerativeModel):
    """A flow to p(target | condition), from a Gaussian or from a given source.

    Solvers are euler (the default), midpoint, heun and rk4. ``Args`` beyond these are those of ``GenerativeModel``.

    Args:
        target_dim: Width D of the target.
        cond_dim: Width C of the condition features, 0 for an unconditional model.
        diffusion_step_embed_dim: Number of time features of the default network, even.
        down_dims: Widths of the default network, a ``ConditionalUNet1D``.
        horizon: Steps H of a chunk; at 1 targets are ``(batch, D)``, above ``(batch, H, D)``.
        network: A velocity network, see ``VelocityNetwork``.
        prior: The distribution of x_0; ``GaussianPrior(target_dim)`` by default.
        encoder: Maps the condition to ``cond_dim`` features; ``IdentityEncoder(cond_dim)`` by default.
        coupling: How a drawn x_0 meets a target in training: ``"independent"``, or the batch's
            ``"conditional_optimal_transport"``. A given source is always paired with its own target.
        condition_weight: Weight of the squared distance of conditions in that transport, in units of their spread.

    Raises:
        ValueError: If the parts do not fit together, or a coupling of drawn noise meets a given source.

    Example:
        >>> model = ConditionalFlowModel(target_dim=2, cond_dim=3)
        >>> loss = model(torch.randn(8, 2), condition=torch.randn(8, 3))
        >>> model.predict(condition=torch.randn(8, 3), num_steps=10).shape
        torch.Size([8, 2])
    """

    default_solver = "euler"

    def __init__(
        self,
        target_dim: int,
        cond_dim: int = 0,
        diffusion_step_embed_dim: int = 32,
        down_dims: Sequence[int] = (32, 64, 128),
        *,
        horizon: int = 1,
        network: nn.Module | None = None,
        prior: Prior | None = None,
        encoder: Encoder | None = None,
        coupling: str = "independent",
        condition_weight: float = 100.0,
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
        if not isinstance(coupling, str) or coupling not in COUPLINGS:
            raise ValueError(f"coupling must be one of {', '.join(COUPLINGS)}; got {coupling!r}")
        if coupling != "independent" and self.prior.source_dim is not None:
            raise ValueError(f"coupling={coupling!r} is for drawn noise; a given source is paired with its own target")
        self.coupling = coupling
        self.condition_weight = check_number("condition_weight", condition_weight)
        self.config |= {"coupling": coupling, "condition_weight": self.condition_weight}

    def path_loss(self, x_0: Tensor, x_1: Tensor, features: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Return ``E||v(x_t, t, c) - (x_1 - x_0)||^2``."""
        if self.coupling == "conditional_optimal_transport":
            x_0 = x_0[conditional_optimal_transport(x_0, x_1, features, self.condition_weight)]
        t = uniform_times(x_1, generator)  # (B,)
        t_wide = t.reshape(-1, *[1] * (x_1.ndim - 1))
        x_t = (1 - t_wide) * x_0 + t_wide * x_1
        return nn.functional.mse_loss(self.network(x_t, t, features), x_1 - x_0)

    def transport(
        self, x_0: Tensor, features: Tensor | None, num_steps: int, solver: str, generator: torch.Generator | None
    ) -> Tensor:
        """Integrate the velocity from t = 0 to t = 1."""
        return integrate_indexed(self._velocity(features, num_steps, solver, x_0), x_0, num_steps, solver)

    def check_inputs(self, inputs: FlowInputs) -> tuple[Tensor, ...]:
        """Check what the flow would see of a batch of tensors, and return the inputs of its encoder, if it has one.

        Raises:
            ValueError: If a shape or an entry is wrong, or an input is missing or superfluous.
        """
        self._check_source(inputs.source)
        return self._inputs(inputs.condition) or ()

    def check_solver(self, num_steps: int, solver: str) -> None:
        """Check that the flow can be sampled so.

        Raises:
            ValueError: If ``num_steps`` or ``solver`` is not one that it takes.
        """
        if not isinstance(solver, str):
            raise ValueError(f"solver must be one of {', '.join(SOLVERS)}; got {solver!r}")
        evaluation_times(num_steps, solver)

    def adopt_statistics(self, flow: GenerativeModel) -> None:
        """Take over dtype, device and statistics of a flow with the same kinds of prior and encoder."""
        self.to(parameter_like(flow))  # first, or statistics of float64 would be rounded
        for own, theirs in (
            (self.target_normalizer, flow.target_normalizer),
            (self.prior, flow.prior),
            (self.encoder, flow.encoder),
        ):
            if own is not None and theirs is not None:
                own.load_state_dict(theirs.state_dict())

    def paths(
        self,
        batch_size: int | None = None,
        condition: Condition | None = None,
        source: Tensor | None = None,
        num_steps: int | None = None,
        solver: str | None = None,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Return the points that samples pass, ``(num_steps + 1, batch, ...)``; arguments as in ``sample``."""
        x_0, features = self.start(batch_size, condition, source, generator, noise)
        steps = self.default_num_steps if num_steps is None else num_steps
        solver = solver or self.default_solver
        points = trajectory_indexed(self._velocity(features, steps, solver, x_0), x_0, steps, solver)
        return self.target_normalizer.denormalize(points)

    def path_length(
        self,
        batch_size: int | None = None,
        condition: Condition | None = None,
        source: Tensor | None = None,
        num_steps: int | None = None,
        solver: str | None = None,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> PathLength:
        """Return the length of the samples' paths beside the distance of their ends; arguments as in ``sample``."""
        points = self.paths(batch_size, condition, source, num_steps, solver, generator, noise).flatten(2)
        steps = (points[1:] - points[:-1]).norm(dim=-1)  # (num_steps, B)
        return PathLength(steps.sum(0), (points[-1] - points[0]).norm(dim=-1))

    def _velocity(self, features: Tensor | None, num_steps: int, solver: str, like: Tensor) -> IndexedVelocity:
        """Return the velocity at each evaluation of a solver, for points like ``like``."""
        self.check_solver(num_steps, solver)
        return velocity_at_times(self.network, evaluation_times(num_steps, solver), features, like)
