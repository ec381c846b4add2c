"""What the library needs is looked for by its metadata, and imported for real in a process of its own."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from generative_policies import installed_packages
from generative_policies.installed_packages import examine, module_of, needed, requirements


def module(folder: Path, name: str, code: str) -> None:
    """Write a package that counts as installed, with metadata that needs nothing."""
    (folder / f"{name}.py").write_text(code)
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def parsed(*lines: str) -> list[installed_packages.Requirement]:
    return [installed_packages.parse(line) for line in lines]


def test_requirements_are_those_of_the_metadata_with_what_their_extras_need() -> None:
    names = [requirement.name for requirement in needed()]
    assert {"torch", "minari", "h5py", "imageio", "imageio-ffmpeg"} <= set(names)
    assert "onnx" not in names and len(names) == len(set(names))
    cures = {requirement.name: requirement.cure for requirement in needed()}
    assert cures["h5py"] == cures["minari"] and cures["h5py"].startswith("minari[hdf5]")
    assert [requirement.name for requirement in requirements("generative-policies", "ray")] == ["ray"]
    assert requirements("a-package-that-nobody-has") == []


def test_the_name_to_import_belongs_to_the_package() -> None:
    owners = metadata.packages_distributions()
    wanted = [*needed(), *requirements("generative-policies", "export"), *requirements("generative-policies", "ray")]
    for requirement in wanted:
        found = [owner.lower().replace("_", "-") for owner in owners[module_of(requirement.name)]]
        assert requirement.name in found
    assert len(wanted) > 20


def test_what_cannot_be_imported_is_told_with_the_last_line_of_its_error(site: Path) -> None:
    module(site, "whole", "")
    module(site, "torn", "raise OSError('first line\\nlibtorn.so.1: cannot open shared object file')")
    module(site, "needing", "import nowhere_at_all.inside")
    module(site, "chatty", "print('hello'); print('{}')")
    found = {package.name: package for package in examine(parsed("whole", "torn>=1", "needing", "chatty"))}
    assert found["whole"].error == found["chatty"].error == "" and found["whole"].version == "1.0"
    assert found["torn"].error == "OSError: libtorn.so.1: cannot open shared object file"
    assert found["torn"].cure == "pip install --force-reinstall 'torn>=1'"
    assert found["needing"].error == "ModuleNotFoundError: No module named 'nowhere_at_all'"


def test_what_fails_for_want_of_another_has_the_others_cure(site: Path) -> None:
    module(site, "above", "import below")
    module(site, "below", "raise ImportError('broken', name='below')")
    found = {package.name: package for package in examine(parsed("below", "above"))}
    assert found["below"].error == "ImportError: broken"
    module(site, "outside", "import absent")
    absent, outside = examine(parsed("absent>=2", "outside"))
    assert absent.version is None and absent.cure == "pip install 'absent>=2'"
    assert outside.error == "it needs absent" and outside.cure == absent.cure


def test_one_that_ends_the_process_or_hangs_leaves_the_others_to_be_told(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module(site, "first", "")
    module(site, "killer", "import os; os._exit(7)")
    module(site, "leaver", "raise SystemExit('no licence')")
    module(site, "last", "raise ValueError('wrong')")
    found = {package.name: package.error for package in examine(parsed("first", "killer", "leaver", "last"))}
    assert found == {
        "first": "",
        "killer": "the import ends Python with exit code 7",
        "leaver": "SystemExit: no licence",
        "last": "ValueError: wrong",
    }
    module(site, "sleeper", "import time; time.sleep(60)")
    monkeypatch.setattr(installed_packages, "IMPORT_SECONDS", 0.5)
    (slow,) = examine(parsed("sleeper"))
    assert slow.error == "the import does not end"


def test_versions_outside_their_bounds_are_told_and_without_packaging_they_are_not(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module(site, "whole", "")
    old, new, other = examine(parsed("whole>=2", "whole>=0.5,!=0.7", "whole!=1.0"))
    assert old.error == "wanted >=2" and old.cure == "pip install 'whole>=2'"
    assert new.error == "" and other.error == "wanted !=1.0"
    monkeypatch.setitem(sys.modules, "packaging", None)
    monkeypatch.delitem(sys.modules, "packaging.specifiers", raising=False)
    monkeypatch.delitem(sys.modules, "packaging.markers", raising=False)
    (unknown,) = examine(parsed("whole>=2"))
    assert unknown.error == ""
    assert "h5py" in [requirement.name for requirement in needed()]


def test_files_beside_the_user_are_not_taken_for_packages(site: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    module(site, "whole", "")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "whole.py").write_text("raise ValueError('a script of the same name')")
    code = "from generative_policies.installed_packages import examine, parse; print(examine([parse('whole')]))"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=elsewhere, capture_output=True, text=True, check=True)
    assert "a script of the same name" not in done.stdout and "1.0" in done.stdout
