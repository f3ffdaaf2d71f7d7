"""How the documentation is built: Sphinx, MyST, furo, and a gallery of examples that run.

The tables of models and data sets are written from the registries at every build.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE)]

import creo  # noqa: E402
from creo import data  # noqa: E402

project = "creo"
author = "The creo authors"
release = version = creo.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "docstrings",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples"]
templates_path = ["templates"]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
autosummary_generate = True
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
html_theme = "furo"
html_title = f"creo {release}"
suppress_warnings = ["config.cache", "myst.header", "autosummary", "myst.xref_missing"]
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "download_all_examples": False,
    "show_memory": False,
}


def _write_tables() -> None:
    """The tables that must never be typed by hand."""
    rows = [
        "| model | family | likelihood by space | also answers | what it is | paper |",
        "|---|---|---|---|---|---|",
    ]
    for m in creo.models().values():
        promise = ", ".join(f"{space}: {kind}" for space, kind in m.promise.items())
        answers = ", ".join(m.answers)
        rows.append(
            f"| `{m.name}` | {m.family} | {promise} | {answers} | {m.summary} | [{m.paper}]({m.url}) |"
        )
    sets = ["| data | space | splits | size | licence | source |", "|---|---|---|---|---|---|"]
    for d in data.catalogue().values():
        sets.append(f"| `{d.name}` | {d.space} | {d.splits} | {d.size} | {d.licence} | {d.source} |")
    folder = HERE / "generated"
    folder.mkdir(exist_ok=True)
    (folder / "models.md").write_text("\n".join(rows) + "\n")
    (folder / "data.md").write_text("\n".join(sets) + "\n")


_write_tables()
exclude_patterns += ["generated"]
