"""What a comparison says, on results whose figures are known."""

from typing import Any

import numpy as np
import pytest

from generative_policies.rollouts.report import format_report, report_target, success_interval

RNG = 5


def unit(returns: Any, successes: Any = None, seed: int = 0, **more: Any) -> dict[str, Any]:
    return {"returns": list(returns), "successes": successes, "seconds": 1.0, "seed": seed, **more}


def arms(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=60)
    found = {
        "source": [unit(100 + noise)],
        "untranslated": [unit(20 + noise)],
        "good": [unit(90 + noise + rng.normal(size=60), outside=0.1, target_steps=50, seed=k) for k in range(3)],
        "bad": [unit(30 + noise + rng.normal(size=60), seed=k) for k in range(3)],
        "as bad": [unit(30 + noise + rng.normal(size=60), seed=k) for k in range(3)],
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
        "mlp": [unit(np.zeros(50), successes(rate), k) for k, rate in enumerate((0.8, 1.0))],
    }
    found = report(units)
    assert found["metric"] == "success"
    mlp = found["arms"]["mlp"]
    assert mlp["success_rate"] == pytest.approx(0.9) and mlp["recovered"] == pytest.approx(0.7 / 0.8)
    low, high = mlp["success_interval"]
    assert low < 0.9 < high and mlp["p_against_untranslated"] < 0.001
    units["mlp"] = [unit(np.ones(50), None)]
    assert report(units)["metric"] == "return"


def test_without_references_it_says_what_is_missing() -> None:
    found = report({"mlp": arms()["good"]})
    assert "needs the arms source, and untranslated or random" in found["arms"]["mlp"]["recovered_note"]


def test_a_training_seed_that_failed_is_missing_and_nothing_is_paired_with_another() -> None:
    units = arms()
    del units["bad"][0]
    del units["as bad"][2]  # in common: training seed 1 alone
    found = report(units)
    assert [found["arms"][arm]["num_seeds"] for arm in ("good", "bad", "as bad")] == [3, 2, 2]
    pair = next(pair for pair in found["pairs"] if pair["arms"] == ["bad", "as bad"])
    ours, theirs = (np.mean(arms()[arm][1]["returns"]) for arm in ("bad", "as bad"))
    assert pair["difference"] == pytest.approx(ours - theirs)
    units["bad"] = units["bad"][1:]
    assert all(pair["arms"] != ["bad", "as bad"] for pair in report(units)["pairs"])
    shuffled = arms()
    shuffled["good"].reverse()
    assert report(shuffled)["pairs"] == report(arms())["pairs"]


def test_references_do_not_enlarge_the_family() -> None:
    few, more = (report(arms(**extra)) for extra in ({}, {"random": arms()["untranslated"], "exact": arms()["source"]}))
    assert {tuple(pair["arms"]) for pair in few["pairs"]} == {tuple(pair["arms"]) for pair in more["pairs"]}
    assert "p_against_untranslated" not in more["arms"]["random"]


def test_under_no_difference_hardly_any_pair_is_separated() -> None:
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(20):
        shared = rng.normal(size=30)
        units = {f"arm {k}": [unit(shared + rng.normal(size=30))] for k in range(4)}
        alarms += any(pair["separated"] for pair in report_target(units, rng)["pairs"])
    assert alarms <= 4  # one in twenty is expected: more than four once in three hundred


def test_the_interval_of_success_covers_where_reset_seeds_decide() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        hard = rng.random(100) < 0.3  # on these all training seeds fail alike
        successes = np.broadcast_to(~hard, (3, 100))
        low, high = success_interval(successes, rng)
        covered += low <= 0.7 <= high
    assert covered >= 180  # nominal 190; fewer once in six hundred
    low, high = success_interval(np.ones((3, 100), dtype=bool), rng)
    assert 0.95 < low < high == 1
