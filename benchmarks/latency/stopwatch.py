"""Times of calls, of all samplers in turn, so that drifts of the machine hit them alike."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

KeyT = TypeVar("KeyT")
Call = Callable[[Any, Any], object]
ROUNDS = 25


@dataclass(frozen=True)
class Times:
    """Microseconds of calls.

    Attributes:
        median: Their median.
        p99: Their 99 % quantile.
        p999: Their 99.9 % quantile; the longest below 1,000 calls.
        longest: The longest.
        calls: Their number.
    """

    median: float
    p99: float
    p999: float
    longest: float
    calls: int

    @classmethod
    def of(cls, microseconds: NDArray[np.float64]) -> "Times":
        """Return the statistics of single calls."""
        median, p99, p999 = (float(value) for value in np.quantile(microseconds, (0.5, 0.99, 0.999), method="higher"))
        return cls(median, p99, p999, float(microseconds.max()), len(microseconds))

    def to_dict(self) -> dict[str, float]:
        """Return them by name, to a nanosecond."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


def measure(
    calls: Mapping[KeyT, Call],
    inputs: Sequence[tuple[Any, Any]],
    seconds: float,
    limits: tuple[int, int],
    description: str,
    patience: float = math.inf,
) -> dict[KeyT, Times]:
    """Return the times of functions, measured in turn: in each round some calls of each, one after the other.

    Args:
        calls: Functions of two arguments.
        inputs: The arguments, of which each call takes the next.
        seconds: About how long each function is measured, between the limits.
        limits: Fewest and most calls of each.
        description: Of the progress bar.
        patience: Seconds after which no further round begins; threads that wait for each other on a busy machine may
            take a hundred times as long as was expected.
    """
    rounds = min(ROUNDS, limits[0])
    share: dict[KeyT, int] = {}  # calls a round
    for key, call in calls.items():
        first = _microseconds(call, inputs, 0, 3)  # the first ones warm up
        estimate = float(np.median(_microseconds(call, inputs, 3, 5) if first[-1] < 1e5 else first[1:]))
        share[key] = -(-int(np.clip(1e6 * seconds / estimate, *limits)) // rounds)
    found: dict[KeyT, list[NDArray[np.float64]]] = {key: [] for key in calls}
    started = time.perf_counter()
    for k in tqdm(range(rounds), desc=description, unit="round"):
        if k and time.perf_counter() - started > patience:
            break
        for key, call in calls.items():
            found[key].append(_microseconds(call, inputs, k * share[key], share[key]))
    return {key: Times.of(np.concatenate(parts)) for key, parts in found.items()}


def _microseconds(call: Call, inputs: Sequence[tuple[Any, Any]], start: int, count: int) -> NDArray[np.float64]:
    clock, nanoseconds = time.perf_counter_ns, np.empty(count)
    for k in range(count):
        first, second = inputs[(start + k) % len(inputs)]
        began = clock()
        call(first, second)
        nanoseconds[k] = clock() - began
    return nanoseconds / 1_000
