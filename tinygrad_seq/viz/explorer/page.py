"""The page as one text: its markup, style and scripts, and the data in it."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

SCRIPTS = (
    "values",
    "model",
    "layout",
    "drawing",
    "rail",
    "panel",
    "strips",
    "player",
    "search",
    "main",
)
"""The scripts in order; each uses only those before it."""


def page(data: dict[str, Any]) -> str:
    """The HTML of the page for this data.

    Names of the user's end up inside a script element: no ``<`` is left in the data, so none of
    them can end it.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    parts = {
        "style": _file("style.css"),
        "data": text.replace("<", "\\u003c")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029"),
        "scripts": "\n".join(_file(f"{name}.js") for name in SCRIPTS),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _file("page.html"))


def _file(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text("utf-8")
