"""Files and folders are there whole or not at all: under kills, errors, and others who write the same."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from generative_policies import atomic_files, file_locks
from generative_policies.atomic_files import previous, remove_leftovers, replacing, write_file
from tests.file_limits import full_disk, read_only

CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
FORK = multiprocessing.get_context("fork")


def write_folder(path: Path, content: str) -> None:
    with replacing(path) as new:
        new.mkdir()
        for name in ("a", "b"):
            (new / name).write_text(content)


def read_folder(path: Path) -> str:
    """The one content of both files."""
    where = path if path.exists() else previous(path)
    (content,) = {(where / name).read_text() for name in ("a", "b")}
    return content


def read_file(path: Path) -> str:
    return path.read_text()


KINDS: dict[str, tuple[Callable[[Path, str], None], Callable[[Path], str]]] = {
    "file": (write_file, read_file),
    "folder": (write_folder, read_folder),
}


def killed_at(number: int, write: Callable[[Path, str], None], path: Path) -> bool:
    """Write in a process that kills itself before a change of the file system, and return whether it came so far."""

    def run() -> None:
        count = 0

        def hook(event: str, arguments: Any) -> None:
            nonlocal count
            if event in CHANGES:
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        write(path, "new")

    process: Any = FORK.Process(target=run)
    process.start()
    process.join()
    return bool(process.exitcode == -signal.SIGKILL)


@pytest.mark.parametrize("kind", [*KINDS, "folder in two renames"])
@pytest.mark.parametrize("there", [True, False])
def test_killed_anywhere_the_old_or_the_new_is_there_and_the_next_writing_cleans_up(
    kind: str, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind not in KINDS:
        monkeypatch.setattr(atomic_files, "_exchange", lambda new, path: False)
    write, read = KINDS[kind.split()[0]]
    path = tmp_path / "deep" / "thing"
    found: list[str | None] = []
    while True:
        if there:
            write(path, "old")
        if not killed_at(len(found) + 1, write, path):
            break
        exists = path.exists() or previous(path).exists()
        found.append(read(path) if exists else None)
        write(path, "again")
        assert read(path) == "again" and list(path.parent.iterdir()) == [path]
        if not there:
            for file in [*path.rglob("*"), path] if path.is_dir() else [path]:
                file.unlink() if file.is_file() else file.rmdir()
    before = "old" if there else None
    place = found.index("new")  # at some change it takes its place, and stays there
    assert len(found) >= 6 and found == [before] * place + ["new"] * (len(found) - place)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="nothing tells which file is synced")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_on_the_disk_before_it_takes_its_place_and_its_place_after_that(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    synced, renamed = os.fsync, Path.rename

    def sync(descriptor: int) -> None:
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        synced(descriptor)

    def rename(self: Path, target: Path) -> Path:
        events.append(f"to {target.name}")
        return renamed(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setattr(Path, "replace", rename)
    write, read = KINDS[kind]
    write(tmp_path / "thing", "new")
    place = events.index("to thing")
    assert sorted(events[:place]) == (["thing"] if kind == "file" else ["a", "b", "thing"])
    assert events[place + 1 :] == [tmp_path.name] and read(tmp_path / "thing") == "new"


def test_a_folder_that_cannot_be_synced_is_written_in_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, refused = os.open, []

    def refuse(path: Any, flags: int, *others: Any, **named: Any) -> int:
        if Path(path).is_dir():
            refused.append(path)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, flags, *others, **named)

    monkeypatch.setattr(os, "open", refuse)
    write_file(tmp_path / "thing", "new")
    assert (tmp_path / "thing").read_text() == "new" and tmp_path in refused


@pytest.mark.parametrize("kind", KINDS)
def test_if_the_body_raises_nothing_changes(kind: str, tmp_path: Path) -> None:
    write, read = KINDS[kind]
    path = tmp_path / "thing"
    write(path, "old")
    for error in (KeyboardInterrupt(), ValueError("no"), OSError("without a number")):
        with pytest.raises(type(error)) as caught, replacing(path) as new:
            new.write_text("half")
            raise error
        assert caught.value is error
    assert read(path) == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_and_a_folder_that_is_read_only_are_named(kind: str, tmp_path: Path) -> None:
    write, read = KINDS[kind]
    path = tmp_path / "thing"
    write(path, "old")
    with full_disk(5), pytest.raises(OSError, match=f"File too large: '{path}'$"):
        write(path, "too long")
    with read_only(tmp_path), pytest.raises(PermissionError, match=f"Permission denied: '{path}'$"):
        write(path, "new")
    write_file(tmp_path / "file", "a file")
    with pytest.raises(NotADirectoryError, match=f"Not a directory: '{tmp_path / 'file'}'$"):
        write(tmp_path / "file" / "thing", "new")
    assert read(path) == "old" and sorted(tmp_path.iterdir()) == [tmp_path / "file", path]


def test_a_disk_without_any_room_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def full(path: Any, flags: int, *others: Any, **named: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return opened(path, flags, *others, **named)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'thing'}'$"):
        write_file(tmp_path / "thing", "new")
    assert not list(tmp_path.iterdir())


def test_errors_of_other_files_keep_their_own_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"), replacing(tmp_path / "thing"):
        (tmp_path / "nowhere").read_text()


def test_nobody_takes_the_workplace_of_who_is_still_at_work(tmp_path: Path) -> None:
    with replacing(tmp_path / "thing") as new:
        new.write_text("first")
        code = f"from generative_policies.atomic_files import write_file; write_file({str(tmp_path / 'thing')!r}, 'b')"
        subprocess.run([sys.executable, "-c", code], check=True)
        assert (tmp_path / "thing").read_text() == "b"
    assert (tmp_path / "thing").read_text() == "first" and len(list(tmp_path.iterdir())) == 1


def test_a_workplace_that_was_removed_before_it_was_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[int] = []

    def lock_late(descriptor: int) -> bool:
        locked.append(descriptor)
        if len(locked) == 1:
            remove_leftovers(tmp_path / "thing")  # as another writer does
            assert not list(tmp_path.iterdir())
        return file_locks.try_lock(descriptor)

    monkeypatch.setattr(atomic_files, "try_lock", lock_late)
    write_file(tmp_path / "thing", "new")
    assert len(locked) == 3 and (tmp_path / "thing").read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_goes_while_its_leftovers_are_looked_for_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, gone = os.scandir, []

    def list_late(path: Any) -> Any:
        if str(path) == str(tmp_path / "thing"):
            gone.append(path)
            (tmp_path / "thing").rename(tmp_path / "aside")
        return listed(path)

    (tmp_path / "thing").mkdir()
    monkeypatch.setattr(os, "scandir", list_late)
    remove_leftovers(tmp_path / "thing")
    assert len(gone) == 1


def test_leftovers_are_those_of_the_path_and_of_what_is_in_it(tmp_path: Path) -> None:
    for parent, name in ((".", "run"), ("run", "a"), ("run/b", "c"), (".", "run2"), (".", "[ab]")):
        workplace = tmp_path / parent / f".{name}.0123.new"
        workplace.mkdir(parents=True)
        (workplace / f"{name}.lock").touch()
        (workplace / name).write_text("half")
    (tmp_path / "run" / ".mine.new").mkdir()
    (tmp_path / "run" / ".mine.new" / "file").touch()  # a user's own
    remove_leftovers(tmp_path / "run")
    assert {path.name for path in tmp_path.rglob(".*")} == {".run2.0123.new", ".[ab].0123.new", ".mine.new"}
    write_file(tmp_path / "[ab]", "whole")
    assert not (tmp_path / ".[ab].0123.new").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_of_many_writers_at_once_one_is_the_last(kind: str, tmp_path: Path) -> None:
    write, read = KINDS[kind]
    path = tmp_path / "thing"

    def work(number: int) -> None:
        for k in range(10):
            write(path, f"{number} {k}" * 100)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    content = read(path)
    assert content in {f"{number} 9" * 100 for number in range(8)}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do it in two renames")
def test_a_folder_is_there_at_every_moment(tmp_path: Path) -> None:
    seen: list[bool] = []

    def hook(event: str, arguments: Any) -> None:
        if event in CHANGES and watching:
            seen.append((tmp_path / "thing").is_dir())

    write_folder(tmp_path / "thing", "old")
    watching = True
    sys.addaudithook(hook)
    write_folder(tmp_path / "thing", "new")
    watching = False
    assert len(seen) >= 6 and all(seen)


def test_what_is_replaced_all_the_while_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_files, "PATIENCE", 0.1)
    write_folder(tmp_path / "thing", "old")
    with pytest.raises(TimeoutError, match="again and again"):
        atomic_files.read_folder(tmp_path / "thing", lambda where: write_folder(where, "new"))
    with pytest.raises(KeyError):
        atomic_files.read_folder(tmp_path / "thing", lambda where: {}["missing"])


def test_without_locks_files_are_whole_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_locks, "fcntl", None)
    (tmp_path / ".thing.0123.new").mkdir()
    (tmp_path / ".thing.0123.new" / "thing.lock").touch()  # perhaps somebody's who is at work
    write_file(tmp_path / "thing", "new")
    assert (tmp_path / "thing").read_text() == "new" and len(list(tmp_path.iterdir())) == 2


def test_the_users_mask_decides_who_may_read(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "file", "new")
        write_folder(tmp_path / "folder", "new")
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("file", "folder")] == [0o640, 0o750]
