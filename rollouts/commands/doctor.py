"""What is installed, what works, and what to do about what does not, on one screen."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import NamedTuple

import torch
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

PACKAGE = "generative-policies"
EXTRAS = ("export", "ray")
BACKENDS = ("egl", "osmesa", "glfw")
RENDER_SECONDS = 60.0
# In a process of its own: a backend is chosen once a process, and a broken driver may take the process with it.
RENDER = """
import sys, mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 16, 16)
renderer.update_scene(data)
sys.exit(0 if renderer.render().shape == (16, 16, 3) else "no picture")
"""


@dataclass(frozen=True)
class DoctorSettings:
    """Tell what is installed and what works here: packages, extras, rendering, video, threads and devices."""


class Finding(NamedTuple):
    """One line of the screen.

    Attributes:
        name: What was looked at.
        found: What there is.
        advice: What to do about it, empty where nothing is missing.
        needed: Whether the library does not work without.
    """

    name: str
    found: str
    advice: str = ""
    needed: bool = False


def doctor(settings: DoctorSettings | None = None, console: Console | None = None) -> bool:
    """Look at everything, print the screen, and return whether all that the library needs is there.

    Args:
        settings: There are none.
        console: Where to print.
    """
    found = [*packages(), *extras(), *rendering(), video(), *compute()]
    table = Table(
        box=None, pad_edge=False, title=f"{PACKAGE} {_version(PACKAGE) or 'not installed'}", title_justify="left"
    )
    for name in ("", "", "found", "what to do"):
        table.add_column(name, overflow="fold")
    for finding in found:
        mark = "[green]ok" if not finding.advice else "[red]missing" if finding.needed else "[yellow]note"
        table.add_row(mark, finding.name, finding.found, finding.advice)
    (console or Console()).print(table)
    return not any(finding.advice and finding.needed for finding in found)


def packages() -> list[Finding]:
    """Return the findings about Python and the packages that the library needs."""
    found = [Finding("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")]
    for requirement in _requirements():
        if requirement.marker is None:
            found.append(_package(requirement, needed=True, advice=f"pip install '{requirement}'"))
    return found


def extras() -> list[Finding]:
    """Return the findings about what some parts need."""
    found = []
    for extra in EXTRAS:
        wanted = [r for r in _requirements() if r.marker is not None and r.marker.evaluate({"extra": extra})]
        lines = [_package(r, needed=False, advice=f"pip install '{PACKAGE}[{extra}]'") for r in wanted]
        known = ", ".join(f"{line.name} {line.found}" for line in lines)
        advice = next((line.advice for line in lines if line.advice), "")
        if not lines:  # installed, editable above all, before the extra was there
            known, advice = "not known to the installed version", f"install {PACKAGE} again"
        found.append(Finding(f"extra {extra}", known, advice))
    return found


def rendering(backends: Sequence[str] = BACKENDS, renders: Callable[[str], str | None] | None = None) -> list[Finding]:
    """Return the finding about offscreen rendering, by a frame of each backend.

    Args:
        backends: Names for ``MUJOCO_GL``.
        renders: Renders a frame with one, and returns what went wrong, ``None`` if nothing did.
    """
    chosen = os.environ.get("MUJOCO_GL", "").lower()
    reasons = {backend: (renders or _renders)(backend) for backend in backends}
    working = [backend for backend, reason in reasons.items() if reason is None]
    failed = [f"{backend} does not: {reason}" for backend, reason in reasons.items() if reason is not None]
    found = "; ".join([f"{', '.join(working)} works" if working else "no backend works", *failed])
    advice = ""
    if not working:
        advice = (
            "videos are left away; on Debian or Ubuntu: apt-get install libegl1 libgl1 (EGL), or libosmesa6 with "
            "MUJOCO_GL=osmesa"
        )
    elif chosen and chosen not in working:
        advice = f"MUJOCO_GL={chosen} names a backend that does not work: unset it, or set it to {working[0]}"
    return [Finding("rendering", found, advice)]


def video() -> Finding:
    """Return the finding about writing videos."""
    try:
        import imageio_ffmpeg

        path = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        return Finding("video", str(error).splitlines()[0], "pip install 'imageio[ffmpeg]'")
    return Finding("video", f"ffmpeg at {path}")


def compute() -> list[Finding]:
    """Return the findings about threads and devices."""
    cores, threads = os.cpu_count() or 1, torch.get_num_threads()
    advice = ""
    if threads > 1:
        advice = "one robot's actions are fastest with torch.set_num_threads(1), or OMP_NUM_THREADS=1"
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [f"cuda:{k} {torch.cuda.get_device_name(k)}" for k in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [
        Finding("threads", f"{threads} of torch on {cores} cores", advice),
        Finding("devices", f"{', '.join(devices)}; models live where their parameters are, the CPU by default"),
    ]


def _requirements() -> list[Requirement]:
    try:
        return [Requirement(line) for line in requires(PACKAGE) or []]
    except PackageNotFoundError:
        return []


def _package(requirement: Requirement, needed: bool, advice: str) -> Finding:
    installed = _version(requirement.name)
    fits = installed is not None and requirement.specifier.contains(installed, prereleases=True)
    wanted = f", wanted {requirement.specifier}" if installed and not fits else ""
    return Finding(requirement.name, f"{installed or 'not installed'}{wanted}", "" if fits else advice, needed)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _renders(backend: str) -> str | None:
    """Render a frame with a backend, and return what went wrong."""
    if backend == "glfw" and sys.platform == "linux" and not os.environ.get("DISPLAY"):
        return "it needs a screen"
    try:
        done = subprocess.run(
            [sys.executable, "-c", RENDER],
            env={**os.environ, "MUJOCO_GL": backend},
            capture_output=True,
            text=True,
            timeout=RENDER_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no frame within {RENDER_SECONDS:.0f} s"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return None if done.returncode == 0 else (lines[-1] if lines else f"exit code {done.returncode}")
