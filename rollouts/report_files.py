"""A report with its table, its plot and its video: the report comes last, and tells that all of them are there."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from generative_policies.atomic_files import replacing
from generative_policies.rollouts.provenance import digest, read_json, same_settings, write_json

REPORT, VIDEO = "report.json", "comparison.mp4"


def write_report(
    folder: Path,
    settings: Any,
    report: Mapping[str, Any],
    files: Mapping[str, Callable[[Path], object]],
    write_video: Callable[[Path], bool],
) -> list[str]:
    """Write a report and what stands beside it.

    All files are whole before the first of them takes its place. A video of an earlier run goes after that, where there
    is no new one.

    Args:
        folder: Where they stand.
        settings: A dataclass.
        report: The figures.
        files: What writes each file beside the report, by name.
        write_video: Writes ``VIDEO`` and returns ``True``, or tells why it cannot be.

    Returns:
        The names of what was written.

    Raises:
        OSError: If one of them cannot be written; the error names it.
    """
    digests: dict[str, str] = {}
    with ExitStack() as stack:
        new_report = stack.enter_context(replacing(folder / REPORT))  # entered first, and so the last in its place
        for name, write in files.items():
            new = stack.enter_context(replacing(folder / name))
            write(new)
            digests[name] = digest(new)
        if write_video(folder / VIDEO):
            digests[VIDEO] = digest(folder / VIDEO)
        write_json(new_report, settings, {**report, "files": digests})
    if VIDEO not in digests:
        (folder / VIDEO).unlink(missing_ok=True)
    return [REPORT, *digests]


def finished_report(
    folder: Path, settings: Any, free: Sequence[str] = (), inputs: Mapping[str, str] | None = None
) -> dict[str, Any] | None:
    """Return the report of the same settings and inputs if all that was written with it stands as it was written.

    A video that a killed run left beside a report without one is removed.

    Args:
        folder: Where they stand.
        settings: A dataclass.
        free: Names of settings that change no result.
        inputs: Digests of what results depend on, as they stand under ``"inputs"``.
    """
    if not same_settings(folder / REPORT, settings, free, inputs):
        return None
    report = read_json(folder / REPORT)
    files = report.get("files")
    if not isinstance(files, dict) or any(digest(folder / name) != written for name, written in files.items()):
        return None
    if VIDEO not in files:
        (folder / VIDEO).unlink(missing_ok=True)
    return report
