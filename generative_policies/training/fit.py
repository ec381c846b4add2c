"""One training loop for every model: the loss of rows from a dataset, averaged weights out."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from generative_policies.data import EpisodicDataset
from generative_policies.models.arrays import evaluating, parameter_like
from generative_policies.models.dimensions import check_dim
from generative_policies.training.ema import ExponentialMovingAverage

Log = Callable[[int, Mapping[str, float]], None]


class Trainable(Protocol):
    """What ``fit`` needs of a model, an ``nn.Module``: its loss and its statistics, by the dataset's array names."""

    def __call__(self, **arrays: Any) -> Tensor:
        """Return the loss; ``generator`` is among the arguments."""
        ...

    def fit_normalizers(self, **arrays: Any) -> None:
        """Fit the normalisers from training data."""
        ...


@dataclass(frozen=True)
class FitSettings:
    """Settings of ``fit``.

    Attributes:
        num_updates: Gradient steps.
        batch_size: Rows a step.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: AdamW's decoupled weight decay.
        warmup_fraction: Share of the steps in which the learning rate rises linearly; it then falls as a cosine to 0.
        max_grad_norm: Limit of the gradient's norm.
        ema_decay: Limit of the decay of the averaged weights; 0 keeps the last weights.
        validation_fraction: Share of the episodes held out; 0 trains on everything and reports no validation loss.
        num_validations: How often the validation loss is computed.

    Raises:
        ValueError: If a setting is outside its range; the message names it.
    """

    num_updates: int = 10_000
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup_fraction: float = 0.03
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    validation_fraction: float = 0.1
    num_validations: int = 10

    def __post_init__(self) -> None:
        for name in ("num_updates", "batch_size", "num_validations"):
            check_dim(name, getattr(self, name))
        for name, low, high in (
            ("learning_rate", 0, math.inf),
            ("weight_decay", 0, math.inf),
            ("warmup_fraction", 0, 1),
            ("max_grad_norm", 0, math.inf),
            ("ema_decay", 0, 1),
            ("validation_fraction", 0, 1),
        ):
            value = getattr(self, name)
            if not low <= value < high:
                raise ValueError(f"{name} must lie in [{low}, {high}), got {value}")

    def learning_rate_factor(self, update: int) -> float:
        """Return the learning rate of an update as a share of the peak: linear warm-up, then cosine decay."""
        warmup = self.warmup_fraction * self.num_updates
        if update < warmup:
            return (update + 1) / (warmup + 1)
        progress = (update - warmup) / max(1.0, self.num_updates - warmup)
        return 0.5 * (1 + math.cos(math.pi * progress))


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
    settings: FitSettings = FitSettings(),
    *,
    generator: torch.Generator,
    log: Log | None = None,
    progress: bool | str = False,
) -> FitResult:
    """Train a model in place: normalisers first, then AdamW; the averaged weights stay in it.

    Args:
        model: A model of the library, see ``Trainable``.
        dataset: Rows whose array names are the loss's arguments.
        settings: Sizes and rates.
        generator: A CPU generator; splits, batches and the loss's noise come from it.
        log: Called with the update and its figures, every time the validation loss is computed.
        progress: Show a progress bar, under a name where a string is given.

    Returns:
        Training and validation loss, in the model's normalised units.

    Raises:
        ValueError: If the dataset has too few episodes to hold some out, or the loss becomes NaN or infinite.
    """
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
    trainable.fit_normalizers(**rows)

    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, settings.learning_rate_factor)
    ema = ExponentialMovingAverage(model, settings.ema_decay)
    was_training = model.training
    model.train()
    interval = max(1, settings.num_updates // settings.num_validations)
    tail_losses: list[Tensor] = []
    description = progress if isinstance(progress, str) else type(model).__name__
    for update in tqdm(range(settings.num_updates), desc=description, disable=progress is False, mininterval=0.5):
        index = torch.randint(len(train), (settings.batch_size,), generator=generator)
        loss = trainable(**{name: array[index] for name, array in rows.items()}, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
        optimizer.step()
        schedule.step()
        ema.update(model)
        if update >= int(0.9 * settings.num_updates):
            tail_losses.append(loss.detach())
        if (update + 1) % interval == 0 or update + 1 == settings.num_updates:
            figures = {"train/loss": loss.item(), "train/learning_rate": schedule.get_last_lr()[0]}
            if not math.isfinite(figures["train/loss"]):
                raise ValueError(f"the loss became {figures['train/loss']} by update {update + 1}; lower learning_rate")
            if log is not None:
                if held_out is not None:
                    with ema.applied(model):
                        figures["validation/loss"] = _loss(trainable, held_out, validation_seed)
                log(update + 1, figures)
    ema.copy_to(model)
    model.train(was_training)
    validation_loss = None if held_out is None else _loss(trainable, held_out, validation_seed)
    return FitResult(torch.stack(tail_losses).mean().item(), validation_loss)


def _loss(model: Any, rows: Mapping[str, Tensor], seed: int) -> float:
    """The loss over all rows, with the same noise at each call."""
    with evaluating(model):
        loss: Tensor = model(**rows, generator=torch.Generator().manual_seed(seed))
    return loss.item()


def _tensors(arrays: Mapping[str, NDArray[Any]], like: Tensor) -> dict[str, Tensor]:
    return {name: torch.as_tensor(array).to(device=like.device, dtype=like.dtype) for name, array in arrays.items()}
