"""Conditional flow matching.

Time runs from t = 0 (source) to t = 1 (target) along x_t = (1 - t) x_0 + t x_1.

Source: Lipman et al. 2023, Flow Matching for Generative Modeling; Liu et al. 2023, Flow Straight and Fast.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from generative_policies.models.arrays import (
    Array,
    as_caller,
    as_rows,
    check_rows,
    evaluating,
    parameter_like,
    same_batch,
    standard_normal,
)
from generative_policies.models.encoders import Condition, Encoder, IdentityEncoder
from generative_policies.models.mlp import check_dim
from generative_policies.models.normalizer import Normalizer
from generative_policies.models.priors import GaussianPrior, Prior
from generative_policies.models.solvers import integrate
from generative_policies.models.unet import ConditionalUNet1D


class ConditionalFlowModel(nn.Module):
    """A generative model of p(target | condition), from a Gaussian or from a given source sample.

    The loss lives in normalised units; samples, sources and conditions in raw ones. With a prior that uses a source,
    source and target share the target's normaliser.

    Args:
        target_dim: Width D of the target.
        cond_dim: Width C of the condition features, 0 for an unconditional model.
        diffusion_step_embed_dim: Number of time features of the default network, even.
        down_dims: Widths of the default network, a ``ConditionalUNet1D``.
        horizon: Steps H of a chunk; at 1 targets are ``(batch, D)``, above ``(batch, H, D)`` and ``network`` is needed.
        network: A velocity network, see ``VelocityNetwork``.
        prior: The distribution of x_0; ``GaussianPrior(target_dim)`` by default.
        encoder: Maps the condition to ``cond_dim`` features; ``IdentityEncoder(cond_dim)`` by default.

    Raises:
        ValueError: If dimensions of the parts do not fit together.

    Example:
        >>> model = ConditionalFlowModel(target_dim=2, cond_dim=3)
        >>> loss = model(torch.randn(8, 2), condition=torch.randn(8, 3))
        >>> model.predict(condition=torch.randn(8, 3), num_steps=10).shape
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
        super().__init__()
        self.target_dim = check_dim("target_dim", target_dim)
        self.cond_dim = check_dim("cond_dim", cond_dim, minimum=0)
        self.horizon = check_dim("horizon", horizon)
        if encoder is not None and encoder.output_dim != cond_dim:
            raise ValueError(f"encoder gives {encoder.output_dim} features, but cond_dim is {cond_dim}")
        if prior is not None and prior.dim != target_dim:
            raise ValueError(f"prior has dim {prior.dim}, but target_dim is {target_dim}")
        if horizon > 1 and network is None:
            raise ValueError(
                f"horizon={horizon} needs a network for chunks, such as network=ResidualMlp(..., horizon={horizon})"
            )
        self.config = {
            "target_dim": target_dim,
            "cond_dim": cond_dim,
            "diffusion_step_embed_dim": diffusion_step_embed_dim,
            "down_dims": tuple(down_dims),
            "horizon": horizon,
            "network": network,
            "prior": prior,
            "encoder": encoder,
        }
        self.network = network or ConditionalUNet1D(
            target_dim, target_dim, cond_dim, diffusion_step_embed_dim, down_dims
        )
        self.prior = prior or GaussianPrior(target_dim)
        self.encoder = encoder or (IdentityEncoder(cond_dim) if cond_dim else None)
        self.target_normalizer = Normalizer(target_dim)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample: (D,), or (H, D) for chunks."""
        return (self.target_dim,) if self.horizon == 1 else (self.horizon, self.target_dim)

    def forward(
        self,
        target: Tensor,
        condition: Condition | None = None,
        source: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the flow-matching loss E||v(x_t, t, c) - (x_1 - x_0)||^2, in normalised units.

        Args:
            target: ``(batch, D)`` or ``(batch, H, D)``, raw units.
            condition: ``(batch, C)``, or what the encoder takes; ``None`` for an unconditional model.
            source: In the shape of the target, for a prior that uses a source.
            generator: Source of the noise and of the times.

        Returns:
            A scalar with gradients.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong, or an input is missing or superfluous.
        """
        check_rows("target", target, self.sample_shape)
        inputs = self._inputs(condition)
        _common_batch(None, target=target, condition=None if inputs is None else inputs[0], source=source)
        features = self._features(inputs)
        x_1 = self.target_normalizer.normalize(target)
        x_0 = self._x_0(standard_normal(tuple(target.shape), target, generator), source)
        device = target.device if generator is None else generator.device
        t = torch.rand(len(target), generator=generator, device=device, dtype=target.dtype).to(target.device)  # (B,)
        t_wide = t.reshape(-1, *[1] * (target.ndim - 1))
        x_t = (1 - t_wide) * x_0 + t_wide * x_1
        velocity = self.network(x_t, t, features)
        return nn.functional.mse_loss(velocity, x_1 - x_0)

    def sample(
        self,
        batch_size: int | None = None,
        condition: Condition | None = None,
        source: Tensor | None = None,
        num_steps: int = 100,
        solver: str = "euler",
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Draw samples, differentiable with respect to parameters, condition, source and noise.

        Args:
            batch_size: Number of samples; inferred where a condition, source or noise is given.
            condition: ``(batch, C)`` or what the encoder takes.
            source: ``(batch, D)`` or ``(batch, H, D)``, for a prior that uses a source.
            num_steps: Steps of the solver.
            solver: euler, midpoint, heun or rk4.
            generator: Source of the noise.
            noise: The noise itself, standard normal, in the shape of the samples.

        Returns:
            ``(batch, D)`` or ``(batch, H, D)`` in raw units.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong, or an input is missing or superfluous.
        """
        inputs = self._inputs(condition)
        batch = _common_batch(batch_size, condition=None if inputs is None else inputs[0], source=source, noise=noise)
        features = self._features(inputs)
        if noise is None:
            noise = standard_normal((batch, *self.sample_shape), parameter_like(self), generator)
        check_rows("noise", noise, self.sample_shape, batch)
        x_0 = self._x_0(noise, source)

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            answer: Tensor = self.network(x, t, features)
            return answer

        return self.target_normalizer.denormalize(integrate(velocity, x_0, num_steps, solver))

    def predict(
        self,
        batch_size: int | None = None,
        condition: Condition | None = None,
        source: Array | None = None,
        num_steps: int = 100,
        solver: str = "euler",
        generator: torch.Generator | None = None,
        noise: Array | None = None,
    ) -> Array:
        """Draw samples without gradients, from and to the caller's kind of array.

        The answer has the kind, rank and dtype of ``source``, else of ``condition`` (its first input), else of
        ``noise``; without any array it is a tensor. A single condition or source with a ``batch_size`` gives that many
        samples of it.

        Args:
            batch_size: Number of samples; inferred where an array is given.
            condition: ``(C,)`` or ``(batch, C)``, or what the encoder takes.
            source: One sample or a batch of them, for a prior that uses a source.
            num_steps: Steps of the solver.
            solver: euler, midpoint, heun or rk4.
            generator: Source of the noise.
            noise: The noise itself, standard normal, in the shape of the samples.

        Returns:
            ``(batch, D)`` or ``(batch, H, D)`` in raw units, or one sample without the batch axis.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong, or an input is missing or superfluous.
        """
        like = parameter_like(self)
        inputs = None if condition is None or self.encoder is None else self.encoder.rows(condition)
        source_rows = None if source is None else as_rows("source", source, self.sample_shape, like)
        noise_rows = None if noise is None else as_rows("noise", noise, self.sample_shape, like)
        reference, single = self._reference(condition, source, noise)
        if single and batch_size is not None:
            single = False
            inputs = inputs and tuple(x.expand(batch_size, *x.shape[1:]) for x in inputs)
            source_rows = None if source_rows is None else source_rows.expand(batch_size, *self.sample_shape)
        with evaluating(self):
            samples = self.sample(
                batch_size,
                condition if inputs is None else inputs,
                source_rows,
                num_steps,
                solver,
                generator,
                noise_rows,
            )
        return samples if reference is None else as_caller(samples, reference, single)

    def fit_normalizers(self, target: Tensor, condition: Condition | None = None, source: Tensor | None = None) -> None:
        """Fit the statistics of target, source and condition from training data, shaped as in the loss."""
        self.target_normalizer.fit(target if source is None else torch.cat([target, source]))
        inputs = self._inputs(condition)
        if self.encoder is not None and inputs is not None:
            self.encoder.fit_normalizers(*inputs)

    def _inputs(self, condition: Condition | None) -> tuple[Tensor, ...] | None:
        """Check that a condition of tensors is there exactly where the model takes one, and return its inputs."""
        if self.encoder is None:
            if condition is not None:
                raise ValueError("condition is superfluous: this model was built with cond_dim=0")
            return None
        if condition is None:
            shapes = ", ".join(str(("batch", *shape)) for shape in self.encoder.input_shapes)
            raise ValueError(f"condition is missing: this model takes {shapes}")
        return self.encoder.check(condition)

    def _features(self, inputs: tuple[Tensor, ...] | None) -> Tensor | None:
        return None if inputs is None or self.encoder is None else self.encoder(*inputs)

    def _x_0(self, noise: Tensor, source: Tensor | None) -> Tensor:
        if not self.prior.uses_source:
            if source is not None:
                raise ValueError(f"source is superfluous: {type(self.prior).__name__} does not start at a source")
            return self.prior.x_0(noise, None)
        if source is None:
            raise ValueError(f"source is missing: the prior starts at one of shape {('batch', *self.sample_shape)}")
        check_rows("source", source, self.sample_shape, len(noise))
        return self.prior.x_0(noise, self.target_normalizer.normalize(source))

    def _reference(
        self, condition: Condition | None, source: Array | None, noise: Array | None
    ) -> tuple[Array | None, bool]:
        """The array whose kind the answer takes, and whether it is a single row."""
        if source is not None:
            return source, source.ndim == len(self.sample_shape)
        if condition is not None and self.encoder is not None:
            first = condition[0] if isinstance(condition, tuple) else condition
            return first, first.ndim == len(self.encoder.input_shapes[0])
        return noise, noise is not None and noise.ndim == len(self.sample_shape)


def _common_batch(batch_size: int | None, **given: Tensor | None) -> int:
    """The number of rows of the arrays that are given, else ``batch_size``."""
    rows = {name: value for name, value in given.items() if value is not None}
    if not rows:
        if batch_size is None:
            raise ValueError("batch_size is needed where no condition, source or noise is given")
        return check_dim("batch_size", batch_size, minimum=0)
    batch = same_batch(**rows)
    if batch_size is not None and batch_size != batch:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in rows.items())
        raise ValueError(f"batch_size is {batch_size}, but the arrays have {batch} rows: {shapes}")
    return batch
