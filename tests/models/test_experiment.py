"""The experiments' command line; their bounds are kept by ``make experiments``, here they run in their short form."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from generative_policies.action_translation import experiment as action_translation_experiment
from generative_policies.models import experiment
from generative_policies.models.experiments import Bound, ExperimentSettings, run_command_line
from generative_policies.models.experiments.distributions import BIMODAL, GRID, SPIRAL, Mixture, Spiral
from generative_policies.models.experiments.experiment import format_table
from generative_policies.models.experiments.sample_quality import judge

COMMITTED = Path(__file__).parent.parent.parent / "docs" / "experiments"


@pytest.mark.slow  # 3 s each
@pytest.mark.parametrize("name", [*experiment.EXPERIMENTS, "translators"])
def test_quick_experiments_write_plot_and_json(name: str, tmp_path: Path) -> None:
    arguments = ["--experiment", name, "--quick", "--output", str(tmp_path)]
    main = action_translation_experiment.main if name == "translators" else experiment.main
    tables = main(arguments)
    report = json.loads((tmp_path / f"{name}.json").read_text())
    assert report["table"] == tables[name]
    assert report["settings"]["seed"] == 0 and report["settings"]["quick"] is True
    assert report["command"].endswith(f"experiment --experiment {name} --seed 0 --quick")
    # The bounds do not depend on the training: those of the committed results are the code's.
    committed = json.loads((COMMITTED / "seed-0" / f"{name}.json").read_text())
    assert [dict(b, kept=None) for b in committed["bounds"]] == [
        dict(b, kept=None, low=pytest.approx(b["low"]), high=pytest.approx(b["high"])) for b in report["bounds"]
    ]
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
        run_command_line({"miss": run}, "module", "test", ["--output", str(tmp_path)])
    run_command_line({"miss": run}, "module", "test", ["--output", str(tmp_path), "--quick"])


@pytest.mark.parametrize("name", [*experiment.EXPERIMENTS, "translators"])
def test_committed_results_keep_their_bounds_over_three_seeds(name: str) -> None:
    """The full form takes a quarter of an hour: its committed results are checked for completeness instead."""
    for seed in (0, 1, 2):
        report = json.loads((COMMITTED / f"seed-{seed}" / f"{name}.json").read_text())
        assert report["settings"]["seed"] == seed and report["settings"]["quick"] is False
        assert report["command"].endswith(f"experiment --experiment {name} --seed {seed}")
        assert (
            report["bounds"]
            and report["versions"]["torch"]
            and report["versions"]["generative-policies"]
            and report["seconds"] < 120
        )
        if seed == 0:
            assert format_table(report["table"]) in (COMMITTED / "README.md").read_text()
            assert (COMMITTED / f"{name}.png").is_file()
        for bound in report["bounds"]:
            figure = report["table"][bound["row"]][bound["column"]]
            assert bound["low"] <= figure <= bound["high"], bound


@pytest.mark.parametrize("distribution", [BIMODAL, GRID, SPIRAL], ids=["bimodal", "grid", "spiral"])
def test_bounds_let_the_true_distribution_pass_and_no_blurred_shifted_or_thinned_one(
    distribution: Mixture | Spiral, rng: np.random.Generator
) -> None:
    def missed(samples: np.ndarray) -> set[str]:
        table, bounds = judge(samples, distribution, np.random.default_rng(1), num_draws=50)
        return {bound.column for bound in bounds if not bound.low <= table["samples"][bound.column] <= bound.high}

    true = distribution.draw(2_000, rng)
    assert missed(true) == set()
    noise = rng.standard_normal(true.shape)
    width = "distance to the curve / true" if isinstance(distribution, Spiral) else "std within a mode / true"
    assert width in missed(true + 0.75 * distribution.std * noise)  # 1.25 times as wide
    off = "share off the curve" if isinstance(distribution, Spiral) else "share between modes"
    assert {width, off} <= missed(true + 0.2 * noise)
    assert off in missed(np.where(rng.uniform(size=(2_000, 1)) < 0.05, rng.uniform(-1.5, 1.5, (2_000, 2)), true))
    assert {"energy distance", "sliced Wasserstein-2"} <= missed(true + 0.2)
    one_sided = true[true[:, 0] > 0]
    assert "energy distance" in missed(one_sided)
    if isinstance(distribution, Mixture):
        assert {"modes covered", "largest error of a mode's mass / mass"} <= missed(one_sided)


def test_experiments_leave_the_number_of_threads_as_it_was(tmp_path: Path) -> None:
    before = torch.get_num_threads()

    def run(settings: ExperimentSettings) -> tuple[dict[str, dict[str, float]], list[Bound]]:
        """Fails."""
        assert torch.get_num_threads() == 1
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        run_command_line({"fail": run}, "module", "test", ["--output", str(tmp_path)])
    assert torch.get_num_threads() == before
