"""Flows by their average velocity, which make samples in one step without a teacher.

The average velocity u(x_t, t, r) = 1 / (r - t) * (integral of the velocity along the path from t to r) carries x_t to
x_r = x_t + (r - t) u(x_t, t, r) in one step. It follows from itself over two shorter spans, with any m between,

    (r - t) u(x_t, t, r) = (m - t) u(x_t, t, m) + (r - m) u(x_m, m, r),    x_m = x_t + (m - t) u(x_t, t, m),

and from the data where the span is empty, u(x_t, t, t) = E[x_1 - x_0 | x_t]. No derivative of the network is needed.

Source: Geng et al. 2025, Mean Flows for One-step Generative Modeling, for u and the weight of its errors; Guo et al.
2025, SplitMeanFlow, for the two spans.
"""

import copy
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from generative_policies.models.encoders import Encoder
from generative_policies.models.flow import ConditionalFlowModel
from generative_policies.models.priors import Prior
from generative_policies.models.solvers import IndexedVelocity, evaluation_times
from generative_policies.models.velocity import TimeEmbedding, uniform_times, velocity_at_times

SPAN_DIM = 32  # features of the span r - t
EMPTY_SHARE = 2 / 3  # of the rows of a batch whose span is empty: they alone see the data
ERROR_OFFSET = 1e-2  # of squared errors over a span, beyond which they count less


class AverageVelocityModel(ConditionalFlowModel):
    """A flow to p(target | condition) that is sampled in one step, or in a few equal ones.

    Its network answers the average velocity over a span, which it sees as further condition features. It learns from
    data as every flow does, in some 1.4 times the time a step; a student of a trained flow, see ``training.distill``,
    is as fast and often better.

    Args:
        target_dim: Width D of the target.
        cond_dim: Width C of the condition features, 0 for an unconditional model.
        diffusion_step_embed_dim: Number of time features of the default network, even.
        down_dims: Widths of the default network, a ``ConditionalUNet1D``.
        horizon: Steps H of a chunk; at 1 targets are ``(batch, D)``, above ``(batch, H, D)``.
        network: A network that follows ``VelocityNetwork``, with ``network_cond_dim`` condition features: those of the
            condition and 32 of the span.
        prior: The distribution of x_0; ``GaussianPrior(target_dim)`` by default.
        encoder: Maps the condition to ``cond_dim`` features; ``IdentityEncoder(cond_dim)`` by default.

    Raises:
        ValueError: If the parts do not fit together.

    Example:
        >>> model = AverageVelocityModel(target_dim=2, cond_dim=3)
        >>> loss = model(torch.randn(8, 2), condition=torch.randn(8, 3))
        >>> model.predict(condition=torch.randn(8, 3)).shape
        torch.Size([8, 2])
    """

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
        self.default_num_steps = 1
        self.span_embedding = TimeEmbedding(SPAN_DIM)
        del self.config["coupling"], self.config["condition_weight"]

    @classmethod
    def like(cls, flow: ConditionalFlowModel) -> Self:
        """Return an untrained model with a flow's sizes, and a network like its own.

        Prior, encoder and statistics are copies of the flow's. Noise meets targets independently, whatever the flow's
        coupling.

        Args:
            flow: A flow whose network sees the time, and has a ``config`` of its constructor's arguments with a
                ``cond_dim``.

        Raises:
            ValueError: If the network has no such config, or does not see the time, as that of a one-step student.
        """
        config: Any = getattr(flow.network, "config", None)
        if not isinstance(config, dict) or "cond_dim" not in config:
            raise ValueError(
                f"{type(flow.network).__name__} has no config with a cond_dim, so that no wider one can be built; "
                f"pass a network to AverageVelocityModel"
            )
        if config.get("diffusion_step_embed_dim") == 0:
            raise ValueError(
                f"the flow's {type(flow.network).__name__} does not see the time, which an average velocity needs; "
                f"start from the flow that it was distilled from, or pass a network to AverageVelocityModel"
            )
        network = type(flow.network)(**(config | {"cond_dim": flow.cond_dim + SPAN_DIM}))
        parts: dict[str, Any] = {name: copy.deepcopy(flow.config[name]) for name in ("prior", "encoder")}
        model = cls(flow.target_dim, flow.cond_dim, horizon=flow.horizon, network=network, **parts)
        model.adopt_statistics(flow)
        return model

    @property
    def network_cond_dim(self) -> int:
        """Width of the condition features that the network sees, the condition's and the span's."""
        return self.cond_dim + SPAN_DIM

    def path_loss(self, x_0: Tensor, x_1: Tensor, features: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Return the squared error of u(x_t, t, r) against the data, a weighted one against itself over two spans."""
        # Those that see the data are a random share: rows of a batch may be sorted, by their source say.
        order = uniform_times(x_1, generator).argsort()
        x_0, x_1, features = x_0[order], x_1[order], None if features is None else features[order]
        # Long spans are as frequent as short ones: samples are made of the longest.
        start, span, share = (uniform_times(x_1, generator) for _ in range(3))  # (B,) each
        num_empty = max(1, round(EMPTY_SHARE * len(x_1)))
        span[:num_empty] = 0
        t = start * (1 - span)
        x_t = (1 - _wide(t, x_1)) * x_0 + _wide(t, x_1) * x_1
        rows = slice(num_empty, None)
        with torch.no_grad():  # without it both sides meet where nothing moves
            seen = None if features is None else features[rows]
            over_spans = self._over_two_spans(x_t[rows], t[rows], span[rows], share[rows], seen)
            target = torch.cat([(x_1 - x_0)[:num_empty], over_spans])
        error = (self._average(x_t, t, span, features) - target).square().flatten(1).mean(1)  # (B,)
        # Against itself the target is a function of x_t: a weight leaves the minimum where it is. Against the data it
        # would turn the mean into a median, which forgets light modes.
        weight = (error.detach() + ERROR_OFFSET).rsqrt()
        weight[:num_empty] = 1
        return (weight * error).mean()

    def check_solver(self, num_steps: int, solver: str) -> None:
        """Check the number of steps, see ``ConditionalFlowModel.check_solver``; the solver can only be euler."""
        if solver != "euler":
            raise ValueError(f"solver must be 'euler': a step of the average velocity is exact, got {solver!r}")
        super().check_solver(num_steps, solver)

    def _velocity(self, features: Tensor | None, num_steps: int, solver: str, like: Tensor) -> IndexedVelocity:
        """Return the average velocity over each of the equal steps."""
        self.check_solver(num_steps, solver)
        seen = self._with_span(features, like.new_full((len(like),), 1 / num_steps))
        return velocity_at_times(self.network, evaluation_times(num_steps), seen, like)

    def _average(self, x: Tensor, t: Tensor, span: Tensor, features: Tensor | None) -> Tensor:
        answer: Tensor = self.network(x, t, self._with_span(features, span))
        return answer

    def _over_two_spans(self, x_t: Tensor, t: Tensor, span: Tensor, share: Tensor, features: Tensor | None) -> Tensor:
        """Return u(x_t, t, t + span) by way of m = t + share * span."""
        first = self._average(x_t, t, share * span, features)
        x_m = x_t + _wide(share * span, x_t) * first
        second = self._average(x_m, t + share * span, (1 - share) * span, features)
        return _wide(share, x_t) * first + _wide(1 - share, x_t) * second

    def _with_span(self, features: Tensor | None, span: Tensor) -> Tensor:
        known = self.span_embedding(span)
        return known if features is None else torch.cat([features, known], dim=-1)


def _wide(time: Tensor, like: Tensor) -> Tensor:
    """Give a time a row, ``(batch,)``, as many axes as ``like`` has."""
    return time.reshape(-1, *[1] * (like.ndim - 1))
