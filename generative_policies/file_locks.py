"""Locks of the operating system on files: they end with the process that holds them, however it ends.

Linux and macOS have them, on local disks and, by the server's lock manager, on NFS. Windows has none of this kind, nor
have file systems that refuse ``flock``: there ``try_lock`` says so, and nothing is guarded.
"""

import errno
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class NoLocksError(OSError):
    """The system or the file system knows no such locks."""


def try_lock(descriptor: int) -> bool:
    """Take the lock on an open file, and return whether it was free; it ends when the file is closed.

    Args:
        descriptor: Of the file, open for writing.

    Raises:
        NoLocksError: If there are no locks here.
    """
    if fcntl is None:
        raise NoLocksError(errno.ENOTSUP, "this system has no flock")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise NoLocksError(error.errno, f"this file system has no flock: {error.strerror}") from error
    return True


def is_in_place(descriptor: int, path: Path) -> bool:
    """Return whether an open file still stands at its path.

    A lock on one that was removed between opening and locking guards nothing.

    Args:
        descriptor: Of the file, locked.
        path: Where it was opened.
    """
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
