"""The example scripts run, in a form that learns nothing."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "examples"
QUICK: dict[str, dict[str, int]] = {
    "steer_flow_policy": {"env_steps": 32, "demonstrations": 2, "clone_updates": 3, "episodes": 1},
    "correct_translated_expert": {
        "env_steps": 32,
        "episodes_at_home": 4,
        "target_episodes": 4,
        "updates": 3,
        "episodes": 1,
    },
}


@pytest.mark.parametrize("name", QUICK)
def test_examples_run(name: str) -> None:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    results = module.main(module.Settings(**QUICK[name]))
    assert len(results) >= 3 and np.isfinite(list(results.values())).all()
    assert results["expert at home"] > 3_000


def test_every_example_is_tried() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(QUICK)
