"""One training loop for every model: the loss of rows from a dataset, averaged weights out."""

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from generative_policies.data import EpisodicDataset
from generative_policies.models.arrays import evaluating, parameter_like
from generative_policies.training.optimization import FitResult, Log, optimize
from generative_policies.training.settings import FitSettings
from generative_policies.training.training_state import TrainingStateFile, fingerprint


class Trainable(Protocol):
    """What ``fit`` needs of a model, an ``nn.Module``: its loss and its statistics, by the dataset's array names."""

    def __call__(self, **arrays: Any) -> Tensor:
        """Return the loss; ``generator`` is among the arguments."""
        ...

    def fit_normalizers(self, **arrays: Any) -> None:
        """Fit the normalisers from training data."""
        ...


def fit(
    model: nn.Module,
    dataset: EpisodicDataset,
    settings: FitSettings = FitSettings(),  # noqa: B008  # frozen
    *,
    generator: torch.Generator,
    log: Log | None = None,
    progress: bool | str = False,
    state: str | os.PathLike[str] | None = None,
    refit_normalizers: bool = True,
) -> FitResult:
    """Train a model in place: normalisers first, then AdamW; the averaged weights stay in it.

    With ``state``, a training that was cut off goes on when it is started again in the same way: from the same initial
    weights, data and settings, with the generator as it was. Model, result and generator end as without the cut.

    Args:
        model: A model of the library, see ``Trainable``.
        dataset: Rows whose array names are the loss's arguments.
        settings: Sizes and rates.
        generator: A CPU generator; splits, batches and the loss's noise come from it.
        log: Called with the update and its figures, every time the validation loss is computed.
        progress: Show a progress bar, under a name where a string is given.
        state: A file that keeps the state of the training, written at each validation but the last, before ``log``
            is called, and removed at the end. From one that is there already the training goes on.
        refit_normalizers: Whether the normalisers are fitted to these data. Without, they stay as they are, so that a
            model that was fitted on one robot is tuned on another.

    Returns:
        Training and validation loss, in the model's normalised units.

    Raises:
        ValueError: If the dataset has too few episodes to hold some out, or the loss becomes NaN or infinite; with
            ``state``, also if the file is truncated, foreign or of another training, or if the model is one that
            ``checkpoints.save`` could not describe.
        OSError: If the file cannot be written, which is tried before the training.
    """
    file = None
    if state is not None:
        arrays = {"episodes": dataset.episodes, **dataset.arrays()}
        start = fingerprint(
            model, arrays, settings, generator, dataset=type(dataset).__name__, refit_normalizers=refit_normalizers
        )
        file = TrainingStateFile(Path(state), start)
    saved = None if file is None else file.read()
    train, validation = dataset, None
    if settings.validation_fraction > 0:
        seed = int(torch.randint(2**31, (), generator=generator))
        train, validation = dataset.split(settings.validation_fraction, np.random.default_rng(seed))
    like = parameter_like(model)
    rows = _tensors(train.arrays(), like)
    held_out = None if validation is None else _tensors(validation.arrays(), like)
    validation_seed = int(torch.randint(2**31, (), generator=generator))
    trainable: Any = model  # a module that follows Trainable
    accepted = inspect.signature(model.forward).parameters
    if not set(rows) <= set(accepted):
        raise ValueError(
            f"{type(model).__name__} learns from {', '.join(name for name in accepted if name != 'generator')}, "
            f"the {type(dataset).__name__} holds {', '.join(rows)}"
        )
    if refit_normalizers:
        trainable.fit_normalizers(**rows)

    def batch_loss() -> Tensor:
        index = torch.randint(len(train), (settings.batch_size,), generator=generator)
        loss: Tensor = trainable(**{name: array[index] for name, array in rows.items()}, generator=generator)
        return loss

    return optimize(
        model,
        batch_loss,
        None if held_out is None else lambda: _loss(trainable, held_out, validation_seed),
        settings,
        generator=generator,
        log=log,
        description=progress if isinstance(progress, str) else type(model).__name__ if progress else None,
        file=file,
        saved=saved,
    )


def _loss(model: Any, rows: Mapping[str, Tensor], seed: int) -> float:
    """The loss over all rows, with the same noise at each call."""
    with evaluating(model):
        loss: Tensor = model(**rows, generator=torch.Generator().manual_seed(seed))
    return loss.item()


def _tensors(arrays: Mapping[str, NDArray[Any]], like: Tensor) -> dict[str, Tensor]:
    return {name: torch.as_tensor(array).to(device=like.device, dtype=like.dtype) for name, array in arrays.items()}
