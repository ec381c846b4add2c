"""Importing MuJoCo on machines whose OpenGL is not what ``MUJOCO_GL`` says."""

import importlib
import os
import sys


def import_mujoco() -> None:
    """Import MuJoCo even where ``MUJOCO_GL`` names a backend that is not there, which it takes as a reason to fail."""
    try:
        importlib.import_module("mujoco")
    except Exception as error:  # whatever the loader of OpenGL raises
        print(f"MUJOCO_GL={os.environ.get('MUJOCO_GL')} does not work, rendering is off: {error}", file=sys.stderr)
        os.environ["MUJOCO_GL"] = "disabled"
        importlib.import_module("mujoco")
