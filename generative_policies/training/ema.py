"""Exponential moving average of weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from generative_policies.models.dimensions import check_flag, check_number, check_part


class ExponentialMovingAverage:
    """An average of a model's parameters over its updates; buffers are left alone.

    The decay grows with the number of updates up to its limit, so that short trainings forget their start.

    Args:
        model: The model whose parameters are averaged.
        decay: Limit of the decay, in [0, 1); 0 keeps the last weights.
        in_place: Whether the average is kept in the model's own parameters, where those being trained are another's.

    Raises:
        TypeError: If an argument is of another kind.
        ValueError: If ``decay`` is outside [0, 1).

    Example:
        >>> model = nn.Linear(1, 1)
        >>> ema = ExponentialMovingAverage(model, decay=0.99)
        >>> ema.update(model)
        >>> ema.copy_to(model)
    """

    def __init__(self, model: nn.Module, decay: float, *, in_place: bool = False) -> None:
        check_part("model", model, nn.Module)
        check_flag("in_place", in_place)
        self.decay = check_number("decay", decay, below=1)
        self.num_updates = 0
        self.averages: list[Tensor] = [
            parameter.detach() if in_place else parameter.detach().clone() for parameter in model.parameters()
        ]

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the model's current parameters into the average."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates)) if self.decay else 0.0
        parameters = [parameter.detach() for parameter in model.parameters()]
        get_ema_multi_avg_fn(decay)(self.averages, parameters, self.num_updates)  # type: ignore[no-untyped-call]

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Lend the average to the model for a while."""
        own = [parameter.detach().clone() for parameter in model.parameters()]
        self.copy_to(model)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(model.parameters(), own, strict=True):
                    parameter.copy_(value)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Write the average into the model's parameters."""
        for parameter, average in zip(model.parameters(), self.averages, strict=True):
            parameter.copy_(average)
