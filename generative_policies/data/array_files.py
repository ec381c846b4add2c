"""Reading a file of arrays that a cut-off run has left, or that is no such file at all."""

import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from generative_policies.data.minari_files import DatasetError

MAX_BYTES = 2**34
MAX_EXPANSION = 100  # bytes of all arrays together, per byte of the file


def read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file that ``numpy.savez`` wrote, by name; nothing in it is unpickled.

    Raises:
        DatasetError: If the file is missing, truncated or foreign, or claims more memory than it can fill.
    """
    try:
        if not file.is_file():
            raise FileNotFoundError("no such file")
        allowed = min(MAX_BYTES, MAX_EXPANSION * file.stat().st_size)
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                with archive.open(member) as stream:
                    allowed -= _claimed_bytes(stream)
                if allowed < 0:
                    raise ValueError("its arrays are said to be much larger than the file")
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError) as error:
        raise DatasetError(f"{file} cannot be read, it is missing, truncated or foreign: {error}") from error
    except (tokenize.TokenError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(f"{file} cannot be read, it is missing, truncated or foreign: {error}") from error


def _claimed_bytes(stream: Any) -> int:
    """The size of an array by its header alone."""
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"it holds an array of format {version}")
    shape, _, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(stream)
    return math.prod(shape) * dtype.itemsize
