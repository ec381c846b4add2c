"""Initial weights from a generator, for networks draw theirs from PyTorch's global state."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def initial_weights(generator: torch.Generator) -> Iterator[None]:
    """Make models built inside draw their weights from a generator; the global state is as before afterwards.

    Args:
        generator: Source of the weights, a CPU generator.

    Example:
        >>> with initial_weights(torch.Generator().manual_seed(0)):
        ...     layer = torch.nn.Linear(2, 2)
    """
    seed = int(torch.randint(2**31, (), generator=generator))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
