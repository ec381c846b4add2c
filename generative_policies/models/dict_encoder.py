"""An encoder of dictionary observations: vectors and images, with a history."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from generative_policies.models.arrays import Array, parameter_like, rows_are_checked
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
        # A Dict space is a mapping of Box spaces; this module does not import gymnasium.
        entries = {key: _shape(key, shapes[key]) for key in sorted(_mapping(shapes))}
        if not entries:
            raise ValueError("a dictionary observation needs at least one entry, got none")
        if not isinstance(image_dtype, str | Mapping):
            raise TypeError(f"image_dtype must be a word, or a mapping of keys to words; got {image_dtype!r}")
        given = {key: image_dtype for key in entries} if isinstance(image_dtype, str) else dict(image_dtype)
        if unknown := sorted(set(given) - set(entries)):
            raise ValueError(f"image_dtype names {unknown}, which are no entries; they are {sorted(entries)}")
        dtypes = {
            key: _image_dtype(key, shapes[key], given.get(key, "uint8"))
            for key, shape in entries.items()
            if len(shape) == 3
        }
        self.keys = tuple(entries)
        self.config = {
            "shapes": {key: list(shape) for key, shape in entries.items()},
            "image_features": image_features,
            "history": history,
            "image_dtype": dtypes,
        }
        self.images = {key: _layout(key, entries[key], dtype) for key, dtype in dtypes.items()}
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
                found = part(_to_channels_first(frames, self.images[key]))  # (B H, image_features)
            else:
                found = cast(Normalizer, part).normalize(x.reshape(batch, self.history, cast(Normalizer, part).dim))
            # A width that follows from the others is not known where there are no rows.
            features.append(found.reshape(batch, self.history * found.shape[-1]))
        return torch.cat(features, dim=-1)

    def fit_normalizers(self, *inputs: Tensor) -> None:
        """Fit the statistics of the vectors; images keep their scale."""
        for key, part, x in zip(self.keys, self.parts, inputs, strict=True):
            if key not in self.images:
                cast(Normalizer, part).fit(x.reshape(len(x) * self.history, cast(Normalizer, part).dim))

    def reference(self, condition: Condition) -> tuple[Array, bool]:
        """Return the widest floating-point entry, or the first of all, and whether the condition is a single row."""
        inputs = self.inputs(condition)
        floating = [k for k, x in enumerate(inputs) if _is_floating(x)]
        k = max(floating, key=lambda k: (inputs[k].dtype.itemsize, -k)) if floating else 0
        return inputs[k], inputs[k].ndim == len(self.input_shapes[k])

    def inputs(self, condition: Condition, name: str = "condition") -> tuple[Array, ...]:
        """Return the entries in the order of ``keys``.

        Raises:
            TypeError: If an entry is neither array nor tensor.
            ValueError: If a key is missing or superfluous, or an image is of the wrong type or out of its range.
        """
        if isinstance(condition, tuple):  # already in order
            if len(condition) != len(self.keys):
                raise ValueError(
                    f"{name} must hold the entries {self.keys} in this order, got {len(condition)} of them"
                )
            entries = dict(zip(self.keys, condition, strict=True))
        elif isinstance(condition, Mapping):
            missing, superfluous = sorted(set(self.keys) - set(condition)), sorted(set(condition) - set(self.keys))
            if missing or superfluous:
                raise ValueError(
                    f"{name} must have the keys {self.keys}; missing: {missing or 'none'}, "
                    f"superfluous: {superfluous or 'none'}"
                )
            entries = {key: condition[key] for key in self.keys}
        else:
            raise ValueError(f"{name} must be a mapping with the keys {self.keys}, got {type(condition).__name__}")
        for key, value in entries.items():
            if not isinstance(value, np.ndarray | Tensor):
                raise TypeError(f"{name}[{key!r}] must be a numpy array or a torch.Tensor, got {type(value).__name__}")
            if key in self.images and not rows_are_checked():  # a shell looked at them before it made tensors of them
                _check_image(f"{name}[{key!r}]", value, self.images[key].is_uint8)
        return tuple(entries.values())

    def input_like(self, k: int) -> Tensor:
        """Return a tensor whose device and dtype the rows of an entry take; images of bytes stay bytes."""
        like = parameter_like(self)
        layout = self.images.get(self.keys[k])
        return like.new_empty((), dtype=torch.uint8) if layout is not None and layout.is_uint8 else like

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


def _mapping(shapes: Any) -> Mapping[str, Any]:
    """What the constructor was given, as a mapping; a Dict space is one of its own kind."""
    entries = getattr(shapes, "spaces", shapes)
    if not isinstance(entries, Mapping):
        raise ValueError(f"shapes must be a gymnasium.spaces.Dict or a mapping of keys to shapes, got {shapes!r}")
    return entries


def _shape(key: str, entry: Any) -> tuple[int, ...]:
    """The shape of an entry, which is a Box (a space with bounds) or a shape itself."""
    is_space = hasattr(entry, "contains")
    if is_space and not hasattr(entry, "low"):
        raise ValueError(f"{key!r} must be a Box, got {entry}; flatten or encode other spaces first")
    sizes = entry.shape if is_space else entry
    if not isinstance(sizes, Sequence) or not all(isinstance(size, int | np.integer) for size in sizes):
        raise ValueError(f"{key!r} must be a Box or a shape of integers, got {entry!r}")
    if len(sizes) not in (0, 1, 3) or any(size < 1 for size in sizes):
        raise ValueError(f"{key!r} must have the shape of a vector (n,) or of an image of three axes, got {sizes}")
    return tuple(int(size) for size in sizes)


def _image_dtype(key: str, entry: Any, given: str) -> str:
    """How an image is stored: what its Box says, or what was given for a shape."""
    if not hasattr(entry, "low"):
        if given not in IMAGE_DTYPES:
            raise ValueError(f"image_dtype of {key!r} must be one of {', '.join(IMAGE_DTYPES)}; got {given!r}")
        return given
    if entry.dtype == np.uint8:
        return "uint8"
    if entry.dtype.kind != "f" or entry.low.min() < 0 or entry.high.max() > 1:
        raise ValueError(
            f"image {key!r} must be uint8 or floats from 0 to 1, got {entry.dtype} from {entry.low.min()} to "
            f"{entry.high.max()}; scale it, with gymnasium.wrappers.RescaleObservation for one"
        )
    return "float"


def _check_image(name: str, value: Array, is_uint8: bool) -> None:
    if is_uint8:
        if value.dtype not in (np.uint8, torch.uint8):
            raise ValueError(f"{name} must be an image of uint8, 0 to 255, got {value.dtype}")
        return
    if not _is_floating(value):
        raise ValueError(f"{name} must be an image of floats, 0 to 1, got {value.dtype}")
    if 0 not in value.shape and (value.min() < 0 or value.max() > 1):
        raise ValueError(f"{name} must be an image of floats, 0 to 1, got {value.min():.3g} to {value.max():.3g}")


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
