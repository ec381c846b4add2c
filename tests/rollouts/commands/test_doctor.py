"""The doctor tells what is there, and what to do about what is not."""

import io
import sys
from importlib import metadata

import pytest
from rich.console import Console

from generative_policies.rollouts.command_line import main
from generative_policies.rollouts.commands import doctor as doctor_module
from generative_policies.rollouts.commands.doctor import Finding, compute, doctor, extras, packages, rendering, video


def screen() -> tuple[bool, str]:
    stream = io.StringIO()
    healthy = doctor(console=Console(file=stream, width=160))
    return healthy, stream.getvalue()


@pytest.mark.slow  # a frame of each backend, each in a process of its own
def test_here_everything_that_is_needed_is_there() -> None:
    healthy, text = screen()
    assert healthy
    assert len(text.splitlines()) < 40  # one screen
    for name in (
        "torch",
        "gymnasium",
        "stable-baselines3",
        "extra export",
        "rendering",
        "ffmpeg",
        "threads",
        "devices",
    ):
        assert name in text
    assert metadata.version("torch") in text
    assert "missing" not in text


def test_a_package_that_is_missing_or_too_old_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor_module._version
    changed = {"einops": None, "torch": "2.3.0"}
    monkeypatch.setattr(doctor_module, "_version", lambda name: changed[name] if name in changed else real(name))
    found = {finding.name: finding for finding in packages()}
    assert found["einops"].found == "not installed" and found["einops"].advice == "pip install 'einops>=0.8'"
    assert found["torch"].found == "2.3.0, wanted >=2.4" and found["torch"].needed
    assert found["numpy"].advice == ""


def test_an_extra_that_is_missing_is_no_illness(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor_module._version
    monkeypatch.setattr(doctor_module, "_version", lambda name: None if name == "onnxruntime" else real(name))
    (export,) = (finding for finding in extras() if finding.name == "extra export")
    assert "onnxruntime not installed" in export.found
    assert export.advice == "pip install 'generative-policies[export]'" and not export.needed


def test_rendering_names_what_works_and_what_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    (some,) = rendering(("egl", "osmesa"), {"egl": "no device", "osmesa": None}.get)
    assert some.found == "osmesa works; egl does not: no device" and some.advice == ""
    (none,) = rendering(("egl",), lambda backend: "no device")
    assert "no backend works" in none.found and "libegl1" in none.advice
    monkeypatch.setenv("MUJOCO_GL", "egl")
    (wrong,) = rendering(("egl", "osmesa"), {"egl": "no device", "osmesa": None}.get)
    assert "MUJOCO_GL=egl" in wrong.advice and "set it to osmesa" in wrong.advice


def test_a_broken_backend_is_told_and_does_not_take_the_process_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "RENDER", "import os, sys; sys.stderr.write('no display'); os._exit(11)")
    (found,) = rendering(("egl",))
    assert found.found == "no backend works; egl does not: no display"
    monkeypatch.setattr(doctor_module, "RENDER", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor_module, "RENDER_SECONDS", 0.5)
    (late,) = rendering(("egl",))
    assert "no frame within" in late.found


def test_video_without_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert video().advice == "pip install 'imageio[ffmpeg]'"


def test_threads_and_devices() -> None:
    threads, devices = compute()
    assert threads.found.startswith("1 of torch on ") and threads.advice == ""  # as the tests set it
    assert devices.found.startswith("cpu")


def test_the_command_fails_where_something_needed_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "rendering", lambda: [])
    monkeypatch.setattr(doctor_module, "packages", lambda: [Finding("torch", "not installed", "install it", True)])
    monkeypatch.setattr(sys, "argv", ["generative-policies", "doctor"])
    with pytest.raises(SystemExit, match="something that it needs is missing"):
        main()
