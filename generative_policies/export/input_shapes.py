"""What a runner takes as condition or observation."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from generative_policies.export.interface import DTYPES, Input
from generative_policies.models import DictObservationEncoder
from generative_policies.models.dimensions import check_dim
from generative_policies.models.encoders import Encoder


class InputShapes(Encoder):
    """The inputs of an encoder that is inside of a graph: it checks and converts, and computes nothing.

    Args:
        shapes: The shape of one row of each input.
        inputs: The inputs of the graph, of which these are the first.
        output_dim: Width of the features that the graph makes of them.
    """

    def __init__(self, shapes: list[list[int]], inputs: Sequence[Input], output_dim: int) -> None:
        super().__init__()
        self.register_buffer("like", torch.zeros((), dtype=torch.float32), persistent=False)
        self.input_shapes = tuple(tuple(check_dim("a size", size) for size in shape) for shape in shapes)
        self._likes = [torch.zeros((), dtype=DTYPES[given.dtype]) for _, given in zip(shapes, inputs, strict=False)]
        self.output_dim = output_dim

    def input_like(self, k: int) -> Tensor:
        """Return a tensor of the type that the graph takes."""
        return self._likes[k]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Refuse: the features are inside of the graph."""
        raise NotImplementedError("the encoder of an exported model is inside of its graph")

    def fit_normalizers(self, *inputs: Tensor) -> None:
        """Refuse: the statistics are inside of the graph."""
        raise NotImplementedError("the statistics of an exported model are inside of its graph")


class DictInputShapes(DictObservationEncoder):
    """The same for dictionaries.

    Args:
        shapes: The shape of each entry.
        history: Observations in a row.
        image_dtype: How images are stored.
        output_dim: Width of the features that the graph makes of them.
    """

    def __init__(
        self, shapes: dict[str, list[int]], history: int, image_dtype: dict[str, str], output_dim: int
    ) -> None:
        super().__init__(shapes, 1, history, image_dtype)
        self.parts = nn.ModuleList()  # they are what computes
        self.register_buffer("like", torch.zeros((), dtype=torch.float32), persistent=False)  # of the inputs
        self.output_dim = output_dim

    def forward(self, *inputs: Tensor) -> Tensor:
        """Refuse: the features are inside of the graph."""
        raise NotImplementedError("the encoder of an exported model is inside of its graph")

    def fit_normalizers(self, *inputs: Tensor) -> None:
        """Refuse: the statistics are inside of the graph."""
        raise NotImplementedError("the statistics of an exported model are inside of its graph")


def input_encoder(described: Mapping[str, Any], inputs: Sequence[Input], output_dim: int) -> Encoder:
    """Return what takes the inputs of an encoder, from what the interface of an exported model tells of it.

    Args:
        described: ``{"shapes": ...}``, or ``{"dictionary": ...}`` with the arguments of ``DictInputShapes``.
        inputs: The inputs of the graph, of which its own are the first.
        output_dim: Width of the features that the graph makes of them.
    """
    if "dictionary" in described:
        return DictInputShapes(**described["dictionary"], output_dim=output_dim)
    return InputShapes(described["shapes"], inputs, output_dim)
