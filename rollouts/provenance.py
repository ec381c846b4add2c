"""The JSON of settings and versions that stands beside every output."""

import hashlib
import json
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from generative_policies.atomic_files import write_file

NOTE = "settings.json"
PACKAGES = ("generative-policies", "torch", "numpy", "gymnasium", "mujoco", "stable-baselines3")


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that results depend on, and the commit of the checkout."""
    found: dict[str, str | None] = {"python": platform.python_version(), "commit": _commit()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def settings_and_versions(settings: Any) -> dict[str, Any]:
    """Return settings (a dataclass) and versions, as JSON holds them."""
    return {"settings": _as_json(settings), "versions": versions()}


def same_settings(file: Path, settings: Any, free: Sequence[str] = (), inputs: Mapping[str, str] | None = None) -> bool:
    """Return whether a JSON was written with the same settings, but for those that change no result.

    Args:
        file: The JSON; one that cannot be read was written with others.
        settings: A dataclass.
        free: Names of settings that change no result.
        inputs: Digests of the files that results depend on, as they stand under ``"inputs"``.
    """
    try:
        content = read_json(file)
    except (OSError, ValueError):
        return False
    written = content.get("settings")
    if not isinstance(written, dict):
        return False
    expected = _as_json(settings)
    return content.get("inputs", {}) == dict(inputs or {}) and all(
        written.get(name) == value for name, value in expected.items() if name not in free
    )


def read_json(file: Path) -> dict[str, Any]:
    """Return the JSON object of a file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it holds something else; the message names it.
    """
    if not file.is_file():  # a pipe would never end
        raise FileNotFoundError(f"no file {file}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{file} is damaged, remove it to have it made again: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold a JSON object, got {type(content).__name__}; remove it")
    return content


def digest(path: Path) -> str:
    """Return a digest of a file's content, or of all files below a folder; of nothing where there is neither."""
    found = hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        if file.is_file():
            found.update(f"{file.relative_to(path)} ".encode() + file.read_bytes())
    return found.hexdigest()[:16]


def write_json(path: Path, settings: Any, results: Mapping[str, Any]) -> None:
    """Write results with the settings (a dataclass) and versions that made them, whole or not at all."""
    content = {**results, **settings_and_versions(settings)}
    write_file(path, json.dumps(content, indent=2, default=str) + "\n")


def open_partial(output: Path, settings: Any, free: Sequence[str], inputs: Mapping[str, str]) -> Path:
    """Return the folder in which a run keeps what is done until its output is there, so that it can go on.

    Args:
        output: The output, which stands beside it.
        settings: A dataclass.
        free: Names of settings that change no result.
        inputs: Digests of the files that results depend on.

    Raises:
        ValueError: If an interrupted run with other settings has left it.
    """
    partial = _partial(output)
    note = partial / NOTE
    if not note.exists():
        shutil.rmtree(partial, ignore_errors=True)  # cut off while it was removed: nobody knows whose the rest is
    elif not same_settings(note, settings, free, inputs):
        raise ValueError(
            f"an interrupted run with other settings has left {partial}: remove it, or give its settings again"
        )
    write_json(note, settings, {"inputs": dict(inputs)})
    return partial


def remove_partial(output: Path) -> None:
    """Remove the folder that ``open_partial`` made, where there is one."""
    (_partial(output) / NOTE).unlink(missing_ok=True)
    shutil.rmtree(_partial(output), ignore_errors=True)


def require_writable(folder: Path) -> None:
    """Make a folder and check that a file can be written in it, before hours of work and not after.

    Raises:
        OSError: If it cannot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _as_json(settings: Any) -> dict[str, Any]:
    assert is_dataclass(settings) and not isinstance(settings, type)
    content: dict[str, Any] = json.loads(json.dumps(asdict(settings), default=str))
    return content


def _partial(output: Path) -> Path:
    return output.with_name(f".{output.name}.partial")


@cache
def _commit() -> str | None:
    """The commit of this checkout, with a mark where files differ from it; ``None`` where it is no checkout of ours."""
    checkout = Path(__file__).resolve().parent.parent
    try:
        answers = [
            subprocess.run(
                # Without locks: killed in the middle, it would leave one behind, and the user's next commit would fail.
                ["git", "--no-optional-locks", "-C", str(checkout), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for arguments in (["rev-parse", "--show-toplevel"], ["rev-parse", "HEAD"], ["status", "--porcelain"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    toplevel, commit, changes = answers
    if Path(toplevel).resolve() != checkout:
        return None  # an environment inside somebody else's repository
    return f"{commit} (changed)" if changes else commit
