"""Opening a Minari dataset that may come from a stranger: what its files claim is checked before Minari reads them.

Minari makes the env of a dataset that does not tell its spaces, by whatever function its metadata name: such a dataset
could run any code. HDF5 lets a small file claim arrays of any size, or arrays that lie in other files.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

METADATA_FILE, DATA_FILE = "metadata.json", "main_data.hdf5"
MAX_METADATA_BYTES = 10_000_000
MAX_SPACE_ENTRIES = 10_000_000
MAX_EXPANSION = 100  # bytes of all arrays together, per byte of the file
DTYPES = frozenset(np.dtype(kind).name for kind in "efdbhilBHIL?")


class DatasetError(ValueError):
    """A dataset that cannot be read, or holds other things than what was asked for; the message names it."""


class DatasetNotFoundError(DatasetError, FileNotFoundError):
    """There is no dataset at the place, or of the id; the message names it."""


def open_dataset(source: str | Path) -> Any:  # Minari has no types
    """Return a Minari dataset, which has run no code and fits into memory.

    Args:
        source: A folder, or the id of a local dataset.

    Raises:
        DatasetNotFoundError: If there is none.
        DatasetError: If it cannot be read.
    """
    import minari  # takes a second
    from minari.storage.datasets_root_dir import get_dataset_path

    folder = Path(source)
    if not folder.is_dir():
        folder = get_dataset_path(str(source))
    folder = folder / "data" if (folder / "data").is_dir() else folder
    if not folder.is_dir():
        raise DatasetNotFoundError(f"no Minari dataset {source}, neither a folder nor an id")
    with _as_dataset_error(source):
        _check_metadata(folder / METADATA_FILE)
        _check_arrays(folder / DATA_FILE)
        return minari.MinariDataset(folder)


def read_episodes(source: str | Path, dataset: Any) -> list[Any]:
    """Return a dataset's episodes.

    Args:
        source: What it is called in messages.
        dataset: What ``open_dataset`` returned.

    Raises:
        DatasetError: If one cannot be read.
    """
    with _as_dataset_error(source):
        return list(dataset.iterate_episodes())


@contextmanager
def _as_dataset_error(source: Any) -> Iterator[None]:
    """Name the dataset in whatever is raised for what is in its files."""
    from PIL.Image import DecompressionBombError  # of an image that unpacks to gigabytes

    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, DecompressionBombError, LookupError) as error:
        raise DatasetError(f"{source} is no Minari dataset that can be read: {error!r:.1000}") from error
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise DatasetError(f"{source} is no Minari dataset that can be read: {error!s:.1000}") from error


def _check_metadata(file: Path) -> None:
    """Check that the metadata tell spaces of a reasonable size.

    Raises:
        ValueError: If they do not.
        OSError: If the file is missing.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no file {file.name} in {file.parent}")
    if file.stat().st_size > MAX_METADATA_BYTES:
        raise ValueError(f"{file.name} is larger than {MAX_METADATA_BYTES} bytes")
    metadata = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(metadata, dict) or metadata.get("data_format") != "hdf5":
        raise ValueError(f"{file.name} must hold a JSON object, with hdf5 as data_format")
    for name in ("observation_space", "action_space"):
        if not isinstance(metadata.get(name), str):
            raise ValueError(f"{file.name} does not tell the {name}; Minari would run the env's code to know it")
        entries = sum(_entries(space) for space in _spaces(json.loads(metadata[name])))
        if entries > MAX_SPACE_ENTRIES:
            raise ValueError(f"{file.name} tells of an {name} of {entries} entries")


def _spaces(described: Any) -> Iterator[Mapping[str, Any]]:
    """A described space and those in it."""
    yield described
    inside = described.get("subspaces", ())
    for space in inside.values() if isinstance(inside, dict) else inside:
        yield from _spaces(space)


def _entries(space: Mapping[str, Any]) -> int:
    """How many numbers a described space's own bounds have."""
    if "dtype" in space and space["dtype"] not in DTYPES:
        raise ValueError(f"a space must be of one of {', '.join(sorted(DTYPES))}; got {space['dtype']!r:.50}")
    sizes = space.get("shape", [])
    sizes = [*sizes, *(space[name] for name in ("n", "max_length") if name in space and space["type"] != "Discrete")]
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError(f"the sizes of a space must be integers, got {sizes!r:.50}")
    return math.prod(sizes)


def _check_arrays(file: Path) -> None:
    """Check that a file's arrays are its own, and not much larger than itself.

    Raises:
        ValueError: If they are not, or the file is none of HDF5.
        OSError: If it cannot be read.
    """
    import h5py

    if not file.is_file():
        raise FileNotFoundError(f"no file {file.name} in {file.parent}")
    claimed, allowed, groups, seen = 0, MAX_EXPANSION * file.stat().st_size, [], set()
    with h5py.File(file, "r") as opened:
        groups = [opened["/"]]
        while groups:
            group = groups.pop()
            address = h5py.h5o.get_info(group.id).addr
            if address in seen:
                raise ValueError(f"{file.name} has the group {group.name!r} twice")
            seen.add(address)
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"{file.name} holds a link to another place, {group.name}/{name}")
                item = group[name]
                if isinstance(item, h5py.Group):
                    groups.append(item)
                elif isinstance(item, h5py.Dataset):
                    if item.is_virtual or item.external:
                        raise ValueError(f"the array {item.name!r} of {file.name} lies in another file")
                    claimed += math.prod(item.shape or ()) * item.dtype.itemsize
                    if claimed > allowed:
                        raise ValueError(f"its arrays are more than {MAX_EXPANSION} times as large as {file.name}")
