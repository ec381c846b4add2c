"""The results as tables in Markdown, each latency beside the quality of the same row."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.latency.samplers import CHUNK, Row

Entries = Sequence[Mapping[str, Any]]


def format_goals(results: Mapping[str, Any]) -> str:
    """Return the claims with their verdicts."""
    lines = ["| claim, one thread, batch 1 | measured | limit | |", "|---|---|---|---|"]
    for goal in results["goals"]:
        verdict = "kept" if goal["kept"] else "**missed**"
        lines.append(f"| {goal['claim']} | {_number(goal['value'])} | {_number(goal['limit'])} | {verdict} |")
    return "\n".join(lines)


def format_actions(results: Mapping[str, Any]) -> str:
    """Return the time of one action on one thread, and its quality."""
    lines = [
        "| method | steps | median [µs] | p99 | p99.9 | longest | calls | of plain, same steps | times faster than "
        "plain, most steps | energy distance | equal quality | sliced W2 | near a mode | lighter mode | spread "
        "| conditions covered | conditional error |",
        "|---|" + "---:|" * 9 + "---|" + "---:|" * 6,
    ]
    quality = {entry["row"]: entry for entry in results["quality"]}
    for entry in results["latency"]:
        if entry["batch"] == 1 and entry["threads"] == 1:
            row = Row(entry["method"], entry["num_steps"])
            times = [f"{entry[name]:,.0f}" for name in ("median", "p99", "p999", "longest")]
            ratios = [_number(entry["of_plain"]), f"{entry['faster']:,.1f}"]
            cells = [entry["method"], str(entry["num_steps"]), *times, f"{entry['calls']:,}", *ratios]
            lines.append(f"| {' | '.join(cells + _quality_cells(quality[row.twin.label]))} |")
    cells = ["fresh data", *8 * [""], *_quality_cells(quality["fresh data"])]
    lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def format_batches(results: Mapping[str, Any]) -> str:
    """Return medians by batch and number of threads, and in brackets the shares of the plain loop's."""
    latency: Entries = results["latency"]
    columns = list(dict.fromkeys((entry["threads"], entry["batch"]) for entry in latency))
    names = [f"batch {batch}, {threads} thread{'s' if threads > 1 else ''}" for threads, batch in columns]
    lines = [
        f"| method | steps | energy distance | {' | '.join(names)} |",
        "|---|---:|" + "---:|" * (1 + len(columns)),
    ]
    quality = {entry["row"]: entry for entry in results["quality"]}
    for row in dict.fromkeys(Row(entry["method"], entry["num_steps"]) for entry in latency):
        found = {
            (entry["threads"], entry["batch"]): f"{entry['median']:,.0f} ({_number(entry['of_plain'])})"
            for entry in latency
            if Row(entry["method"], entry["num_steps"]) == row
        }
        distance = f"{quality[row.twin.label]['energy_distance']:.4f}"
        cells = [row.method, str(row.num_steps), distance, *(found[column] for column in columns)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def format_cold_starts(cold: Entries) -> str:
    """Return what the first call takes."""
    lines = [
        "| method | steps | load [ms] | first call | second call | later ones, median |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for entry in cold:
        times = [f"{entry[name]:.2f}" for name in ("load", "first", "second", "later")]
        lines.append(f"| {' | '.join([entry['method'], str(entry['num_steps']), *times])} |")
    return "\n".join(lines)


def format_rates(rates: Entries) -> str:
    """Return the samples per second where many are wanted."""
    lines = ["| method | steps | threads | samples per second |", "|---|---:|---:|---:|"]
    for entry in rates:
        cells = [entry["method"], str(entry["num_steps"]), str(entry["threads"]), f"{entry['rate']:,.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def format_report(results: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return the whole report."""
    machine, training, chance = results["machine"], results["training"], results["chance"]
    band, before = chance["energy_distance"], machine["load_average"]["before"]
    busy = (
        f" **The machine was busy when the run began (load average {before:.1f}): times, and rows of more than one "
        "thread most of all, are longer than on a quiet one.**"
        if before > 0.5
        else ""
    )
    return "\n\n".join(
        [
            format_goals(results),
            format_actions(results),
            f"One action, batch 1, one thread: noise and condition in, sample out, numpy arrays both. Equal quality: "
            f"the mean energy distance of {settings['draws']} draws of {settings['samples']} pairs of condition and "
            f"sample is not above that of 100 Euler steps by more than {band['quantile_99']:.4f}, the 99 % quantile of "
            f"one draw of the data themselves (median {band['median']:.4f}; sliced W2 "
            f"{chance['sliced_wasserstein']['median']:.4f}, 99 % {chance['sliced_wasserstein']['quantile_99']:.4f}). "
            "Plain and exported rows carry the quality of the eager row that they repeat: 99.9 % of their samples to "
            f"{max(entry['quantile_999'] for entry in results['differences']):.1g}, all to "
            f"{max(entry['largest'] for entry in results['differences']):.1g}. The energy distance says little of "
            "how wide modes are: that stands under spread, the samples between the modes under near a mode.",
            format_batches(results),
            "Medians [µs], in brackets as shares of the plain loop of as many steps; batches in the same run.",
            format_cold_starts(results["cold"]),
            "The first calls in a process of its own, after all imports, batch 1, one thread; medians of "
            f"{settings['cold_starts']} processes.",
            format_rates(results["rates"]),
            f"Many samples, in chunks of {CHUNK}. A gradient step at 256 rows: plain {training['plain']:.1f} ms, the "
            f"library's network with fused AdamW {training['library']:.1f} ms (loss, backward pass and optimizer, "
            f"both), a whole update of `fit` {training['fit']:.1f} ms.",
            f"`{results['command']}`: {machine['cpu']}, {machine['cores']} cores, ONNX Runtime "
            f"{machine['onnxruntime']}; all of `ConditionalFlowModel(7, 64, 32, (32, 64, 128))`, one checkpoint, and "
            "its one-step students. Samplers are measured in turn, some calls of each a round. The plain loop is the "
            f"same network as one would write it down, with the same weights.{busy}\n",
        ]
    )


def _quality_cells(quality: Mapping[str, Any]) -> list[str]:
    return [
        f"{quality['energy_distance']:.4f}",
        "yes" if quality["equal"] else "no",
        f"{quality['sliced_wasserstein']:.3f}",
        f"{quality['near_a_mode']:.3f}",
        f"{quality['lighter_mass']:.3f}",
        f"{quality['spread']:.2f}",
        f"{quality['conditions_covered']:.2f}",
        f"{quality['conditional_error']:.3f}",
    ]


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 0.095 else f"{value:.5f}"
