"""Ways of breaking a file without knowing what is in it, and of putting something else in its place."""

import io
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Rng = np.random.Generator
ODD_INTEGERS = (0, 1, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 10**12, 2**63 - 1, 2**64 - 1)


class Payload:
    """Leaves a mark when it is unpickled: the folder that is given."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.mark,)


def flip_bits(content: bytearray, rng: Rng) -> None:
    """Flip one to eight bits."""
    for place in rng.integers(len(content), size=rng.integers(1, 9)):
        content[place] ^= 1 << int(rng.integers(8))


def insert_bytes(content: bytearray, rng: Rng) -> None:
    """Insert up to 64 random bytes."""
    place = int(rng.integers(len(content) + 1))
    content[place:place] = rng.bytes(int(rng.integers(1, 65)))


def delete_bytes(content: bytearray, rng: Rng) -> None:
    """Delete up to 64 bytes."""
    place = int(rng.integers(len(content)))
    del content[place : place + int(rng.integers(1, 65))]


def swap_bytes(content: bytearray, rng: Rng) -> None:
    """Swap two runs of up to 32 bytes."""
    length = int(rng.integers(1, min(33, max(2, len(content) // 2))))
    first, second = (int(place) for place in rng.integers(max(1, len(content) - length), size=2))
    content[first : first + length], content[second : second + length] = (
        content[second : second + length],
        content[first : first + length],
    )


def truncate(content: bytearray, rng: Rng) -> None:
    """Cut the end off."""
    del content[int(rng.integers(len(content))) :]


def repeat_bytes(content: bytearray, rng: Rng) -> None:
    """Repeat a run of bytes behind itself."""
    place = int(rng.integers(len(content)))
    content[place:place] = content[place : place + int(rng.integers(1, 257))]


def fill_bytes(content: bytearray, rng: Rng) -> None:
    """Set up to 64 bytes to nothing but zeros or ones."""
    place = int(rng.integers(len(content)))
    length = len(content[place : place + int(rng.integers(1, 65))])
    content[place : place + length] = bytes([int(rng.choice([0, 255]))]) * length


def odd_integer(content: bytearray, rng: Rng) -> None:
    """Write an integer at the edge of its type, of one to eight bytes, near the beginning as often as not."""
    width = int(rng.choice([1, 2, 4, 8]))
    end = min(len(content), 256) if rng.random() < 0.5 else len(content)
    place = int(rng.integers(end))
    number = ODD_INTEGERS[rng.integers(len(ODD_INTEGERS))] % 256**width
    content[place : place + width] = number.to_bytes(width, "little")


BYTE_MUTATIONS: Mapping[str, Callable[[bytearray, Rng], None]] = {
    "bits flipped": flip_bits,
    "bytes inserted": insert_bytes,
    "bytes deleted": delete_bytes,
    "bytes swapped": swap_bytes,
    "bytes repeated": repeat_bytes,
    "bytes filled": fill_bytes,
    "truncated": truncate,
    "odd integer": odd_integer,
}


def mutate_bytes(file: Path, rng: Rng) -> str:
    """Break a file's bytes, once or a few times; return the name of the first mutation."""
    content = bytearray(file.read_bytes())
    names = list(BYTE_MUTATIONS)
    chosen: list[str] = [names[k] for k in rng.integers(len(names), size=1 + (rng.random() < 0.3) * rng.integers(4))]
    for name in chosen:
        if content:
            BYTE_MUTATIONS[name](content, rng)
    file.write_bytes(bytes(content))
    return chosen[0]


def pickled(mark: Path) -> bytes:
    """Return a pickle that leaves a mark."""
    return pickle.dumps(Payload(mark))


def zip_of_pickle(mark: Path) -> bytes:
    """Return a zip as torch and SB3 write it, with pickles that leave a mark."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("archive/data.pkl", "data", "generator.npy", "lengths.npy"):
            archive.writestr(name, pickled(mark))
    return stream.getvalue()


def object_arrays(mark: Path) -> bytes:
    """Return a file of numpy's whose arrays are pickles that leave a mark."""
    stream = io.BytesIO()
    array = np.array([Payload(mark)], dtype=object)
    np.savez(stream, generator=array, lengths=array, seed=array, actions=array)
    return stream.getvalue()


def replace_file(file: Path, mark: Path, rng: Rng) -> str:
    """Put something else in a file's place; return what."""
    contents: Mapping[str, Callable[[], bytes]] = {
        "pickle": lambda: pickled(mark),
        "zip of pickles": lambda: zip_of_pickle(mark),
        "pickled arrays": lambda: object_arrays(mark),
        "empty": lambda: b"",
        "random bytes": lambda: rng.bytes(int(rng.integers(1, 4096))),
        "deep nesting": lambda: b"[" * 100_000,
        "deep objects": lambda: b'{"a":' * 100_000,
        "long number": lambda: b'{"format_version": ' + b"9" * 10_000 + b"}",
        "header of all bytes": lambda: (2**63 - 1).to_bytes(8, "little") + file.read_bytes()[8:],
    }
    links: Mapping[str, Path] = {
        "link to endless zeros": Path("/dev/zero"),
        "link to a foreign file": Path("/etc/passwd"),
        "link to itself": file,
        "link to nothing": file.with_name("nothing"),
        "link out of the folder": Path("../../../../../../../../etc/hostname"),
    }
    names = [*contents, *links, "folder", "pipe", "missing"]
    name: str = names[rng.integers(len(names))]
    if name in contents:
        file.write_bytes(contents[name]())
        return name
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink()
    if name in links:
        file.symlink_to(links[name])
    elif name == "folder":
        file.mkdir()
    elif name == "pipe":
        os.mkfifo(file)
    return name
