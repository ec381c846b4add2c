"""What the benchmark is held against."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from generative_policies.rollouts.significance import paired_difference

Reports = Mapping[str, Mapping[str, Mapping[str, Any]]]
Results = Mapping[str, Mapping[str, list[dict[str, Any]]]]


@dataclass(frozen=True)
class Claim:
    """A figure that was to be reached.

    Attributes:
        text: What was to be reached.
        found: The figure.
        verdict: ``"reached"``, ``"missed"``, ``"undefined"`` where there is nothing to recover, or ``"not run"``;
            "so far" where seeds are missing.
    """

    text: str
    found: str
    verdict: str


# Target, row, least share recovered.
RECOVERED = (
    ("pusher-P1", "linear-4", 0.95, "Pusher P1 from 4 target episodes, no reward"),
    ("pusher-P2", "identified_ppo-4", 0.95, "Pusher P2, by whatever it takes"),
    ("pusher-P2", "mlp", 0.78, "Pusher P2, without a reward, the target's or the source's"),
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


def claims(reports: Reports, results: Results, planned: Mapping[str, Mapping[str, int]]) -> list[Claim]:
    """Return all claims with what was found.

    Args:
        reports: The figures of each target's rows.
        results: The results of their units.
        planned: How many training seeds each row is to have.
    """
    found = [_recovered(reports, planned, *claim) for claim in RECOVERED]
    found += [_above(reports, results, planned, target) for target in ABOVE]
    return [*found, _half_the_steps(reports, results, planned)]


def _recovered(
    reports: Reports, planned: Mapping[str, Mapping[str, int]], target: str, row: str, least: float, text: str
) -> Claim:
    text = f"{text}: recovered >= {least}"
    figures = reports.get(target, {}).get(row)
    if figures is None:
        return Claim(text, "", "not run")
    if figures["recovered"] is None:
        return Claim(text, f"{row}: {figures['recovered_note']}", "undefined")
    interval, share = figures["recovered_interval"], figures.get("of_no_shift")
    shown = "" if interval is None else f" [{interval[0]:.2f}, {interval[1]:.2f}]"
    shown += "" if share is None else f", {share:.2f} of no-shift"
    found = f"{row}: {figures['recovered']:.2f}{shown}"
    return _judged(text, found, figures["recovered"] >= least, [len(figures["seeds"])], [planned[target][row]])


def _above(reports: Reports, results: Results, planned: Mapping[str, Mapping[str, int]], target: str) -> Claim:
    text = f"{target}: value-guided above residual SAC at the same number of target steps"
    rows = "value_expansion", "residual_sac"
    if not all(row in reports.get(target, {}) for row in rows):
        return Claim(text, "", "not run")
    guided, residual = ({run["seed"]: run["returns"] for run in results[target][row]} for row in rows)
    common = sorted(set(guided) & set(residual))
    if not common:
        return Claim(text, "", "not run")
    both = [np.array([returns[seed] for seed in common]) for returns in (guided, residual)]
    difference = paired_difference(both[0], both[1], np.random.default_rng(0))
    found = (
        f"{both[0].mean():.0f} and {both[1].mean():.0f}, difference {difference.difference:.0f} "
        f"[{difference.low:.0f}, {difference.high:.0f}]"
    )
    return _judged(text, found, difference.difference > 0, [len(common)], [min(planned[target][row] for row in rows)])


def _half_the_steps(reports: Reports, results: Results, planned: Mapping[str, Mapping[str, int]]) -> Claim:
    text = (
        "HalfCheetah G: residual SAC on the translated expert reaches the source's return in half of the target steps "
        "that it needs on the untranslated one"
    )
    rows, goal = results.get("half_cheetah-G", {}), reports.get("half_cheetah-G", {}).get("source")
    names = "residual_sac", "residual_sac_untranslated"
    if goal is None or not all(name in rows for name in names):
        return Claim(text, "", "not run")
    translated, untranslated = (steps_to(goal["score"], rows[name]) for name in names)
    kept = [_median(steps_to(goal["score"], rows[name], for_good=True)) for name in names]
    found = (
        f"{_median(translated)} translated, its data included, and for good after {kept[0]}; {_median(untranslated)} "
        f"untranslated, and for good after {kept[1]}"
    )
    # A run that never gets there needs more than its last step.
    last = [run["curve"][-1][0] for run in rows[names[1]]]
    needed = [min(steps, end) for steps, end in zip(untranslated, last, strict=True)]
    reached = bool(np.isfinite(np.median(translated)) and np.median(translated) <= np.median(needed) / 2)
    seeds = [len(translated), len(untranslated)]
    return _judged(text, found, reached, seeds, [planned["half_cheetah-G"][name] for name in names])


def steps_to(goal: float, runs: list[dict[str, Any]], *, for_good: bool = False) -> list[float]:
    """Return after how many target steps each run's learning curve reaches a return; infinity where never.

    Args:
        goal: The return.
        runs: Results with a ``"curve"`` of steps and returns.
        for_good: Whether no later point may lie below.
    """
    found = []
    for run in runs:
        curve = run["curve"]
        holds = [score >= goal for _, score in curve]
        if for_good:
            holds = [all(holds[k:]) for k in range(len(holds))]
        found.append(next((steps for (steps, _), held in zip(curve, holds, strict=True) if held), np.inf))
    return found


def _median(steps: list[float]) -> str:
    shown = ["never" if step == np.inf else f"{step:.0f}" for step in (np.median(steps), min(steps), max(steps))]
    return f"{shown[0]} [{shown[1]} to {shown[2]}]"


def _judged(text: str, found: str, reached: bool, seeds: list[int], planned: list[int]) -> Claim:
    verdict = "reached" if reached else "missed"
    if any(have < want for have, want in zip(seeds, planned, strict=True)):
        verdict += f" so far, {min(seeds)} of {max(planned)} seeds"
    return Claim(text, found, verdict)
