"""Campaigns that look for what is lost, stuck or half done: ``make stress``, outside the suite.

Each module has a ``campaign(rng, scale)`` that yields its figures, a :class:`Row` for each thing
that was tried. ``scale`` multiplies how often.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """What was tried, how often, how often it went wrong, and what else was seen."""

    what: str
    tried: int
    wrong: int
    seen: str
