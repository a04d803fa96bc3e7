"""The page as one text: markup, style, scripts and data."""

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

    Names chosen by the user are inside a script element, so every ``<`` in the data is escaped: no
    name can end the element.
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    parts = {
        "style": _file("style.css"),
        "data": text.replace("<", "\\u003c"),
        "scripts": "\n".join(_file(f"{name}.js") for name in SCRIPTS),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _file("page.html"))


def _file(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text("utf-8")
