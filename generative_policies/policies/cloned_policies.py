"""Policies that are cloned from demonstrations: by flow matching, or by regression."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from gymnasium.spaces import Dict, Space
from numpy.typing import NDArray
from torch import Tensor, nn

from generative_policies.data import OBSERVATION
from generative_policies.export.flow_runner import OnnxFlow
from generative_policies.models import (
    ConditionalFlowModel,
    DictObservationEncoder,
    FlowInputs,
    MlpRegressor,
    ResidualMlp,
)
from generative_policies.models.dimensions import check_dim, check_net_arch, check_num_steps, check_part
from generative_policies.policies.chunk_policy import ChunkPolicy
from generative_policies.policies.episodic_policy import Rows, action_size


class ClonedPolicy(ChunkPolicy):
    """What policies share that a model of p(actions | observations) stands behind.

    A subclass builds ``self.model``, whose loss is ``model(target, condition, generator=...)``; ``plan`` asks it.

    Args:
        observation_space: A Box with one axis or an image, or a Dict of such.
        action_space: A Box.
        noise_per_step: Standard normal numbers that a planned step takes.
        net_arch: Hidden widths.
        horizon: Actions that are planned at once.
        replan_interval: Actions that are taken before the next plan; all of them by default.
        history: Observations that are seen, the current one included.
        image_features: Features that an image is encoded to.
        squash_output: Whether the model works in the scaled action range [-1, 1].
        block: The model sees batches padded to a multiple of this many rows; 1 is fastest.

    Raises:
        TypeError: If a space is another.
        ValueError: If a number is none of those.
    """

    model: nn.Module

    def __init__(
        self,
        observation_space: Space[Any],
        action_space: Space[Any],
        *,
        noise_per_step: int,
        net_arch: Sequence[int],
        horizon: int,
        replan_interval: int | None,
        history: int,
        image_features: int,
        squash_output: bool,
        block: int,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            plan_dim=action_size(action_space),
            noise_dim=check_dim("horizon", horizon) * noise_per_step,
            horizon=horizon,
            replan_interval=replan_interval,
            history=history,
            squash_output=squash_output,
            block=block,
        )
        self.net_arch = check_net_arch(net_arch, minimum=0)
        self.image_features = image_features

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments after the two spaces."""
        return {
            "net_arch": self.net_arch,
            "horizon": self.horizon,
            "replan_interval": self.replan_interval,
            "history": self.history,
            "image_features": self.image_features,
            "squash_output": self.squash_output,
            "block": self.block,
        }

    def encoder(self) -> DictObservationEncoder:
        """Return a new encoder of what the policy sees."""
        return encoder_for(self.observation_space, self.history, self.image_features)

    def loss(
        self, observations: Mapping[str, Tensor], actions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the model's loss, in normalised units and with gradients.

        Args:
            observations: ``(batch, ...)`` by name, or ``(batch, history, ...)`` where the history is longer than one.
            actions: ``(batch, horizon, action_dim)``, in [-1, 1] where the output is squashed.
            generator: Source of the loss's randomness.
        """
        loss: Tensor = self.model(self._target(actions), dict(observations), generator=generator)
        return loss

    def fit_normalizers(self, observations: Mapping[str, Tensor], actions: Tensor) -> None:
        """Fit the statistics from training data, shaped as in the loss."""
        model: Any = self.model  # one of this library
        model.fit_normalizers(self._target(actions), dict(observations))

    def _target(self, actions: Tensor) -> Tensor:
        return actions[:, 0] if self.horizon == 1 else actions


class FlowPolicy(ClonedPolicy):
    """A policy that samples its actions from a flow, and so keeps all modes of its demonstrations.

    ``deterministic=True`` takes one fixed draw of the noise for all rows and steps: one of the modes, not their mean.

    Args:
        observation_space: A Box with one axis or an image, or a Dict of such.
        action_space: A Box.
        net_arch: Hidden widths of the residual-MLP velocity network.
        horizon: Actions that are planned at once.
        replan_interval: Actions that are taken before the next plan; all of them by default.
        history: Observations that are seen, the current one included.
        num_steps: Steps of the solver; 10 by default.
        solver: euler, midpoint, heun or rk4.
        image_features: Features that an image is encoded to.
        network: Another velocity network, see ``VelocityNetwork``; ``encoder_for(...)`` tells its ``cond_dim``.
        flow: Another flow of the same inputs, such as a student, which is copied, or one that was exported;
            ``net_arch`` and ``network`` are then its own, and ``num_steps`` by default.
        squash_output: Whether the model works in the scaled action range [-1, 1].
        block: The model sees batches padded to a multiple of this many rows; 1 is fastest.

    Raises:
        TypeError: If a space is another.
        ValueError: If a number or the solver is none of those.

    Example:
        >>> import gymnasium
        >>> env = gymnasium.make("Pendulum-v1")
        >>> policy = FlowPolicy(env.observation_space, env.action_space, horizon=8, replan_interval=4)
        >>> observation, info = env.reset(seed=0)
        >>> action, state = policy.predict(observation)
        >>> action, state = policy.predict(observation, state)
        >>> action.shape
        (1,)
    """

    model: ConditionalFlowModel | OnnxFlow

    def __init__(
        self,
        observation_space: Space[Any],
        action_space: Space[Any],
        net_arch: Sequence[int] = (256, 256),
        *,
        horizon: int = 1,
        replan_interval: int | None = None,
        history: int = 1,
        num_steps: int | None = None,
        solver: str = "euler",
        image_features: int = 32,
        network: nn.Module | None = None,
        flow: ConditionalFlowModel | OnnxFlow | None = None,
        squash_output: bool = False,
        block: int = 16,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            noise_per_step=action_size(action_space),
            net_arch=net_arch,
            horizon=horizon,
            replan_interval=replan_interval,
            history=history,
            image_features=image_features,
            squash_output=squash_output,
            block=block,
        )
        if network is not None and flow is not None:
            raise ValueError("network is the given flow's own: leave it away")
        if flow is not None:
            check_part("flow", flow, ConditionalFlowModel, OnnxFlow)
        default_num_steps = 10 if flow is None else flow.default_num_steps
        self.num_steps = default_num_steps if num_steps is None else check_num_steps(num_steps)
        self.solver = solver
        self.has_own_network, self.has_own_flow = network is not None, flow is not None
        encoder = self.encoder()
        # Copies: policies that are built from the same arguments must not train each other.
        self.model = copy.deepcopy(flow) or ConditionalFlowModel(
            self.action_dim,
            encoder.output_dim,
            horizon=horizon,
            network=copy.deepcopy(network)
            or ResidualMlp(self.action_dim, encoder.output_dim, self.net_arch, horizon=horizon),
            encoder=encoder,
        )
        self.model.check_solver(self.num_steps, solver)
        self.model.check_sizes(self.action_dim, encoder.output_dim, horizon, None)
        if not isinstance(self.model.encoder, DictObservationEncoder):
            raise ValueError(
                f"the given flow needs the policy's own encoder, a DictObservationEncoder as encoder_for returns it, "
                f"got {type(self.model.encoder).__name__}"
            )

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments after the two spaces."""
        own = {"num_steps": self.num_steps, "solver": self.solver}
        own |= {"network": self.model.network} if self.has_own_network else {}
        return super().config | own | ({"flow": self.model} if self.has_own_flow else {})

    def flow_inputs(self, observations: Mapping[str, Tensor]) -> FlowInputs:
        """Return what the flow sees of a batch of observations as ``loss`` takes them."""
        return FlowInputs(dict(observations))

    def with_flow(self, flow: ConditionalFlowModel | OnnxFlow, num_steps: int | None = None) -> Self:
        """Return a policy with a copy of another flow, such as a student, and that one's number of steps by default."""
        own = {name: value for name, value in self.config.items() if name not in ("network", "num_steps", "solver")}
        if type(flow) is ConditionalFlowModel:  # others know their own alone
            own["solver"] = self.solver
        elif isinstance(flow, OnnxFlow):
            own["solver"] = flow.default_solver
        return type(self)(self.observation_space, self.action_space, **(own | {"flow": flow, "num_steps": num_steps}))

    def plan(self, rows: Rows, noise: NDArray[Any] | None) -> NDArray[Any]:
        """Sample actions, see ``ChunkPolicy``."""
        assert noise is not None  # noise_dim is positive
        samples = self.model.predict(
            condition=rows,
            num_steps=self.num_steps,
            solver=self.solver,
            noise=noise.reshape(-1, *self.model.sample_shape),
        )
        return np.asarray(samples).reshape(len(noise), self.horizon, self.action_dim)


class MlpPolicy(ClonedPolicy):
    """A policy that answers with the mean of the demonstrated actions; where they have several modes, with none.

    Args:
        observation_space: A Box with one axis or an image, or a Dict of such.
        action_space: A Box.
        net_arch: Hidden widths.
        horizon: Actions that are planned at once.
        replan_interval: Actions that are taken before the next plan; all of them by default.
        history: Observations that are seen, the current one included.
        image_features: Features that an image is encoded to.
        squash_output: Whether the model works in the scaled action range [-1, 1].
        block: The model sees batches padded to a multiple of this many rows; 1 is fastest.

    Raises:
        TypeError: If a space is another.
        ValueError: If a number is none of those.

    Example:
        >>> import gymnasium
        >>> env = gymnasium.make("Pendulum-v1")
        >>> policy = MlpPolicy(env.observation_space, env.action_space, net_arch=(64, 64))
        >>> policy.predict(env.reset(seed=0)[0])[0].shape
        (1,)
    """

    model: MlpRegressor

    def __init__(
        self,
        observation_space: Space[Any],
        action_space: Space[Any],
        net_arch: Sequence[int] = (256, 256),
        *,
        horizon: int = 1,
        replan_interval: int | None = None,
        history: int = 1,
        image_features: int = 32,
        squash_output: bool = False,
        block: int = 16,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            noise_per_step=0,
            net_arch=net_arch,
            horizon=horizon,
            replan_interval=replan_interval,
            history=history,
            image_features=image_features,
            squash_output=squash_output,
            block=block,
        )
        encoder = self.encoder()
        self.model = MlpRegressor(self.action_dim, encoder.output_dim, net_arch, horizon=horizon, encoder=encoder)

    def plan(self, rows: Rows, noise: NDArray[Any] | None) -> NDArray[Any]:
        """Return the mean actions, see ``ChunkPolicy``."""
        answer = np.asarray(self.model.predict(rows))
        return answer.reshape(len(answer), self.horizon, self.action_dim)


def encoder_for(observation_space: Space[Any], history: int = 1, image_features: int = 32) -> DictObservationEncoder:
    """Return the encoder of a policy's observations.

    Args:
        observation_space: The policy's, a Dict of Boxes or a Box, whose entry then is named ``"observation"``.
        history: Observations in a row that the encoder sees.
        image_features: Width of the features of one image.

    Returns:
        The encoder of conditions ``(batch, *shape)``, or ``(batch, history, *shape)`` where the history is above 1, an
        array a key; its features are ``(batch, dim)``.

    Raises:
        ValueError: If an entry is neither a vector nor an image; the message names its key.
    """
    entries = observation_space if isinstance(observation_space, Dict) else {OBSERVATION: observation_space}
    return DictObservationEncoder(entries, image_features, history)
