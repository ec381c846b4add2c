"""The doctor tells what is there, and what to do about what is not, also where hardly anything is."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from generative_policies import doctor as doctor_module
from generative_policies.doctor import Finding, compute, doctor, extras, packages, rendering, screen, video
from generative_policies.installed_packages import Package
from generative_policies.rollouts.command_line import main

CHECKOUT = Path(__file__).parent.parent


def run(*command: str, cwd: Path = CHECKOUT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command on a screen of 80 columns."""
    environment = {**os.environ, "COLUMNS": "80", **variables}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.slow  # every package is imported, and a frame of each backend rendered
def test_here_everything_that_is_needed_is_there_on_one_screen() -> None:
    done = run(sys.executable, "-m", "generative_policies", "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) < 30 and max(map(len, lines)) <= 80
    for name in ("torch", "h5py", "stable-baselines3", "extra export", "rendering", "ffmpeg", "threads", "devices"):
        assert name in done.stdout
    assert metadata.version("torch") in done.stdout and "all within their bounds" in done.stdout
    assert "missing" not in done.stdout


@pytest.mark.slow  # as above
def test_blocked_packages_are_named_with_the_command_that_brings_them(tmp_path: Path) -> None:
    blocked = ("tyro", "torch", "h5py", "imageio_ffmpeg", "rich")
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({blocked!r}))\n")
    path = os.pathsep.join([str(tmp_path), str(CHECKOUT)])
    done = run(sys.executable, "-m", "generative_policies", "doctor", PYTHONPATH=path)
    assert done.returncode == 1
    assert "something that it needs is missing" in done.stderr and "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 80
    for name in (name.replace("_", "-") for name in blocked):
        (line,) = (k for k, line in enumerate(lines) if line.startswith(f"missing  {name} "))
        assert f"pip install --force-reinstall '{name}" in " ".join(lines[line : line + 3])
    assert "it needs torch" in done.stdout  # SB3
    assert "ok       video" not in done.stdout
    others = run(sys.executable, "-m", "generative_policies", "demo", PYTHONPATH=path)
    assert others.returncode == 1 and len(others.stderr.splitlines()) == 1
    assert "generative-policies doctor" in others.stderr


def test_without_any_package_each_is_told(tmp_path: Path) -> None:
    code, information = tmp_path / "code", tmp_path / "metadata" / "generative_policies-0.1.0.dist-info"
    code.mkdir()  # a checkout may hold metadata too
    (code / "generative_policies").symlink_to(CHECKOUT / "generative_policies")
    information.mkdir(parents=True)
    installed = metadata.distribution("generative-policies")
    text = installed.read_text("METADATA") or installed.read_text("PKG-INFO")  # the latter in a checkout
    assert text is not None
    (information / "METADATA").write_text(text)
    bare = [sys.executable, "-S", "-m", "generative_policies", "doctor"]  # without site-packages
    done = run(*bare, cwd=tmp_path, PYTHONPATH=os.pathsep.join([str(information.parent), str(code)]))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 80
    for requirement in ("torch>=2.4", "tyro>=0.9", "rich>=13", "packaging>=23", "minari[hdf5]>=0.5.3"):
        assert f"not installed -> pip install '{requirement}'" in done.stdout
    unknown = run(*bare, cwd=tmp_path, PYTHONPATH=str(code))
    assert unknown.returncode == 1 and "what it needs is not known" in unknown.stdout


def test_help_needs_no_packages_either() -> None:
    done = run(sys.executable, "-S", "-m", "generative_policies", "doctor", "--help", PYTHONPATH=str(CHECKOUT))
    assert done.returncode == 0 and "usage: generative-policies doctor" in done.stdout
    assert "what is installed" in done.stdout
    wrong = run(sys.executable, "-S", "-m", "generative_policies", "doctor", "--wrong", PYTHONPATH=str(CHECKOUT))
    assert wrong.returncode == 2 and "--wrong" in wrong.stderr


@pytest.mark.parametrize("module", ["generative_policies", "generative_policies.rollouts"])
def test_the_modules_are_the_command(module: str) -> None:
    done = run(sys.executable, "-m", module, "--help")
    assert done.returncode == 0
    assert "doctor" in done.stdout and "train-source" in done.stdout


def test_packages_that_are_whole_are_one_finding_and_the_others_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Package("h5py", "3.1", "OSError: no such library", "pip install --force-reinstall 'h5py>=3'")
    absent = Package("einops", None, "", "pip install 'einops>=0.8'")
    whole = [Package(f"package-{k}", "1.0", "", "") for k in range(15)]
    monkeypatch.setattr(doctor_module, "examine", lambda requirements: [*whole, broken, absent])
    _, summary, *others = packages()
    assert summary.found.startswith("15 of 17 work: package-0==1.0, ") and summary.advice == ""
    assert others == [
        Finding("h5py", "3.1: OSError: no such library", broken.cure, True),
        Finding("einops", "not installed", absent.cure, True),
    ]
    monkeypatch.setattr(doctor_module, "examine", lambda requirements: whole)
    _, summary = packages()
    assert summary.found.startswith("15, all within their bounds: package-0==1.0, ")


def test_an_extra_that_is_missing_is_no_illness(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Package("onnx", "1.2", "", ""), Package("onnxruntime", None, "", "pip install 'onnxruntime>=1'")]
    monkeypatch.setattr(doctor_module, "examine", lambda requirements: found)
    (export, _) = extras()
    assert export.found == "onnx==1.2; onnxruntime not installed"
    assert export.advice == "pip install 'generative-policies[export]'" and not export.needed


def test_the_screen_keeps_to_its_width_and_commands_whole() -> None:
    text = screen(
        [
            Finding("short", "fine"),
            Finding("long", ", ".join(f"stable-baselines{k}==1.0" for k in range(20))),
            Finding("broken", "not installed", "pip install 'a>=1'", True),
            Finding(
                "worse", "an error that fills the line, more or less", "pip install --force-reinstall 'b>=1'", True
            ),
        ],
        columns=80,
    )
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "ok       short   fine" in lines
    assert "missing  broken  not installed -> pip install 'a>=1'" in lines
    assert lines[-1] == "                 -> pip install --force-reinstall 'b>=1'"
    assert all(f"stable-baselines{k}==1.0" in text for k in range(20))


def test_rendering_names_what_works_and_what_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    (some,) = rendering(("egl", "osmesa"), {"egl": "no device", "osmesa": None}.get)
    assert some.found == "osmesa works; egl does not: no device" and some.advice == ""
    (none,) = rendering(("egl",), lambda backend: "no device")
    assert "no backend works" in none.found and "libegl1" in none.advice
    monkeypatch.setenv("MUJOCO_GL", "egl")
    (wrong,) = rendering(("egl", "osmesa"), {"egl": "no device", "osmesa": None}.get)
    assert "MUJOCO_GL=egl" in wrong.advice and "set it to osmesa" in wrong.advice


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("no display", "no display"),
        ("AttributeError: 'NoneType' object has no attribute 'glGetError'", "libOSMesa is not installed"),
        ("AttributeError: 'NoneType' object has no attribute 'eglQueryString'", "libEGL is not installed"),
    ],
)
def test_a_broken_backend_is_told_and_does_not_take_the_process_with_it(
    raised: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_module, "RENDER", f"import os, sys; sys.stderr.write({raised!r}); os._exit(11)")
    (found,) = rendering(("egl",))
    assert found.found == f"no backend works; egl does not: {told}"


def test_a_backend_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "RENDER", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor_module, "RENDER_SECONDS", 0.5)
    (late,) = rendering(("egl",))
    assert "no frame within" in late.found


def test_video(monkeypatch: pytest.MonkeyPatch) -> None:
    imageio_ffmpeg: Any = pytest.importorskip("imageio_ffmpeg")
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: f"/{'deep/' * 20}binaries/ffmpeg-linux")
    assert video().found == "ffmpeg at .../binaries/ffmpeg-linux"
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: "/usr/bin/ffmpeg")
    assert video().found == "ffmpeg at /usr/bin/ffmpeg"
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert video().advice == "pip install 'imageio[ffmpeg]'"


def test_threads_and_devices() -> None:
    threads, devices = compute()
    assert threads.found.startswith("1 of torch on ") and threads.advice == ""  # as the tests set it
    assert devices.found.startswith("cpu")


def test_what_stands_on_a_missing_package_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = [Finding(name, "not installed", "install it", True) for name in ("torch", "mujoco")]
    monkeypatch.setattr(doctor_module, "packages", lambda: missing)
    for name in ("rendering", "compute"):
        monkeypatch.setattr(doctor_module, name, lambda: pytest.fail("it would raise"))
    monkeypatch.setattr(doctor_module, "extras", lambda: [])
    assert not doctor()


def test_the_command_fails_where_something_needed_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "packages", lambda: [Finding("mujoco", "not installed", "install it", True)])
    monkeypatch.setattr(doctor_module, "extras", lambda: [])
    monkeypatch.setattr(sys, "argv", ["generative-policies", "doctor"])
    with pytest.raises(SystemExit, match="something that it needs is missing"):
        main()
