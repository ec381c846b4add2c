"""Sizes and rates of a training."""

import math
from dataclasses import dataclass

from generative_policies.models.dimensions import check_dim, check_number


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
        for name in ("learning_rate", "weight_decay", "max_grad_norm"):
            check_number(name, getattr(self, name))
        for name in ("warmup_fraction", "ema_decay", "validation_fraction"):
            check_number(name, getattr(self, name), below=1)

    def learning_rate_factor(self, update: int) -> float:
        """Return the learning rate of an update as a share of the peak: linear warm-up, then cosine decay."""
        warmup = self.warmup_fraction * self.num_updates
        if update < warmup:
            return (update + 1) / (warmup + 1)
        progress = (update - warmup) / max(1.0, self.num_updates - warmup)
        return 0.5 * (1 + math.cos(math.pi * progress))
