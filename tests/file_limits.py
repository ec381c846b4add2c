"""A disk that is full and a folder that may not be written, for this process and a while."""

import os
import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65_534


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file grow beyond a size [bytes]: writing more fails as on a full disk, but with another number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write in a folder; root, who always may, is somebody else meanwhile."""
    mode = folder.stat().st_mode & 0o777
    reachable = [parent for parent in folder.absolute().parents if not parent.stat().st_mode & 0o001]
    modes = {parent: parent.stat().st_mode & 0o777 for parent in reachable}
    is_root = os.geteuid() == 0
    if is_root:
        for parent in reachable:
            parent.chmod(modes[parent] | 0o011)
    folder.chmod(0o555)
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(mode)
        if is_root:
            for parent in reachable:
                parent.chmod(modes[parent])


def in_a_child(function: Callable[[], object]) -> None:
    """Call a function in a process of its own: where HDF5 could not write, its library is fit for nothing more."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
