"""The JSON of settings and versions that stands beside every output."""

import json
import platform
import subprocess
from collections.abc import Mapping
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


def write_json(path: Path, settings: Any, results: Mapping[str, Any]) -> None:
    """Write results with the settings (a dataclass) and versions that made them, whole or not at all."""
    assert is_dataclass(settings) and not isinstance(settings, type)
    content = {**results, "settings": asdict(settings), "versions": versions()}
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(json.dumps(content, indent=2, default=str) + "\n")
    new.replace(path)


def _commit() -> str | None:
    folder = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
