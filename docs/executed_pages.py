"""Runs the Python blocks of the documentation's pages, and puts below each what it printed and drew.

On a page, every fence that opens with three backticks and ``python`` is run, from top to bottom, in one process of its
own a page. A comment ``<!-- check ... -->`` is run as well but not shown: it holds what the text claims.
"""

import contextlib
import hashlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from generative_policies.atomic_files import write_file

DOCS = Path(__file__).parent
LIBRARY = ("generative_policies", "envs", "wrappers", "rollouts")
BLOCK = re.compile(r"^```python\n(?P<shown>.*?)^```$|^<!-- check\n(?P<check>.*?)^-->\n?", re.DOTALL | re.MULTILINE)
OPENING = re.compile(r"^\s*(```+\s*\{?[\w-]*\}?\s*py|<!--\s*check)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """Code on a page.

    Attributes:
        code: The code.
        line: Number of its first line on the page, from 1.
        end: Where it ends in the page's text.
        shown: Whether readers see it.
    """

    code: str
    line: int
    end: int
    shown: bool


@dataclass
class Output:
    """What a block did.

    Attributes:
        text: What it printed.
        figures: File names of what it drew, with their titles.
    """

    text: str = ""
    figures: list[tuple[str, str]] = field(default_factory=list)


def blocks(text: str) -> list[Block]:
    """Return the code on a page.

    Raises:
        ValueError: If a block would be left out: one that is indented, opened in another way or not closed.
    """
    found = []
    for match in BLOCK.finditer(text):
        kind = "shown" if match["shown"] is not None else "check"
        line = text.count("\n", 0, match.start(kind)) + 1
        found.append(Block(match[kind], line, match.end(), kind == "shown"))
    openings = len(OPENING.findall(text))
    if openings != len(found):
        raise ValueError(f"{openings} blocks of Python or checks are opened on the page, {len(found)} can be run")
    return found


def run_page(page: Path, folder: Path) -> None:
    """Run a page in this process, in a folder of its own, and write ``results.json`` and figures to another.

    What a block raises comes through, with the page's own line in the traceback.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder, page = folder.resolve(), page.resolve()
    names: dict[str, Any] = {"__name__": "__main__"}
    outputs = []
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as working, contextlib.chdir(working):
        for number, block in enumerate(blocks(page.read_text())):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), names)  # our own page
            figures = list(_take_figures(folder, number))
            if not block.shown and (printed.getvalue() or figures):
                raise ValueError(f"{page}:{block.line}: a check prints or draws nothing, since nobody would see it")
            outputs.append(Output(printed.getvalue(), figures))
    results = {
        "key": key(page),
        "outputs": [asdict(output) for output in outputs],
        "seconds": time.perf_counter() - started,
        "versions": {name: version(name) for name in ("torch", "mujoco", "gymnasium", "stable-baselines3")}
        | {"python": platform.python_version()},
    }
    write_file(folder / "results.json", json.dumps(results, indent=1) + "\n")


def _take_figures(folder: Path, block: int) -> Iterator[tuple[str, str]]:
    """Save and close the open figures of ``matplotlib.pyplot``, if the page uses it."""
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    for number in pyplot.get_fignums() if pyplot else ():
        figure = pyplot.figure(number)
        titles = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
        name = f"figure-{block}-{number}.png"
        figure.savefig(folder / name, dpi=130)
        yield name, next((title for title in titles if title), "Figure drawn by the code above")
        pyplot.close(figure)


def key(page: Path) -> str:
    """Return what results depend on, as a digest: the page, the library and the versions of what it stands on."""
    digest = hashlib.sha256(page.read_bytes())
    for folder in LIBRARY:
        for file in sorted((DOCS.parent / folder).rglob("*")):
            if file.suffix in (".py", ".json", ".safetensors") and file.is_file():
                digest.update(str(file).encode() + file.read_bytes())
    for name in ("torch", "mujoco", "gymnasium", "stable-baselines3", "numpy", "matplotlib"):
        digest.update(version(name).encode())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()


def run_pages(pages: Sequence[Path], output: Path) -> None:
    """Run pages that have changed since they were run, one process and one thread each, as many as there are cores.

    Args:
        pages: Below the folder of the documentation.
        output: Gets a folder a page, see ``results_folder``.

    Raises:
        RuntimeError: If a block raises; the message is its traceback.
    """
    waiting = [page for page in pages if _saved_key(results_folder(page, output)) != key(page)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    # Pages import what is beside them, installed or not.
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(DOCS.parent), os.environ.get("PYTHONPATH")]))

    def run(page: Path) -> str | None:
        command = [sys.executable, __file__, str(page), str(results_folder(page, output))]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        return None if done.returncode == 0 else f"{page}:\n{done.stderr}"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        failures = [failure for failure in pool.map(run, waiting) if failure]
    if failures:
        raise RuntimeError("\n".join(failures))


def results_folder(page: Path, output: Path) -> Path:
    """Return where the results of a page are."""
    return output / page.resolve().relative_to(DOCS.resolve()).with_suffix("")


def _saved_key(folder: Path) -> str | None:
    """What the results of a page depended on; ``None`` where there are none that can be read."""
    try:
        key: str = json.loads((folder / "results.json").read_text())["key"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return key


def rendered(text: str, folder: Path, link: str) -> str:
    """Return a page's text with what its blocks printed and drew, and without its checks.

    Args:
        text: The page.
        folder: Its results.
        link: Where a reader's page finds that folder.
    """
    found = blocks(text)
    if not found:
        return text
    results = json.loads((folder / "results.json").read_text())
    parts, position = [], 0
    for block, output in zip(found, results["outputs"], strict=True):
        parts.append(text[position : block.end] if block.shown else BLOCK.sub("", text[position : block.end]))
        if output["text"]:
            parts.append(f"\n\n```{{code-block}} text\n:class: output\n\n{output['text'].rstrip()}\n```\n")
        parts += [f"\n\n![{title}]({link}/{name})\n" for name, title in output["figures"]]
        position = block.end
    installed = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    note = f"*The code of this page ran when the page was built: {results['seconds']:.0f} s on one core, {installed}.*"
    return f"{''.join(parts)}{text[position:].rstrip()}\n\n{note}\n"


if __name__ == "__main__":
    run_page(Path(sys.argv[1]), Path(sys.argv[2]))
