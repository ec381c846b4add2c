"""Importing a subpackage loads no more than it needs, and changes nothing."""

import importlib
import inspect
import re
import subprocess
import sys

import pytest

SUBPACKAGES = (
    "models",
    "data",
    "inverse_dynamics",
    "forward_dynamics",
    "action_translation",
    "training",
    "export",
    "policies",
    "envs",
    "wrappers",
    "rollouts",
)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("generative_policies", {"torch", "numpy", "gymnasium", "mujoco"}),
        ("generative_policies.__main__", {"torch", "numpy", "tyro", "rich", "packaging"}),
        ("generative_policies.models", {"gymnasium", "mujoco", "stable_baselines3", "matplotlib", "minari"}),
        ("generative_policies.inverse_dynamics", {"gymnasium", "mujoco", "stable_baselines3"}),
        ("generative_policies.forward_dynamics", {"gymnasium", "mujoco", "stable_baselines3"}),
        ("generative_policies.action_translation", {"gymnasium", "mujoco", "stable_baselines3"}),
        ("generative_policies.training", {"gymnasium", "mujoco", "stable_baselines3"}),
        ("generative_policies.export", {"gymnasium", "mujoco", "stable_baselines3", "onnx", "onnxruntime"}),
        ("generative_policies.checkpoints", {"gymnasium", "mujoco", "stable_baselines3"}),
        ("generative_policies.data", {"torch", "mujoco", "stable_baselines3"}),
        ("generative_policies.envs", {"torch", "stable_baselines3"}),
        ("generative_policies.policies", {"mujoco", "minari"}),
        ("generative_policies.wrappers", {"mujoco", "minari", "onnx", "onnxruntime"}),
    ],
)
def test_what_is_not_needed_is_not_loaded(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; found = {absent!r} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_leaves_thread_counts_alone() -> None:
    code = (
        "import torch; torch.set_num_threads(2)\n"
        "import generative_policies.rollouts, generative_policies.wrappers\n"
        "assert torch.get_num_threads() == 2"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_everything_in_all_is_there_and_documented() -> None:
    checked = 0
    for name in SUBPACKAGES:
        module = importlib.import_module(f"generative_policies.{name}")
        assert module.__all__ == sorted(
            module.__all__, key=lambda item: (not item.isupper(), not item[0].isupper(), item)
        )
        for item in module.__all__:
            value = getattr(module, item)
            if callable(value) and getattr(value, "__module__", "").startswith("generative_policies"):
                assert value.__doc__, item
                checked += 1
    assert checked > 40


def test_public_functions_tell_each_argument_and_what_they_return() -> None:
    checked = 0
    for name in SUBPACKAGES:
        module = importlib.import_module(f"generative_policies.{name}")
        for item in module.__all__:
            function = getattr(module, item)
            if inspect.isfunction(function):
                told, signature = inspect.getdoc(function) or "", inspect.signature(function)
                for argument in signature.parameters:
                    assert re.search(rf"^    (\*\*)?{argument}: ", told, re.MULTILINE), f"{item}: {argument}"
                answers = signature.return_annotation not in (None, "None") and not inspect.isgeneratorfunction(
                    inspect.unwrap(function)
                )
                assert not answers or "Return" in told, item
                checked += 1
    assert checked > 30
