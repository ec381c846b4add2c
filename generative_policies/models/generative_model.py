"""What flows and bridges share: normalisation, condition, prior, and the shell around sampling."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from generative_policies.models.arrays import (
    Array,
    as_caller,
    as_rows,
    check_rows,
    common_batch,
    evaluating,
    in_chunks,
    own,
    parameter_like,
    readable_shape,
    rows_are_checked,
    standard_normal,
)
from generative_policies.models.dimensions import check_dim, check_net_arch, check_part
from generative_policies.models.encoders import Condition, Encoder, IdentityEncoder
from generative_policies.models.normalizer import Normalizer
from generative_policies.models.priors import GaussianPrior, Prior
from generative_policies.models.solvers import SOLVERS
from generative_policies.models.unet import ConditionalUNet1D
from generative_policies.models.velocity import check_network


class GenerativeModel(nn.Module, ABC):
    """A model of p(target | condition) that carries x_0 (t = 0) to the target (t = 1).

    The loss lives in normalised units; samples, sources and conditions in raw ones.

    Args:
        target_dim: Width D of the target.
        cond_dim: Width C of the condition features, 0 for an unconditional model.
        diffusion_step_embed_dim: Number of time features of the default network, even.
        down_dims: Widths of the default network, a ``ConditionalUNet1D``.
        horizon: Steps H of a chunk; at 1 targets are ``(batch, D)``, above ``(batch, H, D)``.
        network: A network that follows ``VelocityNetwork``, with ``cond_dim`` features, or as many as the model says.
        prior: The distribution of x_0; ``GaussianPrior(target_dim)`` by default.
        encoder: Maps the condition to ``cond_dim`` features; ``IdentityEncoder(cond_dim)`` by default.

    Raises:
        ValueError: If dimensions of the parts do not fit together.

    Attributes:
        default_solver: The solver of samples where the caller names no other.
        default_num_steps: Its number of steps.
    """

    default_solver: ClassVar[str]
    default_num_steps: int = 100

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
        for name, part, kind in (
            ("network", network, nn.Module),
            ("prior", prior, Prior),
            ("encoder", encoder, Encoder),
        ):
            if part is not None:
                check_part(name, part, kind)
        if encoder is not None and encoder.output_dim != cond_dim:
            raise ValueError(f"encoder gives {encoder.output_dim} features, but cond_dim is {cond_dim}")
        if prior is not None and prior.dim != target_dim:
            raise ValueError(f"prior has dim {prior.dim}, but target_dim is {target_dim}")
        self.config = {
            "target_dim": target_dim,
            "cond_dim": cond_dim,
            "diffusion_step_embed_dim": diffusion_step_embed_dim,
            "down_dims": check_net_arch(down_dims, name="down_dims"),
            "horizon": horizon,
            "network": network,
            "prior": prior,
            "encoder": encoder,
        }
        self.prior = prior or GaussianPrior(target_dim)
        self.encoder = encoder or (IdentityEncoder(cond_dim) if cond_dim else None)
        self.target_normalizer = Normalizer(target_dim)
        self.network = network or ConditionalUNet1D(
            target_dim, target_dim, self.network_cond_dim, diffusion_step_embed_dim, down_dims, horizon=horizon
        )
        if network is not None:
            check_network(network, self.sample_shape, self.network_cond_dim)

    @property
    def network_cond_dim(self) -> int:
        """Width of the condition features that the network sees."""
        return self.cond_dim

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample, (D,), or (H, D) for chunks."""
        return (self.target_dim,) if self.horizon == 1 else (self.horizon, self.target_dim)

    @property
    def source_shape(self) -> tuple[int, ...] | None:
        """The shape of one source, ``None`` where the prior takes none."""
        return None if self.prior.source_dim is None else (*self.sample_shape[:-1], self.prior.source_dim)

    @abstractmethod
    def path_loss(self, x_0: Tensor, x_1: Tensor, features: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Return the loss of paths between normalised ends ``(batch, ...)``, given condition features."""

    @abstractmethod
    def transport(
        self, x_0: Tensor, features: Tensor | None, num_steps: int, solver: str, generator: torch.Generator | None
    ) -> Tensor:
        """Carry normalised x_0 ``(batch, ...)`` to x_1, given condition features."""

    def forward(
        self,
        target: Tensor,
        condition: Condition | None = None,
        source: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the training loss, in normalised units.

        Args:
            target: ``(batch, D)`` or ``(batch, H, D)``, raw units.
            condition: ``(batch, C)``, or what the encoder takes; ``None`` for an unconditional model.
            source: ``(batch, source_dim)`` or ``(batch, H, source_dim)``, for a prior that starts at a source.
            generator: Source of the noise and of the times.

        Returns:
            A scalar with gradients.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong, or an input is missing or superfluous.
        """
        check_rows("target", target, self.sample_shape, like=parameter_like(self))
        inputs = self._inputs(condition)
        self._check_source(source)
        if common_batch(None, target=target, condition=None if inputs is None else inputs[0], source=source) == 0:
            raise ValueError(f"the loss needs at least one row, got target {tuple(target.shape)}")
        x_1 = self.target_normalizer.normalize(target)
        noise = standard_normal(tuple(target.shape), target, generator)
        x_0 = self.prior.x_0(noise, source, self.target_normalizer)
        return self.path_loss(x_0, x_1, self._features(inputs), generator)

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
        """Draw samples, differentiable with respect to parameters, condition, source and noise.

        Args:
            batch_size: Number of samples; inferred where a condition, source or noise is given.
            condition: ``(batch, C)`` or what the encoder takes.
            source: ``(batch, source_dim)`` or ``(batch, H, source_dim)``, for a prior that starts at a source.
            num_steps: Steps of the solver, the model's own number by default.
            solver: Name of a solver, the model's own by default.
            generator: Source of the noise.
            noise: The noise of x_0 itself, standard normal, in the shape of the samples.

        Returns:
            ``(batch, D)`` or ``(batch, H, D)`` in raw units.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong, or an input is missing or superfluous.
        """
        steps = self.default_num_steps if num_steps is None else num_steps
        way = solver or self.default_solver
        x_0, features = self.start(batch_size, condition, source, generator, noise)
        given = [x_0] if features is None else [x_0, features]

        def end(x_0: Tensor, features: Tensor | None = None) -> Tensor:
            return self.transport(x_0, features, steps, way, generator)

        # What is drawn on the way is drawn for all rows at once.
        x_1 = in_chunks(end, *given) if way in SOLVERS else end(*given)
        return self.target_normalizer.denormalize(x_1)

    def start(
        self,
        batch_size: int | None = None,
        condition: Condition | None = None,
        source: Tensor | None = None,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return x_0 in normalised units and the condition features; arguments as ``sample``'s."""
        inputs = self._inputs(condition)
        self._check_source(source)
        if noise is not None and not rows_are_checked():
            check_rows("noise", noise, self.sample_shape, like=parameter_like(self))
        first = None if inputs is None else inputs[0]
        batch = common_batch(batch_size, condition=first, source=source, noise=noise)
        if noise is None:
            noise = standard_normal((batch, *self.sample_shape), parameter_like(self), generator)
        return self.prior.x_0(noise, source, self.target_normalizer), self._features(inputs)

    def predict(
        self,
        batch_size: int | None = None,
        condition: Condition | None = None,
        source: Array | None = None,
        num_steps: int | None = None,
        solver: str | None = None,
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
            source: One source or a batch of them, for a prior that starts at a source.
            num_steps: Steps of the solver, the model's own number by default.
            solver: Name of a solver, the model's own by default.
            generator: Source of the noise.
            noise: The noise of x_0 itself, standard normal, in the shape of the samples.

        Returns:
            ``(batch, D)`` or ``(batch, H, D)`` in raw units, or one sample without the batch axis.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong, or an input is missing or superfluous.
        """
        like = parameter_like(self)
        batch_size = None if batch_size is None else check_dim("batch_size", batch_size, minimum=0)
        inputs = None if condition is None or self.encoder is None else self.encoder.rows(condition)
        source_shape = self._source_shape(source)
        source_rows = None if source is None else as_rows("source", source, source_shape, like)
        noise_rows = None if noise is None else as_rows("noise", noise, self.sample_shape, like)
        reference, single = self._reference(condition, source, noise)
        if single and batch_size is not None:
            single = False
            inputs = inputs and tuple(x.expand(batch_size, *x.shape[1:]) for x in inputs)
            source_rows = None if source_rows is None else source_rows.expand(batch_size, *source_shape)
        with evaluating(self, rows_are_checked=True, inference=True):
            samples = self.sample(
                batch_size,
                condition if inputs is None else inputs,
                source_rows,
                num_steps,
                solver,
                generator,
                noise_rows,
            )
        return own(samples) if reference is None else as_caller(samples, reference, single)

    def fit_normalizers(self, target: Tensor, condition: Condition | None = None, source: Tensor | None = None) -> None:
        """Fit statistics, and what else the prior fits, from training data shaped as in the loss.

        A source as wide as the target shares its statistics.
        """
        shared = source is not None and self.source_shape == self.sample_shape
        self.target_normalizer.fit(torch.cat([target, source]) if shared and source is not None else target)
        if source is not None:
            self.prior.fit(source, target, self.target_normalizer)
        inputs = self._inputs(condition)
        if self.encoder is not None and inputs is not None:
            self.encoder.fit_normalizers(*inputs)

    def check_sizes(self, target_dim: int, cond_dim: int, horizon: int, source_dim: int | None) -> None:
        """Check that a flow that a larger model was given, a student say, fits there.

        Args:
            target_dim: Width of the target.
            cond_dim: Width of the condition features.
            horizon: Steps of a chunk.
            source_dim: Width of the source that the prior starts at, ``None`` for none.

        Raises:
            ValueError: If one of them is another.
        """
        expected = {"target_dim": target_dim, "cond_dim": cond_dim, "horizon": horizon, "source_dim": source_dim}
        own = (self.target_dim, self.cond_dim, self.horizon, self.prior.source_dim)
        if own != tuple(expected.values()):
            pairs = zip(expected.items(), own, strict=True)
            wrong = "; ".join(f"{name} {value}, got {got}" for (name, value), got in pairs if value != got)
            raise ValueError(f"the given flow must have {wrong}")

    def _inputs(self, condition: Condition | None) -> tuple[Tensor, ...] | None:
        """Check that a condition of tensors is there exactly where the model takes one, and return its inputs."""
        if self.encoder is None:
            if condition is not None:
                shape = f" of shape {tuple(condition.shape)}" if isinstance(condition, np.ndarray | Tensor) else ""
                raise ValueError(f"condition is superfluous: this model was built with cond_dim=0, got one{shape}")
            return None
        if condition is None:
            shapes = ", ".join(readable_shape(("batch", *shape)) for shape in self.encoder.input_shapes)
            raise ValueError(f"condition is missing: this model takes {shapes}")
        return self.encoder.check(condition)

    def _features(self, inputs: tuple[Tensor, ...] | None) -> Tensor | None:
        return None if inputs is None or self.encoder is None else in_chunks(self.encoder, *inputs)

    def _source_shape(self, source: Array | None) -> tuple[int, ...]:
        """Check that a source is there exactly where the prior starts at one, and return the shape of one."""
        if self.source_shape is None:
            if source is not None:
                prior = type(self.prior).__name__
                raise ValueError(f"source is superfluous: {prior} starts at none, got shape {tuple(source.shape)}")
            return ()
        if source is None:
            shape = readable_shape(("batch", *self.source_shape))
            raise ValueError(f"source is missing: the prior starts at one of shape {shape}")
        return self.source_shape

    def _check_source(self, source: Tensor | None) -> None:
        shape = self._source_shape(source)
        if source is not None and not rows_are_checked():
            check_rows("source", source, shape, like=parameter_like(self))

    def _reference(
        self, condition: Condition | None, source: Array | None, noise: Array | None
    ) -> tuple[Array | None, bool]:
        """The array whose kind the answer takes, and whether it is a single row."""
        if source is not None:
            return source, source.ndim == len(self.sample_shape)
        if condition is not None and self.encoder is not None:
            return self.encoder.reference(condition)
        return noise, noise is not None and noise.ndim == len(self.sample_shape)
