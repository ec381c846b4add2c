"""Ways of breaking what JSON says while it stays JSON."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from generative_policies.checkpoints import ALLOWED_CLASSES

Rng = np.random.Generator

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 16, 1_000, 65_536, 10**6, 10**9, 10**12, 2**63, 10**30, -(10**12)),
    *(0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), float("-inf")),
    *("", "nan", "../../../../etc/passwd", "/etc/passwd", "os.system", "builtins.eval", "a" * 10_000, "\x00", "\ud800"),
    *("O", "S1000000000", "U1000000000", "float64", "complex128", "datetime64", "uint8"),
    *([], {}, [0], [-1], [[]], [10**6] * 3, [10**12], [1] * 2_000, [16] * 500, ["x"], [None], {"a": 1}),
    *({"class": "os.system", "arguments": {"command": "true"}}, {"mapping": {}}, {"policy": {}}, {"slice": [0, 0, 0]}),
)


def mutate_value(document: Any, rng: Rng) -> Any:
    """Return a document of JSON with one thing changed at a random place of it."""
    parents: list[Any] = [{"": document}]
    for parent in parents:  # grows on the way
        items = parent.values() if isinstance(parent, dict) else parent
        parents += [item for item in items if isinstance(item, dict | list) and item]
    root, parent = parents[0], parents[rng.integers(len(parents))]
    keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
    key = keys[rng.integers(len(keys))]
    actions: list[Callable[[Any, Any, Any, Rng], None]] = [_put_odd_value, _put_odd_value, _put_odd_value]
    actions += [_put_other_part, _delete, _add, _nest, _scale, _put_class]
    actions[rng.integers(len(actions))](root, parent, key, rng)
    return root.get("")


def _odd_value(rng: Rng) -> Any:
    return copy.deepcopy(ODD_VALUES[rng.integers(len(ODD_VALUES))])  # it may be changed in turn


def _put_odd_value(root: Any, parent: Any, key: Any, rng: Rng) -> None:
    parent[key] = _odd_value(rng)


def _put_other_part(root: Any, parent: Any, key: Any, rng: Rng) -> None:
    """Put a copy of another part of the document."""
    parts = [root]
    for part in parts:
        parts += list(part.values()) if isinstance(part, dict) else part if isinstance(part, list) else []
    parent[key] = json.loads(json.dumps(parts[rng.integers(len(parts))]))


def _delete(root: Any, parent: Any, key: Any, rng: Rng) -> None:
    del parent[key]


def _add(root: Any, parent: Any, key: Any, rng: Rng) -> None:
    value = _odd_value(rng)
    if isinstance(parent, dict):
        parent[str(rng.choice(["evil", "__class__", "device", "dtype", "", "../x", "shift"]))] = value
    else:
        parent.insert(key, value)


def _nest(root: Any, parent: Any, key: Any, rng: Rng) -> None:
    """Put a value into up to 300 lists."""
    for _ in range(int(rng.integers(1, 300))):
        parent[key] = [parent[key]]


def _scale(root: Any, parent: Any, key: Any, rng: Rng) -> None:
    """Make a number larger, smaller or of another type."""
    value = parent[key]
    if isinstance(value, int | float) and not isinstance(value, bool):
        parent[key] = [value + 1, value - 1, -value, float(value), value * 1_000, str(value)][rng.integers(6)]


def _put_class(root: Any, parent: Any, key: Any, rng: Rng) -> None:
    """Name another class, of the library or of anybody's."""
    foreign = [
        "os.system",
        "subprocess.Popen",
        "torch.nn.Linear",
        "generative_policies.checkpoints.save",
        "x",
        "..",
        "",
    ]
    names = [*ALLOWED_CLASSES, *foreign]
    holder = parent if isinstance(parent, dict) and "class" in parent else {"class": None, "arguments": {}}
    holder["class"] = names[rng.integers(len(names))]
    if holder is not parent:
        parent[key] = holder


def mutate_json(file: Path, rng: Rng) -> str:
    """Change a few things in a file of JSON, and in JSON that its strings hold; return what was done."""
    document = json.loads(file.read_text())
    for _ in range(1 + int(rng.integers(3) == 0)):
        texts = [key for key, value in document.items() if _is_json(value)] if isinstance(document, dict) else []
        if texts and rng.random() < 0.5:
            key = texts[rng.integers(len(texts))]
            document[key] = json.dumps(mutate_value(json.loads(document[key]), rng))
        else:
            document = mutate_value(document, rng)
    file.write_text(json.dumps(document), encoding="utf-8")
    return "JSON changed"


def _is_json(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("{")


def mutate_header(file: Path, rng: Rng) -> str:
    """Change a few things in the header of a safetensors file, which stays as long as it says."""
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    for _ in range(1 + int(rng.integers(3) == 0)):
        header = mutate_value(header, rng)
    text = json.dumps(header).encode()
    if rng.random() < 0.3:  # as deep or as long as it likes
        text = re.sub(rb'"shape": \[[^\]]*\]', b'"shape": [1000000, 1000000, 1000000]', text, count=1)
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    return "header changed"


def mutate_metadata(file: Path, rng: Rng) -> str:
    """Change a few things in the metadata of an exported model."""
    model = onnx.load(file)
    entry = model.metadata_props[0]
    document = json.loads(entry.value)
    for _ in range(1 + int(rng.integers(3) == 0)):
        document = mutate_value(document, rng)
    entry.value = json.dumps(document)
    file.write_bytes(model.SerializeToString())
    return "metadata changed"
