"""One process at a time for the output of a run.

The lock is one of the operating system on a file that names its owner. It ends with the owner however that ends: what a
killed one left is taken over. Processes that a run starts itself write in its name, and take no lock.
"""

import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from generative_policies.atomic_files import remove_leftovers
from generative_policies.file_locks import NoLocksError, is_in_place, try_lock
from generative_policies.rollouts.provenance import require_writable


class RunInUseError(OSError):
    """The output of a run that another process writes; the message names the process."""


@contextmanager
def run_lock(folder: Path, name: str | None = None) -> Iterator[None]:
    """Make a folder, check that it can be written in, and hold a lock in it while the body runs.

    What killed runs left behind is removed. The file is ``.NAME.lock``, and is removed at the end. On Windows, and
    where a file system has no ``flock``, nothing is held; there a warning says so.

    Args:
        folder: Where a run writes.
        name: What it writes there, where others may write other things; all that is in the folder by default.

    Raises:
        RunInUseError: If another process holds it.
        OSError: If the folder cannot be made or written.
    """
    require_writable(folder)
    file = folder.resolve() / f".{name or 'run'}.lock"
    descriptor = _hold(file)
    try:
        remove_leftovers(folder / name if name else folder.resolve())
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file
            file.unlink()
        os.close(descriptor)


def _hold(file: Path) -> int:
    """The open file, locked, with the owner in it."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not try_lock(descriptor):
                owner = os.read(descriptor, 1000).decode(errors="replace").strip() or "another process"
                raise RunInUseError(f"{file.parent} is in use: {owner} writes there ({file}); wait, or end it")
        except NoLocksError as error:
            warnings.warn(f"{file.parent}: {error.strerror}; see to it that no other run writes there", stacklevel=3)
            return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        if is_in_place(descriptor, file):
            try:
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            except OSError as error:
                file.unlink()
                os.close(descriptor)
                raise OSError(error.errno, error.strerror, str(file)) from error
            return descriptor
        os.close(descriptor)  # of an owner that ended and removed it meanwhile
