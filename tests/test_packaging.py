"""Packaging: what the tree holds is what gets installed, as wheel and editable, outside the checkout."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
MAPPED = ("envs", "wrappers", "rollouts")

# Runs in a fresh environment, in a folder that holds nothing.
USE = """
import generative_policies.envs, generative_policies.wrappers, generative_policies.rollouts
from pathlib import Path
assert Path(generative_policies.__path__[0], "py.typed").is_file()
expert = generative_policies.rollouts.load_expert("Pusher-v5")
env = generative_policies.envs.make_env("Pusher-v5")
print(expert.predict(env.reset(seed=0)[0])[0].shape, generative_policies.models.__file__)
"""


def test_the_package_list_is_the_tree() -> None:
    listed = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {"generative_policies"}
    for top in ("generative_policies", *MAPPED):
        for init in (CHECKOUT / top).rglob("__init__.py"):
            parts = init.parent.relative_to(CHECKOUT).parts
            if parts[0] in MAPPED:
                found.add(".".join(("generative_policies", *parts)))
            elif len(parts) == 1 or parts[1] not in MAPPED:
                found.add(".".join(parts))
    assert sorted(listed) == sorted(found)


def test_symlinks_lead_to_the_top_level_folders() -> None:
    for name in MAPPED:
        link = CHECKOUT / "generative_policies" / name
        assert link.is_symlink() and link.resolve() == (CHECKOUT / name).resolve()
        assert not link.readlink().is_absolute()


@pytest.mark.slow  # 20 s each
@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_installs_outside_the_checkout(kind: str, tmp_path: Path) -> None:
    source, environment, elsewhere = tmp_path / "source", tmp_path / "environment", tmp_path / "elsewhere"
    elsewhere.mkdir()
    ignore = shutil.ignore_patterns(".venv", ".git", "runs", "build", "dist", "*.egg-info", "__pycache__", ".*cache")
    shutil.copytree(CHECKOUT, source, symlinks=True, ignore=ignore)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    # The dependencies of this environment, but not its editable install of the package.
    site = next((environment / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(f"{Path(pytest.__file__).parent.parent}\n")

    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    pip += ["--no-build-isolation", "--ignore-installed"]
    subprocess.run([*pip, *([] if kind == "wheel" else ["--editable"]), str(source)], check=True, cwd=elsewhere)
    answer = subprocess.run([python, "-c", USE], check=True, capture_output=True, text=True, cwd=elsewhere)
    shape, file = answer.stdout.rsplit(" ", 1)
    assert shape == "(7,)"
    assert file.startswith(str(site if kind == "wheel" else source))
    # The reason for the mapping: half of all projects have a folder called envs.
    missing = "import importlib.util as u; assert not [n for n in ('envs', 'wrappers', 'rollouts') if u.find_spec(n)]"
    subprocess.run([python, "-c", missing], check=True, cwd=elsewhere)
    command = environment / "bin" / "generative-policies"
    for name in ("demo", "doctor"):
        subprocess.run([command, name, "--help"], check=True, capture_output=True, cwd=elsewhere)
