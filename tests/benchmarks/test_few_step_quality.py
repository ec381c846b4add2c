"""The benchmark of few steps: a short form runs, and the committed result is one that its command made."""

import json
from pathlib import Path

import pytest

from benchmarks.few_step_quality.__main__ import QUICK, Settings, Unit, run
from benchmarks.few_step_quality.report import markdown, verdicts
from benchmarks.few_step_quality.tasks import Sizes
from generative_policies.rollouts.provenance import same_settings

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@pytest.mark.slow  # a quarter of a minute
def test_the_short_form_measures_every_method_and_goes_on_where_it_was(tmp_path: Path) -> None:
    settings = Settings(
        tasks=("grid", "conditional"), seeds=(0,), quick=True, output=tmp_path, models=tmp_path / "models"
    )
    run(settings)
    rows = json.loads((tmp_path / "few_step_quality" / "grid-0.json").read_text())["rows"]
    assert {row["method"] for row in rows} == {"flow", "distilled", "reflow", "average velocity"}
    assert {row["num_steps"] for row in rows if row["method"] == "flow"} == {1, 2, 4, 10, 100}
    table = (tmp_path / "few_step_quality.md").read_text()
    assert table.count("| distilled | 1 |") == 2
    assert (tmp_path / "few_step_quality.png").exists()
    before = (tmp_path / "few_step_quality" / "grid-0.json").stat().st_mtime_ns
    run(settings)
    assert (tmp_path / "few_step_quality" / "grid-0.json").stat().st_mtime_ns == before


def test_verdicts_are_about_the_worst_seed() -> None:
    rows = [
        {"task": "grid", "seed": seed, "method": "distilled", "num_steps": 1, "modes covered": modes}
        for seed, modes in enumerate((16, 15, 16))
    ]
    (verdict,) = verdicts(rows).values()
    assert verdict["value"] == 15 and not verdict["reached"]


def test_the_committed_result_is_complete() -> None:
    summary = json.loads((RESULTS / "few_step_quality.json").read_text())
    given = summary["settings"]
    assert not given["quick"]
    rows = []
    for task in given["tasks"]:
        for seed in given["seeds"] if task == "grid" else given["seeds"][: given["seeds_of_others"]]:
            file = RESULTS / "few_step_quality" / f"{task}-{seed}.json"
            assert same_settings(file, Unit(task, seed, Sizes()))
            assert not same_settings(file, Unit(task, seed, QUICK))
            rows += json.loads(file.read_text())["rows"]
    assert summary["verdicts"] == verdicts(rows)
    assert len(summary["verdicts"]) == 3 and all(verdict["reached"] for verdict in summary["verdicts"].values())
    assert (RESULTS / "few_step_quality.md").read_text() == markdown(rows, "python -m benchmarks.few_step_quality")


@pytest.mark.parametrize("wrong", [{"tasks": ("sphere",)}, {"tasks": ()}, {"seeds": ()}, {"seeds_of_others": 4}])
def test_settings_are_checked(wrong: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ValueError, match="tasks must be"):
        Settings(**wrong)  # type: ignore[arg-type]
