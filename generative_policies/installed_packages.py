"""What the library needs, by its metadata, and whether it is there: with Python's own library alone."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import NamedTuple

PACKAGE = "generative-policies"
MODULES = {"pillow": "PIL"}  # where it is not the package's name
IMPORT_SECONDS = 180.0
LINE = re.compile(r"(?P<name>[\w.-]+) *(?:\[(?P<extras>[^]]*)\])? *\(?(?P<bounds>[^;()]*)\)?(?:;(?P<marker>.*))?")
# In a process of its own, which a broken library may take with it. What packages print goes to its errors.
IMPORT = """
import importlib, json, os, sys
report = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
for module in sys.argv[1:]:
    told, wanted = "", ""
    try:
        importlib.import_module(module)
    except BaseException as error:
        last = (str(error).strip() or "without a word").splitlines()[-1]
        told = f"{type(error).__name__}: {last.strip()}"
        if isinstance(error, ModuleNotFoundError):
            wanted = str(error.name).partition(".")[0]
    print(json.dumps([told, wanted]), file=report)
"""


class Requirement(NamedTuple):
    """A package that is needed.

    Attributes:
        name: Of the package.
        extras: Of it that are needed too.
        bounds: On its version.
        marker: When it is needed, empty for always.
        cure: What pip installs to have it, another package with an extra where that asks for it.
    """

    name: str
    extras: tuple[str, ...]
    bounds: str
    marker: str
    cure: str


class Package(NamedTuple):
    """What was found of a package.

    Attributes:
        name: Of the package.
        version: ``None`` if it is not installed.
        error: What is wrong with what is installed, empty if nothing is.
        cure: The command that mends it, empty if nothing is wrong.
    """

    name: str
    version: str | None
    error: str
    cure: str

    @property
    def works(self) -> bool:
        """Whether it is installed, within its bounds, and can be imported."""
        return self.version is not None and not self.error


def needed() -> list[Requirement]:
    """Return what the library does not work without, each followed by what its extras need."""
    found: dict[str, Requirement] = {}
    for requirement in requirements(PACKAGE):
        found.setdefault(requirement.name, requirement)
        for extra in requirement.extras:
            for inner in requirements(requirement.name, extra):
                found.setdefault(inner.name, inner._replace(cure=requirement.cure))
    return list(found.values())


def requirements(package: str, extra: str = "") -> list[Requirement]:
    """Return what a package needs, or what an extra of it adds; nothing where it is not installed."""
    try:
        found = [parse(line) for line in metadata.requires(package) or []]
    except metadata.PackageNotFoundError:
        return []
    return [r for r in found if (_applies(r.marker, extra) if r.marker else not extra)]


def parse(line: str) -> Requirement:
    """Take a line of metadata apart."""
    match = LINE.match(line.strip())
    if match is None:
        raise ValueError(f"expected a requirement like 'minari[hdf5]>=0.5', got {line!r}")
    extras = tuple(extra.strip() for extra in (match["extras"] or "").split(",") if extra.strip())
    cure = line.partition(";")[0].strip()
    return Requirement(match["name"], extras, match["bounds"].strip(), (match["marker"] or "").strip(), cure)


def examine(wanted: Sequence[Requirement]) -> list[Package]:
    """Look at packages: their versions, and whether they can be imported, all in one process unless that dies."""
    versions = {requirement.name: version(requirement.name) for requirement in wanted}
    errors = _import([module_of(name) for name, number in versions.items() if number is not None])
    cures: dict[str, str] = {}  # of modules that are not there
    found = []
    for requirement in wanted:
        name, number = requirement.name, versions[requirement.name]
        error, absent = errors.get(module_of(name), ("", ""))
        cure = ""
        if number is None:
            cure = f"pip install '{requirement.cure}'"
        elif not _is_within(number, requirement.bounds):
            error, cure = f"wanted {requirement.bounds}", f"pip install '{requirement.cure}'"
        elif absent in cures:
            error, cure = f"it needs {absent}", cures[absent]
        elif error:
            cure = f"pip install --force-reinstall '{name}{requirement.bounds}'"
        if cure:
            cures.setdefault(module_of(name), cure)
        found.append(Package(name, number, error, cure))
    return found


def version(package: str) -> str | None:
    """Return the version of a package, ``None`` if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def module_of(package: str) -> str:
    """Return the name that a package is imported by."""
    return MODULES.get(package, package.replace("-", "_"))


def _import(modules: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Import modules, and return for each what it raised, and the module that was not there if one was not."""
    waiting, found = list(modules), {}
    while waiting:
        # -P: a script of the user's may bear the name of a package. MuJoCo is asked for without a backend.
        command = [sys.executable, "-P", "-c", IMPORT, *waiting]
        try:
            done = subprocess.run(
                command,
                env={**os.environ, "MUJOCO_GL": "disabled"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=IMPORT_SECONDS,
            )
            printed, end = done.stdout, f"the import ends Python with exit code {done.returncode}"
        except subprocess.TimeoutExpired as late:
            printed, end = late.stdout or b"", "the import does not end"
        for line in printed.splitlines():
            error, absent = json.loads(line)
            found[waiting.pop(0)] = (error, absent)
        if waiting:  # it came no further than the first of them
            found[waiting.pop(0)] = (end, "")
    return found


def _is_within(number: str, bounds: str) -> bool:
    """Whether a version is within bounds; also where packaging, which knows, is what is missing."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True
    return SpecifierSet(bounds).contains(number, prereleases=True)


def _applies(marker: str, extra: str) -> bool:
    try:
        from packaging.markers import Marker
    except ImportError:
        return f'extra == "{extra}"' in marker.replace("'", '"')
    return Marker(marker).evaluate({"extra": extra})
