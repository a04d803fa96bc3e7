"""The site: the guide, the pages, and the reference made from docstrings: ``make docs``."""

import os
import re
import shutil
import sys
from pathlib import Path

from nbclient import NotebookClient
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

HERE = Path(__file__).parent
LOADED = re.compile(r'(?:\bsrc=|<link[^>]+href=)"(?:https?:)?//[^"]*"')  # from another host
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]
# For the kernels that run the chapters: this tree's package, and no waiting of threads.
os.environ["PYTHONPATH"] = str(HERE.parent)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Each chapter's kernel warns that its connection, which is within this machine, is not encrypted.
NotebookClient.extra_arguments.default_args = (["--IPKernelApp.log_level=ERROR"],)

import tinygrad_seq  # noqa: E402

project = "tinygrad_seq"
author = "The tinygrad_seq authors"
copyright = author
version = release = tinygrad_seq.__version__

extensions = ["myst_nb", "mathml", "reference"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
add_module_names = False
pygments_style = "tango"
pygments_dark_style = "github-dark"

nb_execution_mode = "auto"
nb_execution_raise_on_error = True
nb_execution_timeout = 60
nb_execution_show_tb = True

html_theme = "furo"
html_title = f"tinygrad_seq {release}"
html_static_path = ["_static"]
html_css_files = ["guide.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False


def move_explorers(app: Sphinx, error: Exception | None) -> None:
    """Put the pages that chapters wrote with ``viz.explore`` beside the chapters."""
    if error is None and app.builder.format == "html":
        for page in sorted((HERE / "guide").glob("*.html")):
            shutil.move(page, Path(app.outdir) / "guide" / page.name)


def check_offline(app: Sphinx, error: Exception | None) -> None:
    """Refuse a page that would load a script, a style or a picture from elsewhere."""
    for page in sorted(Path(app.outdir).rglob("*.html")) if error is None else ():
        if loaded := LOADED.search(page.read_text("utf-8")):
            raise ExtensionError(f"{page} loads {loaded[0]}")


def offer_notebook(app: Sphinx, page: str, source: list[str]) -> None:
    """Add to a chapter a link to itself as a notebook, which the build has run."""
    if page.startswith("guide/"):
        name = f"{page.removeprefix('guide/')}.ipynb"
        link = f"Download this chapter as a notebook: {{nb-download}}`{name}`."
        source[0] = re.sub(r"(?m)^(# .*)$", rf"\1\n\n{link}", source[0], count=1)


def say_where(app: Sphinx, error: Exception | None) -> None:
    """End with the address of the first page."""
    if error is None and app.builder.format == "html":
        print(f"The site is at {(Path(app.outdir) / 'index.html').as_uri()}")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", offer_notebook)
    app.connect("build-finished", move_explorers)
    app.connect("build-finished", check_offline)
    app.connect("build-finished", say_where)
