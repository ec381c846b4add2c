"""A report and what stands beside it: all of it is new, or all of it is as it was; the report comes last."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from generative_policies.atomic_files import write_file
from generative_policies.rollouts.report_files import REPORT, VIDEO, finished_report, write_report
from tests.file_limits import full_disk


@dataclass(frozen=True)
class Settings:
    episodes: int = 1


def film(path: Path) -> bool:
    write_file(path, "a film")
    return True


def no_film(path: Path) -> bool:
    return False


def write(
    folder: Path, text: str, write_video: Callable[[Path], bool] = film, settings: Settings | None = None
) -> list[str]:
    files = {"report.md": lambda path: write_file(path, text), "plot.png": lambda path: write_file(path, 3 * text)}
    return write_report(folder, settings or Settings(), {"text": text}, files, write_video)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_full_disk_leaves_all_of_it_as_it_was(tmp_path: Path) -> None:
    assert write(tmp_path, "old") == [REPORT, "report.md", "plot.png", VIDEO]
    before = contents(tmp_path)
    text = "new" * 100
    for size, name in ((200, "report.md"), (400, "plot.png"), (1_000, REPORT)):
        with full_disk(size), pytest.raises(OSError, match=f"File too large: '{tmp_path / name}'$"):
            write(tmp_path, text if name != REPORT else "new", settings=Settings(10**size), write_video=no_film)
        assert contents(tmp_path) == before


def test_the_report_is_the_last_and_then_a_stale_video_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "old")
    placed: list[tuple[str, bool]] = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        if target.parent == tmp_path:
            placed.append((target.name, (tmp_path / VIDEO).exists()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    assert write(tmp_path, "new", no_film) == [REPORT, "report.md", "plot.png"]
    assert placed == [("plot.png", True), ("report.md", True), (REPORT, True)]
    assert sorted(contents(tmp_path)) == ["plot.png", REPORT, "report.md"]


def test_finished_is_what_has_its_settings_its_inputs_and_its_files(tmp_path: Path) -> None:
    assert finished_report(tmp_path, Settings()) is None
    write(tmp_path, "figures")
    found = finished_report(tmp_path, Settings())
    assert found is not None and found["text"] == "figures" and list(found["files"]) == ["report.md", "plot.png", VIDEO]
    assert finished_report(tmp_path, Settings(2)) is None
    assert finished_report(tmp_path, Settings(2), free=("episodes",)) is not None
    assert finished_report(tmp_path, Settings(), inputs={"policy": "another"}) is None
    for name in ("report.md", "plot.png", VIDEO):
        whole = (tmp_path / name).read_text()
        (tmp_path / name).write_text("of another run")
        assert finished_report(tmp_path, Settings()) is None
        (tmp_path / name).unlink()
        assert finished_report(tmp_path, Settings()) is None
        (tmp_path / name).write_text(whole)
    assert finished_report(tmp_path, Settings()) == found


def test_a_video_that_a_kill_left_beside_a_report_without_one_goes(tmp_path: Path) -> None:
    write(tmp_path, "figures", no_film)
    film(tmp_path / VIDEO)
    assert finished_report(tmp_path, Settings()) is not None
    assert sorted(contents(tmp_path)) == ["plot.png", REPORT, "report.md"]
