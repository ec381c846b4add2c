"""What the benchmark is held against."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Reports = Mapping[str, Mapping[str, Mapping[str, Any]]]
Results = Mapping[str, Mapping[str, list[dict[str, Any]]]]


@dataclass(frozen=True)
class Claim:
    """A figure that was to be reached.

    Attributes:
        text: What was to be reached.
        found: The figure.
        verdict: ``"reached"``, ``"missed"``, or ``"not run"``.
    """

    text: str
    found: str
    verdict: str


# Target, row, least share recovered.
RECOVERED = (
    ("pusher-P1", "linear-4", 0.95, "Pusher P1 from 4 target episodes, no reward"),
    ("pusher-P2", "identified_ppo-4", 0.95, "Pusher P2, by whatever it takes"),
    ("half_cheetah-strong", "mlp", 0.95, "HalfCheetah, gear 1.4, no value and no reward"),
    ("half_cheetah-rewired", "mlp", 0.95, "HalfCheetah, motors permuted and mirrored, no value and no reward"),
    ("reach-2-3", "mlp", 0.95, "Reach, arm of two links to three, no value and no reward"),
    ("reach-3-2", "mlp", 0.95, "Reach, arm of three links to two, a motor less, no value and no reward"),
    ("push-2-3", "mlp", 0.95, "Push, arm of two links to three, no value and no reward"),
    ("push-3-2", "mlp", 0.95, "Push, arm of three links to two, a motor less, no value and no reward"),
    ("half_cheetah-A", "value_expansion", 0.95, "HalfCheetah A, value-guided, without the target's reward"),
    ("half_cheetah-D", "value_expansion", 0.95, "HalfCheetah D, value-guided, without the target's reward"),
    ("half_cheetah-G", "value_expansion", 0.95, "HalfCheetah G, value-guided, without the target's reward"),
    ("half_cheetah-E", "value_expansion", 0.88, "HalfCheetah E, value-guided, without the target's reward"),
)
ABOVE = ("half_cheetah-A", "half_cheetah-D", "half_cheetah-G", "half_cheetah-E")


def claims(reports: Reports, results: Results) -> list[Claim]:
    """Return all claims with what was found."""
    found = [_recovered(reports, *claim) for claim in RECOVERED]
    found += [_above(reports, target) for target in ABOVE]
    return [*found, _half_the_steps(reports, results)]


def _recovered(reports: Reports, target: str, row: str, least: float, text: str) -> Claim:
    text = f"{text}: recovered >= {least}"

    def judge() -> tuple[str, bool]:
        figures = reports[target][row]
        interval = figures["recovered_interval"]
        shown = "" if interval is None else f" [{interval[0]:.2f}, {interval[1]:.2f}]"
        return f"{row}: {figures['recovered']:.2f}{shown}, {_seeds(figures)}", figures["recovered"] >= least

    return _claim(text, judge)


def _above(reports: Reports, target: str) -> Claim:
    def judge() -> tuple[str, bool]:
        guided, residual = reports[target]["value_expansion"], reports[target]["residual_sac"]
        return (
            f"{guided['score']:.0f} and {residual['score']:.0f}, {_seeds(guided)} and {_seeds(residual)}",
            guided["score"] > residual["score"],
        )

    return _claim(f"{target}: value-guided above residual SAC at the same number of target steps", judge)


def _half_the_steps(reports: Reports, results: Results) -> Claim:
    def judge() -> tuple[str, bool]:
        rows, goal = results["half_cheetah-G"], reports["half_cheetah-G"]["source"]["score"]
        translated, untranslated = (steps_to(goal, rows[row]) for row in ("residual_sac", "residual_sac_untranslated"))
        shown = [
            f"{np.median(steps):.0f} [{min(steps):.0f} to {max(steps):.0f}]" for steps in (translated, untranslated)
        ]
        return (
            f"{shown[0]} translated, its data included; {shown[1]} untranslated; medians over {len(translated)} and "
            f"{len(untranslated)} seeds",
            bool(np.median(translated) <= np.median(untranslated) / 2),
        )

    return _claim(
        "HalfCheetah G: residual SAC on the translated expert reaches the source's return in half of the target steps "
        "that it needs on the untranslated one",
        judge,
    )


def steps_to(goal: float, runs: list[dict[str, Any]]) -> list[float]:
    """Return after how many target steps each run's learning curve first reaches a return; infinity where never."""
    return [next((steps for steps, score in run["curve"] if score >= goal), np.inf) for run in runs]


def _claim(text: str, judge: Callable[[], tuple[str, bool]]) -> Claim:
    try:
        found, reached = judge()
    except KeyError:
        return Claim(text, "", "not run")
    return Claim(text, found, "reached" if reached else "missed")


def _seeds(figures: Mapping[str, Any]) -> str:
    count = len(figures["seeds"])
    return f"{count} seed" + ("s" if count > 1 else "")
