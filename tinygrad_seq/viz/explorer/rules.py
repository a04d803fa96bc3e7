"""The rule of an operation in words and formulas, as its docstring or its source has them."""

from __future__ import annotations

import inspect
import re
from typing import Any

from ...autograd.fused import Fused

_WHOLE_SEQUENCE = (
    "The whole sequence as one operation, with one backward for all its arguments. "
    "Recorded inside nn.unrolled(), it is drawn step by step."
)

_FORMULA = re.compile(r"[^\s=]+ = ")


def rule_of(op: Any) -> dict[str, Any]:
    """What the page says of an operation: ``words``, and ``formulas`` such as ``ā = ȳ bᵀ``.

    Where the docstring has no formula for the gradients, ``code`` has the rules as written.
    """
    if isinstance(op, Fused):
        return {"words": _WHOLE_SEQUENCE, "formulas": [], "code": []}
    paragraph = inspect.cleandoc(op.forward.__doc__ or "") if hasattr(op, "forward") else ""
    first = " ".join(paragraph.split("\n\n")[0].splitlines())
    parts = [part.strip(" .,;") for part in re.split(r"(?<=[.,;])\s{2,}", first) if part]
    formulas = [part for part in parts if _FORMULA.match(part)]
    words = ". ".join(part for part in parts if part not in formulas)
    words = re.sub(r":\w+:|`", "", words)
    code = [] if "ȳ" in first else _written(op)
    return {"words": words, "formulas": formulas, "code": code}


def _written(op: Any) -> list[str]:
    """The rules of one line, as ``argument: expression``."""
    lines = []
    for argument, rule in getattr(op, "rules", {}).items():
        try:
            text = " ".join(inspect.getsource(rule).split())
        except (OSError, TypeError):  # typed at a prompt
            continue
        found = re.search(rf"\b{re.escape(argument)}=lambda [^:]*: (.*?)(?:, \w+=lambda|\)$)", text)
        if found:
            lines.append(f"{argument}: {found[1]}")
    return lines
