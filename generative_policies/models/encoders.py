"""Encoders turn a raw condition into the features that a network sees, and own its normalisation."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from generative_policies.models.arrays import Array, as_rows, check_rows, parameter_like, rows_are_checked, same_batch
from generative_policies.models.dimensions import check_dim, check_part
from generative_policies.models.normalizer import Normalizer

# What a caller passes as condition: one array, one an input of the encoder, or a mapping where it takes names.
Condition = Array | tuple[Array, ...] | Mapping[str, Array]


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

    def rows(self, condition: Condition, name: str = "condition") -> tuple[Tensor, ...]:
        """Turn a caller's condition into checked rows, one tensor ``(batch, ...)`` an input.

        Args:
            condition: One array, a tuple of them, or a mapping, as the encoder takes them, single or batched.
            name: The condition's name, for messages.

        Raises:
            ValueError: If the number of inputs, a shape or an entry is wrong.
        """
        inputs = self.inputs(condition, name)
        if len(inputs) == 1:
            return (as_rows(self.input_name(0, name), inputs[0], self.input_shapes[0], self.input_like(0)),)
        rows = [
            as_rows(self.input_name(k, name), value, shape, self.input_like(k))
            for k, (value, shape) in enumerate(zip(inputs, self.input_shapes, strict=True))
        ]
        return tuple(rows)

    def check(self, condition: Condition, name: str = "condition") -> tuple[Tensor, ...]:
        """Check a condition that is already a batch of tensors, and return its inputs.

        Args:
            condition: One tensor, a tuple of them, or a mapping, as the encoder takes them.
            name: The condition's name, for messages.

        Raises:
            ValueError: If the number of inputs, a shape or an entry is wrong.
        """
        inputs = self.inputs(condition, name)
        if rows_are_checked():
            return inputs  # type: ignore[return-value]  # tensors, as the shell made them
        like = parameter_like(self)
        tensors: list[Tensor] = []
        for k, (value, shape) in enumerate(zip(inputs, self.input_shapes, strict=True)):
            check_rows(self.input_name(k, name), value, shape, like=like)  # type: ignore[arg-type]  # it is what the check is for
            tensors.append(value)  # type: ignore[arg-type]
        same_batch(**{self.input_name(k, name): tensor for k, tensor in enumerate(tensors)})
        return tuple(tensors)

    def reference(self, condition: Condition) -> tuple[Array, bool]:
        """Return the input whose kind and dtype an answer takes, and whether the condition is a single row."""
        first = self.inputs(condition)[0]
        return first, first.ndim == len(self.input_shapes[0])

    def inputs(self, condition: Condition, name: str = "condition") -> tuple[Array, ...]:
        """Return the inputs of a condition, in the order of ``input_shapes``.

        Raises:
            ValueError: If their number is wrong.
        """
        if isinstance(condition, Mapping):
            raise ValueError(f"{type(self).__name__} takes no mapping; use a DictObservationEncoder")
        inputs = condition if isinstance(condition, tuple) else (condition,)
        if len(inputs) != len(self.input_shapes):
            raise ValueError(
                f"{type(self).__name__} takes {len(self.input_shapes)} inputs of shapes {self.input_shapes}, "
                f"got {len(inputs)}"
            )
        return inputs

    def input_like(self, k: int) -> Tensor:
        """Return a tensor whose device and dtype the rows of an input take: those of the parameters."""
        return parameter_like(self)

    def input_name(self, k: int, name: str = "condition") -> str:
        """Return the name of an input, for messages."""
        return name if len(self.input_shapes) == 1 else f"{name}[{k}]"


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
        self.normalizer_1 = Normalizer(check_dim("dim_1", dim_1))
        self.normalizer_2 = Normalizer(check_dim("dim_2", dim_2))
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


class ObservationAndVectorEncoder(Encoder):
    """Features of an observation, by an encoder of its own, beside a normalised vector such as an action.

    Its inputs are those of the observation's encoder, then the vector.

    Args:
        observation_encoder: Maps the observation to features.
        dim: Width of the vector.

    Example:
        >>> encoder = ObservationAndVectorEncoder(IdentityEncoder(3), 2)
        >>> encoder(torch.ones(5, 3), torch.ones(5, 2)).shape
        torch.Size([5, 5])
    """

    def __init__(self, observation_encoder: Encoder, dim: int) -> None:
        super().__init__()
        check_part("observation_encoder", observation_encoder, Encoder)
        self.observation_encoder = observation_encoder
        self.normalizer = Normalizer(dim)
        self.output_dim = observation_encoder.output_dim + dim
        self.input_shapes = (*observation_encoder.input_shapes, (dim,))
        self.config = {"observation_encoder": observation_encoder, "dim": dim}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return both features, ``(batch, output_dim)``."""
        *observation, vector = inputs
        return torch.cat([self.observation_encoder(*observation), self.normalizer.normalize(vector)], dim=-1)

    def fit_normalizers(self, *inputs: Tensor) -> None:
        """Fit the statistics of the observation and of the vector."""
        *observation, vector = inputs
        self.observation_encoder.fit_normalizers(*observation)
        self.normalizer.fit(vector)
