"""The tests at both ends of the versions: pyproject.toml tells the ends, and the committed result is of them."""

import json
import tomllib

import pytest
from packaging.version import Version

from benchmarks.compatibility import CHECKOUT, PACKAGES, Settings, lowest_versions, markdown

RESULTS = CHECKOUT / "benchmarks" / "results"
REQUIREMENTS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]


def test_the_lower_bound_counts_whatever_stands_beside_it() -> None:
    requirements = [
        "numpy<3,>=2",
        "torch>=2.4,>=2.5",
        "mujoco!=4,>=3.3",
        "gymnasium>=1",
        "stable-baselines3>=2.7",
        "rich",
    ]
    assert lowest_versions(requirements) == {
        "gymnasium": "1",
        "stable-baselines3": "2.7",
        "mujoco": "3.3",
        "numpy": "2",
        "torch": "2.5",
    }


def test_a_package_without_a_lower_bound_is_named() -> None:
    with pytest.raises(ValueError, match="none of mujoco, torch"):
        lowest_versions(["numpy>=2", "torch", "mujoco!=4", "gymnasium>=1", "stable-baselines3>=2.7"])


@pytest.mark.parametrize("ends", [(), ("oldest",)])
def test_settings_are_checked(ends: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="ends must be some of lowest, newest"):
        Settings(ends=ends)


def test_the_committed_result_is_green_at_both_ends() -> None:
    report = json.loads((RESULTS / "compatibility.json").read_text())
    assert report["settings"]["tests"] == []  # all of them
    ends = report["ends"]
    assert list(ends) == ["lowest", "newest"]
    for end in ends.values():
        assert end["failed"] == 0 and end["passed"] > 2_000
    for name, version in lowest_versions(REQUIREMENTS).items():
        assert Version(Version(ends["lowest"]["versions"][name]).public) == Version(version)
    assert any(ends["newest"]["versions"][name] != ends["lowest"]["versions"][name] for name in PACKAGES)
    assert (RESULTS / "compatibility.md").read_text() == markdown(ends, "make matrix")
