import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.conditional_mixture import COND_DIM, TARGET_DIM, Chance, Quality, equal_quality
from benchmarks.latency.__main__ import Settings, main
from benchmarks.latency.goals import best_student, goals
from benchmarks.latency.plain import PlainFlow
from benchmarks.latency.samplers import EAGER, EXPORTED, LARGEST_DIFFERENCE, PLAIN, Row, differences
from benchmarks.latency.stopwatch import Times, measure
from benchmarks.latency.tables import format_report
from benchmarks.latency.trained import DOWN_DIMS, TIME_DIM, TrainingSettings, train
from generative_policies.models import ConditionalFlowModel
from generative_policies.models.sample_metrics import RealVersusReal

RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results"
QUICK = Settings(
    steps=(100, 10, 1),
    batches=(1, 3),
    threads=(1,),
    seconds=0.001,
    calls=(2, 3),
    other_seconds=0.001,
    other_calls=(1, 2),
    samples=20,
    draws=2,
    conditions=2,
    repeats=5,
    cold_starts=0,
    label_seconds=0.001,
    gradient_steps=1,
    training=TrainingSettings(rows=300, updates=2, student_updates=2, teacher_samples=16),
)


@pytest.fixture
def model() -> ConditionalFlowModel:
    """A flow that leads somewhere, with statistics that are none of the defaults."""
    generator = torch.Generator().manual_seed(0)
    model = ConditionalFlowModel(TARGET_DIM, COND_DIM, TIME_DIM, DOWN_DIMS).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    rows = torch.randn(100, TARGET_DIM + COND_DIM, generator=generator)
    model.fit_normalizers(2 * rows[:, :TARGET_DIM] + 1, 3 * rows[:, TARGET_DIM:] - 1)
    return model


def test_the_plain_loop_is_the_same_network_and_sampler(model: ConditionalFlowModel) -> None:
    plain = PlainFlow.of(model)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert sum(parameter.numel() for parameter in plain.parameters()) == count
    rng = np.random.default_rng(0)
    condition = rng.standard_normal((50, COND_DIM), dtype=np.float32)
    noise = rng.standard_normal((50, TARGET_DIM), dtype=np.float32)
    for num_steps in (1, 4, 100):
        expected = model.predict(condition=condition, noise=noise, num_steps=num_steps)
        assert np.abs(expected - noise).max() > 1  # else the network would not matter
        np.testing.assert_allclose(plain.predict(condition, noise, num_steps), expected, atol=LARGEST_DIFFERENCE)


def test_the_plain_loss_is_the_same(model: ConditionalFlowModel) -> None:
    plain = PlainFlow.of(model)
    target, condition = torch.randn(4096, TARGET_DIM), torch.randn(4096, COND_DIM)
    with torch.no_grad():
        losses = [[loss(target, condition).item() for _ in range(20)] for loss in (plain.loss, model)]
    # Each draws noise and times of its own; their means lie within five standard errors.
    error = np.hypot(*(np.std(values) for values in losses)) / np.sqrt(20)
    assert abs(np.mean(losses[0]) - np.mean(losses[1])) < 5 * error


def test_a_row_that_samples_otherwise_than_its_twin_is_refused() -> None:
    rows = {Row(EAGER, 4): lambda c, x: x, Row(EXPORTED, 4): lambda c, x: x + np.float32(1e-4)}
    with pytest.raises(ValueError, match="exported, 4 steps differs from eager, 4 steps by"):
        differences(rows)

    def one_astray(c: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([x[:1] + np.float32(1e-2), x[1:]])

    gaps = differences({**rows, Row(EXPORTED, 4): one_astray})
    assert gaps[Row(EAGER, 4)] == (0, 0)
    assert gaps[Row(EXPORTED, 4)] == (0, pytest.approx(1e-2, rel=1e-4))


def test_calls_are_measured_in_turn() -> None:
    order: list[str] = []
    calls = {name: lambda first, second, name=name: order.append(name) for name in ("a", "b")}
    times = measure(calls, [(1, 2)], seconds=0, limits=(50, 1_000), description="test")
    assert times["a"].calls == times["b"].calls == 50
    assert order[-100:] == ["a", "a", "b", "b"] * 25
    given: list[int] = []
    measure({"c": lambda first, second: given.append(first)}, [(k, 0) for k in range(5)], 0, (10, 10), "test")
    assert given[-10:] == [*range(5), *range(5)]
    cut = measure({"d": lambda first, second: None}, [(0, 0)], 0, (50, 50), "test", patience=0)
    assert cut["d"].calls == 2  # of one round


def test_statistics_of_times() -> None:
    times = Times.of(np.arange(1.0, 1_001.0))
    assert (times.median, times.p99, times.p999, times.longest, times.calls) == (501, 991, 1_000, 1_000, 1_000)


def test_models_of_the_same_settings_are_kept(tmp_path: Path) -> None:
    settings = QUICK.training
    first = train(settings, tmp_path, progress=False)
    note = (tmp_path / "student.json").stat().st_mtime_ns
    again = train(settings, tmp_path, progress=False)
    assert again.checkpoints == first.checkpoints and (tmp_path / "student.json").stat().st_mtime_ns == note
    other = train(replace(settings, seed=1), tmp_path, progress=False)
    assert not set(other.checkpoints.values()) & set(first.checkpoints.values())
    # What the library does not take any more is trained again.
    weights = tmp_path / "student" / "model.safetensors"
    weights.write_bytes(b"of another layout")
    assert train(replace(settings, seed=1), tmp_path, progress=False).checkpoints == other.checkpoints
    # A student of another teacher is no student of this one.
    note_file = tmp_path / "unet_student.json"
    content = json.loads(note_file.read_text())
    note_file.write_text(json.dumps({**content, "inputs": {"teacher": "another"}}))
    train(replace(settings, seed=1), tmp_path, progress=False)
    assert json.loads(note_file.read_text())["inputs"] == content["inputs"]


@pytest.mark.slow  # 20 s
def test_the_quick_form_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = main(replace(QUICK, cold_starts=1, models=tmp_path / "models", output=tmp_path))
    report = json.loads((tmp_path / "latency.json").read_text())
    check(report)
    assert kept is report["kept"]
    rows = {(entry["batch"], Row(entry["method"], entry["num_steps"])) for entry in report["latency"]}
    assert len(rows) == len(report["latency"]) == 2 * (3 * 3 + 4)
    assert [entry["method"] for entry in report["cold"]] == [
        *(2 * ["eager"]),
        *(2 * ["exported"]),
        "student",
        "student, exported",
    ]
    assert all(entry["first"] > 0 and entry["load"] > 0 for entry in report["cold"])
    assert "| claim, one thread, batch 1 |" in capsys.readouterr().out
    assert (tmp_path / "latency.png").stat().st_size > 10_000


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="with 1 among them"):
        Settings(steps=(100, 10))
    with pytest.raises(ValueError, match="batch 1 and one thread"):
        Settings(threads=(2,))
    with pytest.raises(ValueError, match="other_calls"):
        Settings(other_calls=(3, 2))
    with pytest.raises(ValueError, match="draws"):
        Settings(draws=0)


def test_committed_results_are_of_the_whole_run() -> None:
    report = json.loads((RESULTS / "latency.json").read_text())
    assert report["command"].startswith("python -m benchmarks.latency --output benchmarks/results")
    defaults, settings = Settings(), report["settings"]
    for name in ("steps", "batches", "threads", "calls", "samples", "draws", "conditions", "repeats"):
        assert tuple(np.atleast_1d(settings[name])) == tuple(np.atleast_1d(getattr(defaults, name)))
    assert settings["training"] == vars(defaults.training)
    assert set(report["checkpoints"]) == {"teacher", "student", "unet_student"}
    assert report["versions"]["torch"] and report["machine"]["load_average"]["before"] >= 0
    check(report)
    # Ratios to the plain loop are missed where it is fast; what must not get lost are the times and the student.
    assert all(goal["kept"] for goal in report["goals"] if "[ms]" in goal["claim"] or "one step of" in goal["claim"])
    single = [entry for entry in report["latency"] if entry["batch"] == 1 and entry["threads"] == 1]
    assert len(single) == 3 * 5 + 4 and min(entry["calls"] for entry in single) >= 1_000
    assert max(entry["calls"] for entry in single) >= 10_000
    assert format_report(report, settings) == (RESULTS / "latency.md").read_text()
    assert (RESULTS / "latency.png").stat().st_size > 10_000


def check(report: dict[str, Any]) -> None:
    """Check that verdicts follow from a report's own numbers, and that each latency has its quality."""
    computed = [goal._asdict() for goal in goals(report)]
    assert len(computed) == 15 and computed == report["goals"]
    assert all(goal["kept"] == (goal["value"] <= goal["limit"]) for goal in computed)
    assert report["kept"] == all(goal["kept"] for goal in computed)
    latency = {
        (entry["batch"], entry["threads"], Row(entry["method"], entry["num_steps"])): entry
        for entry in report["latency"]
    }
    quality = {entry["row"]: entry for entry in report["quality"]}
    most = max(report["settings"]["steps"])
    for (batch, threads, row), entry in latency.items():
        plain = latency[batch, threads, Row(PLAIN, row.num_steps)]["median"]
        assert entry["of_plain"] == pytest.approx(entry["median"] / plain, abs=1e-4)
        slowest = latency[batch, threads, Row(PLAIN, most)]["median"]
        assert entry["faster"] == pytest.approx(slowest / entry["median"], rel=1e-3)
        assert entry["median"] <= entry["p99"] <= entry["p999"] <= entry["longest"]
        assert row.twin.label in quality
    assert {entry["row"]: entry["quantile_999"] <= LARGEST_DIFFERENCE for entry in report["differences"]} == {
        row.label: True for _, _, row in latency
    }
    chance = Chance(*(RealVersusReal(**report["chance"][name]) for name in Chance._fields))
    qualities = {
        name: Quality(**{key: entry[key] for key in Quality.__dataclass_fields__}) for name, entry in quality.items()
    }
    teacher = qualities[Row(EAGER, most).label]
    assert all(quality[name]["equal"] == equal_quality(found, teacher, chance) for name, found in qualities.items())
    student = best_student(report)
    assert student is not None
    if any(quality[name]["equal"] for name in quality if "student" in name):
        assert quality[student.label]["equal"]
