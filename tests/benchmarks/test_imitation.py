import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.imitation import (
    FLOW_STEPS,
    LARGEST_MLP_SUCCESS,
    LEAST_CLONED,
    LEAST_FLOW_SUCCESS,
    LEAST_MODE,
    LEAST_STATE_ONLY,
    TASKS,
    Settings,
    claims,
    format_tables,
    main,
    summarize,
)

RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results"


@pytest.mark.slow  # 20 s
def test_the_quick_form_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = Settings(
        tasks=("arm_push",), seeds=(1,), episodes=2, updates=5, rounds=2, net_arch=(16,), processes=1, output=tmp_path
    )
    kept = main(quick)
    content = json.loads((tmp_path / "imitation.json").read_text())
    rows = content["tables"]["arm_push"]
    assert {f"flow, {steps} steps" for steps in FLOW_STEPS} < set(rows)
    assert {"random", "expert", "mlp", "mip, 2 steps", "planner and inverse dynamics"} < set(rows)
    (unit,) = content["units"]
    assert all(len(row["returns"]) == 2 for row in unit["rows"].values())
    assert unit["demonstrated_steps"] == 100 * 100 and unit["transitions_of_inverse_dynamics"] == 150 * 100
    assert rows["expert"]["of_expert"] == 1 and rows["random"]["of_expert"] == 0
    assert kept == all(claim["kept"] for claim in content["claims"].values())
    assert (tmp_path / "imitation.md").read_text() in capsys.readouterr().out
    main(quick)  # nothing is left to do
    again = json.loads((tmp_path / "imitation.json").read_text())
    assert again["units"] == content["units"] and "0 units of" in capsys.readouterr().out


def unit(seed: int, flow: float, mlp: float, left: float) -> dict[str, object]:
    """A unit of the obstacle with these success rates."""
    rows = {}
    for row, rate, mean in (
        ("random", 0.0, -20.0),
        ("expert", 1.0, -5.0),
        ("flow, 10 steps", 1.0, -6.0),
        ("flow in chunks, 10 steps", flow, -6.0),
        ("mlp in chunks", mlp, -13.0),
        ("planner and inverse dynamics", 1.0, -6.5),
    ):
        successes = [k < round(100 * rate) for k in range(100)]
        rows[row] = {"returns": [mean] * 100, "successes": successes, "left": left}
    return {"task": "obstacle", "seed": seed, "rows": rows}


@pytest.mark.parametrize(
    ("worst", "kept"),
    [
        ((0.97, 0.1, 0.4), True),
        ((0.94, 0.1, 0.4), False),  # the flow's worst seed decides
        ((0.97, 0.38, 0.4), True),
        ((0.97, 0.42, 0.4), False),  # regression's mean over seeds, the other being 0
        ((0.97, 0.1, 0.7), False),
    ],
)
def test_claims_of_the_obstacle(worst: tuple[float, float, float], kept: bool) -> None:
    table = summarize([unit(0, 0.99, 0.0, 0.5), unit(1, *worst)])
    (obstacle, states) = claims({"obstacle": table}).values()
    assert obstacle["kept"] is kept
    assert states["figure"]["obstacle"] == pytest.approx(13.5 / 14) and states["kept"]


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a task"):
        Settings(episodes=0)
    with pytest.raises(ValueError, match="seeds must be of 0, 1 and 2"):
        Settings(seeds=(3,))


def test_committed_results_keep_what_is_claimed() -> None:
    content = json.loads((RESULTS / "imitation.json").read_text())
    assert content["command"] == "python -m benchmarks.imitation --output benchmarks/results"
    assert content["settings"]["episodes"] == 100 and content["settings"]["first_seed"] == 10_000
    by_task = {task: [u for u in content["units"] if u["task"] == task] for task in TASKS}
    assert all([u["seed"] for u in units] == [0, 1, 2] for units in by_task.values())
    tables = {task: summarize(units) for task, units in by_task.items()}
    for seed in range(3):
        rows = by_task["half_cheetah"][seed]["rows"]
        for row in ("mlp", "flow, 10 steps"):
            assert np.mean(rows[row]["returns"]) >= LEAST_CLONED * np.mean(rows["expert"]["returns"])
        rows = by_task["obstacle"][seed]["rows"]
        flow = rows["flow in chunks, 10 steps"]
        assert np.mean(flow["successes"]) >= LEAST_FLOW_SUCCESS
        assert LEAST_MODE <= flow["left"] <= 1 - LEAST_MODE
    regression = [unit["rows"]["mlp in chunks"]["successes"] for unit in by_task["obstacle"]]
    assert np.mean(regression) <= LARGEST_MLP_SUCCESS
    shares = [
        rows["planner and inverse dynamics"]["of_expert"] / rows["flow, 10 steps"]["of_expert"]
        for rows in tables.values()
    ]
    assert sum(share >= LEAST_STATE_ONLY for share in shares) >= 2
    assert format_tables(tables) in (RESULTS / "imitation.md").read_text()
