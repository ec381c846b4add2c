"""Saving and loading every model of the library: a folder of ``config.json`` and ``model.safetensors``.

Loading builds classes of an allow-list from JSON and fills them with tensors. It never unpickles and runs no code of
the file's, so a checkpoint from a stranger is safe to load.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save as serialize
from torch import nn

from generative_policies.atomic_files import read_folder, replacing
from generative_policies.weights import building, read_into, read_shapes

FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
MAX_CONFIG_BYTES = 1_000_000
MAX_MESSAGE = 1_000

T = TypeVar("T")

ALLOWED_CLASSES = (
    "generative_policies.action_translation.ComposedActionTranslator",
    "generative_policies.action_translation.FlowActionConditionedTranslator",
    "generative_policies.action_translation.FlowActionPriorConditionedTranslator",
    "generative_policies.action_translation.FlowActionPriorTranslator",
    "generative_policies.action_translation.MlpActionTranslator",
    "generative_policies.forward_dynamics.MlpForwardDynamics",
    "generative_policies.inverse_dynamics.FlowInverseDynamics",
    "generative_policies.inverse_dynamics.MlpInverseDynamics",
    "generative_policies.inverse_dynamics.transition_encoders.FeatureChangeEncoder",
    "generative_policies.inverse_dynamics.transition_encoders.ObservationChangeEncoder",
    "generative_policies.models.AverageVelocityModel",
    "generative_policies.models.ConditionalFlowModel",
    "generative_policies.models.ConditionalUNet1D",
    "generative_policies.models.DictObservationEncoder",
    "generative_policies.models.DiffusionTransformer",
    "generative_policies.models.DistilledFlowModel",
    "generative_policies.models.GaussianPrior",
    "generative_policies.models.IdentityEncoder",
    "generative_policies.models.IdentityTwoInputEncoder",
    "generative_policies.models.LatentBridgeModel",
    "generative_policies.models.LiftedSourcePrior",
    "generative_policies.models.MlpRegressor",
    "generative_policies.models.Normalizer",
    "generative_policies.models.ObservationAndVectorEncoder",
    "generative_policies.models.ResidualMlp",
    "generative_policies.models.SourcePrior",
    "generative_policies.policies.FlowPlanner",
)


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read; the message names the file and the reason."""


def save(model: nn.Module, path: str | os.PathLike[str], classes: Sequence[type[nn.Module]] = ()) -> None:
    """Write a model as a checkpoint folder; one that is there already is replaced as a whole.

    Args:
        model: A model of this library.
        path: The folder; its parents are made.
        classes: Your own classes among the model's parts, each with a ``config`` of its constructor's arguments.

    Raises:
        CheckpointError: If a part is of a class that could not be loaded again, or ``path`` is something else.
        OSError: If it cannot be written; what was there before is still there.

    Example:
        >>> import tempfile
        >>> from generative_policies.models import ConditionalFlowModel
        >>> folder = tempfile.mkdtemp()
        >>> save(ConditionalFlowModel(2), f"{folder}/flow")
        >>> type(load(f"{folder}/flow")).__name__
        'ConditionalFlowModel'
    """
    names = {cls: f"{cls.__module__}.{cls.__qualname__}" for cls in classes}
    write_folder(Path(path), {"format_version": FORMAT_VERSION, "model": describe(model, names)}, model)


def write_folder(path: Path, config: Mapping[str, Any], model: nn.Module) -> None:
    """Write a description and a model's tensors as a checkpoint folder, whole or not at all.

    Raises:
        CheckpointError: If ``path`` is something else.
        OSError: If it cannot be written.
    """
    if path.exists() and not _is_replaceable(path):
        raise CheckpointError(
            f"{path} exists and holds other things than a checkpoint; choose another path or remove it"
        )
    tensors = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(path) as new:
        new.mkdir()
        (new / WEIGHTS_FILE).write_bytes(serialize(tensors))
        (new / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load(path: str | os.PathLike[str], classes: Sequence[type[nn.Module]] = ()) -> Any:  # the class is the file's
    """Read a model from a checkpoint folder, in evaluation mode and on the CPU.

    Args:
        path: A folder that ``save`` wrote.
        classes: Your own classes that the checkpoint may name beside those of the library.

    Returns:
        The model, of the class that was saved.

    Raises:
        CheckpointError: If the folder is missing, truncated, foreign, of a newer format, or names another class.
    """
    return read_whole(path, lambda folder: _load(folder, classes))


def _load(path: Path, classes: Sequence[type[nn.Module]]) -> Any:
    config = read_config(path / CONFIG_FILE)
    version = config.get("format_version")
    if type(version) is not int or version < 1 or "model" not in config:
        raise CheckpointError(f"{path / CONFIG_FILE} was not written by generative_policies.checkpoints.save")
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path / CONFIG_FILE} has format {version}, this version reads up to {FORMAT_VERSION}; "
            f"upgrade generative-policies"
        )
    names = {f"{cls.__module__}.{cls.__qualname__}": cls for cls in classes}
    num_tensors = len(read_header(path))
    try:
        # Shapes alone, so that no file can claim memory before its weights are there.
        with torch.device("meta"), building(num_tensors):
            model = build(config["model"], names)
    except CheckpointError as error:
        raise CheckpointError(f"{path / CONFIG_FILE}: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path / CONFIG_FILE} does not describe a model: {brief(error)}") from error
    if not isinstance(model, nn.Module):
        raise CheckpointError(f"{path / CONFIG_FILE} describes no model, but {model!r:.200}")
    load_weights(model, path)
    return model.eval()


def read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a checkpoint folder's tensors by their names, without reading them.

    Raises:
        CheckpointError: If the file is missing, truncated or foreign.
    """
    weights = path / WEIGHTS_FILE
    try:
        return read_shapes(weights)
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{weights} cannot be read, it is missing, truncated or foreign: {error}") from error


def load_weights(model: nn.Module, path: Path) -> None:
    """Give a model the tensors of a checkpoint folder.

    Raises:
        CheckpointError: If the file is missing, truncated or foreign, or its tensors do not fit.
    """
    weights = path / WEIGHTS_FILE
    try:
        read_into(model, weights)
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{weights} cannot be read, it is missing, truncated or foreign: {error}") from error
    except RuntimeError as error:
        raise CheckpointError(f"{weights} does not fit {path / CONFIG_FILE}: {error}") from error


def brief(error: Exception) -> str:
    """Return an error's text, of a length that a terminal bears: it may quote what the file holds."""
    text = str(error) or type(error).__name__
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}..."


def read_whole(path: str | os.PathLike[str], read: Callable[[Path], T]) -> T:
    """Return what a function reads from a checkpoint folder, all of it of one save, also while a newer one comes.

    Raises:
        CheckpointError: If the path is none that a folder can have, or is replaced all the while; or as ``read`` does.
    """
    folder = Path(path).absolute()
    try:
        return read_folder(folder, read)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be read: {error.strerror or error}") from error


def read_config(file: Path) -> Mapping[str, Any]:
    """Read a JSON object of bounded size.

    Raises:
        CheckpointError: If the file is missing, too large, not JSON or not an object.
    """
    try:
        if not file.is_file():
            raise FileNotFoundError(f"no file {file.name}")
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise CheckpointError(f"{file} is larger than {MAX_CONFIG_BYTES} bytes")
        config = json.loads(file.read_text(encoding="utf-8"))
    except CheckpointError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} cannot be read, it is missing, truncated or foreign: {error}") from error
    if not isinstance(config, Mapping):
        raise CheckpointError(f"{file} must hold a JSON object, got {type(config).__name__}")
    return config


def _is_replaceable(path: Path) -> bool:
    """Whether a path is an empty folder or holds a checkpoint of ours and nothing else."""
    if not path.is_dir() or path.is_symlink():
        return False
    names = {child.name for child in path.iterdir()}
    if not names:
        return True
    if names != {CONFIG_FILE, WEIGHTS_FILE}:
        return False
    try:
        return "format_version" in read_config(path / CONFIG_FILE)
    except CheckpointError:
        return False


def describe(value: Any, names: Mapping[type[nn.Module], str]) -> Any:
    """JSON of a constructor argument; a module becomes its class and its own constructor arguments."""
    if isinstance(value, nn.Module):
        name = names.get(type(value), _library_name(type(value)))
        config = getattr(value, "config", None)
        if name is None or not isinstance(config, dict):
            raise CheckpointError(
                f"{type(value).__name__} is not a class of this library; give it a config attribute with its "
                f"constructor's arguments and pass it as classes=[{type(value).__name__}] to save and load"
            )
        return {"class": name, "arguments": {key: describe(item, names) for key, item in config.items()}}
    if isinstance(value, tuple | list):
        return [describe(item, names) for item in value]
    if isinstance(value, Mapping):
        return {"mapping": {str(key): describe(item, names) for key, item in value.items()}}
    if isinstance(value, np.bool_ | np.integer | np.floating):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CheckpointError(f"a constructor argument of type {type(value).__name__} cannot be saved: {value!r}")


def build(value: Any, names: Mapping[str, type[nn.Module]]) -> Any:
    """The constructor argument that ``describe`` was given."""
    if isinstance(value, list):
        return [build(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"mapping"} and isinstance(value["mapping"], dict):
        return {key: build(item, names) for key, item in value["mapping"].items()}
    if set(value) != {"class", "arguments"} or not isinstance(value["arguments"], dict):
        raise CheckpointError(f"expected an object of class and arguments, got keys {sorted(value)}")
    name = value["class"]
    if name in names:
        cls = names[name]
    elif name in ALLOWED_CLASSES:
        module, _, attribute = name.rpartition(".")
        cls = getattr(import_module(module), attribute)
    else:
        raise CheckpointError(f"class {name!r} is not on the list of loadable classes; pass your own as classes=[...]")
    return cls(**{key: build(item, names) for key, item in value["arguments"].items()})


def _library_name(cls: type[nn.Module]) -> str | None:
    """The public dotted name of a class of this library, or ``None``."""
    for name in ALLOWED_CLASSES:
        module, _, attribute = name.rpartition(".")
        if attribute == cls.__name__ and getattr(import_module(module), attribute) is cls:
            return name
    return None
