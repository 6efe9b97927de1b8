"""The site of the docs: `make docs`. Pages are Markdown; the reference is written from the code."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

project = "edge-compress"
author = "the authors of edge-compress"
extensions = [
    "myst_parser",
    "sphinx_external_toc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "_reference",
]
exclude_patterns = ["_reference", "_toc.yml"]
external_toc_path = "_toc.yml"

# Headings are linked to as on the sites that show a repository's pages.
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
# A page of a repository may begin with a second-level heading of another page's.
suppress_warnings = ["myst.header"]

html_theme = "furo"
html_title = "edge-compress"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
# No web font, no counter, no badge: a page asks nobody for anything.
html_theme_options = {
    "light_css_variables": {
        "font-stack": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
        "font-stack--monospace": "ui-monospace, 'SF Mono', Menlo, Consolas, monospace",
    },
}

pygments_style = "friendly"
highlight_language = "none"

# Docstrings are plain text with `code` in single quotes; types stand in the signatures.
default_role = "code"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
