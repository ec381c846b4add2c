"""Files and folders that are there whole or not at all, whenever the process ends and whatever the disk says.

What is new is written in a workplace beside its place, ``.NAME.*.new``, synced to the disk and renamed. A process that
was killed leaves its workplace behind; the next one that writes the same path removes it, and so does the command that
is run again. By a lock on a file in it they know that nobody is at work there.
"""

import ctypes
import errno
import fnmatch
import glob
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from generative_policies.file_locks import NoLocksError, is_in_place, try_lock

ATTEMPTS = 10  # to put a folder in its place, while others do the same
PATIENCE = 10.0  # of a reader whose folder others replace all the while [s]
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux

T = TypeVar("T")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield where to write a file or a folder, which takes its place at the end, in the stead of what is there.

    If the body raises, nothing changes. Its parents are made.

    Args:
        path: The place. What is written has the same name, in a folder of its own with room for more.

    Raises:
        OSError: If it cannot be written; the error names ``path``.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with replacing(folder / "note.txt") as new:
        ...     _ = new.write_text("whole")
        >>> [file.name for file in folder.iterdir()]
        ['note.txt']
    """
    path = Path(path).absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from error
    try:
        remove_leftovers(path)
        workplace, lock = _workplace(path)
    except OSError as error:
        raise _about(path, error) from error
    try:
        new = workplace / path.name
        yield new
        _sync(new)
        _put(new, path)
        _sync_names(path.parent)
    except OSError as error:
        ours = error.filename is None or str(error.filename).startswith(str(workplace))
        if error.errno is None or not ours:
            raise
        raise _about(path, error) from error
    finally:
        os.close(lock)
        shutil.rmtree(workplace, ignore_errors=True)


def write_file(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a file whole or not at all.

    Args:
        path: The file; its parents are made.
        content: Bytes, or text for UTF-8.

    Raises:
        OSError: If it cannot be written; the error names ``path``, and what was there before is still there.
    """
    with replacing(path) as new:
        new.write_bytes(content.encode() if isinstance(content, str) else content)


def remove_leftovers(path: Path) -> None:
    """Remove what processes left behind that were killed while they wrote ``path``, or anything in it."""
    beside = path.parent.glob(f".{glob.escape(path.name)}.*.new")
    # Not rglob, which raises where a folder is renamed while it looks.
    inside = [Path(folder, name) for folder, names, _ in os.walk(path) for name in fnmatch.filter(names, ".*.new")]
    for workplace in [*beside, *inside]:
        # .NAME.TOKEN.new
        _remove_leftover(workplace, workplace / f"{workplace.name[1:-4].rpartition('.')[0]}.lock")


def previous(path: Path) -> Path:
    """Return where a folder stands while a newer one takes its place."""
    return path.with_name(f".{path.name}.previous")


def read_folder(path: Path, read: Callable[[Path], T]) -> T:
    """Return what a function reads from a folder, all of it of one writing.

    Where another folder has taken its place meanwhile, it is read again.

    Args:
        path: The folder, absolute.
        read: Called with where it stands, which is beside ``path`` while a newer one takes its place.

    Raises:
        OSError: If the path is none that a folder can have, or others have replaced it for ten seconds.
    """
    end = time.monotonic() + PATIENCE
    while True:
        where = previous(path) if not path.exists() and previous(path).is_dir() else path
        with _identity(where) as before:
            try:
                result = read(where)
            except Exception:  # what a reader raises where half of a folder is there; its own errors go on below
                if _is_still(where, before) or time.monotonic() > end:
                    raise
            else:
                if _is_still(where, before):
                    return result
        if time.monotonic() > end:
            raise TimeoutError(errno.ETIMEDOUT, "it is replaced again and again", str(path))


@contextmanager
def _identity(where: Path) -> Iterator[os.stat_result | None]:
    """What stands at a path, held open where that can be: the number of one that was removed may be given again."""
    try:
        descriptor = os.open(where, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except (OSError, ValueError):  # Windows opens no folders
        yield _stat(where)
        return
    try:
        yield os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _is_still(where: Path, before: os.stat_result | None) -> bool:
    now = _stat(where)
    return now is before if now is None or before is None else os.path.samestat(now, before)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):  # nothing is there, or could be
        return None


def _workplace(path: Path) -> tuple[Path, int]:
    """A new folder beside a path, and the open file in it whose lock tells that this process is at work there."""
    while True:
        workplace = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
        workplace.mkdir()
        try:
            lock = os.open(file := workplace / f"{path.name}.lock", os.O_CREAT | os.O_RDWR)
        except FileNotFoundError:
            continue  # another process took it for a left-over
        except OSError:
            workplace.rmdir()
            raise
        try:
            if try_lock(lock) and is_in_place(lock, file):
                return workplace, lock
        except NoLocksError:
            return workplace, lock  # and nobody will take it for a left-over
        os.close(lock)  # likewise


def _remove_leftover(workplace: Path, lock: Path) -> None:
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        with suppress(OSError):  # it is not empty, or somebody else's
            workplace.rmdir()
        return
    except OSError:
        return
    try:
        if try_lock(descriptor):
            shutil.rmtree(workplace, ignore_errors=True)
    except NoLocksError:
        pass
    finally:
        os.close(descriptor)


def _sync(new: Path) -> None:
    """Wait until a file, or all that is in a folder, is on the disk."""
    found = [new, *new.rglob("*")] if new.is_dir() else [new]
    for path in found:
        if path.is_dir():
            _sync_names(path)
        elif path.is_file():
            with path.open("r+b") as stream:
                os.fsync(stream.fileno())


def _sync_names(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, so that a loss of power undoes no renaming, if that can be.

    Windows opens no folders, some file systems sync none, and one that may be written need not be readable.
    """
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _put(new: Path, path: Path) -> None:
    """Rename what is new to its place."""
    if not new.is_dir():
        new.replace(path)
        return
    aside = previous(path)
    if _exchange(new, path):
        _remove(new, new.parent)  # what was there
        _remove(aside, new.parent)
        return
    for attempt in range(ATTEMPTS):
        # A folder cannot be renamed onto a full one. Between the two renames the previous one stands aside.
        try:
            new.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == ATTEMPTS - 1:
                if not path.exists() and aside.is_dir():
                    aside.rename(path)
                raise
        else:
            _remove(aside, new.parent)
            return
        _remove(aside, new.parent)
        with suppress(OSError):  # another process was faster
            path.rename(aside)


def _remove(folder: Path, workplace: Path) -> None:
    """Remove a folder, from its place at once, so that nobody reads half of it; the workplace's lock is still there."""
    if not folder.exists():
        return
    away = workplace / secrets.token_hex(4)
    _sync_names(workplace.parent)  # what has taken its place comes to the disk first
    with suppress(OSError):  # another process was faster
        folder.rename(away)
    shutil.rmtree(away, ignore_errors=True)


def _exchange(new: Path, path: Path) -> bool:
    """Let two folders change places in one step, and return whether both are there and the system can."""
    renameat2 = None if os.name == "nt" else getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None or path.is_symlink() or not path.is_dir():
        return False
    sys.audit("os.rename", str(new), str(path), -1, -1)
    return bool(renameat2(AT_FDCWD, os.fsencode(new), AT_FDCWD, os.fsencode(path), RENAME_EXCHANGE) == 0)


def _about(path: Path, error: OSError) -> OSError:
    """The same error, of the path that was asked for."""
    return OSError(error.errno, os.strerror(error.errno or errno.EIO), str(path))
