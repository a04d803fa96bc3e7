"""The rule of an operation in words and formulas, from its docstring or source."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import Any

from ...autograd.fused import Fused

_WHOLE_SEQUENCE = (
    "The whole sequence as one operation, with one backward for all its arguments. "
    "Record it inside nn.unrolled() to see it step by step."
)

LINES = 12  # for a rule that is a function

_FORMULA = re.compile(r"[^\s=]+ = ")


def rule_of(op: Any) -> dict[str, Any]:
    """What the page says about an operation: ``words``, and ``formulas`` such as ``ā = ȳ bᵀ``.

    If the docstring has no formula for the gradients, ``code`` has the source of the rules.
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
    """The rules as written in the source: ``argument: expression``, or a function's lines."""
    lines = []
    for argument, rule in getattr(op, "rules", {}).items():
        try:
            source = textwrap.dedent(inspect.getsource(rule)).strip()
        except (OSError, TypeError):  # typed at a prompt
            continue
        if (body := _lambda_of(source, argument)) is not None:
            lines.append(f"{argument}: {body}")
        elif isinstance(made := _parsed(source), ast.FunctionDef):
            lines.append(f"{argument}: {made.name}({', '.join(a.arg for a in made.args.args)}):")
            body_lines = source.splitlines()[made.body[0].lineno - 1 :]
            lines += body_lines[:LINES] + ["    …"] * (len(body_lines) > LINES)
    return lines


def _lambda_of(source: str, argument: str) -> str | None:
    """The expression of the lambda for an argument, from a line or the lines around it."""
    for text in (source, f"_({source.rstrip(',')})", f"_({source})"):
        for node in ast.walk(_parsed(text)):
            if isinstance(node, ast.keyword) and node.arg == argument:
                given = node.value
                if isinstance(given, ast.Lambda):
                    segment = ast.get_source_segment(text, given.body) or ""
                    return " ".join(segment.split())
    return None


def _parsed(text: str) -> ast.AST:
    """The first statement of a text; an empty module if it does not parse."""
    try:
        return ast.parse(text).body[0]
    except (SyntaxError, IndexError):
        return ast.Module([], [])
