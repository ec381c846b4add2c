"""The README runs as printed."""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from generative_policies.rollouts.commands.compare import CompareSettings
from generative_policies.rollouts.experts import has_its_physics
from generative_policies.rollouts.report import format_report

CHECKOUT = Path(__file__).parent.parent
README = (CHECKOUT / "README.md").read_text()
PAGES = [
    CHECKOUT / "README.md",
    CHECKOUT / "docs" / "environments.md",
    CHECKOUT / "docs" / "transfer.md",
    CHECKOUT / "docs" / "experiments" / "README.md",
]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.slow  # 40 s
def test_python_blocks_run_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    python = blocks("python")
    assert len(python) == 5 and len(python[0].splitlines()) <= 20
    for block in python:
        exec(compile(block, "README.md", "exec"), names)  # our own file
    at_home, untranslated, translated = map(float, capsys.readouterr().out.split()[-3:])
    assert untranslated + 0.5 < translated
    if has_its_physics("Pusher-v5"):  # else its expert does less well at home
        assert translated <= at_home + 0.1
    # The same translator under SB3's evaluation, on the first 16 of the 20 seeds: it pushes there, too.
    assert -35 < names["mean_return"] < -20  # type: ignore[operator]
    assert names["venv"].num_envs == 16  # type: ignore[attr-defined]
    assert -35 < names["flow_return"] < -20  # type: ignore[operator]
    assert names["actions"].shape == (16, 7)  # type: ignore[attr-defined]
    pairs, flow, student = (names[name] for name in ("pairs", "flow", "student"))
    noise = np.random.default_rng(0).standard_normal(names["fast_actions"].shape)  # type: ignore[attr-defined]
    few, many = (model.predict(pairs.obs, pairs.source_actions, noise=noise) for model in (student, flow))  # type: ignore[attr-defined]
    assert np.mean((few - many) ** 2) < 0.05 * many.var()


def test_python_blocks_of_the_environments_page_run() -> None:
    names: dict[str, object] = {}
    python = blocks("python", (CHECKOUT / "docs" / "environments.md").read_text())
    assert len(python) == 2
    for block in python:
        exec(compile(block, "environments.md", "exec"), names)  # our own file


def test_commands_exist() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    targets = re.findall(r"(?:^|`)make (\w+)", README, flags=re.MULTILINE)
    assert {"demo", "test", "install", "format", "lint"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.slow  # 15 s
def test_help_commands_run_as_printed(tmp_path: Path) -> None:
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    commands = [line for line in lines if line and not line.startswith("make ")]
    assert len(commands) == 15
    for command in commands:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        # Benchmarks are run from a checkout, the rest from anywhere.
        folder = CHECKOUT if "benchmarks" in command else tmp_path
        answer = subprocess.run(command, shell=True, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True)
        assert answer.returncode == 0 and b"--seed" in answer.stdout, command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name + "/" + page.name)
def test_links_and_pictures_exist(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", page.read_text()) if not link.startswith("http")]
    assert any(link.endswith(".png") for link in links)
    for link in links:
        assert (page.parent / link).exists(), link


def test_the_demos_table_is_that_of_the_committed_report() -> None:
    report = json.loads((CHECKOUT / "docs" / "demo" / "report.json").read_text())
    assert format_report(report).split("\n\n")[0] in README
    assert report["settings"]["quick"] is False and len(report["arms"]["linear"]["returns"]) == 50
    assert report["versions"]["torch"]


def test_the_short_form_of_transfer_is_that_of_the_committed_results() -> None:
    table = (CHECKOUT / "benchmarks" / "results" / "transfer.md").read_text().splitlines()
    section = README.split("## Which method, when")[1].split("## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and "held against" not in line]
    assert len(rows) >= 5 and set(rows) <= set(table)
    # All that was measured, not what was reached alone.
    verdicts = [line for line in table if line.endswith(("reached |", "missed |", "seeds |"))]
    assert set(rows) == set(verdicts)


def test_the_parts_are_the_packages() -> None:
    for package in (
        "models",
        "inverse_dynamics",
        "forward_dynamics",
        "action_translation",
        "data",
        "training",
        "envs",
        "wrappers",
        "rollouts",
    ):
        assert f"`generative_policies.{package}`" in README


def test_figures_of_imitation_are_those_of_the_committed_results() -> None:
    tables = json.loads((CHECKOUT / "benchmarks" / "results" / "imitation.json").read_text())["tables"]
    flow, mlp = tables["obstacle"]["flow in chunks, 10 steps"], tables["obstacle"]["mlp in chunks"]
    text = " ".join(README.split())
    assert (
        f"succeeds in {flow['success_rate']:.2f} of the episodes, {100 * flow['left']:.0f} % of them on the left"
        in text
    )
    assert f"regression on the same data in {mlp['success_rate']:.2f}." in text
    shares = {
        task: rows["planner and inverse dynamics"]["of_expert"] / rows["flow, 10 steps"]["of_expert"]
        for task, rows in tables.items()
    }
    assert f"reaches {shares['half_cheetah']:.2f} and {shares['arm_push']:.2f} of the clone's return" in text
    assert f"and {shares['obstacle']:.2f} on the obstacle" in text


def test_the_committed_comparison_is_that_of_the_default_settings() -> None:
    report = json.loads((CHECKOUT / "docs" / "compare" / "report.json").read_text())
    settings = json.loads(json.dumps(asdict(CompareSettings()), default=str))
    # Settings that came later are at what was always so.
    assert {**settings, **report["settings"], "output": settings["output"]} == settings
    assert format_report(report) in (CHECKOUT / "docs" / "compare" / "report.md").read_text()
    assert not report["failed"] and not report["skipped"] and set(report["arms"]) == set(settings["arms"])
