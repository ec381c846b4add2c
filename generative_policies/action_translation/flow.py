"""Action translation by flow matching: the source action as prior, as condition, or as both."""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Self

import torch
from torch import Tensor

from generative_policies.action_translation.translator import ActionTranslator, fit_action_normalizers
from generative_policies.models.arrays import ArrayT
from generative_policies.models.dimensions import check_net_arch, check_num_steps, check_number, check_part
from generative_policies.models.encoders import Condition, Encoder, IdentityEncoder, ObservationAndVectorEncoder
from generative_policies.models.flow import ConditionalFlowModel, FlowInputs
from generative_policies.models.priors import GaussianPrior, LiftedSourcePrior, Prior, SourcePrior
from generative_policies.models.residual_mlp import ResidualMlp


class FlowActionTranslator(ActionTranslator):
    """A flow to the target action; subclasses say what the source action is in it.

    With the source action as *prior* the flow starts there, plus noise, and an untrained one gives it back. With the
    source action as *condition* the network sees it all the way.

    Args:
        action_dim: Width of the target action.
        obs_dim: Width of the observation, the target's.
        net_arch: Hidden widths of the residual-MLP velocity network.
        source_action_dim: Width of the source action; ``action_dim`` by default. A prior carries another width over
            by a fixed affine map, see ``LiftedSourcePrior``.
        prior_noise: Standard deviation of the noise around the source action as prior, in normalised units; 0.3 by
            default, superfluous where the source action is no prior.
        num_steps: Solver steps of a translation where the caller names no other number.
        encoder: Maps the observation to ``obs_dim`` features, see ``ActionTranslator``.
        flow: Another flow of the same inputs, such as a student; ``net_arch``, ``prior_noise`` and ``encoder`` are then
            its own, and ``num_steps`` by default.

    Raises:
        ValueError: If a dimension or ``num_steps`` is not positive, ``prior_noise`` is negative or superfluous, or a
            given flow has other sizes.
    """

    source_as_prior: ClassVar[bool]
    source_as_condition: ClassVar[bool]
    default_num_steps: ClassVar[int] = 4

    def __init__(
        self,
        action_dim: int,
        obs_dim: int,
        net_arch: Sequence[int] = (32, 32),
        source_action_dim: int | None = None,
        *,
        prior_noise: float | None = None,
        num_steps: int | None = None,
        encoder: Encoder | None = None,
        flow: ConditionalFlowModel | None = None,
    ) -> None:
        if type(self) is FlowActionTranslator:
            raise TypeError("FlowActionTranslator is what three translators share; use one of them")
        super().__init__(action_dim, obs_dim, source_action_dim, encoder)
        self.config = {
            "action_dim": action_dim,
            "obs_dim": obs_dim,
            "net_arch": check_net_arch(net_arch, minimum=0),
            "source_action_dim": source_action_dim,
            "prior_noise": None if prior_noise is None else check_number("prior_noise", prior_noise),
            "num_steps": num_steps,
            "encoder": encoder,
            "flow": flow,
        }
        own = {"prior_noise": prior_noise, "encoder": encoder}
        superfluous = [name for name, value in own.items() if flow is not None and value is not None]
        if prior_noise is not None and not self.source_as_prior:
            raise ValueError(f"prior_noise is superfluous: {type(self).__name__} starts at Gaussian noise")
        if superfluous:
            raise ValueError(f"{' and '.join(superfluous)} are the given flow's own: leave them away")
        if flow is not None:
            check_part("flow", flow, ConditionalFlowModel)
        default_num_steps = self.default_num_steps if flow is None else flow.default_num_steps
        self.num_steps = default_num_steps if num_steps is None else check_num_steps(num_steps)
        self.noise_dim = action_dim
        cond_dim = obs_dim + (self.source_action_dim if self.source_as_condition else 0)
        if flow is None:
            observation_encoder = encoder or IdentityEncoder(obs_dim)
            flow = ConditionalFlowModel(
                action_dim,
                cond_dim,
                network=ResidualMlp(action_dim, cond_dim, net_arch),
                prior=self._prior(0.3 if prior_noise is None else prior_noise),
                encoder=ObservationAndVectorEncoder(observation_encoder, self.source_action_dim)
                if self.source_as_condition
                else observation_encoder,
            )
        flow.check_solver(self.num_steps, flow.default_solver)
        flow.check_sizes(action_dim, cond_dim, 1, self.source_action_dim if self.source_as_prior else None)
        if self.source_as_condition and not isinstance(flow.encoder, ObservationAndVectorEncoder):
            raise ValueError(
                f"the given flow needs an ObservationAndVectorEncoder, got {type(flow.encoder).__name__}: "
                f"{type(self).__name__} sees the source action beside the observation"
            )
        self.flow = flow

    def forward(
        self,
        obs: Condition,
        source_actions: Tensor,
        target_actions: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the flow-matching loss, see ``ActionTranslator.forward``."""
        inputs = self.check_pairs(obs, source_actions, target_actions)
        condition, source = self._condition(inputs, source_actions), self._source(source_actions)
        loss: Tensor = self.flow(target_actions, condition, source, generator=generator)
        return loss

    def translate(
        self,
        obs: Condition,
        source_actions: Tensor,
        *,
        num_steps: int | None = None,
        solver: str = "euler",
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Return target actions, see ``ActionTranslator.translate``.

        Args:
            obs: ``(batch, obs_dim)``.
            source_actions: ``(batch, source_action_dim)``.
            num_steps: Steps of the solver; the translator's own number by default.
            solver: euler, midpoint, heun or rk4.
            generator: Source of the noise.
            noise: ``(batch, action_dim)``, the noise itself.
        """
        inputs = self.check_pairs(obs, source_actions)
        return self.flow.sample(
            condition=self._condition(inputs, source_actions),
            source=self._source(source_actions),
            num_steps=self.num_steps if num_steps is None else num_steps,
            solver=solver,
            generator=generator,
            noise=noise,
        )

    def predict(
        self,
        obs: Condition,
        source_actions: ArrayT,
        *,
        num_steps: int | None = None,
        solver: str = "euler",
        generator: torch.Generator | None = None,
        noise: ArrayT | None = None,
    ) -> ArrayT:
        """Return target actions without gradients, see ``ActionTranslator.predict``.

        Args:
            obs: ``(obs_dim,)`` or ``(batch, obs_dim)``.
            source_actions: ``(source_action_dim,)`` or ``(batch, source_action_dim)``.
            num_steps: Steps of the solver; the translator's own number by default.
            solver: euler, midpoint, heun or rk4.
            generator: Source of the noise.
            noise: ``(action_dim,)`` or ``(batch, action_dim)``, the noise itself.
        """
        translate = partial(self.translate, num_steps=num_steps, solver=solver, generator=generator)
        return self._shell(obs, source_actions, noise, translate)

    def flow_inputs(self, obs: Condition, source_actions: Tensor) -> FlowInputs:
        """Return what the flow sees of a batch."""
        inputs = self.check_pairs(obs, source_actions)
        return FlowInputs(self._condition(inputs, source_actions), self._source(source_actions))

    def with_flow(self, flow: ConditionalFlowModel, num_steps: int | None = None) -> Self:
        """Return a translator with another flow, such as a student, and that one's number of steps by default."""
        return type(self)(
            self.action_dim, self.obs_dim, source_action_dim=self.source_action_dim, num_steps=num_steps, flow=flow
        )

    def fit_normalizers(self, obs: Condition, source_actions: Tensor, target_actions: Tensor) -> None:
        """Fit the statistics from training data, shaped as in the loss."""
        inputs = self.check_pairs(obs, source_actions, target_actions)
        self.flow.fit_normalizers(target_actions, self._condition(inputs, source_actions), self._source(source_actions))
        if isinstance(self.flow.encoder, ObservationAndVectorEncoder):
            fit_action_normalizers(
                self.flow.encoder.normalizer, self.flow.target_normalizer, source_actions, target_actions
            )

    @property
    def observation_encoder(self) -> Encoder:
        """The encoder of the observation."""
        encoder = self.flow.encoder
        assert encoder is not None  # always given in the constructor
        return encoder.observation_encoder if isinstance(encoder, ObservationAndVectorEncoder) else encoder

    def _prior(self, noise_scale: float) -> Prior:
        if not self.source_as_prior:
            return GaussianPrior(self.action_dim)
        if self.source_action_dim == self.action_dim:
            return SourcePrior(self.action_dim, noise_scale)
        return LiftedSourcePrior(self.action_dim, self.source_action_dim, noise_scale)

    def _source(self, source_actions: Tensor) -> Tensor | None:
        return source_actions if self.source_as_prior else None

    def _condition(self, inputs: tuple[Tensor, ...], source_actions: Tensor) -> tuple[Tensor, ...]:
        return (*inputs, source_actions) if self.source_as_condition else inputs


class FlowActionPriorTranslator(FlowActionTranslator):
    """The flow starts at the source action and sees the observation alone; see ``FlowActionTranslator``.

    With many steps it carries the *distribution* of source actions to that of target actions; pairs are kept only
    where their paths do not cross.

    Example:
        >>> translator = FlowActionPriorTranslator(action_dim=7, obs_dim=23)
        >>> translator.predict(torch.zeros(8, 23), torch.zeros(8, 7)).shape
        torch.Size([8, 7])
    """

    source_as_prior = True
    source_as_condition = False


class FlowActionConditionedTranslator(FlowActionTranslator):
    """The flow starts at Gaussian noise and sees observation and source action; see ``FlowActionTranslator``.

    Example:
        >>> translator = FlowActionConditionedTranslator(action_dim=6, obs_dim=23, source_action_dim=7)
        >>> translator.predict(torch.zeros(8, 23), torch.zeros(8, 7)).shape
        torch.Size([8, 6])
    """

    source_as_prior = False
    source_as_condition = True


class FlowActionPriorConditionedTranslator(FlowActionTranslator):
    """The flow starts at the source action and sees it and the observation; see ``FlowActionTranslator``.

    A deterministic map between the robots has straight paths here: one step of the exact velocity would be exact, and
    of a learned one it is close. Two steps cancel most of what is left, at twice the time.

    Example:
        >>> translator = FlowActionPriorConditionedTranslator(action_dim=7, obs_dim=23, prior_noise=0.0)
        >>> translator.predict(torch.zeros(23), torch.ones(7))
        tensor([1., 1., 1., 1., 1., 1., 1.])
    """

    source_as_prior = True
    source_as_condition = True
    default_num_steps = 1
