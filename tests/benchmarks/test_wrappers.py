import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.wrappers import EXPORTED, LARGEST_OVERHEAD, LEAST_RATIO, LEAST_RATIO_EXPORTED, Settings, main

RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results"


def test_the_quick_form_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = main(Settings(num_envs=(1, 2), env_steps=40, repeats=2, hidden_widths=(16,), output=tmp_path))
    report = json.loads((tmp_path / "wrappers.json").read_text())
    rates = report["rates"]["2"]
    assert list(rates) == ["bare", "mlp, 16", "flow, 16", "student", EXPORTED] and all(
        len(values) == 2 for values in rates.values()
    )
    assert report["ratios"]["2"]["mlp, 16"] == pytest.approx(np.median(rates["mlp, 16"]) / np.median(rates["bare"]))
    assert kept is report["kept"] is False  # sixteen envs were not measured
    assert (tmp_path / "wrappers.md").read_text() in capsys.readouterr().out


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="num_envs"):
        Settings(num_envs=())
    with pytest.raises(ValueError, match="env_steps=10"):
        Settings(env_steps=10)


def test_committed_results_keep_the_bounds() -> None:
    report = json.loads((RESULTS / "wrappers.json").read_text())
    assert report["command"].startswith("python -m benchmarks.wrappers")
    assert report["settings"]["env"] == "HalfCheetah-v5"
    rates = report["rates"]["16"]
    assert np.median(rates["mlp, 32"]) / np.median(rates["bare"]) >= LEAST_RATIO
    assert np.median(rates[EXPORTED]) / np.median(rates["bare"]) >= LEAST_RATIO_EXPORTED
    times = {name: np.array(values) for name, values in report["microseconds"].items()}
    clocks = np.median(times["wrapped step"] - times["env"] - times["predict"]) - report["overhead"]
    assert 0 < clocks < 3
    assert report["kept"] == (report["overhead"] <= LARGEST_OVERHEAD)
