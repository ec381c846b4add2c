"""Action translation by flow matching: the source action as prior, as condition, or as both."""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from generative_policies.action_translation.translator import ActionTranslator, fit_action_normalizers
from generative_policies.models.arrays import ArrayT
from generative_policies.models.encoders import Encoder, IdentityEncoder, IdentityTwoInputEncoder
from generative_policies.models.flow import ConditionalFlowModel
from generative_policies.models.priors import GaussianPrior, SourcePrior
from generative_policies.models.residual_mlp import ResidualMlp


class FlowActionTranslator(ActionTranslator):
    """A flow to the target action; subclasses say what the source action is in it.

    With the source action as *prior* the flow starts there, plus noise, and an untrained one gives it back. With the
    source action as *condition* the network sees it all the way.

    Args:
        action_dim: Width of the target action.
        obs_dim: Width of the observation, the target's.
        net_arch: Hidden widths of the residual-MLP velocity network.
        source_action_dim: Width of the source action; ``action_dim`` by default. A prior needs it to be that.
        prior_noise: Standard deviation of the noise around the source action as prior, in normalised units.
        num_steps: Solver steps of a translation where the caller names no other number.

    Raises:
        ValueError: If a dimension is not positive, or a prior meets unequal action widths.
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
        prior_noise: float = 0.3,
        num_steps: int | None = None,
    ) -> None:
        super().__init__(action_dim, obs_dim, source_action_dim)
        if self.source_as_prior and self.source_action_dim != action_dim:
            raise ValueError(
                f"{type(self).__name__} starts at the source action, which must be as wide as the target's: "
                f"source_action_dim is {self.source_action_dim}, action_dim {action_dim}; "
                f"use FlowActionConditionedTranslator or MlpActionTranslator"
            )
        self.config = {
            "action_dim": action_dim,
            "obs_dim": obs_dim,
            "net_arch": tuple(net_arch),
            "source_action_dim": source_action_dim,
            "prior_noise": prior_noise,
            "num_steps": num_steps,
        }
        self.num_steps = self.default_num_steps if num_steps is None else num_steps
        self.noise_dim = action_dim
        encoder: Encoder = (
            IdentityTwoInputEncoder(obs_dim, self.source_action_dim)
            if self.source_as_condition
            else IdentityEncoder(obs_dim)
        )
        self.flow = ConditionalFlowModel(
            action_dim,
            encoder.output_dim,
            network=ResidualMlp(action_dim, encoder.output_dim, net_arch),
            prior=SourcePrior(action_dim, prior_noise) if self.source_as_prior else GaussianPrior(action_dim),
            encoder=encoder,
        )

    def forward(
        self,
        obs: Tensor,
        source_actions: Tensor,
        target_actions: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the flow-matching loss, see ``ActionTranslator.forward``."""
        self.check_pairs(obs, source_actions, target_actions)
        condition, source = self._condition(obs, source_actions), self._source(source_actions)
        loss: Tensor = self.flow(target_actions, condition, source, generator=generator)
        return loss

    def translate(
        self,
        obs: Tensor,
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
        self.check_pairs(obs, source_actions)
        return self.flow.sample(
            condition=self._condition(obs, source_actions),
            source=self._source(source_actions),
            num_steps=self.num_steps if num_steps is None else num_steps,
            solver=solver,
            generator=generator,
            noise=noise,
        )

    def predict(
        self,
        obs: ArrayT,
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

    def fit_normalizers(self, obs: Tensor, source_actions: Tensor, target_actions: Tensor) -> None:
        """Fit the statistics from training data, shaped as in the loss."""
        encoder = self.flow.encoder
        if isinstance(encoder, IdentityTwoInputEncoder):
            encoder.normalizer_1.fit(obs)
            fit_action_normalizers(encoder.normalizer_2, self.flow.target_normalizer, source_actions, target_actions)
        else:
            self.flow.fit_normalizers(target_actions, obs, source_actions)

    def _source(self, source_actions: Tensor) -> Tensor | None:
        return source_actions if self.source_as_prior else None

    def _condition(self, obs: Tensor, source_actions: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return (obs, source_actions) if self.source_as_condition else obs


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

    A deterministic map between the robots has straight paths here, so that one step is exact.

    Example:
        >>> translator = FlowActionPriorConditionedTranslator(action_dim=7, obs_dim=23, prior_noise=0.0)
        >>> translator.predict(torch.zeros(23), torch.ones(7))
        tensor([1., 1., 1., 1., 1., 1., 1.])
    """

    source_as_prior = True
    source_as_condition = True
    default_num_steps = 1
