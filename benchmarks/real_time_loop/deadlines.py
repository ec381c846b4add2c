"""Loops with a deadline every millisecond, and what a process can do to keep them."""

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

PERIOD = 1_000_000  # [ns]
# Sleeping gives the core away, and may last longer than asked for; the rest of the wait is spent looking at the clock.
SPIN = 200_000  # [ns]

Cycle = Callable[[], None]


class Slice(NamedTuple):
    """What a loop did in a slice.

    Attributes:
        missed: ``(periods,)``, whether the deadline at the end of a period passed without a cycle that had begun in it
            having ended.
        late: ``(cycles,)``, from the beginning of the period that a cycle waited for to its own [ns].
        work: ``(cycles,)``, from the beginning of a cycle to its end [ns].
    """

    missed: NDArray[np.bool_]
    late: NDArray[np.int64]
    work: NDArray[np.int64]


def run_slice(
    cycle: Cycle,
    periods: int,
    clock: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> Slice:
    """Run a cycle in every period, and count the periods in which none ended in time.

    Deadlines are absolute, so that no delay shifts those that follow. After a delay the loop goes on in the period that
    it finds itself in, as a robot would; it does not make up for the ones that passed, which are missed.

    Args:
        cycle: The work.
        periods: Number of periods.
        clock: Gives the time [ns].
        sleep: Sleeps for about a time [s].
    """
    missed = np.zeros(periods, dtype=bool)
    late, work = [], []
    start, k = clock(), 0
    while k < periods:
        release = start + k * PERIOD
        rest = release - clock() - SPIN
        if rest > 0:
            sleep(1e-9 * rest)
        begin = clock()
        while begin < release:
            begin = clock()
        current = min((begin - start) // PERIOD, periods)
        missed[k:current] = True
        if current == periods:
            break
        cycle()
        end = clock()
        missed[current] = end > start + (current + 1) * PERIOD
        late.append(begin - release)
        work.append(end - begin)
        k = current + 1
    return Slice(missed, np.array(late, dtype=np.int64), np.array(work, dtype=np.int64))


def take_turns(loops: Mapping[str, Cycle], count: int, periods: int) -> dict[str, list[Slice]]:
    """Run slices of all loops in turn, ``count`` of each."""
    found: dict[str, list[Slice]] = {name: [] for name in loops}
    with tqdm(total=count * len(loops), desc="loops", unit="slice") as bar:
        for _ in range(count):
            for name, cycle in loops.items():
                with without_garbage_collection():
                    found[name].append(run_slice(cycle, periods))
                bar.update()
    return found


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Collect garbage before, and none inside; what is alive is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


@contextmanager
def priority(realtime: bool) -> Iterator[str]:
    """Give the process real-time priority, if that is wanted and permitted, and tell which it has."""
    granted = False
    if realtime:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            granted = True
        except (AttributeError, PermissionError) as error:  # of another system, or of a user without the right
            print(f"no real-time priority: {error}")
    try:
        yield "SCHED_FIFO, 1" if granted else "normal"
    finally:
        if granted:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def empty_cycle() -> None:
    """Do nothing."""
