"""What is claimed, computed from the numbers of a run."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.conditional_mixture import Chance, Quality, equal_quality
from benchmarks.latency.samplers import EAGER, EXPORTED, PLAIN, STUDENTS, Row
from generative_policies.models.sample_metrics import RealVersusReal

SLOW = Row(PLAIN, 100)


class Goal(NamedTuple):
    """One claim.

    Attributes:
        claim: In words.
        value: What was measured.
        limit: What it must not exceed.
        kept: Whether it does not.
    """

    claim: str
    value: float
    limit: float
    kept: bool


def goals(results: Mapping[str, Any]) -> list[Goal]:
    """Return the goals with their verdicts, as far as their rows were measured; one thread, batch 1.

    Args:
        results: With ``"latency"``, ``"quality"``, ``"chance"`` and ``"training"``, as the JSON has them.
    """
    found: list[Goal] = []

    def claim(text: str, value: float, limit: float) -> None:
        found.append(Goal(text, value, limit, value <= limit))

    medians = {row: entry["median"] for row, entry in _single_rows(results["latency"]).items()}
    for row, limit in ((Row(EAGER, 100), 1 / 5), (Row(EAGER, 10), 1 / 5), (Row(EXPORTED, 10), 1 / 20)):
        reference = Row(PLAIN, row.num_steps)
        if row in medians and reference in medians:
            claim(f"{row.label}, of the plain loop", medians[row] / medians[reference], limit)
    for row, milliseconds in ((Row(EAGER, 100), 15), (Row(EAGER, 10), 1.7), (Row(EXPORTED, 10), 0.4)):
        if row in medians:
            claim(f"{row.label} [ms]", medians[row] / 1_000, milliseconds)
    student = best_student(results)
    if student is not None and SLOW in medians:
        label = f"one step of equal quality ({student.method})"
        fastest = Row(f"{student.method}, {EXPORTED}", 1)
        for row, limit, milliseconds in ((student, 1 / 300, 0.25), (fastest, 1 / 1_000, 0.075)):
            kind = EXPORTED if row.method.endswith(EXPORTED) else EAGER
            claim(f"{label}, {kind}, of the plain loop of 100", medians[row] / medians[SLOW], limit)
            claim(f"{label}, {kind} [ms]", medians[row] / 1_000, milliseconds)
            claim(f"{label}, {kind}, p99 [ms]", _single_rows(results["latency"])[row]["p99"] / 1_000, 1.0)
    if student is not None:
        quality = {entry["row"]: entry for entry in results["quality"]}
        gap = quality[student.label]["energy_distance"] - quality[Row(EAGER, 100).label]["energy_distance"]
        claim(
            f"{student.method}, energy distance beyond the 100-step teacher's",
            gap,
            results["chance"]["energy_distance"]["quantile_99"],
        )
    training = results["training"]
    claim("gradient step at 256 rows, of the plain one", training["library"] / training["plain"], 6 / 13)
    claim("gradient step at 256 rows [ms]", training["library"], 6)
    return found


def best_student(results: Mapping[str, Any]) -> Row | None:
    """Return the fastest exported student among those of equal quality, or else the best one; ``None`` without any."""
    quality = {entry["row"]: _quality(entry) for entry in results["quality"]}
    teacher = quality.get(Row(EAGER, 100).label)
    if teacher is None:
        return None
    latency = _single_rows(results["latency"])
    rows = [Row(method, 1) for method in STUDENTS]
    chance = Chance(*(RealVersusReal(**results["chance"][name]) for name in Chance._fields))
    equal = [row for row in rows if equal_quality(quality[row.label], teacher, chance)]
    if equal:
        return min(equal, key=lambda row: latency[Row(f"{row.method}, {EXPORTED}", 1)]["median"])
    return min(rows, key=lambda row: quality[row.label].energy_distance)


def _quality(entry: Mapping[str, Any]) -> Quality:
    return Quality(**{name: entry[name] for name in Quality.__dataclass_fields__})


def _single_rows(latency: Sequence[Mapping[str, Any]]) -> dict[Row, Mapping[str, Any]]:
    return {
        Row(entry["method"], entry["num_steps"]): entry
        for entry in latency
        if entry["batch"] == 1 and entry["threads"] == 1
    }
