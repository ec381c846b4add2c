"""Planning the next observations by a flow, without any action."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from generative_policies.export.flow_runner import OnnxFlow
from generative_policies.models import ConditionalFlowModel, FlowInputs, ResidualMlp
from generative_policies.models.arrays import Array, as_caller, as_rows, check_rows, evaluating, parameter_like
from generative_policies.models.dimensions import check_dim, check_net_arch, check_num_steps, check_part


class FlowPlanner(nn.Module):
    """Samples of what is observed next, p(s' | s), or over a horizon of H steps.

    The flow is over the changes from step to step, in units of their own spread; a plan is their running sum. It learns
    from demonstrations without actions, ``data.NextStateDataset``, which may be another robot's where the leading part
    of the observation means the same on both.

    Args:
        obs_dim: Width of the observation.
        net_arch: Hidden widths of the residual-MLP velocity network.
        next_obs_dim: Width D of the leading part that is planned; ``obs_dim`` by default.
        horizon: Steps H of a plan; at 1 plans are ``(batch, D)``, above ``(batch, H, D)``.
        num_steps: Solver steps of a prediction where the caller names no other number; 10 by default.
        flow: Another flow of the same inputs, such as a student or one that was exported; ``net_arch`` is then its own,
            and ``num_steps`` by default.

    Raises:
        ValueError: If a dimension is not positive, ``next_obs_dim`` exceeds ``obs_dim``, or a given flow has other
            sizes.

    Example:
        >>> planner = FlowPlanner(obs_dim=17)
        >>> loss = planner(torch.randn(8, 17), torch.randn(8, 17))
        >>> planner.predict(torch.randn(8, 17)).shape
        torch.Size([8, 17])
    """

    def __init__(
        self,
        obs_dim: int,
        net_arch: Sequence[int] = (256, 256),
        next_obs_dim: int | None = None,
        *,
        horizon: int = 1,
        num_steps: int | None = None,
        flow: ConditionalFlowModel | OnnxFlow | None = None,
    ) -> None:
        super().__init__()
        self.obs_dim = check_dim("obs_dim", obs_dim)
        self.next_obs_dim = obs_dim if next_obs_dim is None else check_dim("next_obs_dim", next_obs_dim)
        if self.next_obs_dim > obs_dim:
            raise ValueError(f"next_obs_dim must be at most obs_dim={obs_dim}, got {next_obs_dim}")
        self.horizon = check_dim("horizon", horizon)
        if flow is not None:
            check_part("flow", flow, ConditionalFlowModel, OnnxFlow)
        default_num_steps = 10 if flow is None else flow.default_num_steps
        self.num_steps = default_num_steps if num_steps is None else check_num_steps(num_steps)
        self.config = {
            "obs_dim": obs_dim,
            "net_arch": check_net_arch(net_arch, minimum=0),
            "next_obs_dim": next_obs_dim,
            "horizon": horizon,
            "num_steps": num_steps,
            "flow": flow,
        }
        if flow is None:
            network = ResidualMlp(self.next_obs_dim, obs_dim, net_arch, horizon=horizon)
            flow = ConditionalFlowModel(self.next_obs_dim, obs_dim, horizon=horizon, network=network)
        flow.check_solver(self.num_steps, flow.default_solver)
        flow.check_sizes(self.next_obs_dim, obs_dim, horizon, None)
        self.flow = flow

    @property
    def noise_dim(self) -> int:
        """Numbers of noise that a plan takes."""
        return self.horizon * self.next_obs_dim

    def forward(self, obs: Tensor, next_obs: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the flow-matching loss of the changes, in normalised units.

        Args:
            obs: ``(batch, obs_dim)``.
            next_obs: ``(batch, D)`` or ``(batch, H, D)``.
            generator: Source of the noise and of the times.
        """
        loss: Tensor = self.flow(self._changes(obs, next_obs), obs, generator=generator)
        return loss

    def next_observations(
        self,
        obs: Tensor,
        *,
        num_steps: int | None = None,
        solver: str | None = None,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Return planned observations ``(batch, D)`` or ``(batch, H, D)``, differentiable in parameters and inputs.

        Args:
            obs: ``(batch, obs_dim)``.
            num_steps: Steps of the solver; the model's own number by default.
            solver: euler, midpoint, heun or rk4; the flow's own by default.
            generator: Source of the noise.
            noise: The noise itself, in the shape of the plans.
        """
        steps = self.num_steps if num_steps is None else num_steps
        changes = self.flow.sample(condition=obs, num_steps=steps, solver=solver, generator=generator, noise=noise)
        here = obs[:, : self.next_obs_dim]
        return here + changes if self.horizon == 1 else here[:, None] + changes.cumsum(1)

    def predict(
        self,
        obs: Array,
        *,
        num_steps: int | None = None,
        solver: str | None = None,
        generator: torch.Generator | None = None,
        noise: Array | None = None,
    ) -> Any:  # a numpy array or a tensor, as obs is
        """Return planned observations without gradients, in the kind, rank and dtype of ``obs``.

        Args:
            obs: ``(obs_dim,)`` or ``(batch, obs_dim)``.
            num_steps: Steps of the solver; the model's own number by default.
            solver: euler, midpoint, heun or rk4; the flow's own by default.
            generator: Source of the noise.
            noise: The noise itself, in the shape of the plans.
        """
        like = parameter_like(self)
        rows = as_rows("obs", obs, (self.obs_dim,), like)
        noise_rows = None if noise is None else as_rows("noise", noise, self.flow.sample_shape, like)
        with evaluating(self, rows_are_checked=True, inference=True):
            planned = self.next_observations(
                rows, num_steps=num_steps, solver=solver, generator=generator, noise=noise_rows
            )
        return as_caller(planned, obs, single=obs.ndim == 1)

    def flow_inputs(self, obs: Tensor) -> FlowInputs:
        """Return what the flow sees of a batch."""
        return FlowInputs(obs)

    def with_flow(self, flow: ConditionalFlowModel | OnnxFlow, num_steps: int | None = None) -> Self:
        """Return a planner with another flow, such as a student, and that one's number of steps by default."""
        return type(self)(
            self.obs_dim, next_obs_dim=self.next_obs_dim, horizon=self.horizon, num_steps=num_steps, flow=flow
        )

    def fit_normalizers(self, obs: Tensor, next_obs: Tensor) -> None:
        """Fit the statistics from training data, shaped as in the loss."""
        self.flow.fit_normalizers(self._changes(obs, next_obs), obs)

    def _changes(self, obs: Tensor, next_obs: Tensor) -> Tensor:
        """Changes from step to step, in the shape of plans."""
        check_rows("obs", obs, (self.obs_dim,), like=parameter_like(self))
        check_rows("next_obs", next_obs, self.flow.sample_shape, len(obs))
        here = obs[:, : self.next_obs_dim]
        if self.horizon == 1:
            return next_obs - here
        return next_obs - torch.cat([here[:, None], next_obs[:, :-1]], dim=1)
