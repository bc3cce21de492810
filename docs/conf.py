"""The documentation site: `sphinx-build -W docs docs/build`."""

from __future__ import annotations

import re
from typing import Any

import deployrec

project = "deployrec"
author = "the deployrec authors"
release = deployrec.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
add_module_names = False

html_theme = "furo"
html_title = f"deployrec {release}"


def lay_out(_app: object, _what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Docstrings are written for a terminal: what is indented or set in columns is shown as it stands."""
    shown: list[str] = []
    for block in "\n".join(lines).split("\n\n"):
        if any(line.startswith(" ") or "   " in line for line in block.splitlines()):
            shown += ["::", "", *(f"    {line}" for line in block.splitlines()), ""]
        else:
            shown += [*re.sub(r"\*|_(?=\W|$)", r"\\\g<0>", block).splitlines(), ""]
    lines[:] = shown


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", lay_out)
