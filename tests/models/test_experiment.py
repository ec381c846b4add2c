"""The experiments' command line; their bounds are kept by ``make experiments``, here they run in their short form."""

import json
from pathlib import Path

import pytest

from generative_policies.action_translation import experiment as action_translation_experiment
from generative_policies.models import experiment
from generative_policies.models.experiments import Bound, ExperimentSettings, run_command_line
from generative_policies.models.experiments.experiment import format_table

COMMITTED = Path(__file__).parent.parent.parent / "docs" / "experiments"


@pytest.mark.slow  # 3 s each
@pytest.mark.parametrize("name", [*experiment.EXPERIMENTS, "translators"])
def test_quick_experiments_write_plot_and_json(name: str, tmp_path: Path) -> None:
    arguments = ["--experiment", name, "--quick", "--seed", "3", "--output", str(tmp_path)]
    main = action_translation_experiment.main if name == "translators" else experiment.main
    tables = main(arguments)
    report = json.loads((tmp_path / f"{name}.json").read_text())
    assert report["table"] == tables[name]
    assert report["settings"]["seed"] == 3 and report["settings"]["quick"] is True
    assert report["bounds"] and all(bound["row"] in tables[name] for bound in report["bounds"])
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    if name == "spiral":
        assert (tmp_path / "spiral.gif").read_bytes().startswith(b"GIF")


def test_the_same_seed_gives_the_same_table(tmp_path: Path) -> None:
    tables = [
        experiment.main(["--experiment", "prior-steering", "--quick", "--seed", seed, "--output", str(tmp_path)])
        for seed in ("1", "1", "2")
    ]
    assert tables[0] == tables[1] != tables[2]


def test_a_bound_that_is_not_kept_fails_the_command(tmp_path: Path) -> None:
    def run(settings: ExperimentSettings) -> tuple[dict[str, dict[str, float]], list[Bound]]:
        """Misses its bound."""
        return {"row": {"error": 0.5}}, [Bound("row", "error", 0, 0.1)]

    with pytest.raises(SystemExit, match=r"row, error in \[0, 0\.1\], got 0\.5"):
        run_command_line({"miss": run}, "test", ["--output", str(tmp_path)])
    run_command_line({"miss": run}, "test", ["--output", str(tmp_path), "--quick"])


@pytest.mark.parametrize("name", [*experiment.EXPERIMENTS, "translators"])
def test_committed_results_keep_their_bounds_over_three_seeds(name: str) -> None:
    """The full form takes a quarter of an hour: its committed results are checked for completeness instead."""
    for seed in (0, 1, 2):
        report = json.loads((COMMITTED / f"seed-{seed}" / f"{name}.json").read_text())
        assert report["settings"]["seed"] == seed and report["settings"]["quick"] is False
        assert report["bounds"] and report["versions"]["torch"] and report["seconds"] < 120
        if seed == 0:
            assert format_table(report["table"]) in (COMMITTED / "README.md").read_text()
            assert (COMMITTED / f"{name}.png").is_file()
        for bound in report["bounds"]:
            figure = report["table"][bound["row"]][bound["column"]]
            assert bound["low"] <= figure <= bound["high"], bound
