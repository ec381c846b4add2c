"""Regression of a target on a condition, with the interface of the generative models."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from generative_policies.models.arrays import (
    Array,
    as_caller,
    check_rows,
    evaluating,
    in_chunks,
    parameter_like,
    same_batch,
)
from generative_policies.models.dimensions import check_dim, check_net_arch, check_part
from generative_policies.models.encoders import Condition, Encoder, IdentityEncoder
from generative_policies.models.mlp import Mlp
from generative_policies.models.normalizer import Normalizer


class MlpRegressor(nn.Module):
    """The mean of the target for a condition, which lies between the modes where there are several.

    Args:
        target_dim: Width D of the target.
        cond_dim: Width of the condition features.
        net_arch: Hidden widths.
        horizon: Steps H of a chunk; at 1 targets are ``(batch, D)``, above ``(batch, H, D)``.
        encoder: Maps the condition to ``cond_dim`` features; ``IdentityEncoder(cond_dim)`` by default.

    Raises:
        ValueError: If a dimension is not positive, or the encoder gives another number of features.

    Example:
        >>> model = MlpRegressor(target_dim=2, cond_dim=3, horizon=4)
        >>> loss = model(torch.randn(8, 4, 2), condition=torch.randn(8, 3))
        >>> model.predict(torch.randn(8, 3)).shape
        torch.Size([8, 4, 2])
    """

    def __init__(
        self,
        target_dim: int,
        cond_dim: int,
        net_arch: Sequence[int] = (32, 32),
        *,
        horizon: int = 1,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__()
        if encoder is not None:
            check_part("encoder", encoder, Encoder)
        if encoder is not None and encoder.output_dim != cond_dim:
            raise ValueError(f"encoder gives {encoder.output_dim} features, but cond_dim is {cond_dim}")
        self.config = {
            "target_dim": check_dim("target_dim", target_dim),
            "cond_dim": check_dim("cond_dim", cond_dim),
            "net_arch": check_net_arch(net_arch, minimum=0),
            "horizon": check_dim("horizon", horizon),
            "encoder": encoder,
        }
        self.target_shape = (target_dim,) if horizon == 1 else (horizon, target_dim)
        self.encoder = encoder or IdentityEncoder(cond_dim)
        self.target_normalizer = Normalizer(target_dim)
        self.network = Mlp(cond_dim, horizon * target_dim, net_arch)

    def forward(self, target: Tensor, condition: Condition, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the mean squared error, in normalised units.

        Args:
            target: ``(batch, D)`` or ``(batch, H, D)``, raw units.
            condition: ``(batch, cond_dim)``, or what the encoder takes.
            generator: Not used; the loss has no randomness.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong, or there is no row.
        """
        inputs = self._inputs(target, condition)
        if len(target) == 0:
            raise ValueError(f"the loss needs at least one row, got target {tuple(target.shape)}")
        return nn.functional.mse_loss(self._normalized(inputs), self.target_normalizer.normalize(target))

    def mean(self, condition: Condition) -> Tensor:
        """Return the mean ``(batch, D)`` or ``(batch, H, D)`` in raw units, with gradients."""
        return self.target_normalizer.denormalize(self._normalized(self.encoder.check(condition)))

    def predict(self, condition: Condition) -> Array:
        """Return the mean without gradients, in the kind, rank and dtype of the condition."""
        inputs = self.encoder.rows(condition)
        reference, single = self.encoder.reference(condition)
        with evaluating(self, rows_are_checked=True, inference=True):
            rows = self.target_normalizer.denormalize(self._normalized(inputs))
        return as_caller(rows, reference, single)

    def fit_normalizers(self, target: Tensor, condition: Condition) -> None:
        """Fit the statistics from training data, shaped as in the loss."""
        inputs = self._inputs(target, condition)
        self.target_normalizer.fit(target)
        self.encoder.fit_normalizers(*inputs)

    def _inputs(self, target: Tensor, condition: Condition) -> tuple[Tensor, ...]:
        check_rows("target", target, self.target_shape, like=parameter_like(self))
        inputs = self.encoder.check(condition)
        same_batch(target=target, condition=inputs[0])
        return inputs

    def _normalized(self, inputs: tuple[Tensor, ...]) -> Tensor:
        flat: Tensor = self.network(in_chunks(self.encoder, *inputs))
        return flat.reshape(len(flat), *self.target_shape)
