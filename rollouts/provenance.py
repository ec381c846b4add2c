"""The JSON of settings and versions that stands beside every output."""

import hashlib
import json
import platform
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

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
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(json.dumps(content, indent=2, default=str) + "\n")
    new.replace(path)


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


def _commit() -> str | None:
    """The commit of this checkout, with a mark where files differ from it; ``None`` where it is no checkout of ours."""
    checkout = Path(__file__).resolve().parent.parent
    try:
        answers = [
            subprocess.run(
                ["git", "-C", str(checkout), *arguments], capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
            for arguments in (["rev-parse", "--show-toplevel"], ["rev-parse", "HEAD"], ["status", "--porcelain"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    toplevel, commit, changes = answers
    if Path(toplevel).resolve() != checkout:
        return None  # an environment inside somebody else's repository
    return f"{commit} (changed)" if changes else commit
