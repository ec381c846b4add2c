"""An encoder of dictionary observations: vectors and images, with a history."""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from generative_policies.models.arrays import Array, parameter_like
from generative_policies.models.dimensions import check_dim
from generative_policies.models.encoders import Condition, Encoder
from generative_policies.models.normalizer import Normalizer

IMAGE_CHANNELS = (1, 3, 4)
IMAGE_DTYPES = ("uint8", "float")


class ImageLayout(NamedTuple):
    """How an image entry is stored.

    Attributes:
        channels: Number of channels.
        channels_first: Whether the shape is (C, height, width) rather than (height, width, C).
        is_uint8: Whether values are 0 to 255 of type uint8 rather than 0 to 1 of a float type.
    """

    channels: int
    channels_first: bool
    is_uint8: bool


class DictObservationEncoder(Encoder):
    """Features of a dictionary of vectors and images, side by side in the alphabetical order of their keys.

    Vectors, of one axis or none, are normalised. Images, of three axes, pass a small convolutional network of their
    own that is trained with the model. A condition is a mapping of the same keys, each entry ``(*shape)`` or
    ``(batch, *shape)``; with a history above 1 ``(history, *shape)`` or ``(batch, history, *shape)``, oldest first.

    Args:
        shapes: A ``gymnasium.spaces.Dict`` of Box spaces, or a mapping of keys to shapes.
        image_features: Width of the features of one image.
        history: Observations in a row that the encoder sees.
        image_dtype: ``"uint8"``, 0 to 255, or ``"float"``, 0 to 1, for images given by their shape; a Box tells.

    Raises:
        ValueError: If there is no entry, or a shape is neither a vector's nor an image's; the message names the key.

    Example:
        >>> encoder = DictObservationEncoder({"camera": (32, 32, 3), "joints": (7,)})
        >>> condition = {"camera": torch.zeros(5, 32, 32, 3, dtype=torch.uint8), "joints": torch.zeros(5, 7)}
        >>> encoder(*encoder.check(condition)).shape
        torch.Size([5, 39])
    """

    def __init__(
        self, shapes: Any, image_features: int = 32, history: int = 1, image_dtype: str | Mapping[str, str] = "uint8"
    ) -> None:
        super().__init__()
        check_dim("image_features", image_features)
        self.history = check_dim("history", history)
        entries: dict[str, tuple[int, ...]] = {}
        dtypes: dict[str, str] = {}
        # A Dict space is a mapping of Box spaces; this module does not import gymnasium.
        for key in sorted(shapes):
            entry = shapes[key]
            entries[key] = _check_shape(key, getattr(entry, "shape", entry))
            if hasattr(entry, "dtype"):
                dtypes[key] = "uint8" if entry.dtype == np.uint8 else "float"
            else:
                dtypes[key] = image_dtype if isinstance(image_dtype, str) else image_dtype.get(key, "uint8")
            if dtypes[key] not in IMAGE_DTYPES:
                raise ValueError(
                    f"image_dtype of {key!r} must be one of {', '.join(IMAGE_DTYPES)}; got {dtypes[key]!r}"
                )
        if not entries:
            raise ValueError("a dictionary observation needs at least one entry, got none")
        self.keys = tuple(entries)
        self.config = {
            "shapes": {key: list(shape) for key, shape in entries.items()},
            "image_features": image_features,
            "history": history,
            "image_dtype": dtypes,
        }
        self.images = {key: _layout(key, shape, dtypes[key]) for key, shape in entries.items() if len(shape) == 3}
        self.input_shapes = tuple(shape if history == 1 else (history, *shape) for shape in entries.values())
        # Module names must not hold dots, keys may.
        self.parts = nn.ModuleList()
        width = 0
        for key, shape in entries.items():
            if key in self.images:
                self.parts.append(ImageNetwork(self.images[key].channels, image_features))
                width += history * image_features
            else:
                dim = int(np.prod(shape, dtype=int))
                self.parts.append(Normalizer(dim))
                width += history * dim
        self.output_dim = width

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the features ``(batch, output_dim)`` of the entries, in the order of ``keys``."""
        features = []
        dtype = parameter_like(self).dtype
        for key, part, x in zip(self.keys, self.parts, inputs, strict=True):
            batch = len(x)
            if key in self.images:
                frames = x.reshape(batch * self.history, *x.shape[-3:]).to(dtype)
                features.append(part(_to_channels_first(frames, self.images[key])).reshape(batch, -1))
            else:
                rows = x.reshape(batch, self.history, -1)
                features.append(cast(Normalizer, part).normalize(rows).reshape(batch, -1))
        return torch.cat(features, dim=-1)

    def fit_normalizers(self, *inputs: Tensor) -> None:
        """Fit the statistics of the vectors; images keep their scale."""
        for key, part, x in zip(self.keys, self.parts, inputs, strict=True):
            if key not in self.images:
                cast(Normalizer, part).fit(x.reshape(len(x) * self.history, -1))

    def reference(self, condition: Condition) -> tuple[Array, bool]:
        """Return the first floating-point entry, or the first of all, and whether the condition is a single row."""
        inputs = self.inputs(condition)
        floating = [k for k, x in enumerate(inputs) if _is_floating(x)]
        k = floating[0] if floating else 0
        return inputs[k], inputs[k].ndim == len(self.input_shapes[k])

    def inputs(self, condition: Condition, name: str = "condition") -> tuple[Array, ...]:
        """Return the entries in the order of ``keys``.

        Raises:
            ValueError: If a key is missing or superfluous, or an image is of the wrong type.
        """
        if isinstance(condition, tuple):  # already in order
            return super().inputs(condition, name)
        if not isinstance(condition, Mapping):
            raise ValueError(f"{name} must be a mapping with the keys {self.keys}, got {type(condition).__name__}")
        missing, superfluous = sorted(set(self.keys) - set(condition)), sorted(set(condition) - set(self.keys))
        if missing or superfluous:
            raise ValueError(
                f"{name} must have the keys {self.keys}; missing: {missing or 'none'}, "
                f"superfluous: {superfluous or 'none'}"
            )
        for key, layout in self.images.items():
            if _is_floating(condition[key]) == layout.is_uint8:
                expected = "uint8, 0 to 255" if layout.is_uint8 else "floats, 0 to 1"
                raise ValueError(f"{name}[{key!r}] must be an image of {expected}, got {condition[key].dtype}")
        return tuple(condition[key] for key in self.keys)

    def input_name(self, k: int, name: str = "condition") -> str:
        """Return the name of an entry, for messages."""
        return f"{name}[{self.keys[k]!r}]"


class ImageNetwork(nn.Module):
    """Three strided convolutions and a mean over the picture, ``(batch, C, height, width)`` -> ``(batch, dim)``.

    The features' positions are kept by two channels of coordinates.

    Args:
        channels: Channels C of the image.
        dim: Width of the features.
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width_in, width_out in ((channels + 2, 16), (16, 32), (32, 32)):
            layers += [nn.Conv2d(width_in, width_out, 3, stride=2, padding=1), nn.GroupNorm(4, width_out), nn.SiLU()]
        self.convolutions = nn.Sequential(*layers)
        self.output = nn.Linear(64, dim)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features ``(batch, dim)``."""
        batch, _, height, width = images.shape
        rows = torch.linspace(-1, 1, height, dtype=images.dtype, device=images.device)
        columns = torch.linspace(-1, 1, width, dtype=images.dtype, device=images.device)
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(batch, 2, height, width)
        maps = self.convolutions(torch.cat([images, grid], dim=1)).flatten(2)  # (B, 32, positions)
        features: Tensor = self.output(torch.cat([maps.mean(-1), maps.amax(-1)], dim=-1))
        return features


def _check_shape(key: str, shape: Any) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in shape)
    if len(sizes) not in (0, 1, 3) or any(size < 1 for size in sizes):
        raise ValueError(f"{key!r} must have the shape of a vector (n,) or of an image of three axes, got {sizes}")
    return sizes


def _layout(key: str, shape: tuple[int, ...], dtype: str) -> ImageLayout:
    """Channels are last, as in Gymnasium, unless only the first axis can be theirs."""
    if shape[-1] in IMAGE_CHANNELS:
        return ImageLayout(shape[-1], False, dtype == "uint8")
    if shape[0] in IMAGE_CHANNELS:
        return ImageLayout(shape[0], True, dtype == "uint8")
    raise ValueError(f"image {key!r} must have 1, 3 or 4 channels in its first or last axis, got {shape}")


def _to_channels_first(frames: Tensor, layout: ImageLayout) -> Tensor:
    frames = frames if layout.channels_first else rearrange(frames, "b h w c -> b c h w")
    return 2 * (frames / 255 if layout.is_uint8 else frames) - 1


def _is_floating(x: Array) -> bool:
    return x.is_floating_point() if isinstance(x, Tensor) else x.dtype.kind == "f"
