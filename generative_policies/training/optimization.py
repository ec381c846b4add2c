"""The loop of every training on a fixed set of rows: AdamW down a loss, averaged weights out, resumable."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from generative_policies.training.ema import ExponentialMovingAverage
from generative_policies.training.settings import FitSettings
from generative_policies.training.training_state import TrainingState, TrainingStateFile

Log = Callable[[int, Mapping[str, float]], None]


class FitResult(NamedTuple):
    """What a training ended with.

    Attributes:
        train_loss: Mean loss over the last tenth of the updates, of the weights being trained.
        validation_loss: Loss of the averaged weights on the held-out rows, ``None`` without any.
    """

    train_loss: float
    validation_loss: float | None


def optimize(
    model: nn.Module,
    batch_loss: Callable[[], Tensor],
    validation_loss: Callable[[], float] | None,
    settings: FitSettings,
    *,
    generator: torch.Generator,
    log: Log | None,
    description: str | None,
    file: TrainingStateFile | None,
    saved: Mapping[str, Tensor] | None,
) -> FitResult:
    """Train a model's parameters in place; the averaged weights stay in it.

    Args:
        model: Whose parameters are trained.
        batch_loss: Draws a batch, and returns its loss with gradients.
        validation_loss: Returns the loss on the held-out rows, the same for the same weights.
        settings: Sizes and rates.
        generator: The one that ``batch_loss`` draws from, part of the state.
        log: Called with the update and its figures, every time the validation loss is computed.
        description: Name of the progress bar, ``None`` for none.
        file: Keeps the state, and is removed at the end.
        saved: What was read from it; from there the training goes on.

    Returns:
        Training and validation loss.

    Raises:
        ValueError: If the loss becomes NaN or infinite.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # Fused: one pass over all parameters instead of a dozen, a sixth of the time for models of this size.
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    ema = ExponentialMovingAverage(model, settings.ema_decay)
    training = TrainingState(model, optimizer, ema, generator)
    if saved is not None:
        try:
            training.restore(saved)
            if not 0 < ema.num_updates < settings.num_updates:
                raise ValueError(f"its state is after {ema.num_updates} updates of {settings.num_updates}")
        except (ValueError, RuntimeError) as error:
            where = "" if file is None else f"{file.path}: "
            raise ValueError(f"{where}{error}; remove it, or choose another path for state") from error
    was_training = model.training
    model.train()
    interval = max(1, settings.num_updates // settings.num_validations)
    updates = range(ema.num_updates, settings.num_updates)
    for update in tqdm(
        updates,
        desc=description,
        disable=description is None,
        mininterval=0.5,
        initial=updates.start,
        total=settings.num_updates,
    ):
        optimizer.param_groups[0]["lr"] = settings.learning_rate * settings.learning_rate_factor(update)
        loss = batch_loss()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
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
                if validation_loss is not None:
                    with ema.applied(model):
                        figures["validation/loss"] = validation_loss()
                log(update + 1, figures)
    ema.copy_to(model)
    model.train(was_training)
    result = FitResult(
        torch.stack(training.tail_losses).mean().item(), None if validation_loss is None else validation_loss()
    )
    if file is not None:
        file.remove()
    return result
