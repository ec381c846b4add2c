"""The documentation: every public name has its place, every block of code is run, every link leads somewhere."""

import importlib
import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium
import pytest
import tyro

from generative_policies.rollouts.command_line import Command
from tests.file_limits import full_disk

CHECKOUT = Path(__file__).parent.parent
DOCS = CHECKOUT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
PACKAGES = sorted(
    f"generative_policies.{'.'.join(init.parent.relative_to(CHECKOUT / 'generative_policies').parts)}"
    for init in (CHECKOUT / "generative_policies").rglob("__init__.py")
    if init.parent != CHECKOUT / "generative_policies"
)


def load(name: str) -> ModuleType:
    """A module beside the pages."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def executed_pages() -> ModuleType:
    return load("executed_pages")


def documented() -> set[str]:
    """The full names of all entries of the API reference."""
    found = set()
    for page in (DOCS / "api").glob("*.md"):
        package = ""
        for line in page.read_text().splitlines():
            if match := re.match(r"\.\. currentmodule:: (\S+)", line):
                package = match[1]
            elif match := re.match(r"\.\. (?:auto\w+|py:data):: (\S+)", line):
                found.add(f"{package}.{match[1]}")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_in_the_reference(package: str) -> None:
    names = getattr(importlib.import_module(package), "__all__", [])
    assert not {f"{package}.{name}" for name in names} - documented()


def test_the_reference_names_nothing_that_is_not_public() -> None:
    entries = documented()
    assert len(entries) > 100
    for entry in entries:
        package, name = entry.rsplit(".", 1)
        assert name in getattr(importlib.import_module(package), "__all__", dir(importlib.import_module(package))), (
            entry
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```python\n.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^```\{include\} (\S+)", text, flags=re.MULTILINE)
    for target in targets:
        if not re.match(r"[a-z]+:", target) and not target.startswith("#"):
            path = page.parent / target.split("#")[0]
            assert path.exists() or path.with_suffix(".md").exists(), target


def test_four_tutorials_hold_what_they_claim(executed_pages: ModuleType) -> None:
    names = ["clone_with_a_flow", "learn_from_states_alone", "steer_with_sac", "translate_a_policy"]
    assert [page.stem for page in TUTORIALS] == names
    for page in TUTORIALS:
        blocks = executed_pages.blocks(page.read_text())
        assert sum(block.shown for block in blocks) >= 4
        assert any("assert" in block.code for block in blocks if not block.shown)


@pytest.mark.parametrize(
    ("target", "is_known"),
    [
        ("generative_policies.models.solvers.Step", True),
        ("generative_policies.data.array_files", True),
        ("generative_policies.policies.episode_memory.EpisodeMemory.draw", True),
        ("generative_policies.rollouts.source_policies.SourcePolicy.policy", True),  # annotated alone
        ("RenderingUnavailableError", True),
        ("generative_policies.models.solvers.Stepp", False),
        ("generative_policies.model.solvers.Step", False),
        ("generative_policies.models.solvers.Step.euler", False),
        ("generative_policies.policies.episode_memory.EpisodeMemory.drew", False),
        ("generative_policies.envs.make_env", False),  # public, so that it must have an entry
        ("torch.Tensr", False),
    ],
)
def test_a_name_without_a_page_passes_where_it_can_be_imported(
    target: str, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path)  # the configuration adds to it
    configuration = load("conf")
    nothing: Any = SimpleNamespace(domains={"py": SimpleNamespace(data={"objects": {}})})
    shown = object()
    found = configuration.resolve_shorter(None, nothing, {"reftarget": target}, shown)
    assert found is (shown if is_known else None)


def test_no_page_has_code_that_is_not_run(executed_pages: ModuleType) -> None:
    assert sum(len(executed_pages.blocks(page.read_text())) > 0 for page in PAGES) >= 8  # none of them raises


def test_a_robot_of_ones_own_shares_no_file_with_other_processes(
    executed_pages: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = executed_pages.blocks((DOCS / "how_to" / "own_robot.md").read_text())[0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gymnasium, "register", lambda *arguments, **settings: None)
    names: dict[str, Any] = {"__name__": "my_robots"}
    exec(first.code, names)  # our own page
    light, heavy = names["CartEnv"](), names["CartEnv"](mass=2.0)
    assert heavy.model.body_mass.sum() == 2 * light.model.body_mass.sum()
    heavy.reset(seed=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("left_out", ["  ```python\n  x = 1\n  ```\n", "```py\nx = 1\n```\n", "```python\nx = 1\n"])
def test_a_block_that_would_be_left_out_is_refused(executed_pages: ModuleType, left_out: str) -> None:
    with pytest.raises(ValueError, match="blocks of Python or checks are opened"):
        executed_pages.blocks(f"```python\ny = 1\n```\n\n{left_out}")


def test_a_page_shows_what_its_code_printed_and_drew_and_not_its_checks(
    executed_pages: ModuleType, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n\n```python\nx = 6 * 7\nprint(x)\n```\n\nAs is known.\n\n<!-- check\nassert x == 42\n-->\n\n"
        "```python\nimport matplotlib.pyplot as plt\n\nplt.plot([x])\nplt.title('The answer')\n```\n"
    )
    executed_pages.run_page(page, tmp_path / "results")
    text = executed_pages.rendered(page.read_text(), tmp_path / "results", "/results")
    assert "\n42\n```\n" in text and "assert" not in text and "As is known." in text
    (figure,) = re.findall(r"!\[The answer\]\(/results/(\S+)\)", text)
    assert (tmp_path / "results" / figure).stat().st_size > 1_000
    assert json.loads((tmp_path / "results" / "results.json").read_text())["key"] == executed_pages.key(page)


def test_results_are_whole_or_as_they_were_and_damaged_ones_are_made_again(
    executed_pages: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, results = tmp_path / "page.md", tmp_path / "results" / "results.json"
    page.write_text("```python\nx = 1\n```\n")
    monkeypatch.setattr(executed_pages, "results_folder", lambda page, output: output)
    executed_pages.run_pages([page], results.parent)
    whole = results.read_bytes()
    with full_disk(20), pytest.raises(OSError, match=f"File too large: '{results}'$"):
        executed_pages.run_page(page, results.parent)
    assert results.read_bytes() == whole
    written = results.stat().st_mtime_ns
    executed_pages.run_pages([page], results.parent)
    assert results.stat().st_mtime_ns == written
    for damaged in (b"", whole[: len(whole) // 2], b"[1]", b"{}", b"\xff"):
        results.write_bytes(damaged)
        executed_pages.run_pages([page], results.parent)
        assert json.loads(results.read_text())["key"] == executed_pages.key(page)


def test_what_a_block_raises_tells_the_line_of_the_page(executed_pages: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n```python\nx = 1\n\nraise KeyError(x)\n```\n")
    with pytest.raises(KeyError) as caught:
        executed_pages.run_page(page, tmp_path / "results")
    assert caught.traceback[-1].lineno == 5  # counted from 0
    page.write_text("<!-- check\nprint(1)\n-->\n")
    with pytest.raises(ValueError, match="a check prints or draws nothing"):
        executed_pages.run_page(page, tmp_path / "results")


def test_commands_on_the_pages_are_ones_that_the_command_line_takes() -> None:
    found = []
    for page in (CHECKOUT / "README.md", *PAGES):
        for block in re.findall(r"^```console\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE):
            lines = block.replace("\\\n", " ").splitlines()
            found += [line.removeprefix("$ ") for line in lines if line.startswith("$ generative-policies ")]
    assert len(found) >= 14
    for line in found:
        tyro.cli(Command, args=shlex.split(line)[1:])  # exits where an option or a value is unknown


def test_figures_of_benchmarks_on_tutorials_are_those_of_the_committed_results() -> None:
    results = CHECKOUT / "benchmarks" / "results"
    pages = {page.stem: " ".join(page.read_text().split()) for page in TUTORIALS}
    tables = json.loads((results / "imitation.json").read_text())["tables"]
    shares = {
        task: rows["planner and inverse dynamics"]["of_expert"] / rows["flow, 10 steps"]["of_expert"]
        for task, rows in tables.items()
    }
    assert (
        f"reaches {shares['arm_push']:.2f} of the clone's return here, {shares['half_cheetah']:.2f} on HalfCheetah and "
        f"{shares['obstacle']:.2f} on the obstacle" in pages["learn_from_states_alone"]
    )
    steering = json.loads((results / "steering.json").read_text())
    mean = {
        (arm, figure): sum(values) / len(values)
        for arm, figures in steering["arms"].items()
        for figure, values in figures.items()
    }
    assert (
        f"from {mean['latent', 'policy alone']:.0f} to {mean['latent', 'return']:.0f}, above the expert's "
        f"{steering['references']['expert at home']:.0f} at home, but plans of four steps reach "
        f"{mean['latent in chunks', 'return']:.0f} only, and SAC from scratch reaches "
        f"{mean['from scratch', 'return']:.0f}" in pages["steer_with_sac"]
    )
    (recovered,) = re.findall(r"from 4 target episodes.*linear-4: (\S+ \[.*?\])", (results / "transfer.md").read_text())
    assert f"recovers {recovered}" in pages["translate_a_policy"]
