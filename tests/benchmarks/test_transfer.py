"""The transfer benchmark: its plan, its claims, and its committed results."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.transfer.__main__ import PROVENANCE, Settings, add_no_shift, main, read, unit_name, units
from benchmarks.transfer.claims import ABOVE, RECOVERED, Claim, claims, steps_to
from benchmarks.transfer.rows import FIVE, Row
from benchmarks.transfer.tables import format_claims, format_target, report
from benchmarks.transfer.targets import SHORT, TARGETS, Target
from generative_policies.rollouts.arms import ARMS
from generative_policies.rollouts.robots import Robot

UNTRANSLATED = "residual_sac_untranslated"
RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results"


def test_every_row_is_an_arm_and_every_unit_has_a_name_of_its_own() -> None:
    names = []
    for name, target in TARGETS.items():
        assert {row.arm for row in target.rows} <= set(ARMS)
        names += [unit_name(name, row, seed) for row in target.rows for seed in row.seeds]
        assert target.no_shift is None or target.no_shift in TARGETS
    assert len(set(names)) == len(names) > 200
    assert all("/" not in name for name in names)


def test_claims_are_about_rows_with_five_seeds() -> None:
    rows = {name: {row.name: row for row in target.rows} for name, target in TARGETS.items()}
    assert all(rows[target][row].seeds == FIVE for target, row, _, _ in RECOVERED)
    assert all(rows[target][row].seeds == FIVE for target in ABOVE for row in ("value_expansion", "residual_sac"))
    assert rows["half_cheetah-G"]["residual_sac_untranslated"].seeds == FIVE
    assert all(set(short) <= set(rows[name]) for name, short in SHORT.items())


def test_the_plan_begins_with_what_is_claimed() -> None:
    planned = list(units(Settings()).values())
    claimed = [task.seed for task in planned if task.arm in ("value_expansion", "residual_sac_untranslated")]
    assert planned[0].arm == "random" and max(claimed) == 8
    linear = [task for task in planned if task.arm == "linear"]
    assert (linear[0].rounds, linear[0].episodes_per_round) == (4, 1)  # P1 from four episodes
    assert all(task.rounds * task.episodes_per_round <= 100 and task.first_seed == 20_000 for task in planned)
    short = units(Settings(one_seed=True))
    assert {task.seed for task in short.values()} == {0, 4} and len(short) == sum(len(rows) for rows in SHORT.values())


def test_value_guided_rows_stand_beside_their_control() -> None:
    reports: dict[str, Any] = {
        "a": {"untranslated": {"score": 100.0}, "value_guided": {"score": 300.0}, "mlp": {"score": 200.0}},
        "home": {"value_guided_no_shift": {"score": 500.0}},
    }
    robot = Robot("HalfCheetah-v5")
    target = Target("", robot, robot, "HalfCheetah-v5", {}, (), "home")
    add_no_shift(reports, {"a": target, "home": target})
    assert reports["a"]["value_guided"]["of_no_shift"] == 0.5
    assert "of_no_shift" not in reports["a"]["mlp"]


PLANNED = {name: {row.name: 2 for row in target.rows} for name, target in TARGETS.items()}


def judged(reports: Any, results: Any, planned: Any = PLANNED) -> dict[str, Claim]:
    found = {claim.text: claim for claim in claims(reports, results, planned) if claim.verdict != "not run"}
    assert all("not run" not in claim.verdict for claim in found.values())
    return found


def test_shares_recovered_are_judged_by_the_figures() -> None:
    figures = {"recovered": 0.96, "recovered_interval": [0.9, 1.0], "seeds": [4, 5], "of_no_shift": 0.5}
    reports = {
        "pusher-P1": {"linear-4": figures},
        "pusher-P2": {"identified_ppo-4": figures | {"recovered": 0.94}},
        "half_cheetah-A": {"value_expansion": figures | {"recovered": None, "recovered_note": "nothing to recover"}},
        "half_cheetah-D": {"value_expansion": figures | {"seeds": [4]}},
    }
    found = list(judged(reports, {}).values())
    assert [claim.verdict for claim in found] == ["reached", "missed", "undefined", "reached so far, 1 of 2 seeds"]
    assert found[0].found == "linear-4: 0.96 [0.90, 1.00], 0.50 of no-shift" and "nothing" in found[2].found


def test_above_is_judged_on_the_seeds_that_both_have() -> None:
    def runs(*returns: float) -> list[dict[str, Any]]:
        return [{"seed": seed, "returns": [value, value + 1]} for seed, value in zip((4, 5, 6), returns, strict=False)]

    reports = {"half_cheetah-A": {"value_expansion": {"recovered": None, "recovered_note": ""}, "residual_sac": {}}}
    results = {"half_cheetah-A": {"value_expansion": runs(10, 20, 900), "residual_sac": runs(11, 21)}}
    (claim,) = (claim for text, claim in judged(reports, results).items() if "above" in text)
    assert claim.verdict == "missed" and "difference -1 [" in claim.found


@pytest.mark.parametrize(
    ("translated", "untranslated", "verdict"),
    [
        ([[4, 11.0]], [[0, 1.0], [10, 10.0]], "reached"),
        ([[6, 11.0]], [[0, 1.0], [10, 10.0]], "missed"),
        ([[4, 1.0], [9, 11.0]], [[0, 1.0], [20, 2.0]], "reached"),  # untranslated needs more than 20
        ([[4, 1.0], [19, 11.0]], [[0, 1.0], [20, 2.0]], "missed"),  # how much more, nobody knows
        ([[4, 1.0]], [[0, 1.0]], "missed"),  # nobody gets there
    ],
)
def test_half_of_the_steps(translated: Any, untranslated: Any, verdict: str) -> None:
    reports = {"half_cheetah-G": {"source": {"score": 10.0}}}
    curves = {
        name: [{"curve": curve}] * 2 for name, curve in (("residual_sac", translated), (UNTRANSLATED, untranslated))
    }
    (claim,) = judged(reports, {"half_cheetah-G": curves}).values()
    assert claim.verdict == verdict
    assert steps_to(12.0, curves["residual_sac"]) == [np.inf] * 2


def test_a_return_that_is_lost_again_is_not_reached_for_good() -> None:
    runs = [{"curve": [[4, 10.0], [9, 8.0], [14, 11.0], [19, 10.0]]}]
    assert steps_to(10.0, runs) == [4] and steps_to(10.0, runs, for_good=True) == [14]
    assert steps_to(10.5, runs) == [14] and steps_to(10.5, runs, for_good=True) == [np.inf]


def test_a_share_of_no_gain_is_none() -> None:
    reports: dict[str, Any] = {
        "a": {
            "untranslated": {"score": 0.0},
            "value_guided": {"score": 0.1},
            "value_guided_no_shift": {"score": 0.0},
        }
    }
    robot = Robot("HalfCheetah-v5")
    add_no_shift(reports, {"a": Target("", robot, robot, "HalfCheetah-v5", {}, ())})
    assert "of_no_shift" not in reports["a"]["value_guided"]


def test_a_unit_runs_and_a_report_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    robot = Robot("InvertedDoublePendulum-v5")
    target = Target(
        "A pendulum",
        robot,
        replace(robot, shift="strong"),
        "InvertedDoublePendulum-v5",
        {
            "source_episodes": 2,
            "inverse_dynamics_updates": 1,
            "rounds": 1,
            "episodes_per_round": 1,
            "updates": 1,
            "hidden_width": 16,
        },
        (Row("source", (0,)), Row("untranslated", (0,)), Row("mlp", (0,))),
    )
    monkeypatch.setattr("benchmarks.transfer.__main__.TARGETS", {"pendulum": target})
    settings = Settings(targets=("pendulum",), episodes=2, models=tmp_path / "models", output=tmp_path)
    with pytest.raises(SystemExit, match="0"):
        main(settings)
    text = (tmp_path / "transfer.md").read_text()
    assert "| untranslated | 1 |" in text and "| mlp | 1 |" in text and "not run" in text
    assert (tmp_path / "transfer.png").stat().st_size > 1_000
    files = sorted(file.name for file in (tmp_path / "transfer").glob("*.json"))
    assert files == ["pendulum--mlp--0.json", "pendulum--source--0.json", "pendulum--untranslated--0.json"]
    with pytest.raises(ValueError, match="other settings"):
        read(replace(settings, episodes=3))


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"targets": ("moon",)}, {"arms": ("magic",)}, {"episodes": 0}, {"seeds": (9,)}):
        with pytest.raises(ValueError, match=r"must be of|expected"):
            Settings(**wrong)  # type: ignore[arg-type]  # it is what the test is for


def test_the_committed_table_is_made_of_the_committed_units() -> None:
    content = json.loads((RESULTS / "transfer.json").read_text())
    assert content["settings"]["episodes"] == 100 and not content["failed"]
    results = read(Settings(output=RESULTS))
    text = (RESULTS / "transfer.md").read_text()
    assert PROVENANCE in text and format_claims([Claim(**claim) for claim in content["claims"]]) in text
    assert set(results) == set(content["targets"])
    for name, rows in results.items():
        assert format_target(TARGETS[name], content["targets"][name]) in text
        for row, runs in rows.items():
            figures = content["targets"][name][row]
            assert figures["seeds"] == [run["seed"] for run in runs]
            scores = [run["successes" if figures["metric"] == "success" else "returns"] for run in runs]
            assert figures["score"] == pytest.approx(np.mean(scores)) and np.shape(scores)[1] == 100
            assert all(run["versions"]["torch"] and "(changed)" not in run["versions"]["commit"] for run in runs)
    # Recovered is what the scores say.
    report_again = report(TARGETS["pusher-P1"], results["pusher-P1"], np.random.default_rng(0))
    assert report_again["linear-4"]["recovered"] == pytest.approx(
        content["targets"]["pusher-P1"]["linear-4"]["recovered"]
    )
