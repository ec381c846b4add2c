"""The tests with the lowest and with the newest versions that pyproject.toml allows."""

import json
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from packaging.requirements import Requirement
from packaging.version import Version

from generative_policies.atomic_files import write_file
from generative_policies.rollouts.provenance import require_writable, write_json

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGES = ("gymnasium", "stable-baselines3", "mujoco", "numpy", "torch")
ENDS = ("lowest", "newest")
ABOUT_THE_RESULT = "tests/benchmarks/test_compatibility.py::test_the_committed_result_is_green_at_both_ends"
VERSIONS = "import importlib.metadata as m, json, sys; print(json.dumps({p: m.version(p) for p in sys.argv[1:]}))"


@dataclass(frozen=True)
class Settings:
    """Run the tests with the lowest and with the newest versions allowed of what the library stands on.

    Each end has a virtual environment of its own, made anew. At the lowest one gymnasium, stable-baselines3, mujoco,
    numpy and torch have the versions that pyproject.toml names; all else is as new as pip finds.
    """

    ends: tuple[str, ...] = ENDS
    """Which ends: lowest, newest."""
    tests: tuple[str, ...] = ()
    """Test files or folders; all by default."""
    torch_index: str | None = None
    """Address of an index to take torch from, one of CPU builds say; pip's own by default."""
    environments: Path = Path("runs/compatibility")
    """Folder of the virtual environments, of some gigabytes each."""
    output: Path = Path("runs/benchmarks")
    """Folder of the JSON and the table."""

    def __post_init__(self) -> None:
        """Check the settings."""
        if not self.ends or not set(self.ends) <= set(ENDS):
            raise ValueError(f"ends must be some of {', '.join(ENDS)}; got {', '.join(self.ends) or 'none'}")


def lowest_versions(requirements: list[str]) -> dict[str, str]:
    """Return the lower bound of each of ``PACKAGES``.

    Args:
        requirements: Those of pyproject.toml.

    Raises:
        ValueError: If one of the packages has none.

    Example:
        >>> lowest_versions(["gymnasium>=1.1", "stable-baselines3>=2", "mujoco>=3,!=3.1", "numpy>=2,<3", "torch>=2.4"])
        {'gymnasium': '1.1', 'stable-baselines3': '2', 'mujoco': '3', 'numpy': '2', 'torch': '2.4'}
    """
    found = {(parsed := Requirement(text)).name: parsed.specifier for text in requirements}
    bounds = {name: [part.version for part in found.get(name, ()) if part.operator == ">="] for name in PACKAGES}
    if without := [name for name, versions in bounds.items() if not versions]:
        raise ValueError(f"expected a lower bound of {', '.join(PACKAGES)}; there is none of {', '.join(without)}")
    return {name: max(versions, key=Version) for name, versions in bounds.items()}


def run_end(end: str, settings: Settings) -> dict[str, Any]:
    """Install one end, run the tests with it, and return the versions and what the tests came to.

    Raises:
        RuntimeError: If what was installed is not that end, or the tests did not run.
    """
    folder = settings.environments.resolve() / end
    python = str(folder / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    pinned = lowest_versions(project["dependencies"]) if end == "lowest" else {}
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in pinned.items()))
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
    if settings.torch_index:
        subprocess.run([*install, "--index-url", settings.torch_index, "torch"], check=True)
    subprocess.run([*install, "--editable", f"{CHECKOUT}[dev]"], check=True)
    answer = subprocess.run([python, "-c", VERSIONS, *PACKAGES], check=True, capture_output=True, text=True).stdout
    versions: dict[str, str] = json.loads(answer)
    # A build may have a mark of its own: 2.4.0+cpu is 2.4.
    if wrong := [
        name for name, version in pinned.items() if Version(Version(versions[name]).public) != Version(version)
    ]:
        raise RuntimeError(f"expected {pinned} to be installed, got {versions}: {', '.join(wrong)}")
    report = folder / "tests.xml"
    # One end's caches would be in the way of the other's.
    options = ["-p", "no:cacheprovider", f"--junit-xml={report}", f"--deselect={ABOUT_THE_RESULT}"]
    subprocess.run(
        [python, "-m", "pytest", "--quiet", "--numprocesses=auto", "--dist=loadfile", *options, *settings.tests],
        cwd=CHECKOUT,
        check=False,  # failures are told by the report
    )
    if not report.exists():
        raise RuntimeError(f"the tests of the {end} versions wrote no report, see above")
    suite = ElementTree.parse(report).getroot()[0].attrib
    failed, skipped = int(suite["failures"]) + int(suite["errors"]), int(suite["skipped"])
    passed = int(suite["tests"]) - failed - skipped
    return {
        "versions": versions,
        "passed": passed,
        "failed": failed,
        "skipped": skipped,
        "seconds": round(float(suite["time"])),
    }


def markdown(ends: dict[str, dict[str, Any]], command: str) -> str:
    """Return the table of both ends."""
    head = f"| versions | {' | '.join(PACKAGES)} | passed | failed | skipped | seconds |"
    rows = [
        f"| {name} | {' | '.join(end['versions'][package] for package in PACKAGES)} "
        f"| {end['passed']:,} | {end['failed']} | {end['skipped']} | {end['seconds']} |"
        for name, end in ends.items()
    ]
    note = "All other packages are as new as pip found them. The seconds are those of two busy cores."
    return "\n".join([head, "|---" * (5 + len(PACKAGES)) + "|", *rows, "", f"`{command}`. {note}"]) + "\n"


def run(settings: Settings) -> dict[str, dict[str, Any]]:
    """Run the tests of all ends, write the table, and return what they came to."""
    require_writable(settings.output)
    require_writable(settings.environments)
    ends = {end: run_end(end, settings) for end in settings.ends}
    write_json(settings.output / "compatibility.json", settings, {"ends": ends})
    table = markdown(ends, "make matrix")
    write_file(settings.output / "compatibility.md", table)
    print(table)
    return ends


if __name__ == "__main__":
    outcome = run(tyro.cli(Settings, description=Settings.__doc__))
    sys.exit(any(end["failed"] or not end["passed"] for end in outcome.values()))
