"""The state of a training in one safetensors file, from which it goes on after it was cut off.

The file is read without unpickling. It belongs to one training, known by a fingerprint of all that it started from.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from generative_policies.atomic_files import remove_leftovers, write_file
from generative_policies.checkpoints import describe
from generative_policies.models.arrays import parameter_like
from generative_policies.training.ema import ExponentialMovingAverage
from generative_policies.training.settings import FitSettings
from generative_policies.weights import read_shapes

FORMAT = "generative_policies.training_state"
FORMAT_VERSION = 1
MOMENTS = ("exp_avg", "exp_avg_sq")  # that AdamW keeps of each parameter


@dataclass
class TrainingState:
    """Everything that changes from one update to the next.

    Attributes:
        model: The model, its last weights and its statistics.
        optimizer: Moments of the gradients.
        ema: Averaged weights and the number of updates.
        generator: Source of batches and noise.
        tail_losses: Losses of the last tenth of the updates, each a scalar.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: ExponentialMovingAverage
    generator: torch.Generator
    tail_losses: list[Tensor] = field(default_factory=list)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state as named tensors."""
        found = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
        found |= {f"average.{index}": value for index, value in enumerate(self.ema.averages)}
        found["num_updates"] = torch.tensor(self.ema.num_updates)
        found["generator"] = self.generator.get_state()
        found["tail_losses"] = torch.stack(self.tail_losses) if self.tail_losses else torch.zeros(0)
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over a state that ``tensors`` of a training with the same fingerprint gave.

        Raises:
            ValueError: If it is not of this training.
            RuntimeError: If the generator does not know its state.
        """
        self._check(tensors)
        self.model.load_state_dict(_below("model.", tensors))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in _below("optimizer.", tensors).items():
            parameter, name = key.split(".")
            moments.setdefault(int(parameter), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]  # their learning rate is set before each update
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        for index, average in enumerate(self.ema.averages):
            average.copy_(tensors[f"average.{index}"])
        self.ema.num_updates = int(tensors["num_updates"])
        self.generator.set_state(tensors["generator"])
        self.tail_losses[:] = tensors["tail_losses"].to(parameter_like(self.model).device).unbind()

    def _check(self, tensors: Mapping[str, Tensor]) -> None:
        """Check that tensors are such as ``tensors`` gives along this training."""
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        expected = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        expected |= {f"average.{index}": value for index, value in enumerate(self.ema.averages)}
        for index, parameter in enumerate(parameters):
            if not any(name.startswith(f"optimizer.{index}.") for name in tensors):
                continue  # the loss does not depend on it
            expected |= {f"optimizer.{index}.{name}": parameter for name in MOMENTS}
            expected[f"optimizer.{index}.step"] = torch.tensor(0.0)
        expected["num_updates"] = torch.tensor(0)
        expected["generator"] = self.generator.get_state()
        expected["tail_losses"] = tensors.get("tail_losses", torch.zeros(0)).reshape(-1)  # of any length
        if different := sorted(set(expected) ^ set(tensors)):
            raise ValueError(f"the state of the training lacks, or has beside: {', '.join(different[:10])}")
        for name, value in expected.items():
            found = tensors[name]
            if found.shape != value.shape or found.is_floating_point() != value.is_floating_point():
                raise ValueError(
                    f"{name} of the training's state is {found.dtype} of shape {tuple(found.shape)}, expected "
                    f"{value.dtype} of {tuple(value.shape)}"
                )


def fingerprint(
    model: nn.Module,
    arrays: Mapping[str, NDArray[Any]],
    settings: FitSettings,
    generator: torch.Generator,
    **others: str | int,
) -> dict[str, Any]:
    """Return what a training starts from, in JSON's types; two with the same fingerprint have the same result.

    Args:
        model: As it is at the start.
        arrays: Its data.
        settings: Sizes and rates.
        generator: As it is at the start.
        others: What else the result depends on.

    Raises:
        CheckpointError: If the model cannot be described, as ``checkpoints.save`` could not either.
    """
    own_classes = {type(part): f"{type(part).__module__}.{type(part).__qualname__}" for part in model.modules()}
    found = {
        **{f"settings.{name}": value for name, value in asdict(settings).items()},
        **others,
        "model": describe(model, own_classes),
        "initial weights": _digest(model.state_dict()),
        "generator": _digest({"state": generator.get_state()}),
        **{f"dataset.{name}": _description(array) for name, array in arrays.items()},
    }
    # Numbers of numpy in the settings are no JSON; their text serves as well.
    return dict(json.loads(json.dumps(found, default=str)))


class TrainingStateFile:
    """The file of a training's state, replaced as a whole at each writing.

    Args:
        path: The file; its folder must exist.
        fingerprint: Of the training that it belongs to, see ``fingerprint``.

    Raises:
        OSError: If no file can be written into the folder, or ``path`` is a folder itself.
    """

    def __init__(self, path: Path, fingerprint: Mapping[str, Any]) -> None:
        self.path = path.absolute()
        self._fingerprint = fingerprint
        if self.path.is_dir():
            raise IsADirectoryError(f"state must be a file, {path} is a folder")
        with tempfile.TemporaryFile(dir=self.path.parent):
            pass  # it can be written: known before hours of work and not after

    def read(self) -> dict[str, Tensor] | None:
        """Return the tensors, ``None`` where there is no file yet.

        Raises:
            ValueError: If the file is truncated, foreign, of a newer format or of another training.
        """
        if not self.path.exists():
            return None
        advice = "remove it, or choose another path for state"
        try:
            read_shapes(self.path)
            with safe_open(self.path, framework="pt") as file:
                header = json.loads((file.metadata() or {}).get(FORMAT, "null"))
                names = file.keys() if isinstance(header, dict) else []
                tensors = {name: file.get_tensor(name).clone() for name in names}  # those of the file are mapped memory
        except (OSError, SafetensorError, ValueError, RecursionError) as error:
            raise ValueError(f"{self.path} cannot be read, it is truncated or foreign: {error}; {advice}") from error
        if not isinstance(header, dict) or type(header.get("version")) is not int:
            raise ValueError(f"{self.path} is foreign, it does not hold the state of a training; {advice}")
        if header["version"] > FORMAT_VERSION:
            raise ValueError(
                f"{self.path} has format {header['version']}, this version reads up to {FORMAT_VERSION}; "
                f"upgrade generative-policies, or {advice}"
            )
        if header.get("digest") != _digest(tensors):
            raise ValueError(f"{self.path} is damaged, its tensors are not those that were written; {advice}")
        differences = _differences(header.get("fingerprint"), self._fingerprint)
        if differences:
            raise ValueError(f"{self.path} is of another training: {'; '.join(differences)}; start that one, {advice}")
        return tensors

    def write(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the file, whole or not at all.

        Raises:
            OSError: If it cannot be written; the previous one is then still there.
        """
        own = {name: value.detach().cpu().clone() for name, value in tensors.items()}  # shared memory is not allowed
        header = {"version": FORMAT_VERSION, "digest": _digest(own), "fingerprint": self._fingerprint}
        write_file(self.path, serialize(own, metadata={FORMAT: json.dumps(header)}))

    def remove(self) -> None:
        """Remove the file, and what a kill in the middle of a writing left."""
        self.path.unlink(missing_ok=True)
        remove_leftovers(self.path)


def _differences(saved: Any, current: Mapping[str, Any]) -> list[str]:
    """What differs between two fingerprints, an entry a sentence."""
    if not isinstance(saved, dict):
        return ["it does not say of which"]
    names = [*current, *(name for name in saved if name not in current)]
    return [
        f"{name} is {current.get(name, 'absent')} now and {saved.get(name, 'absent')} in the file"
        for name in names
        if current.get(name) != saved.get(name)
    ]


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """A hash of names, types, shapes and bits."""
    return _sha256(
        part
        for name in sorted(tensors)
        for part in (
            f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)} ".encode(),
            # As bytes, since numpy does not know all of torch's types.
            tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data,
        )
    )


def _description(array: NDArray[Any]) -> str:
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return f"{array.dtype} {array.shape} with hash {_sha256([content])}"


def _sha256(parts: Iterable[bytes | memoryview]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:16]
