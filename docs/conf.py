"""The documentation site: `sphinx-build -W docs docs/build`."""

from __future__ import annotations

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
