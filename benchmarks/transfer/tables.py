"""The figures of a target's rows, and the tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.transfer.claims import Claim
from benchmarks.transfer.targets import Target
from generative_policies.rollouts.evaluation import recovered
from generative_policies.rollouts.intervals import percentile_interval, pigeonhole_bootstrap_means
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
            "interval": figures["success_interval"] if has_success else _mean_interval(runs, rng),
            **{name: figures[name] for name in ("recovered", "recovered_interval", "recovered_note", "outside")},
            "target_steps": figures["target_steps"],
            "seconds": float(np.mean([run["training_seconds"] for run in runs])),
            **{name: runs[0][name] for name in ("num_steps", "identified", "identification_error") if name in runs[0]},
        }
        if "milliseconds" in runs[0]:
            found[row]["milliseconds"] = float(np.median([run["milliseconds"] for run in runs]))
        if "fingertip_successes" in runs[0]:
            found[row]["fingertip"] = float(np.mean([run["fingertip_successes"] for run in runs]))
    if all(name in found and "fingertip" in found[name] for name in ("source", "untranslated")):
        floor, ceiling = found["untranslated"]["fingertip"], found["source"]["fingertip"]
        for figures in found.values():
            figures["fingertip_recovered"] = recovered(figures["fingertip"], floor, ceiling)
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
        score += _interval(figures["interval"], digits)
        share = NONE
        if figures["recovered"] is not None:
            share = f"{figures['recovered']:.2f}{_interval(figures['recovered_interval'], 2)}"
        if fingertip:
            score += f" ({figures['fingertip']:.2f})"
            share += f" ({_number(figures.get('fingertip_recovered'), 2)})" if figures["recovered"] is not None else ""
        cells = [
            row,
            str(len(figures["seeds"])),
            score,
            share,
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


def _mean_interval(runs: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> list[float]:
    return list(percentile_interval(pigeonhole_bootstrap_means(np.array([run["returns"] for run in runs]), rng)))


def _interval(interval: Sequence[float] | None, digits: int) -> str:
    return "" if interval is None else f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"
