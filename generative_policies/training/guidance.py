"""Training a translator through a learned model of the target: multi-step matching, and the source's value.

Paired actions say which target action makes the source's next step. Where motors are too weak for that step, the best
of the target's steps is another one, which only its consequences tell: some steps later, or by the value that the
source's critic gives to where they lead. Neither needs the target's reward.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import trange

from generative_policies.action_translation import ActionTranslator
from generative_policies.forward_dynamics import MlpForwardDynamics
from generative_policies.models.arrays import standard_normal
from generative_policies.models.dimensions import check_dim, check_flag, check_number
from generative_policies.training.optimization import Log

SourceActions = Callable[[Tensor], Tensor]
"""The source policy's actions ``(batch, source_action_dim)`` for observations ``(batch, obs_dim)``, differentiable."""

Value = Callable[[Tensor], Tensor]
"""The source's value ``(batch,)`` of observations ``(batch, obs_dim)``, differentiable."""

Reward = Callable[[Tensor, Tensor, Tensor], Tensor]
"""The source's reward ``(batch,)`` of steps ``(obs, actions, next_obs)``, ``(batch, ...)`` each, differentiable."""


@dataclass(frozen=True)
class GuidanceSettings:
    """Settings of ``guide``.

    Attributes:
        num_updates: Gradient steps.
        batch_size: Rows a step.
        learning_rate: Adam's at the start, which falls as a cosine to 0.
        max_grad_norm: Limit of the gradient's norm.
        horizon: Steps of the models that are compared, k.
        discount: Of the value, a step.
        matching_weight: Of the distance to the source's observations, beside a value in units of half its interquartile
            range.
        correction_weight: Of the squared correction of the source action, where both robots have as many motors.
        bound_weight: Of what of an action lies outside of the target's bounds, squared, both in units of half the
            action range.
        hinge: Whether the value counts as far as it falls short of what the source would reach, so that nothing is
            gained by doing better than the source.
        pessimism: Standard deviations over the model's members by which a value counts less.

    Raises:
        TypeError: If a setting is of another kind; the message names it.
        ValueError: If one is outside its range; so too.
    """

    num_updates: int = 2_500
    batch_size: int = 256
    learning_rate: float = 7e-4
    max_grad_norm: float = 10.0
    horizon: int = 1
    discount: float = 0.99
    matching_weight: float = 0.025
    correction_weight: float = 2.5e-4
    bound_weight: float = 2.5
    hinge: bool = False
    pessimism: float = 0.0

    def __post_init__(self) -> None:
        for name in ("num_updates", "batch_size", "horizon"):
            check_dim(name, getattr(self, name))
        for name in ("learning_rate", "max_grad_norm", "matching_weight", "correction_weight", "bound_weight"):
            check_number(name, getattr(self, name))
        check_number("pessimism", self.pessimism)
        check_flag("hinge", self.hinge)
        if check_number("discount", self.discount, positive=True) > 1:
            raise ValueError(f"discount must be at most 1, got {self.discount}")


def guide(
    translator: ActionTranslator,
    obs: Tensor,
    target_model: MlpForwardDynamics,
    source_model: MlpForwardDynamics,
    source_actions: SourceActions,
    bounds: tuple[Tensor, Tensor],
    settings: GuidanceSettings = GuidanceSettings(),  # frozen
    *,
    value: Value | None = None,
    reward: Reward | None = None,
    generator: torch.Generator,
    log: Log | None = None,
    progress: bool | str = False,
) -> None:
    """Train a translator in place, on observations that the target visits.

    From each of them the target's model follows the translated policy, the source's model the policy as it is at home,
    for ``horizon`` steps. The loss is the smooth distance between the two, in units of the source's one-step changes;
    with a value, minus the value of where the target comes as well. The target's reward is never asked for.

    With a value, a translator may do better than the source: then that is policy improvement, not translation, and the
    same training on the unshifted source says how much of a gain it is.

    Args:
        translator: Fitted normalisers are kept; flow translators are trained through their own steps.
        obs: ``(rows, obs_dim)``, of the target.
        target_model: Fitted on the target; it is not changed.
        source_model: Fitted at home; it is not changed.
        source_actions: The source policy, see ``SourceActions``.
        bounds: Least and largest target actions, ``(action_dim,)`` each.
        settings: Sizes and weights.
        value: The source's value; ``None`` matches alone.
        reward: The source's reward, fitted to data from home. With it, a value counts at the last step alone, after
            the rewards on the way to it (Feinberg et al. 2018, value expansion), so both must be in one unit: that of
            what the critic was trained on, whose discount is the settings'. The target's is not asked for.
        generator: Source of batches and noise.
        log: Called with the update and its figures, ten times.
        progress: Show a progress bar, under a name where a string is given.

    Raises:
        ValueError: If a shape is wrong, a pessimistic value gets a model of one member, a reward comes without a value
            or with a hinge, or the loss becomes NaN or infinite.
    """
    low, high = bounds
    if obs.ndim != 2 or len(obs) == 0 or low.shape != high.shape or low.shape != (translator.action_dim,):
        raise ValueError(
            f"obs must have shape (rows, obs_dim), at least one row, and bounds ({translator.action_dim},) each; got "
            f"{tuple(obs.shape)}, {tuple(low.shape)} and {tuple(high.shape)}"
        )
    if settings.pessimism and target_model.members < 2:
        raise ValueError(f"pessimism needs two members of target_model that may disagree, got {target_model.members}")
    if reward is not None and (value is None or settings.hinge):
        raise ValueError("a reward needs a value at the end of its steps, which no hinge limits")
    parameters = list(translator.parameters())
    optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.num_updates)
    comparison = _Comparison(
        translator,
        target_model,
        source_model,
        source_actions,
        bounds,
        settings,
        value,
        reward,
        1.0 if value is None else _spread(value, obs, generator),
    )
    was_training = translator.training
    translator.train()
    interval = max(1, settings.num_updates // 10)
    description = progress if isinstance(progress, str) else "guide"
    try:
        with _frozen(target_model), _frozen(source_model):
            for update in trange(settings.num_updates, desc=description, disable=progress is False, mininterval=0.5):
                rows = torch.randint(len(obs), (settings.batch_size,), generator=generator)
                loss, figures = comparison.loss(obs[rows], generator)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
                nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
                optimizer.step()
                schedule.step()
                if (update + 1) % interval == 0 or update + 1 == settings.num_updates:
                    if not math.isfinite(loss.item()):
                        raise ValueError(f"the loss became {loss.item()} by update {update + 1}")
                    if log is not None:
                        log(update + 1, {name: figure.item() for name, figure in figures.items()})
    finally:
        translator.train(was_training)


@dataclass(frozen=True)
class _Comparison:
    """The target under the translated policy beside the source under its own, see ``guide``."""

    translator: ActionTranslator
    target_model: MlpForwardDynamics
    source_model: MlpForwardDynamics
    source_actions: SourceActions
    bounds: tuple[Tensor, Tensor]
    settings: GuidanceSettings
    value: Value | None
    reward: Reward | None
    value_scale: float

    def loss(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of observations ``(batch, obs_dim)``, and figures for a log."""
        settings, (low, high) = self.settings, self.bounds
        half_range = (high - low) / 2
        x_source = x
        matching, gain, correction, outside = (torch.zeros(()) for _ in range(4))
        for k in range(settings.horizon):
            asked = self.source_actions(x)
            answer = self._translate(x, asked, generator)
            action = torch.minimum(torch.maximum(answer, low), high)
            reached = self.target_model.next_states(x, action)  # (members, B, O)
            with torch.no_grad():  # the source's way does not depend on the translator
                own = asked if k == 0 else self.source_actions(x_source)
                x_source = self.source_model.next_state(x_source, own)
            before, x = x, reached.mean(dim=0)
            distance = (x - x_source) / self.source_model.change_normalizer.std
            matching = matching + nn.functional.smooth_l1_loss(distance, torch.zeros_like(distance))
            outside = outside + ((answer - action) / half_range).square().sum(dim=1).mean()
            if answer.shape == asked.shape:
                correction = correction + ((answer - asked) / half_range).square().sum(dim=1).mean()
            if self.reward is not None:
                gain = gain + settings.discount**k * self.reward(before, action, x).mean() / self.value_scale
            if self.value is not None and (self.reward is None or k + 1 == settings.horizon):
                gain = gain + settings.discount ** (k + 1) * self._worth(self.value, reached, x_source).mean()
        weight = 1.0 if self.value is None else settings.matching_weight
        loss = weight * matching - gain
        loss = loss + settings.correction_weight * correction + settings.bound_weight * outside
        return loss, {"guide/loss": loss, "guide/matching": matching, "guide/value": gain}

    def _translate(self, x: Tensor, asked: Tensor, generator: torch.Generator) -> Tensor:
        noise_dim = self.translator.noise_dim
        noise = standard_normal((len(x), noise_dim), x, generator) if noise_dim else None
        return self.translator.translate(x, asked, noise=noise)

    def _worth(self, value: Value, reached: Tensor, x_source: Tensor) -> Tensor:
        """What the members' next observations ``(members, batch, obs_dim)`` are worth, ``(batch,)``."""
        there = value(reached.flatten(0, 1)).view(reached.shape[:2]) / self.value_scale  # (members, B)
        worth = there.mean(dim=0)
        if self.settings.pessimism:
            worth = worth - self.settings.pessimism * there.std(dim=0)
        if self.settings.hinge:
            with torch.no_grad():
                at_home = value(x_source) / self.value_scale
            worth = -torch.relu(at_home - worth)
        return worth


@torch.no_grad()
def _spread(value: Value, obs: Tensor, generator: torch.Generator) -> float:
    """The spread of the value over the observations, so that weights do not depend on the reward's units.

    Half of the distance between its quartiles: where an episode goes wrong, values lie far off.
    """
    worths = value(obs[torch.randint(len(obs), (4_096,), generator=generator)])
    low, high = worths.quantile(torch.tensor([0.25, 0.75]))
    return max(float(high - low) / 2, 1e-6)


class _frozen:  # noqa: N801  # used as a function, like torch.no_grad
    """Keep a model's parameters out of the gradient, which still flows through to its inputs."""

    def __init__(self, model: nn.Module) -> None:
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def __enter__(self) -> None:
        for parameter in self._trained:
            parameter.requires_grad_(False)

    def __exit__(self, *exception: object) -> None:
        for parameter in self._trained:
            parameter.requires_grad_(True)
