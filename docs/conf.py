"""Sphinx: the site of docs/, built from these pages and from the sources. Nothing in it comes from another address."""

import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

HERE = Path(__file__).parent
FETCHED = re.compile(r"""(?:\bsrc=|<link[^>]*\bhref=|url\(|@import)\s*["']?(?:https?:)?//[^"')\s]+""")
CODE = re.compile(r"(``[^`]*``)")
sys.path.insert(0, str(HERE))

from generate import write_pages  # noqa: E402  (it lies beside this file)

project = "mtbench"
project_copyright = "the authors of mtbench, MIT licence"
version = release = version_of("mtbench")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["examples"]
html_theme = "furo"
html_title = f"mtbench {release}"
html_static_path: list[str] = []
html_show_sourcelink = False
html_copy_source = False
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def escape_bars(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """A modulus in a docstring, such as ``|s|``, is no name of a substitution; code stays as it is."""
    lines[:] = ["".join(p if p.startswith("``") else p.replace("|", "\\|") for p in CODE.split(x)) for x in lines]


def refuse_other_addresses(app: Sphinx, error: Exception | None) -> None:
    """The site is whole by itself: nothing that a browser fetches for a page lies at another address.

    Raises:
        ExtensionError: a page, style or script names one.
    """
    built = [file for file in Path(app.outdir).rglob("*") if file.suffix in {".html", ".css"}]
    found = {f"{file.name}: {hit}" for file in built for hit in FETCHED.findall(file.read_text())}
    if found and error is None:
        raise ExtensionError(f"pages should fetch nothing from other addresses, found {', '.join(sorted(found))}")


def setup(app: Sphinx) -> None:
    """Write the generated pages before Sphinx looks for its sources."""
    app.connect("autodoc-process-docstring", escape_bars)
    app.connect("build-finished", refuse_other_addresses)
    write_pages(HERE / "reference" / "generated")
