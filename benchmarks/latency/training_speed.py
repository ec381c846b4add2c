"""Time of a gradient step, and samples per second where millions are wanted."""

import time
from collections.abc import Callable, Mapping
from itertools import cycle

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.conditional_mixture import COND_DIM, TARGET_DIM, ConditionalMixture, Sampler
from benchmarks.latency.plain import PlainFlow
from benchmarks.latency.samplers import CHUNK, Row, inputs
from benchmarks.latency.trained import DOWN_DIMS, TIME_DIM, Rows
from generative_policies.models import ConditionalFlowModel
from generative_policies.training import FitSettings, fit

BATCH = 256


def training_steps(updates: int, repeats: int) -> dict[str, float]:
    """Return milliseconds of a gradient step at 256 rows, medians of measurements taken in turn.

    Args:
        updates: Steps of a measurement.
        repeats: Number of measurements.

    Returns:
        Of the plain network with PyTorch's default AdamW, and of the library's with the fused one, each with loss and
        backward pass; and of a whole update of ``fit``, which also clips the gradient, averages the weights and draws
        the batch.
    """
    mixture, rng = ConditionalMixture(), np.random.default_rng(5)
    conditions = mixture.conditions(16 * BATCH, rng)
    targets = mixture.samples(conditions, rng)
    model = ConditionalFlowModel(TARGET_DIM, COND_DIM, TIME_DIM, DOWN_DIMS)
    model.fit_normalizers(torch.from_numpy(targets), torch.from_numpy(conditions))
    plain = PlainFlow.of(model)
    fitted = ConditionalFlowModel(TARGET_DIM, COND_DIM, TIME_DIM, DOWN_DIMS)
    data = Rows(np.arange(len(targets)), targets, conditions)
    settings = FitSettings(num_updates=updates, batch_size=BATCH, validation_fraction=0)
    generator = torch.Generator().manual_seed(0)
    batches = list(zip(*(torch.split(torch.from_numpy(rows), BATCH) for rows in (targets, conditions)), strict=True))

    def steps(module: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], fused: bool) -> Callable[[], object]:
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, fused=fused)

        def run() -> None:
            for k in range(updates):
                optimizer.zero_grad()
                loss(*batches[k % len(batches)]).backward()  # type: ignore[no-untyped-call]  # torch's own
                optimizer.step()

        return run

    cases: dict[str, Callable[[], object]] = {
        "plain": steps(plain, plain.loss, fused=False),
        "library": steps(model, model, fused=True),  # as fit does
        "fit": lambda: fit(fitted, data, settings, generator=generator),
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in tqdm(range(repeats), desc="training", unit="repeat"):
        for name, run in cases.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: 1e3 * float(np.median(values)) / updates for name, values in seconds.items()}


def samples_per_second(samplers: Mapping[Row, Sampler], seconds: float) -> dict[Row, float]:
    """Return how many samples a second each gives where many are wanted, a chunk of ``CHUNK`` after the other.

    Args:
        samplers: Ways to sample.
        seconds: How long each is measured, to the end of a chunk.
    """
    chunks = cycle(inputs(CHUNK, count=8))
    rates: dict[Row, float] = {}
    for row, sampler in tqdm(samplers.items(), desc="labelling", unit="sampler"):
        sampler(*next(chunks))
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < seconds or count == 0:
            sampler(*next(chunks))
            count += CHUNK
        rates[row] = count / (time.perf_counter() - started)
    return rates
