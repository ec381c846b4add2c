"""What HDF5 could not write, as one error: by itself it prints that for each array as it is closed, and goes on."""

import errno
import gc
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_hdf5(path: Path) -> Iterator[None]:
    """Raise in the stead of what h5py prints or raises while the body writes.

    Args:
        path: What is written, for the message.

    Raises:
        OSError: If anything could not be written; the error names ``path``.
    """
    failures: list[str] = []
    hooks = sys.unraisablehook, sys.excepthook

    def hear(unraisable: Any) -> None:
        if str(unraisable.object).startswith("h5py"):
            failures.append(str(unraisable.exc_value))
        else:
            hooks[0](unraisable)

    sys.unraisablehook = hear
    sys.excepthook = lambda *found: None  # which Cython calls before the other one
    try:
        yield
    except (OSError, RuntimeError) as error:
        traceback.clear_frames(error.__traceback__)  # what they hold is closed now, not when the error is forgotten
        gc.collect()
        if not failures and not isinstance(error, OSError):
            raise
        failures.insert(0, f"errno = {error.errno}" if isinstance(error, OSError) else str(error))
    finally:
        sys.unraisablehook, sys.excepthook = hooks
    if failures:
        numbers = [int(number) for text in failures for number in re.findall(r"errno = (\d+)", text)]
        number = numbers[0] if numbers else errno.EIO
        raise OSError(number, os.strerror(number), str(path))
