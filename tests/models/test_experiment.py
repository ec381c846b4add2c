"""The experiment's command line."""

import json
from pathlib import Path

from generative_policies.models.experiment import main


def test_quick_experiment_writes_plot_and_json(tmp_path: Path) -> None:
    figures = main(["--quick", "--seed", "3", "--output", str(tmp_path)])
    report = json.loads((tmp_path / "bimodal.json").read_text())
    assert report["metrics"] == figures
    assert report["settings"]["seed"] == 3
    assert (tmp_path / "bimodal.png").read_bytes().startswith(b"\x89PNG")
    assert {"energy_distance", "energy_distance_real_quantile_99", "sliced_wasserstein", "mode_0_mass"} <= set(figures)
