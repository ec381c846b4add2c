"""The first call in a process of its own, after all imports: what a robot waits for once."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks.latency.samplers import EXPORTED, STUDENTS, Row, inputs, onnx_file

CHECKOUT = Path(__file__).parent.parent.parent


def cold_starts(rows: Sequence[Row], folder: Path, num_threads: int, repeats: int) -> dict[Row, dict[str, float]]:
    """Return milliseconds of loading, of the first and second call, and of a later one, medians over processes.

    Args:
        rows: Eager and exported rows.
        folder: Of checkpoints and exported models.
        num_threads: Threads of torch and ONNX Runtime.
        repeats: Processes a row.
    """
    found: dict[Row, list[dict[str, float]]] = {row: [] for row in rows}
    for _ in range(repeats):
        for row in rows:
            command = [sys.executable, "-m", "benchmarks.latency.cold_start", str(_model(folder, row))]
            command += [str(row.num_steps), str(num_threads)]
            done = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True)
            found[row].append(json.loads(done.stdout.splitlines()[-1]))
    return {
        row: {name: round(float(np.median([run[name] for run in runs])), 4) for name in runs[0]}
        for row, runs in found.items()
        if runs
    }


def _model(folder: Path, row: Row) -> Path:
    if row.method.endswith(EXPORTED):
        return onnx_file(folder, row.twin).absolute()
    return (folder / STUDENTS.get(row.method, "teacher")).absolute()


def main(path: Path, num_steps: int, num_threads: int) -> None:
    """Load a model, call it, and print milliseconds as JSON."""
    import torch

    from generative_policies import checkpoints
    from generative_policies.export import OnnxModel

    if path.suffix == ".onnx":
        for package in ("onnx", "onnxruntime"):
            import_module(package)  # which would otherwise be part of the loading

    torch.set_num_threads(num_threads)
    given = inputs(1)
    clock = time.perf_counter
    marks = [clock()]
    model = OnnxModel.load(path, num_threads) if path.suffix == ".onnx" else checkpoints.load(path).eval()
    marks.append(clock())
    for condition, noise in given:
        model.predict(condition=condition, noise=noise, num_steps=num_steps)
        marks.append(clock())
    load, first, second, *later = 1e3 * np.diff(marks)
    print(json.dumps({"load": load, "first": first, "second": second, "later": float(np.median(later))}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
