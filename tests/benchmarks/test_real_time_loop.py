import gc
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.real_time_loop.__main__ import LARGEST_EXCESS, LEAST_SUCCESS, Settings, main
from benchmarks.real_time_loop.deadlines import PERIOD, Slice, priority, run_slice, take_turns
from benchmarks.real_time_loop.driven_arm import DrivenArm
from benchmarks.real_time_loop.report import EMPTY, format_loops, format_reached, longest_run, summarize
from benchmarks.real_time_loop.robots import make_arm
from generative_policies.action_translation import MlpActionTranslator
from generative_policies.envs import control_period
from generative_policies.rollouts import load_expert

RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results"
TICK = 100  # [ns] that a look at the simulated clock takes


class SimulatedTime:
    """A clock that moves when it is looked at, slept through or worked on."""

    def __init__(self, work: Sequence[int], oversleep: dict[int, int] | None = None) -> None:
        self.now, self.slept = 12_345, 0
        self.work, self.begun = list(work), 0
        self.oversleep = oversleep or {}

    def clock(self) -> int:
        self.now += TICK
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += round(1e9 * seconds) + self.oversleep.get(self.slept, 0)
        self.slept += 1

    def cycle(self) -> None:
        self.now += self.work[self.begun]
        self.begun += 1

    def run(self, periods: int) -> Slice:
        return run_slice(self.cycle, periods, self.clock, self.sleep)


@pytest.mark.parametrize("late", [(), (0,), (19,), (3, 4, 9)])
def test_late_cycles_are_the_missed_ones(late: tuple[int, ...]) -> None:
    # Late by less than the time that the next cycle has to spare, so that no delay is handed on.
    work = [PERIOD + PERIOD // 4 if k in late else PERIOD // 4 for k in range(20)]
    found = SimulatedTime(work).run(20)
    assert set(np.flatnonzero(found.missed)) == set(late)
    assert len(found.work) == len(found.late) == 20
    assert np.abs(found.work - work).max() <= 2 * TICK


def test_a_long_cycle_misses_every_deadline_that_it_passes_and_no_other() -> None:
    # From the beginning of period 2 into period 5, in which the next cycle ends in time.
    found = SimulatedTime([10, 10, 3 * PERIOD + PERIOD // 2, 10, 10, 10, 10, 10]).run(10)
    assert list(np.flatnonzero(found.missed)) == [2, 3, 4]
    assert len(found.work) == 10 - 2  # periods 3 and 4 saw no cycle
    assert longest_run(found.missed) == 3


def test_oversleeping_misses_what_was_slept_through_and_shifts_no_later_deadline() -> None:
    time = SimulatedTime([10] * 10, oversleep={3: 2 * PERIOD + PERIOD // 2})  # before period 4
    found = time.run(10)
    assert list(np.flatnonzero(found.missed)) == [4, 5]
    assert found.late.max() == pytest.approx(2.3 * PERIOD, abs=10 * TICK)  # sleep ends 0.2 of a period early
    assert np.sort(found.late)[:-1].max() <= 3 * TICK


def test_a_slice_that_is_slept_through_has_an_end() -> None:
    found = SimulatedTime([10], oversleep={0: 100 * PERIOD}).run(5)
    assert list(found.missed) == [False, True, True, True, True] and len(found.work) == 1


def test_the_loop_always_too_slow_misses_everything() -> None:
    assert SimulatedTime([PERIOD + 10] * 50).run(50).missed.sum() == 50


def test_slices_take_turns_without_garbage_collection() -> None:
    seen: list[str] = []
    collecting: list[bool] = []

    def note(name: str) -> None:
        seen.append(name)
        collecting.append(gc.isenabled())

    found = take_turns({"a": lambda: note("a"), "b": lambda: note("b")}, 3, 2)
    turns = [name for k, name in enumerate(seen) if k == 0 or seen[k - 1] != name]
    assert turns == ["a", "b"] * 3
    assert {name: [len(each.missed) for each in slices] for name, slices in found.items()} == {
        "a": [2, 2, 2],
        "b": [2, 2, 2],
    }
    assert not any(collecting) and gc.isenabled()


def test_figures_of_known_slices() -> None:
    slices = [
        Slice(np.array([True, True, False, True]), np.array([0, 1_000]), np.array([2_000, 3_000])),
        Slice(np.array([False, False, False, True]), np.array([2_000, 2_000]), np.array([5_000, 1_000])),
    ]
    figures = summarize(slices)
    assert figures["deadlines"] == 8 and figures["missed"] == 4 and figures["missed_percent"] == 50
    assert figures["missed_by_slice"] == [3, 1] and figures["longest_run"] == 2
    assert figures["late"]["median"] == 1.5 and figures["work"]["max"] == 5.0
    assert longest_run(np.zeros(5, dtype=bool)) == 0 and longest_run(np.ones(5, dtype=bool)) == 5


def test_the_fast_arm_has_timestep_and_control_period_of_a_millisecond() -> None:
    for links in (2, 3):
        env = make_arm(links, fast=True)
        assert env.unwrapped.model.opt.timestep == pytest.approx(0.001)  # type: ignore[attr-defined]
        assert control_period(env) == pytest.approx(0.001)
        assert control_period(make_arm(links)) == pytest.approx(0.05)
        env.reset(seed=0)
        steps, truncated = 0, False
        while not truncated:
            truncated = env.step(np.zeros(links, np.float32))[3]
            steps += 1
        assert steps == 2_500


def test_mirrored_motors_turn_the_target_the_other_way() -> None:
    env = make_arm(3, fast=True)
    env.reset(seed=0)
    env.step(np.array([1.0, 0.0, 0.0], np.float32))
    assert env.unwrapped.data.qvel[0] < 0  # type: ignore[attr-defined]


def test_a_cycle_is_policy_translation_and_step() -> None:
    arm = DrivenArm(load_expert("ArmReach2-v0"), MlpActionTranslator(3, 17, source_action_dim=2).eval())
    assert arm.warm_up(3) > 0
    assert arm.parts == []
    before = arm.env.unwrapped.data.time  # type: ignore[attr-defined]
    for _ in range(2_501):  # an episode and one step
        arm()
    assert len(arm.parts) == 2_501 and min(min(parts) for parts in arm.parts) > 0
    assert len(arm.ends) == 1
    assert before == 0 and arm.env.unwrapped.data.time == pytest.approx(0.001)  # type: ignore[attr-defined]


def test_priority_is_told_and_given_back() -> None:
    with priority(False) as granted:
        assert granted == "normal"
    with priority(True) as granted:
        assert granted in ("normal", "SCHED_FIFO, 1")
    with priority(False) as granted:
        assert granted == "normal"


@pytest.mark.slow  # 11 s
def test_the_quick_form_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = Settings(seconds=2, slice_seconds=1, rounds=1, episodes=2, updates=3, realtime=False, output=tmp_path)
    kept = main(quick)
    report = json.loads((tmp_path / "real_time_loop.json").read_text())
    loops = report["loops"]
    assert list(loops) == [EMPTY, "onnx", "eager"]
    for name, figures in loops.items():
        assert figures["deadlines"] == 2_000 and len(figures["missed_by_slice"]) == 2
        assert sum(figures["missed_by_slice"]) == figures["missed"]
        if name != EMPTY:
            assert set(figures["parts"]) == {"source policy", "translation", "env"}
            excess = figures["missed_percent"] - loops[EMPTY]["missed_percent"]
            assert figures["excess_points"] == pytest.approx(excess)
    assert report["kept"] is kept is False  # no episode has ended
    assert (tmp_path / "real_time_loop.md").read_text() in capsys.readouterr().out
    assert (tmp_path / "real_time_loop.png").stat().st_size > 5_000


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="whole number"):
        Settings(seconds=7, slice_seconds=5)
    with pytest.raises(ValueError, match="1 ms at least"):
        Settings(slice_seconds=0)
    with pytest.raises(ValueError, match="each once"):
        Settings(translator=("onnx", "onnx"))
    with pytest.raises(ValueError, match="positive"):
        Settings(updates=0)


def test_committed_results_keep_the_bound() -> None:
    report = json.loads((RESULTS / "real_time_loop.json").read_text())
    assert report["command"].startswith("python -m benchmarks.real_time_loop")
    assert report["settings"]["seconds"] == 60 and report["settings"]["slice_seconds"] == 5
    loops, arms = report["loops"], report["arms"]
    shares = {name: sum(figures["missed_by_slice"]) / figures["deadlines"] for name, figures in loops.items()}
    driven = [name for name in loops if name != EMPTY]
    assert driven == ["onnx", "eager"]
    for name in driven:
        assert loops[name]["deadlines"] == 60_000 and len(loops[name]["missed_by_slice"]) == 12
        assert 100 * (shares[name] - shares[EMPTY]) <= LARGEST_EXCESS
        assert arms[f"driven, {name}"]["success"] >= LEAST_SUCCESS
        assert math.isclose(loops[name]["excess_points"], 100 * (shares[name] - shares[EMPTY]), abs_tol=1e-9)
    assert arms["untranslated on the target"]["success"] < 0.5
    text = (RESULTS / "real_time_loop.md").read_text()
    assert format_loops(loops) in text and format_reached(arms) in text
