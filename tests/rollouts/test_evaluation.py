"""Arms, recovered, reports and tables."""

import json

import numpy as np
import pytest

from generative_policies.rollouts import ArmResult, recovered
from generative_policies.rollouts.evaluation import format_table, report_arms


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


def test_report_holds_all_figures() -> None:
    results = {
        "source": ArmResult([-1.0, -2.0], [True, True]),
        "untranslated": ArmResult([-9.0, -8.0], [False, False]),
        "mlp": ArmResult([-3.0, -2.0], [True, False]),
    }
    arms = report_arms(results, np.random.default_rng(0))
    assert arms["mlp"]["recovered"] == 0.5
    assert arms["source"]["recovered"] is None and arms["untranslated"]["recovered"] is None
    assert arms["mlp"]["metric"] == "success" and arms["mlp"]["success_rate"] == 0.5
    assert arms["mlp"]["returns"] == [-3.0, -2.0] and arms["mlp"]["successes"] == [True, False]
    low, high = arms["mlp"]["return_interval"]
    assert low <= arms["mlp"]["mean_return"] == -2.5 <= high
    low, high = arms["mlp"]["success_interval"]
    assert low < 0.5 < high
    json.dumps(arms)
    table = format_table(arms)
    assert len(table.splitlines()) == 5 and "| mlp | 0.50 [" in table and table.endswith("| 0.50 |")


def test_report_of_an_env_without_success() -> None:
    results = {
        "source": ArmResult([10.0, 12.0], None),
        "untranslated": ArmResult([0.0, 2.0], None),
        "mlp": ArmResult([6.0, 6.0], None),
    }
    arms = report_arms(results, np.random.default_rng(0))
    assert arms["mlp"]["recovered"] == pytest.approx(0.5)
    assert arms["mlp"]["metric"] == "return" and arms["mlp"]["success_interval"] is None
    assert "| mlp | –" in format_table(arms)  # noqa: RUF001


def test_empty_and_uneven_results_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        ArmResult([], None)
    with pytest.raises(ValueError, match="got 2 and 1"):
        ArmResult([1.0, 2.0], [True])
