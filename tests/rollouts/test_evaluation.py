"""A single arm's figures."""

import json

import numpy as np
import pytest

from generative_policies.rollouts import ArmResult, recovered


def test_recovered_is_the_share_of_the_gap() -> None:
    assert recovered(0.8, untranslated=0.2, source=1.0) == pytest.approx(0.75)
    assert recovered(1.3, untranslated=0.0, source=1.0) == pytest.approx(1.3)
    assert recovered(-0.5, untranslated=0.0, source=1.0) == pytest.approx(-0.5)


@pytest.mark.parametrize(("floor", "ceiling"), [(1.0, 1.0), (1.0, 0.9)])
def test_recovered_is_undefined_where_nothing_was_lost(floor: float, ceiling: float) -> None:
    assert recovered(0.95, untranslated=floor, source=ceiling) is None


def test_score_is_success_where_it_is_reported_else_the_return() -> None:
    assert ArmResult([-5.0, -1.0], [True, False]).score == 0.5
    assert ArmResult([-5.0, -1.0], None).score == -3.0


def test_the_report_of_an_arm_holds_all_figures() -> None:
    arm = ArmResult([-3.0, -2.0], [True, False]).report(0.5, np.random.default_rng(0))
    assert arm["recovered"] == 0.5 and arm["metric"] == "success" and arm["success_rate"] == 0.5
    assert arm["returns"] == [-3.0, -2.0] and arm["successes"] == [True, False]
    low, high = arm["return_interval"]
    assert low <= arm["mean_return"] == -2.5 <= high
    low, high = arm["success_interval"]
    assert low < 0.5 < high
    json.dumps(arm)


def test_the_report_without_success() -> None:
    arm = ArmResult([6.0, 6.0], None).report(None, np.random.default_rng(0))
    assert arm["metric"] == "return" and arm["success_interval"] is None and arm["recovered"] is None


def test_empty_and_uneven_results_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        ArmResult([], None)
    with pytest.raises(ValueError, match="got 2 and 1"):
        ArmResult([1.0, 2.0], [True])
