"""What a comparison says: intervals, shares recovered, tests between arms, a table."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generative_policies.rollouts.intervals import (
    Interval,
    interquartile_mean,
    percentile_interval,
    pigeonhole_bootstrap_means,
    recovered_interval,
    stratified_bootstrap_interval,
    wilson_interval,
)
from generative_policies.rollouts.significance import holm, mcnemar, paired_difference, separated

REFERENCES = ("random", "source", "untranslated")
SIGNIFICANT = 0.05


def report_target(
    units: Mapping[str, Sequence[Mapping[str, Any]]], rng: np.random.Generator, pairs: bool = True
) -> dict[str, Any]:
    """Return the figures of all arms on one target.

    Success is compared where all arms report it, else returns. All training seeds share the reset seeds, so episodes of
    different training seeds are not independent, and intervals and tests resample reset seeds for all of them at once.

    Args:
        units: The results of each arm, one a training seed, as ``arms.run_arm`` returns them.
        rng: Source of the resamples.
        pairs: Whether trained arms are compared with each other, which takes time where there are many.

    Returns:
        ``"arms"``: figures by name; ``"pairs"``: differences between trained arms; ``"metric"``: what is compared.
    """
    has_success = all(unit["successes"] is not None for runs in units.values() for unit in runs)
    metric = "successes" if has_success else "returns"
    scores = {arm: _array(runs, metric) for arm, runs in units.items()}
    arms = {arm: _figures(units[arm], scores[arm], has_success, rng) for arm in units}
    # Where the source's actions do not fit the target, random ones are what is there without a translator.
    floor, ceiling = scores.get("untranslated", scores.get("random")), scores.get("source")
    for arm, figures in arms.items():
        figures |= {"recovered": None, "recovered_interval": None, "recovered_note": None}
        if arm in REFERENCES:
            continue
        if floor is None or ceiling is None:
            figures["recovered_note"] = "needs the arms source, and untranslated or random"
            continue
        share = recovered_interval(scores[arm], floor[0], ceiling[0], rng)
        figures["recovered"] = share.value
        figures["recovered_interval"] = None if share.low is None else [share.low, share.high]
        figures["recovered_note"] = share.reason
    trained = [arm for arm in arms if arm not in (*REFERENCES, "exact")]
    if "untranslated" in scores:
        against = {arm: _p(scores[arm], scores["untranslated"], has_success, rng) for arm in trained}
        for arm, p in holm(against).items():
            arms[arm]["p_against_untranslated"] = p
    return {
        "metric": "success" if has_success else "return",
        "arms": arms,
        "pairs": _pairs({arm: units[arm] for arm in trained}, metric, rng) if pairs else [],
    }


def format_report(report: Mapping[str, Any]) -> str:
    """Return the figures of ``report_target`` as tables in Markdown."""
    none = "–"  # noqa: RUF001  # as tables print a missing figure
    lines = [
        "| arm | seeds | success [95 %] | interquartile mean return [95 %] | recovered [95 %] | p against untranslated "
        "| outside training range | target steps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for name, arm in report["arms"].items():
        cells = [name, str(arm["num_seeds"]), none]
        if arm["success_rate"] is not None:
            cells[2] = _interval(arm["success_rate"], arm["success_interval"], 2)
        cells.append(_interval(arm["interquartile_mean"], arm["interquartile_mean_interval"], 1))
        cells.append(none if arm["recovered"] is None else _interval(arm["recovered"], arm["recovered_interval"], 2))
        cells.append(f"{arm['p_against_untranslated']:.2g}" if "p_against_untranslated" in arm else none)
        cells.append(none if arm["outside"] is None else f"{100 * arm['outside']:.1f} %")
        cells.append(none if arm["target_steps"] is None else str(arm["target_steps"]))
        lines.append(f"| {' | '.join(cells)} |")
        if arm["recovered_note"]:
            notes.append(f"- {name}: {arm['recovered_note']}")
    if report["pairs"]:
        lines += ["", f"| pair | difference of mean {report['metric']} [95 %] | p | separated |", "|---|---|---|---|"]
        for pair in report["pairs"]:
            difference = _interval(pair["difference"], pair["interval"], 2)
            verdict = "yes" if pair["separated"] else "not separated"
            lines.append(f"| {pair['arms'][0]} - {pair['arms'][1]} | {difference} | {pair['p']:.2g} | {verdict} |")
    if "untranslated" not in report["arms"] and "random" in report["arms"]:
        notes.append("- recovered: from random actions, since there is no arm untranslated")
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _figures(
    runs: Sequence[Mapping[str, Any]], scores: NDArray[Any], has_success: bool, rng: np.random.Generator
) -> dict[str, Any]:
    outside = [run["outside"] for run in runs if "outside" in run]
    steps = [run["target_steps"] for run in runs if "target_steps" in run]
    returns = _array(runs, "returns")
    return {
        "num_seeds": len(runs),
        "returns": returns.reshape(-1).tolist(),
        "mean_return": float(returns.mean()),
        "mean_return_by_seed": returns.mean(axis=1).tolist(),
        "interquartile_mean": interquartile_mean(returns),
        "interquartile_mean_interval": stratified_bootstrap_interval(returns, interquartile_mean, rng),
        "success_rate": float(scores.mean()) if has_success else None,
        "success_by_seed": scores.mean(axis=1).tolist() if has_success else None,
        "success_interval": success_interval(scores, rng) if has_success else None,
        "outside": float(np.mean(outside)) if outside else None,
        "target_steps": int(np.mean(steps)) if steps else None,
        "seconds": float(np.mean([run["seconds"] for run in runs])),
    }


def success_interval(successes: NDArray[np.bool_], rng: np.random.Generator) -> Interval:
    """Return the interval of a success rate over training seeds that share their reset seeds.

    Wilson's, for as many episodes as there are reset seeds; or the bootstrap's over training seeds and episodes, where
    that reaches further.

    Args:
        successes: ``(seeds, episodes)``.
        rng: Source of the resamples.
    """
    num_episodes = successes.shape[1]
    equivalent = round(float(successes.mean()) * num_episodes)
    low, high = wilson_interval([k < equivalent for k in range(num_episodes)])
    if len(successes) > 1:
        resampled = percentile_interval(pigeonhole_bootstrap_means(successes, rng))
        low, high = min(low, resampled[0]), max(high, resampled[1])
    return low, high


def _pairs(
    units: Mapping[str, Sequence[Mapping[str, Any]]], metric: str, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Differences between arms on the training seeds that both have, with Holm's correction over all of them."""
    found: list[dict[str, Any]] = []
    for first, second in combinations(units, 2):
        common = {run["seed"] for run in units[first]} & {run["seed"] for run in units[second]}
        if not common:
            continue
        both = [_array([run for run in units[arm] if run["seed"] in common], metric) for arm in (first, second)]
        result = paired_difference(both[0], both[1], rng)
        found.append(
            {
                "arms": [first, second],
                "difference": result.difference,
                "interval": [result.low, result.high],
                "p": result.p,
            }
        )
    adjusted = holm({str(k): pair["p"] for k, pair in enumerate(found)})
    for k, pair in enumerate(found):
        pair["p"] = adjusted[str(k)]
        without_zero = separated((pair["interval"][0], pair["interval"][1]), (0.0, 0.0))
        pair["separated"] = bool(without_zero and pair["p"] <= SIGNIFICANT)
    return found


def _p(arm: NDArray[Any], floor: NDArray[Any], has_success: bool, rng: np.random.Generator) -> float:
    """McNemar's p of a single training seed's successes, else that of each episode's mean over training seeds."""
    return mcnemar(arm, floor) if has_success and len(arm) == 1 else paired_difference(arm, floor, rng).p


def _array(runs: Sequence[Mapping[str, Any]], name: str) -> NDArray[Any]:
    """``(seeds, episodes)``, in the order of the seeds."""
    return np.array([run[name] for run in sorted(runs, key=lambda run: int(run["seed"]))])


def _interval(value: float, interval: Sequence[float] | None, digits: int) -> str:
    if interval is None:
        return f"{value:.{digits}f} [undefined]"
    return f"{value:.{digits}f} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
