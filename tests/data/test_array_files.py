"""Files of numpy's: what came out of a cut or another program is one error with its name."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from generative_policies.data import DatasetError
from generative_policies.data.array_files import read_arrays


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.savez(tmp_path / "arrays.npz", a=np.arange(6.0).reshape(2, 3), b=np.array(True))
    return tmp_path / "arrays.npz"


def test_arrays_come_back(file: Path) -> None:
    arrays = read_arrays(file)
    assert list(arrays) == ["a", "b"] and arrays["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and bool(arrays["b"])


def test_a_cut_at_every_place_is_refused(file: Path) -> None:
    content = file.read_bytes()
    for length in range(0, len(content), 7):
        file.write_bytes(content[:length])
        with pytest.raises(DatasetError, match=r"arrays\.npz"):
            read_arrays(file)


def test_objects_are_not_unpickled(file: Path) -> None:
    np.savez(file, a=np.array([{}], dtype=object))
    with pytest.raises(DatasetError, match="allow_pickle"):
        read_arrays(file)


@pytest.mark.parametrize("packed", [True, False])
def test_a_claim_to_all_memory_is_refused_before_it_is_taken(packed: bool, file: Path) -> None:
    stream = io.BytesIO()
    if packed:
        np.save(stream, np.zeros(10**6))
    else:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", stream.getvalue())
    with pytest.raises(DatasetError, match="larger than the file"):
        read_arrays(file)
