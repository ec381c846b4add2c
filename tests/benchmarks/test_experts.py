import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.experts import GIVEN, LEAST_COST, REQUIREMENTS, Settings, main
from generative_policies.rollouts.commands.train_source import expert_name
from generative_policies.rollouts.experts import SHIPPED_FOLDER, shipped_experts

RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results"


def test_the_quick_form_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = main(Settings(envs=("Pusher-v5",), episodes=2, matched_steps=2, output=tmp_path))
    report = json.loads((tmp_path / "experts.json").read_text())["experts"]["Pusher-v5"]
    arms = report["arms"]
    assert list(arms)[:2] == ["random", "home"] and {"P1", "P2"} < set(arms)
    assert kept == (report["home_kept"] and report["costs_kept"])
    for name in ("P1", "P2"):
        gap = arms["home"]["success_rate"] - arms["random"]["success_rate"]
        lost = arms["home"]["success_rate"] - arms[name]["success_rate"]
        assert arms[name]["cost"] == pytest.approx(lost / gap)
        assert 0 <= arms[name]["matching_saturated"] <= 1 and arms[name]["matching_median_residual"] >= 0
    table = (tmp_path / "experts.md").read_text()
    assert table in capsys.readouterr().out
    assert "| Pusher-v5 | P1 |" in table


def test_unknown_envs_and_too_few_episodes_are_refused() -> None:
    with pytest.raises(ValueError, match="got Nope-v0"):
        Settings(envs=("Nope-v0",))
    with pytest.raises(ValueError, match="two episodes"):
        Settings(episodes=1)


@pytest.mark.parametrize("env_id", sorted(REQUIREMENTS))
def test_committed_results_keep_what_is_required(env_id: str) -> None:
    content = json.loads((RESULTS / "experts.json").read_text())
    assert content["settings"]["episodes"] == 100 and content["command"].startswith("python -m benchmarks.experts")
    assert set(content["experts"]) == set(REQUIREMENTS)
    report, requirement = content["experts"][env_id], REQUIREMENTS[env_id]
    home = report["arms"]["home"]
    assert len(home["returns"]) == 100
    score = np.mean(home["successes"] if requirement.score == "success" else home["returns"])
    assert score >= requirement.minimum
    shifts = {name: arm for name, arm in report["arms"].items() if name not in ("random", "home", *GIVEN)}
    assert shifts and all(arm["cost"] >= LEAST_COST for arm in shifts.values())


def test_the_committed_table_is_that_of_the_committed_results() -> None:
    content = json.loads((RESULTS / "experts.json").read_text())
    table = (RESULTS / "experts.md").read_text()
    for report in content["experts"].values():
        returns = f"{np.mean(report['arms']['home']['returns']):.1f}"
        assert re.search(rf"\| {report['expert']} \| home \|[^\n]* {re.escape(returns)} \[", table)


def test_every_shipped_expert_is_measured_and_is_the_one_of_its_recipe() -> None:
    assert shipped_experts() == sorted(expert_name(env_id) for env_id in REQUIREMENTS)
    for env_id in REQUIREMENTS:
        config = json.loads((SHIPPED_FOLDER / expert_name(env_id) / "config.json").read_text())
        assert env_id in config["provenance"]["command"] or config["provenance"].get("env") == env_id
