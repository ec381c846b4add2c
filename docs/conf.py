"""How Sphinx builds the documentation: ``make docs``. The pages' Python runs first, see ``executed_pages.py``."""

import os
import posixpath
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util.nodes import make_refnode

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import executed_pages  # noqa: E402  # beside this file

RESULTS = DOCS / "_build" / "executed"
PACKAGE = "generative_policies."
INTERNAL_ERRORS = ("RenderingUnavailableError", "WrapperError")

project = "generative-policies"
author = "The generative-policies authors"
copyright = author
html_title = project
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

html_theme = "furo"
html_static_path = ["_static", "compare/comparison.mp4"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
python_maximum_signature_line_length = 88

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
# Committed tables begin below the page's own title.
suppress_warnings = ["myst.header"]

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True

nitpicky = True
# Other projects' names and the type variables and aliases of this one have no page here.
FOREIGN = (
    r"(torch|np|numpy|nn|gymnasium|gym|mujoco|stable_baselines3|minari|scipy|safetensors|abc|collections|pathlib|os|io"
    r"|typing)"
)
nitpick_ignore_regex = [("py:.*", rf"(\w+\.)*{FOREIGN}\..*")]


def execute(app: Sphinx) -> None:
    """Run what is new on the pages, and stop where a block raises."""
    pages = [path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts]
    try:
        executed_pages.run_pages([page for page in pages if executed_pages.blocks(page.read_text())], RESULTS)
    except RuntimeError as error:
        raise ExtensionError(str(error)) from error


def read_source(app: Sphinx, docname: str, source: list[str]) -> None:
    """Show outputs below the code, and lead links to committed results to their pages on this site."""
    folder = RESULTS / docname
    text = executed_pages.rendered(source[0], folder, "/" + folder.relative_to(DOCS).as_posix())
    source[0] = re.sub(r"\]\(((?:\.\./)+[^)#]+\.md)(#[^)]*)?\)", lambda link: _on_site(docname, link), text)


def _on_site(docname: str, link: re.Match[str]) -> str:
    here = Path("docs", posixpath.dirname(docname))
    target = posixpath.normpath((here / link[1]).as_posix())
    for outside, page in (("benchmarks/results/", "results/"), ("docs/compare/report.md", "results/compare.md")):
        if target.startswith(outside):
            name = page if page.endswith(".md") else page + posixpath.basename(target)
            return f"]({posixpath.relpath(name, posixpath.dirname(docname) or '.')}{link[2] or ''})"
    return link[0]


def resolve_shorter(app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: Any) -> Any:
    """Find a name of the library under the shorter one that it is public by: a.b.Name for a.b.c.Name."""
    target = node.get("reftarget", "")
    objects = env.domains["py"].data["objects"]
    *modules, name = target.split(".")
    candidates = [".".join((*modules[:length], name)) for length in range(len(modules) - 1, 0, -1)]
    if not modules:
        # Aliases of annotations are written without their module.
        candidates = sorted(full for full in objects if full.rsplit(".", 1)[-1] == name and full.startswith(PACKAGE))
    for candidate in candidates:
        if candidate in objects:
            entry = objects[candidate]
            return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, candidate)
    # What is not public has no page: bases, results without a name of their own, errors of a module.
    return contnode if target in INTERNAL_ERRORS or (target.startswith(PACKAGE) and _is_internal(target)) else None


def _is_internal(target: str) -> bool:
    """Whether a full name can be imported, or is an annotated field of what can, and is not public by a shorter one."""
    parts = target.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            if not hasattr(found, name) and name not in getattr(found, "__annotations__", {}):
                return False
            found = getattr(found, name, None)
        return parts[-1] not in getattr(import_module(".".join(parts[:2])), "__all__", ())
    return False


def skip_fields(app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples, which their class explains."""
    return True if str(getattr(member, "__doc__", "")).startswith("Alias for field number") else None


def _render_math(self: Any, node: nodes.Element) -> None:
    """Write a formula as MathML, which browsers draw without a script from elsewhere."""
    block = isinstance(node, nodes.math_block)
    self.body.append(
        f"<div class='math'>{tex2mathml(node.astext(), True)}</div>" if block else tex2mathml(node.astext())
    )
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the above."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    app.add_html_math_renderer("mathml", (_render_math, None), (_render_math, None))
    app.connect("builder-inited", execute)
    app.connect("source-read", read_source)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("missing-reference", resolve_shorter)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
