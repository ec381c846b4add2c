"""Rendering: which backend of OpenGL there is, and a clear word where there is none."""

import gc
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

BACKENDS = ("glfw", "egl", "osmesa")  # the first needs a screen


class RenderingUnavailableError(RuntimeError):
    """Offscreen rendering does not work on this machine."""


def require_rendering() -> None:
    """Choose a backend, unless ``MUJOCO_GL`` names one, and try it.

    Raises:
        RenderingUnavailableError: If there is none that works.
    """
    chosen = os.environ.get("MUJOCO_GL", "").lower()
    has_screen = sys.platform != "linux" or bool(os.environ.get("DISPLAY"))
    candidates = (chosen,) if chosen else (BACKENDS if has_screen else BACKENDS[1:])
    reasons = []
    for backend in candidates:
        if backend == "glfw" and not has_screen:
            reasons.append("glfw: needs a screen")  # which it would not say itself
            continue
        try:
            with _silent_finalizers():
                context = importlib.import_module(f"mujoco.{backend}").GLContext(16, 16)
                context.make_current()
                context.free()
        except Exception as error:  # the backends share no exception class
            reasons.append(f"{backend}: {str(error) or type(error).__name__}")
        else:
            os.environ["MUJOCO_GL"] = backend  # Gymnasium reads it at the first frame
            return
    raise RenderingUnavailableError(f"offscreen rendering is not available ({'; '.join(reasons)})".replace("\n", " "))


def import_mujoco() -> None:
    """Import MuJoCo even where ``MUJOCO_GL`` names a backend that is not there, which it takes as a reason to fail."""
    try:
        importlib.import_module("mujoco")
    except Exception as error:  # whatever the loader of OpenGL raises
        print(f"MUJOCO_GL={os.environ.get('MUJOCO_GL')} does not work, rendering is off: {error}", file=sys.stderr)
        os.environ["MUJOCO_GL"] = "disabled"
        importlib.import_module("mujoco")


@contextmanager
def _silent_finalizers() -> Iterator[None]:
    """Keep half-built contexts from printing tracebacks when they are collected."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None
    try:
        yield
    finally:
        gc.collect()
        sys.unraisablehook = hook
