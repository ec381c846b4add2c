"""What a comparison says, on results whose figures are known."""

from typing import Any

import numpy as np
import pytest

from generative_policies.rollouts.report import format_report, report_target

RNG = 5


def unit(returns: Any, successes: Any = None, **more: Any) -> dict[str, Any]:
    return {"returns": list(returns), "successes": successes, "seconds": 1.0, **more}


def arms(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=60)
    found = {
        "source": [unit(100 + noise)],
        "untranslated": [unit(20 + noise)],
        "good": [unit(90 + noise + rng.normal(size=60), outside=0.1, target_steps=50) for _ in range(3)],
        "bad": [unit(30 + noise + rng.normal(size=60)) for _ in range(3)],
        "as bad": [unit(30 + noise + rng.normal(size=60)) for _ in range(3)],
    }
    return found | changes


def report(units: Any) -> Any:
    return report_target(units, np.random.default_rng(RNG))


def test_recovered_is_the_mean_over_seeds_first_with_an_interval_around_it() -> None:
    found = report(arms())["arms"]
    units = arms()
    mean = np.mean([run["returns"] for run in units["good"]])
    floor, ceiling = (np.mean(units[name][0]["returns"]) for name in ("untranslated", "source"))
    assert found["good"]["recovered"] == pytest.approx((mean - floor) / (ceiling - floor))
    low, high = found["good"]["recovered_interval"]
    assert 0.8 < low < found["good"]["recovered"] < high < 0.95
    assert found["good"]["outside"] == pytest.approx(0.1) and found["good"]["target_steps"] == 50
    assert found["source"]["recovered"] is None and found["untranslated"]["recovered"] is None


def test_intervals_that_cross_are_not_separated() -> None:
    pairs = {tuple(pair["arms"]): pair for pair in report(arms())["pairs"]}
    assert len(pairs) == 3
    assert pairs["good", "bad"]["separated"] and pairs["good", "bad"]["p"] < 0.01
    assert not pairs["bad", "as bad"]["separated"] and pairs["bad", "as bad"]["p"] > 0.05
    assert "not separated" in format_report(report(arms()))


def test_an_arm_that_equals_the_source_by_construction_has_nothing_to_recover() -> None:
    same = arms()["source"]
    found = report({"source": same, "untranslated": same, "mlp": same})
    assert found["arms"]["mlp"]["recovered"] is None
    assert "nothing to recover" in found["arms"]["mlp"]["recovered_note"]
    assert "nothing to recover" in format_report(found)
    worse = report(arms(source=arms()["untranslated"], untranslated=arms()["source"]))
    assert worse["arms"]["good"]["recovered"] is None


def test_success_counts_where_all_arms_report_it() -> None:
    def successes(rate: float) -> Any:
        return [k < round(50 * rate) for k in range(50)]

    units = {
        "source": [unit(np.zeros(50), successes(1.0))],
        "untranslated": [unit(np.zeros(50), successes(0.2))],
        "mlp": [unit(np.zeros(50), successes(rate)) for rate in (0.8, 1.0)],
    }
    found = report(units)
    assert found["metric"] == "success"
    mlp = found["arms"]["mlp"]
    assert mlp["success_rate"] == pytest.approx(0.9) and mlp["recovered"] == pytest.approx(0.7 / 0.8)
    low, high = mlp["success_interval"]
    assert low < 0.9 < high and mlp["p_against_untranslated"] < 1e-6
    units["mlp"] = [unit(np.ones(50), None)]
    assert report(units)["metric"] == "return"


def test_without_references_it_says_what_is_missing() -> None:
    found = report({"mlp": arms()["good"]})
    assert "needs the arms source and untranslated" in found["arms"]["mlp"]["recovered_note"]
