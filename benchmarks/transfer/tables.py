"""The figures of a target's rows, and the tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.transfer.claims import Claim
from benchmarks.transfer.targets import Target
from generative_policies.rollouts.intervals import wilson_interval
from generative_policies.rollouts.report import report_target

Results = dict[str, dict[str, list[dict[str, Any]]]]
"""Results of units by target and row."""
NONE = "–"  # noqa: RUF001  # as tables print a missing figure


def report(
    target: Target, rows: Mapping[str, Sequence[Mapping[str, Any]]], rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """Return the figures of a target's rows, without the single episodes."""
    whole = report_target(rows, rng, pairs=False)
    found = {}
    for row in (row.name for row in target.rows if row.name in rows):
        figures, runs = whole["arms"][row], rows[row]
        has_success = whole["metric"] == "success"
        found[row] = {
            "metric": whole["metric"],
            "seeds": [run["seed"] for run in runs],
            "score": figures["success_rate"] if has_success else figures["mean_return"],
            "score_by_seed": figures["success_by_seed"] if has_success else figures["mean_return_by_seed"],
            "interval": figures["success_interval"] if has_success else figures["interquartile_mean_interval"],
            **{name: figures[name] for name in ("recovered", "recovered_interval", "recovered_note", "outside")},
            "target_steps": figures["target_steps"],
            "seconds": figures["seconds"],
            **{name: runs[0][name] for name in ("num_steps", "identified", "identification_error") if name in runs[0]},
        }
        if "milliseconds" in runs[0]:
            found[row]["milliseconds"] = float(np.median([run["milliseconds"] for run in runs]))
        if "fingertip_successes" in runs[0]:
            hits = [hit for run in runs for hit in run["fingertip_successes"]]
            found[row]["fingertip"] = float(np.mean(hits))
            found[row]["fingertip_interval"] = wilson_interval(hits) if len(runs) == 1 else None
    return found


def format_target(target: Target, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of a target."""
    first = next(iter(rows.values()))
    fingertip = "fingertip" in first
    lines = [
        f"### {target.title}",
        "",
        f"| arm | seeds | {first['metric']}{' (fingertip)' if fingertip else ''} | recovered | of no-shift "
        "| target steps | solver steps | ms an action | minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in (row.name for row in target.rows):
        if row not in rows:
            lines.append(f"| {row} | not run | | | | | | | |")
            continue
        figures = rows[row]
        digits = 2 if figures["metric"] == "success" else 0
        score = f"{figures['score']:.{digits}f}"
        if figures["metric"] == "success":
            score += _interval(figures["interval"], digits)
        elif len(figures["seeds"]) > 1:
            by_seed = figures["score_by_seed"]
            score += f" [seeds {min(by_seed):.0f} to {max(by_seed):.0f}]"
        if fingertip:
            score += f" ({figures['fingertip']:.2f})"
        recovered = NONE
        if figures["recovered"] is not None:
            recovered = f"{figures['recovered']:.2f}{_interval(figures['recovered_interval'], 2)}"
        cells = [
            row,
            str(len(figures["seeds"])),
            score,
            recovered,
            _number(figures.get("of_no_shift"), 2),
            _number(figures["target_steps"], 0),
            str(figures["num_steps"]) if figures.get("num_steps") else NONE,
            _number(figures.get("milliseconds"), 2),
            _number(figures["seconds"] / 60, 1),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def format_claims(claims: Sequence[Claim]) -> str:
    """Return the claims as a table."""
    lines = ["| claim | found | |", "|---|---|---|"]
    lines += [f"| {claim.text} | {claim.found} | {claim.verdict} |" for claim in claims]
    return "\n".join(lines)


def _interval(interval: Sequence[float] | None, digits: int) -> str:
    return "" if interval is None else f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"
