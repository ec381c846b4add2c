"""Every way to sample that is measured, by method and number of steps."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.conditional_mixture import COND_DIM, TARGET_DIM, ConditionalMixture, Sampler
from benchmarks.latency.plain import PlainFlow
from benchmarks.latency.trained import Trained
from generative_policies.export import OnnxModel, export_onnx

PLAIN, EAGER, EXPORTED = "plain", "eager", "exported"
STUDENTS = {"student": "student", "U-Net student": "unet_student"}  # by the name of the attribute of ``Trained``
LARGEST_DIFFERENCE = 1e-5
CHUNK = 2_000  # rows, where many are sampled


class Row(NamedTuple):
    """One way to sample.

    Attributes:
        method: The plain loop, or a model of the library, eager or exported.
        num_steps: Euler steps.
    """

    method: str
    num_steps: int

    @property
    def twin(self) -> "Row":
        """The eager row whose samples this one repeats, and whose quality it has therefore."""
        if self.method == PLAIN:
            return Row(EAGER, self.num_steps)
        return Row(EAGER if self.method == EXPORTED else self.method.removesuffix(f", {EXPORTED}"), self.num_steps)

    @property
    def label(self) -> str:
        """The row in words."""
        return f"{self.method}, {self.num_steps} step{'s' if self.num_steps > 1 else ''}"


def onnx_file(folder: Path, row: Row) -> Path:
    """Return where the exported form of an eager row stands."""
    name = STUDENTS.get(row.method, "teacher")
    return folder / f"{name}_{row.num_steps}.onnx"


def export(trained: Trained, steps: Sequence[int], folder: Path) -> None:
    """Write the exported form of every model."""
    for num_steps in steps:
        export_onnx(trained.teacher, onnx_file(folder, Row(EAGER, num_steps)), num_steps=num_steps)
    for method, attribute in STUDENTS.items():
        export_onnx(getattr(trained, attribute), onnx_file(folder, Row(method, 1)))


def samplers(trained: Trained, steps: Sequence[int], folder: Path, num_threads: int) -> dict[Row, Sampler]:
    """Return all ways to sample, each from numpy arrays to numpy arrays.

    Args:
        trained: The models.
        steps: Numbers of Euler steps of the teacher.
        folder: Of the exported models.
        num_threads: Threads of the exported models; torch's are set for the whole process.
    """
    plain = PlainFlow.of(trained.teacher).eval()
    found: dict[Row, Sampler] = {}
    for num_steps in steps:
        found[Row(PLAIN, num_steps)] = partial(plain.predict, num_steps=num_steps)
    for num_steps in steps:
        found[Row(EAGER, num_steps)] = _predict(trained.teacher, num_steps)
    for num_steps in steps:
        file = onnx_file(folder, Row(EAGER, num_steps))
        found[Row(EXPORTED, num_steps)] = _predict(OnnxModel.load(file, num_threads), num_steps)
    for method, attribute in STUDENTS.items():
        file = onnx_file(folder, Row(method, 1))
        found[Row(method, 1)] = _predict(getattr(trained, attribute), 1)
        found[Row(f"{method}, {EXPORTED}", 1)] = _predict(OnnxModel.load(file, num_threads), 1)
    return found


def in_chunks(sampler: Sampler) -> Sampler:
    """Return a sampler that takes many rows a chunk at a time."""

    def sample(conditions: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
        starts = range(0, len(noise), CHUNK)
        return np.concatenate([sampler(conditions[k : k + CHUNK], noise[k : k + CHUNK]) for k in starts])

    return sample


class Difference(NamedTuple):
    """How far samples are from those of the eager twin, the largest entry of each.

    Attributes:
        quantile_999: The 99.9 % quantile.
        largest: The largest. On the border between two modes, rounding grows a hundredfold along the path: there the
            eager samples themselves are as far from those in double precision.
    """

    quantile_999: float
    largest: float


def differences(found: Mapping[Row, Sampler]) -> dict[Row, Difference]:
    """Return the difference of each row's samples from those of its eager twin, of 2,000 conditions.

    Raises:
        ValueError: If 99.9 % of them do not lie within ``LARGEST_DIFFERENCE``: then it is not the same sampler.
    """
    rng = np.random.default_rng(3)
    conditions = ConditionalMixture().conditions(CHUNK, rng)
    noise = rng.standard_normal((CHUNK, TARGET_DIM), dtype=np.float32)
    answers = {row: sampler(conditions, noise) for row, sampler in found.items()}
    gaps: dict[Row, Difference] = {}
    for row, answer in answers.items():
        largest = np.abs(answer - answers[row.twin]).max(axis=1)
        gaps[row] = Difference(float(np.quantile(largest, 0.999, method="higher")), float(largest.max()))
        if not gaps[row].quantile_999 <= LARGEST_DIFFERENCE:
            raise ValueError(
                f"{row.label} differs from {row.twin.label} by {gaps[row].quantile_999:.2g}, beyond "
                f"{LARGEST_DIFFERENCE}"
            )
    return gaps


def inputs(batch: int, count: int = 64, seed: int = 4) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return conditions ``(batch, COND_DIM)`` and noise ``(batch, TARGET_DIM)`` of several calls."""
    rng = np.random.default_rng(seed)
    mixture = ConditionalMixture()
    given = [
        (mixture.conditions(batch, rng), rng.standard_normal((batch, TARGET_DIM), np.float32)) for _ in range(count)
    ]
    assert given[0][0].shape == (batch, COND_DIM)
    return given


def _predict(model: Any, num_steps: int) -> Sampler:  # an exported model's class is its own
    def predict(conditions: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
        samples: NDArray[np.float32] = model.predict(condition=conditions, noise=noise, num_steps=num_steps)
        return samples

    return predict
