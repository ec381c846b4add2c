"""How an exported model is called: what its file tells to whoever runs it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

FORMAT_VERSION = 1
DTYPES = {"float32": torch.float32, "uint8": torch.uint8}


@dataclass(frozen=True)
class Input:
    """An input of the graph.

    Attributes:
        name: Its name.
        shape: The shape of one row.
        dtype: A key of ``DTYPES``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Interface:
    """How a graph is called, as the file's metadata tell it.

    Attributes:
        kind: Which runner takes it, a key of ``onnx_model.RUNNERS``.
        model: The name of the class that it was made of.
        inputs: In the order of the arguments; the noise is the last, where there is one.
        output: The name of the answer.
        output_shape: The shape of one row of it.
        num_steps: Steps of the solver, ``None`` without one.
        solver: Its name.
        arguments: What the runner is made with: widths, the encoder, statistics.
    """

    kind: str
    model: str
    inputs: tuple[Input, ...]
    output: str
    output_shape: tuple[int, ...]
    num_steps: int | None
    solver: str | None
    arguments: Mapping[str, Any]

    def to_json(self) -> str:
        """Return it as the text that the file holds."""
        return json.dumps({"format_version": FORMAT_VERSION, **vars(self), "inputs": [vars(x) for x in self.inputs]})

    @classmethod
    def from_json(cls, text: str) -> "Interface":
        """Read the text that a file holds.

        Raises:
            ValueError: If it is not what ``to_json`` writes, or of a newer format.
        """
        try:
            content = json.loads(text)
            version = content.pop("format_version")
            if not isinstance(version, int) or version > FORMAT_VERSION:
                raise ValueError(
                    f"it has format {version}, this version reads up to {FORMAT_VERSION}; upgrade generative-policies"
                )
            content["inputs"] = tuple(Input(x["name"], _sizes(x["shape"]), x["dtype"]) for x in content["inputs"])
            if not isinstance(content["kind"], str) or not isinstance(content["arguments"], dict):
                raise TypeError("kind and arguments of other types")
            content["output_shape"] = _sizes(content["output_shape"])
            return cls(**content)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"its metadata are not those of an exported model: {error!r}") from error


def _sizes(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
        raise ValueError(f"its metadata hold the shape {shape!r}")
    return tuple(shape)
