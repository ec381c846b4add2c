"""Inverse dynamics by flow matching."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor

from generative_policies.inverse_dynamics.inverse_dynamics import InverseDynamics
from generative_policies.inverse_dynamics.transition_encoders import (
    FeatureChangeEncoder,
    ObservationChangeEncoder,
    transition_encoder,
)
from generative_policies.models.arrays import Array
from generative_policies.models.dimensions import check_net_arch, check_num_steps, check_part
from generative_policies.models.encoders import Condition, Encoder
from generative_policies.models.flow import ConditionalFlowModel, FlowInputs
from generative_policies.models.residual_mlp import ResidualMlp


class FlowInverseDynamics(InverseDynamics):
    """Samples of the actions that lead from an observation to the next, where several do.

    Args:
        action_dim: Width of the action.
        obs_dim: Width of the observation.
        net_arch: Hidden widths of the residual-MLP velocity network.
        next_obs_dim: Width of the next observation where only its leading part is known; ``obs_dim`` by default.
        encoder: Maps an observation to ``obs_dim`` features, see ``InverseDynamics``.
        num_steps: Solver steps of a prediction where the caller names no other number; 10 by default.
        flow: Another flow of the same inputs, such as a student; ``net_arch`` and ``encoder`` are then its own, and
            ``num_steps`` by default.

    Raises:
        ValueError: If a dimension is not positive, or a given flow has other sizes.

    Example:
        >>> model = FlowInverseDynamics(action_dim=7, obs_dim=64)
        >>> loss = model(torch.randn(8, 64), torch.randn(8, 64), torch.randn(8, 7))
        >>> model.predict(torch.randn(8, 64), torch.randn(8, 64), num_steps=4).shape
        torch.Size([8, 7])
    """

    def __init__(
        self,
        action_dim: int,
        obs_dim: int,
        net_arch: Sequence[int] = (32, 32),
        next_obs_dim: int | None = None,
        *,
        num_steps: int | None = None,
        encoder: Encoder | None = None,
        flow: ConditionalFlowModel | None = None,
    ) -> None:
        super().__init__(action_dim, obs_dim, next_obs_dim, encoder)
        self.config = {
            "action_dim": action_dim,
            "obs_dim": obs_dim,
            "net_arch": check_net_arch(net_arch, minimum=0),
            "next_obs_dim": next_obs_dim,
            "encoder": encoder,
            "num_steps": num_steps,
            "flow": flow,
        }
        if flow is not None and encoder is not None:
            raise ValueError("encoder is the given flow's own: leave it away")
        if flow is not None:
            check_part("flow", flow, ConditionalFlowModel)
        default_num_steps = 10 if flow is None else flow.default_num_steps
        self.num_steps = default_num_steps if num_steps is None else check_num_steps(num_steps)
        self.noise_dim = action_dim
        cond_dim = obs_dim + self.next_obs_dim
        if flow is None:
            network = ResidualMlp(action_dim, cond_dim, net_arch)
            condition_encoder = transition_encoder(obs_dim, self.next_obs_dim, encoder)
            flow = ConditionalFlowModel(action_dim, cond_dim, network=network, encoder=condition_encoder)
        flow.check_solver(self.num_steps, flow.default_solver)
        flow.check_sizes(action_dim, cond_dim, 1, None)
        if not isinstance(flow.encoder, ObservationChangeEncoder | FeatureChangeEncoder):
            raise ValueError(
                f"the given flow needs an encoder of transitions, got {type(flow.encoder).__name__}: take a student of "
                f"an inverse dynamics' flow"
            )
        self.flow = flow

    def forward(
        self, obs: Condition, next_obs: Condition, actions: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the flow-matching loss, see ``InverseDynamics.forward``."""
        loss: Tensor = self.flow(actions, self.check_transitions(obs, next_obs, actions), generator=generator)
        return loss

    def actions(
        self,
        obs: Condition,
        next_obs: Condition,
        *,
        num_steps: int | None = None,
        solver: str = "euler",
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Return sampled actions, see ``InverseDynamics.actions``.

        Args:
            obs: ``(batch, obs_dim)``.
            next_obs: ``(batch, next_obs_dim)``.
            num_steps: Steps of the solver; the model's own number by default.
            solver: euler, midpoint, heun or rk4.
            generator: Source of the noise.
            noise: ``(batch, action_dim)``, the noise itself.
        """
        return self.flow.sample(
            condition=self.check_transitions(obs, next_obs),
            num_steps=self.num_steps if num_steps is None else num_steps,
            solver=solver,
            generator=generator,
            noise=noise,
        )

    def predict(
        self,
        obs: Condition,
        next_obs: Condition,
        *,
        num_steps: int | None = None,
        solver: str = "euler",
        generator: torch.Generator | None = None,
        noise: Array | None = None,
    ) -> Any:  # a numpy array or a tensor, as obs is
        """Return sampled actions without gradients, see ``InverseDynamics.predict``.

        Args:
            obs: ``(obs_dim,)`` or ``(batch, obs_dim)``.
            next_obs: ``(next_obs_dim,)`` or ``(batch, next_obs_dim)``.
            num_steps: Steps of the solver; the model's own number by default.
            solver: euler, midpoint, heun or rk4.
            generator: Source of the noise.
            noise: ``(action_dim,)`` or ``(batch, action_dim)``, the noise itself.
        """
        actions = partial(self.actions, num_steps=num_steps, solver=solver, generator=generator)
        return self._shell(obs, next_obs, noise, actions)

    def flow_inputs(self, obs: Condition, next_obs: Condition) -> FlowInputs:
        """Return what the flow sees of a batch."""
        return FlowInputs(self.check_transitions(obs, next_obs))

    def with_flow(self, flow: ConditionalFlowModel, num_steps: int | None = None) -> Self:
        """Return an inverse dynamics with another flow, such as a student, that one's number of steps by default."""
        has_own_encoder = isinstance(flow.encoder, FeatureChangeEncoder)
        next_obs_dim = None if has_own_encoder else self.next_obs_dim
        return type(self)(self.action_dim, self.obs_dim, next_obs_dim=next_obs_dim, num_steps=num_steps, flow=flow)

    def fit_normalizers(self, obs: Condition, next_obs: Condition, actions: Tensor) -> None:
        """Fit the statistics from training data, shaped as in the loss."""
        self.flow.fit_normalizers(actions, self.check_transitions(obs, next_obs, actions))

    @property
    def transition_encoder(self) -> Encoder:
        """The encoder of a transition, which owns its statistics."""
        encoder = self.flow.encoder
        assert encoder is not None  # as constructed
        return encoder
