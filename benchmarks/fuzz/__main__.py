"""Fuzz everything that the library reads: sixteen thousand broken and hostile files, and what came of each."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tyro
from tqdm import tqdm

from benchmarks.fuzz.descriptions import DESCRIBED
from benchmarks.fuzz.subjects import SUBJECTS
from benchmarks.fuzz.worker import MAX_SECONDS, make_pristine
from generative_policies.atomic_files import write_file
from generative_policies.rollouts.provenance import require_writable, write_json

NAME = "fuzz"
OUTCOMES = ("loaded", "refused", "violation")


@dataclass(frozen=True)
class Settings:
    """Break files at random, read them, and count what comes of it."""

    cases: int = 12_000
    """Broken files in all, shared evenly by the kinds."""
    examples: int = 4_000
    """Models that hypothesis describes, a kind of their own."""
    seed: int = 0
    """Of what is broken and how."""
    kinds: tuple[str, ...] = tuple(SUBJECTS)
    """Kinds of files."""
    output: Path = Path("runs/benchmarks")
    """Folder of the JSON and the table."""

    def __post_init__(self) -> None:
        """Check the settings."""
        if unknown := [kind for kind in self.kinds if kind not in SUBJECTS]:
            raise ValueError(f"kinds must be some of {', '.join(SUBJECTS)}; got {unknown}")
        if not self.kinds or self.cases < len(self.kinds):
            raise ValueError(f"expected a kind, and a case for each at least; got {self.kinds} and {self.cases} cases")
        if self.examples < 0:
            raise ValueError(f"examples must be at least 0, got {self.examples}")


def run_cases(kind: str, count: int, seed: int, pristine: Path, log: Path) -> Iterator[dict[str, Any]]:
    """Run cases of a kind in worker processes, and yield what came of each.

    A worker that dies, or does not answer, is a violation of the case at which it was; another one goes on behind it.
    """
    case = 0
    while case < count:
        mutation = "not told"
        with TemporaryDirectory() as folder, log.open("ab") as errors:
            home, own = Path(folder, "home"), Path(folder, "cases")
            home.mkdir()
            own.mkdir()
            command = [sys.executable, "-m", "benchmarks.fuzz.worker", kind, str(case), str(count), str(seed)]
            worker = subprocess.Popen(
                [*command, str(pristine), str(own)],
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | {"HOME": str(home), "OMP_NUM_THREADS": "1"},
            )
            begun = False
            for line in _lines(worker):
                answer = json.loads(line)
                if "begins" in answer:
                    begun, mutation = True, answer["mutation"]
                else:
                    yield {"kind": kind, **answer}
                    case, mutation = case + 1, "not told"
            if worker.wait() == 0:
                continue
        if not begun:
            raise RuntimeError(f"no worker starts for {kind!r}, see {log}")
        end = signal.Signals(-worker.returncode).name if worker.returncode < 0 else f"exit code {worker.returncode}"
        complaint = f"the process ended with {end}"
        yield {"kind": kind, "case": case, "mutation": mutation, "outcome": "violation", "error": end} | {
            "complaint": complaint,
            "seconds": 0.0,
            "megabytes": 0.0,
        }
        case += 1


def _lines(worker: "subprocess.Popen[bytes]") -> Iterator[str]:
    """What a worker says, line by line, until it ends; one that is silent for long is killed."""
    assert worker.stdout is not None
    rest = b""
    while True:
        ready, _, _ = select.select([worker.stdout], [], [], 4 * MAX_SECONDS)
        if not ready:
            worker.kill()
            return
        content = os.read(worker.stdout.fileno(), 65_536)
        if not content:
            return
        *lines, rest = (rest + content).split(b"\n")
        yield from (line.decode() for line in lines)


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of all cases."""
    kinds: dict[str, Any] = {}
    for kind in dict.fromkeys(result["kind"] for result in results):
        own = [result for result in results if result["kind"] == kind]
        mutations = {
            mutation: {
                outcome: sum(r["mutation"] == mutation and r["outcome"] == outcome for r in own) for outcome in OUTCOMES
            }
            for mutation in sorted({result["mutation"] for result in own})
        }
        slowest = max(own, key=lambda result: result["seconds"])
        kinds[kind] = {
            "cases": len(own),
            **{outcome: sum(result["outcome"] == outcome for result in own) for outcome in OUTCOMES},
            "errors": dict(Counter(result["error"] for result in own if result["outcome"] == "refused")),
            "slowest_seconds": round(slowest["seconds"], 3),
            "slowest_case": slowest["case"],
            "peak_megabytes": round(max(result["megabytes"] for result in own), 1),
            "mutations": mutations,
        }
    violations = [
        {name: result[name] for name in ("kind", "case", "mutation", "complaint")}
        for result in results
        if result["outcome"] == "violation"
    ]
    return {"cases": len(results), "violations": violations, "kinds": kinds}


def format_table(report: dict[str, Any]) -> str:
    """Return the figures as tables in Markdown."""
    lines = ["| kind | cases | loaded | refused, by what | violations | slowest [s] | peak memory [MB] |"]
    lines.append("|---|---|---|---|---|---|---|")
    for kind, row in report["kinds"].items():
        errors = ", ".join(f"{name} {count}" for name, count in sorted(row["errors"].items()))
        lines.append(
            f"| {kind} | {row['cases']} | {row['loaded']} | {row['refused']}: {errors} | {row['violation']} "
            f"| {row['slowest_seconds']:.2f} | {row['peak_megabytes']:.0f} |"
        )
    lines += ["", "| kind | mutation | loaded | refused | violations |", "|---|---|---|---|---|"]
    for kind, row in report["kinds"].items():
        for mutation, counts in row["mutations"].items():
            lines.append(f"| {kind} | {mutation} | {' | '.join(str(counts[outcome]) for outcome in OUTCOMES)} |")
    for violation in report["violations"]:
        lines += [
            "",
            f"- {violation['kind']}, case {violation['case']}, {violation['mutation']}: {violation['complaint']}",
        ]
    return "\n".join(lines)


def main(settings: Settings) -> bool:
    """Run all cases, print and write; return whether there is no violation."""
    require_writable(settings.output)
    share, more = divmod(settings.cases, len(settings.kinds))
    results: list[dict[str, Any]] = []
    started = time.perf_counter()
    counts = {kind: share + (number < more) for number, kind in enumerate(settings.kinds)}
    counts |= {DESCRIBED: settings.examples} if settings.examples else {}
    with TemporaryDirectory() as folder, tqdm(total=sum(counts.values()), desc=NAME, unit="case") as bar:
        make_pristine(Path(folder))
        for kind, count in counts.items():
            bar.set_postfix_str(kind)
            log = settings.output / f"{NAME}.log"
            for result in run_cases(kind, count, settings.seed, Path(folder), log):
                results.append(result)
                bar.update()
                if result["complaint"]:
                    bar.write(f"{kind}, case {result['case']}, {result['mutation']}: {result['complaint']}")
    (settings.output / f"{NAME}.log").unlink(missing_ok=True)
    command = " ".join([f"python -m benchmarks.{NAME}", *sys.argv[1:]])
    report = {"command": command, "seconds": round(time.perf_counter() - started, 1), **summary(results)}
    table = (
        f"{format_table(report)}\n\n`{command}`: {settings.cases} broken or hostile files and {settings.examples} "
        f"described models in {report['seconds']:.0f} s. *Loaded* is a file whose damage nothing could tell, such as "
        "another weight: what it holds answers in the "
        "right shape. *Refused* is one that the library's own error names, an env spec by its argument. All else would "
        "be a violation: another error, code that runs, memory or time beyond bounds, a file elsewhere, a process that "
        f"dies. A *{DESCRIBED}* is hypothesis's: a sound one has to load and to answer in finite numbers, one with an "
        "argument changed, or of anything, to do so or to be refused.\n"
    )
    print(f"\n{table}")
    write_json(settings.output / f"{NAME}.json", replace(settings, output=Path()), report)
    write_file(settings.output / f"{NAME}.md", table)
    print(f"{settings.output}: {NAME}.json and {NAME}.md; {len(report['violations'])} violations")
    return not report["violations"]


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, prog=f"python -m benchmarks.{NAME}")) else 1)
