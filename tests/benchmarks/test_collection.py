import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.collection import LEAST_SHARE, Settings, main

RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results"


def test_the_quick_form_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = main(Settings(envs=("Pusher-v5",), episodes=4, steps=20, repeats=1, output=tmp_path))
    report = json.loads((tmp_path / "collection.json").read_text())["envs"]["Pusher-v5"]
    assert report["simulator_steps"] == 4 * 20 * 5  # Pusher-v5 holds an action for five steps
    assert report["share"] == pytest.approx(report["rates"]["collected"] / report["rates"]["native"])
    assert kept == report["kept"] == (report["share"] >= LEAST_SHARE)
    assert (tmp_path / "collection.md").read_text() in capsys.readouterr().out


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="repeats"):
        Settings(repeats=0)


def test_committed_results_reach_the_share_of_the_native_rate() -> None:
    content = json.loads((RESULTS / "collection.json").read_text())
    assert content["command"].startswith("python -m benchmarks.collection")
    for report in content["envs"].values():
        seconds = report["seconds"]
        share = np.median(seconds["native"]) / np.median(seconds["collected"])
        assert share >= LEAST_SHARE
