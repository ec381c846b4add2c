"""Encoders turn a raw condition into the features that a network sees, and own its normalisation."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from generative_policies.models.arrays import Array, as_rows, check_rows, parameter_like, same_batch
from generative_policies.models.normalizer import Normalizer

# What a caller passes as condition: one array, or one an input of the encoder.
Condition = Array | tuple[Array, ...]


class Encoder(nn.Module, ABC):
    """Maps one or more raw inputs to condition features.

    An encoder is called with one tensor ``(batch, ...)`` an input and returns ``(batch, output_dim)``. Where it has
    several inputs, the condition of a model is a tuple of them.

    Attributes:
        output_dim: Width of the features.
        input_shapes: The shape of one row of each input.
    """

    output_dim: int
    input_shapes: tuple[tuple[int, ...], ...]

    @abstractmethod
    def forward(self, *inputs: Tensor) -> Tensor:
        """Return features ``(batch, output_dim)``."""

    @abstractmethod
    def fit_normalizers(self, *inputs: Tensor) -> None:
        """Fit the statistics of every input from training data."""

    def rows(self, condition: Condition) -> tuple[Tensor, ...]:
        """Turn a caller's condition into checked rows, one tensor ``(batch, ...)`` an input.

        Raises:
            ValueError: If the number of inputs, a shape or an entry is wrong.
        """
        inputs = self._inputs(condition)
        like = parameter_like(self)
        rows = [
            as_rows(self._name(k), value, shape, like)
            for k, (value, shape) in enumerate(zip(inputs, self.input_shapes, strict=True))
        ]
        return tuple(rows)

    def check(self, condition: Condition) -> tuple[Tensor, ...]:
        """Check a condition that is already a batch of tensors, and return its inputs.

        Raises:
            ValueError: If the number of inputs, a shape or an entry is wrong.
        """
        inputs = self._inputs(condition)
        tensors: list[Tensor] = []
        for k, (value, shape) in enumerate(zip(inputs, self.input_shapes, strict=True)):
            check_rows(self._name(k), value, shape)  # type: ignore[arg-type]  # it is what the check is for
            tensors.append(value)  # type: ignore[arg-type]
        same_batch(**{self._name(k): tensor for k, tensor in enumerate(tensors)})
        return tuple(tensors)

    def _inputs(self, condition: Condition) -> tuple[Array, ...]:
        inputs = condition if isinstance(condition, tuple) else (condition,)
        if len(inputs) != len(self.input_shapes):
            raise ValueError(
                f"{type(self).__name__} takes {len(self.input_shapes)} inputs of shapes {self.input_shapes}, "
                f"got {len(inputs)}"
            )
        return inputs

    def _name(self, k: int) -> str:
        return "condition" if len(self.input_shapes) == 1 else f"condition[{k}]"


class IdentityEncoder(Encoder):
    """The normalised input itself.

    Args:
        dim: Width of the input.

    Example:
        >>> IdentityEncoder(3)(torch.ones(2, 3)).shape
        torch.Size([2, 3])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.normalizer = Normalizer(dim)
        self.output_dim = dim
        self.input_shapes = ((dim,),)
        self.config = {"dim": dim}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the normalised input ``(batch, dim)``."""
        (x,) = inputs
        return self.normalizer.normalize(x)

    def fit_normalizers(self, *inputs: Tensor) -> None:
        """Fit the statistics from ``(batch, dim)``."""
        (x,) = inputs
        self.normalizer.fit(x)


class IdentityTwoInputEncoder(Encoder):
    """Two normalised inputs side by side, such as an observation and an action.

    Args:
        dim_1: Width of the first input.
        dim_2: Width of the second input.

    Example:
        >>> IdentityTwoInputEncoder(3, 2)(torch.ones(5, 3), torch.ones(5, 2)).shape
        torch.Size([5, 5])
    """

    def __init__(self, dim_1: int, dim_2: int) -> None:
        super().__init__()
        self.normalizer_1 = Normalizer(dim_1)
        self.normalizer_2 = Normalizer(dim_2)
        self.output_dim = dim_1 + dim_2
        self.input_shapes = ((dim_1,), (dim_2,))
        self.config = {"dim_1": dim_1, "dim_2": dim_2}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return both normalised inputs, ``(batch, dim_1 + dim_2)``."""
        x_1, x_2 = inputs
        return torch.cat([self.normalizer_1.normalize(x_1), self.normalizer_2.normalize(x_2)], dim=-1)

    def fit_normalizers(self, *inputs: Tensor) -> None:
        """Fit the statistics from ``(batch, dim_1)`` and ``(batch, dim_2)``."""
        x_1, x_2 = inputs
        self.normalizer_1.fit(x_1)
        self.normalizer_2.fit(x_2)
