"""What is installed, what works, and what to do about what does not, on one screen.

It imports Python's own library alone, so that it can tell of any package that is missing.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from generative_policies.installed_packages import PACKAGE, Package, examine, needed, requirements, version

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
# What PyOpenGL says where it found no library.
NO_LIBRARY = {
    "object has no attribute 'glGetError'": "libOSMesa is not installed",
    "object has no attribute 'eglQueryString'": "libEGL is not installed",
}
MAX_PATH = 40  # of characters that are shown whole


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


def main(arguments: Sequence[str] = ()) -> None:
    """Run the command ``doctor``; the exit code is 1 where something is missing that the library needs.

    Args:
        arguments: Of the command; ``--help`` is the only one there is.
    """
    argparse.ArgumentParser(prog=f"{PACKAGE} doctor", description=DoctorSettings.__doc__).parse_args(arguments)
    if not doctor():
        sys.exit(f"{PACKAGE}: something that it needs is missing, see above")


def doctor() -> bool:
    """Look at everything, print the screen, and return whether all that the library needs is there."""
    found = packages()
    broken = {finding.name for finding in found if finding.advice}
    with_mujoco, with_torch = (name not in broken and version(name) is not None for name in ("mujoco", "torch"))
    found += extras()
    found += rendering() if with_mujoco else [Finding("rendering", "not tried without mujoco")]
    found.append(video())
    found += compute() if with_torch else []
    print(f"{PACKAGE} {version(PACKAGE) or 'not installed'}\n")
    print(screen(found, shutil.get_terminal_size().columns))
    return not any(finding.advice and finding.needed for finding in found)


def screen(found: Iterable[Finding], columns: int) -> str:
    """Return the findings as text, one below the other.

    Args:
        found: The findings.
        columns: Characters a line. A longer word, a command's last argument say, stays whole.
    """
    found = list(found)
    width = max(len(finding.name) for finding in found)
    lines = []
    for finding in found:
        mark = "ok" if not finding.advice else "missing" if finding.needed else "note"
        start = f"{mark:7}  {finding.name:{width}}  "
        advice = f"-> {finding.advice}" if finding.advice else ""
        together = " ".join(filter(None, (finding.found, advice)))
        fits = len(start) + len(together) <= columns
        for part in [together] if fits else filter(None, (finding.found, advice)):
            indent = " " * len(start)
            lines += textwrap.wrap(
                part,
                columns,
                initial_indent=start,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
            start = indent
    return "\n".join(lines)


def packages() -> list[Finding]:
    """Return the findings about Python and what the library needs: one of all that works, one of each that does not."""
    python = Finding("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    found = examine(needed())
    if not found:
        return [python, Finding("packages", "what it needs is not known", f"install {PACKAGE}: pip install .", True)]
    working = [package for package in found if package.works]
    broken = [package for package in found if not package.works]
    number = f"{len(working)} of {len(found)} work" if broken else f"{len(found)}, all within their bounds"
    summary = Finding("packages", f"{number}: {', '.join(map(_told, working))}" if working else number)
    return [python, summary, *(Finding(package.name, _ill(package), package.cure, True) for package in broken)]


def extras() -> list[Finding]:
    """Return the findings about what some parts need."""
    found = []
    for extra in EXTRAS:
        looked_at = examine(requirements(PACKAGE, extra))
        broken = [package for package in looked_at if not package.works]
        working = ", ".join(_told(package) for package in looked_at if package.works)
        known = "; ".join(filter(None, (working, *(f"{package.name} {_ill(package)}" for package in broken))))
        advice = ""
        if not looked_at:  # installed, editable above all, before the extra was there
            known, advice = "not known to the installed version", f"install {PACKAGE} again"
        elif any(package.version is None for package in broken):
            advice = f"pip install '{PACKAGE}[{extra}]'"
        elif broken:
            advice = broken[0].cure
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

        path = Path(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        return Finding("video", str(error).splitlines()[0], "pip install 'imageio[ffmpeg]'")
    short = str(path) if len(str(path)) <= MAX_PATH else f".../{path.parent.name}/{path.name}"
    return Finding("video", f"ffmpeg at {short}")


def compute() -> list[Finding]:
    """Return the findings about threads and devices."""
    import torch

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


def _told(package: Package) -> str:
    return f"{package.name}=={package.version}"


def _ill(package: Package) -> str:
    return "not installed" if package.version is None else f"{package.version}: {package.error}"


def _renders(backend: str) -> str | None:
    """Render a frame with a backend, and return what went wrong."""
    if backend == "glfw" and sys.platform == "linux" and not os.environ.get("DISPLAY"):
        return "it needs a screen"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", RENDER],
            env={**os.environ, "MUJOCO_GL": backend},
            capture_output=True,
            text=True,
            timeout=RENDER_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no frame within {RENDER_SECONDS:.0f} s"
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else f"exit code {done.returncode}"
    return next((told for raised, told in NO_LIBRARY.items() if raised in last), last)
