"""One training loop for every model: the loss of rows from a dataset, averaged weights out."""

import inspect
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from generative_policies.data import EpisodicDataset
from generative_policies.models.arrays import evaluating, parameter_like
from generative_policies.training.ema import ExponentialMovingAverage
from generative_policies.training.settings import FitSettings
from generative_policies.training.training_state import TrainingState, TrainingStateFile, fingerprint

Log = Callable[[int, Mapping[str, float]], None]


class Trainable(Protocol):
    """What ``fit`` needs of a model, an ``nn.Module``: its loss and its statistics, by the dataset's array names."""

    def __call__(self, **arrays: Any) -> Tensor:
        """Return the loss; ``generator`` is among the arguments."""
        ...

    def fit_normalizers(self, **arrays: Any) -> None:
        """Fit the normalisers from training data."""
        ...


class FitResult(NamedTuple):
    """What a training ended with.

    Attributes:
        train_loss: Mean loss over the last tenth of the updates, of the weights being trained.
        validation_loss: Loss of the averaged weights on the held-out episodes, ``None`` without any.
    """

    train_loss: float
    validation_loss: float | None


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
        start = fingerprint(model, dataset, settings, generator, refit_normalizers)
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

    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    ema = ExponentialMovingAverage(model, settings.ema_decay)
    training = TrainingState(model, optimizer, ema, generator)
    if saved is not None:
        training.restore(saved)
    was_training = model.training
    model.train()
    interval = max(1, settings.num_updates // settings.num_validations)
    description = progress if isinstance(progress, str) else type(model).__name__
    updates = range(ema.num_updates, settings.num_updates)
    for update in tqdm(
        updates,
        desc=description,
        disable=progress is False,
        mininterval=0.5,
        initial=updates.start,
        total=settings.num_updates,
    ):
        optimizer.param_groups[0]["lr"] = settings.learning_rate * settings.learning_rate_factor(update)
        index = torch.randint(len(train), (settings.batch_size,), generator=generator)
        loss = trainable(**{name: array[index] for name, array in rows.items()}, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
        optimizer.step()
        ema.update(model)
        if update >= int(0.9 * settings.num_updates):
            training.tail_losses.append(loss.detach())
        is_last = update + 1 == settings.num_updates
        if (update + 1) % interval == 0 or is_last:
            learning_rate = settings.learning_rate * settings.learning_rate_factor(update + 1)
            figures = {"train/loss": loss.item(), "train/learning_rate": learning_rate}
            if not math.isfinite(figures["train/loss"]):
                raise ValueError(f"the loss became {figures['train/loss']} by update {update + 1}; lower learning_rate")
            if file is not None and not is_last:
                file.write(training.tensors())
            if log is not None:
                if held_out is not None:
                    with ema.applied(model):
                        figures["validation/loss"] = _loss(trainable, held_out, validation_seed)
                log(update + 1, figures)
    ema.copy_to(model)
    model.train(was_training)
    validation_loss = None if held_out is None else _loss(trainable, held_out, validation_seed)
    result = FitResult(torch.stack(training.tail_losses).mean().item(), validation_loss)
    if file is not None:
        file.remove()
    return result


def _loss(model: Any, rows: Mapping[str, Tensor], seed: int) -> float:
    """The loss over all rows, with the same noise at each call."""
    with evaluating(model):
        loss: Tensor = model(**rows, generator=torch.Generator().manual_seed(seed))
    return loss.item()


def _tensors(arrays: Mapping[str, NDArray[Any]], like: Tensor) -> dict[str, Tensor]:
    return {name: torch.as_tensor(array).to(device=like.device, dtype=like.dtype) for name, array in arrays.items()}
