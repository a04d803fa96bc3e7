"""``.. reference:: package`` documents each public name of a package from its docstring.

Operations are objects that are called, and docstrings are written to be read in a terminal: with
equations in plain text, with tables and sections as they stand. So this looks at the objects itself
and says in reStructuredText what their docstrings say, with everything quoted that has no meaning
there.
"""

import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields|Example|Source)( \(.*\))?:(.*)$")
QUOTED = re.compile(r"(?::\w+:)?(`{1,2})(.+?)\1", re.DOTALL)
EQUATION = re.compile(r"^(.*?[.:])  +(\S.*?)\.?$", re.DOTALL)


class Reference(SphinxDirective):
    """The public names of a package; ``:except:`` names packages whose names stand elsewhere."""

    required_arguments = 1
    option_spec = {"except": directives.unchanged}  # noqa: RUF012  # as Sphinx has it

    def run(self) -> list[nodes.Node]:
        """Document the package."""
        package = importlib.import_module(self.arguments[0])
        others = [importlib.import_module(p) for p in self.options.get("except", "").split()]
        elsewhere = {name for other in others for name in other.__all__}
        lines = StringList()
        lines.append(f".. py:module:: {package.__name__}", package.__name__)
        lines.append("", package.__name__)
        for name in sorted(set(package.__all__) - elsewhere, key=str.lower):
            value = getattr(package, name)
            if not isinstance(value, ModuleType):
                for line in described(name, value):
                    lines.append(line, f"docstring of {package.__name__}.{name}")
        box = nodes.container()
        self.state.nested_parse(lines, 0, box)
        return box.children


def described(name: str, value: Any) -> Iterator[str]:
    """A name and what it is, with its methods if it is a class."""
    if inspect.isclass(value):
        yield from entry("class", name + signature(value), value.__doc__)
        members = dict(vars(value))
        if callable(getattr(value, "forward", None)):  # a layer's, which a base class may define
            members.setdefault("forward", value.forward)
        for method, member in members.items():
            documented = inspect.getdoc(member) if callable(member) else member.__doc__
            if method.startswith("_") or method == "extra_repr" or not documented:
                continue
            if isinstance(member, property):
                below = entry("property", method, documented)
            elif callable(member) or isinstance(member, (classmethod, staticmethod)):
                below = entry("method", method + signature(member, bound=True), documented)
            else:
                continue  # a slot of a dataclass
            yield from (f"   {line}" if line else "" for line in below)
    elif callable(value):
        yield from entry("function", name + signature(value), value.__doc__)
    else:
        yield from entry("data", name, None)


def entry(kind: str, title: str, doc: str | None) -> Iterator[str]:
    """A directive of Sphinx's domain for Python."""
    yield from (f".. py:{kind}:: {title}", "")
    yield from (f"   {line}" if line else "" for line in text(doc or ""))


def signature(value: Any, bound: bool = False) -> str:
    """Its parameters without their types, which the docstring says in words."""
    try:
        found = inspect.signature(value.__func__ if isinstance(value, classmethod) else value)
    except (TypeError, ValueError):
        return "(...)"
    parameters = []
    for p in list(found.parameters.values())[1 if bound and hasattr(value, "__get__") else 0 :]:
        shown = re.sub(r"<.*>", "...", "" if p.default is p.empty else f"={p.default!r}")
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        if p.kind is p.KEYWORD_ONLY and not any(q.startswith("*") for q in parameters):
            parameters.append("*")
        parameters.append(f"{star}{p.name}{shown}")
    return f"({', '.join(parameters)})"


def text(doc: str) -> Iterator[str]:
    """A docstring in reStructuredText."""
    for block in blocks(inspect.cleandoc(doc).splitlines()):
        head = SECTION.match(block[0])
        if head:
            rest = inspect.cleandoc("\n".join(["", *block[1:]]))
            name = head[1] + (head[2] or "")
            yield from (f"**{name}**", "")
            if head[3]:
                yield from (quoted(" ".join([head[3].strip(), *rest.split("\n")])), "")
            elif head[1] in ("Args", "Attributes", "Raises"):
                yield from items(rest.split("\n"))
            else:
                yield from text(rest)
        elif block[0].startswith(">>>"):
            yield from indented(".. code-block:: pycon", block)
        elif block[0].startswith("|"):
            yield from table(block)
        elif block[0].startswith("- "):
            for item in re.split(r"(?:^|\n)- ", "\n".join(block))[1:]:
                yield from (f"- {quoted(item)}", "")
        elif block[0].startswith(" "):
            yield from indented(".. code-block:: text", inspect.cleandoc("\n".join(["", *block])))
        else:
            paragraph = "\n".join(block)
            equation = EQUATION.match(paragraph)
            if equation and "=" in equation[2]:
                yield from (quoted(equation[1]), "")
                yield from indented(".. code-block:: text", equation[2].replace("`", ""))
            else:
                yield from (quoted(paragraph), "")


def blocks(lines: list[str]) -> Iterator[list[str]]:
    """Paragraphs; what is indented below a section, or stands indented, is one block."""
    block: list[str] = []
    for line in lines:
        inside = block and (block[0].startswith(" ") or SECTION.match(block[0]))
        ends = not line.startswith(" ") if inside else not line
        if block and (ends and (line or not inside)):
            yield block
            block = []
        if line or block:
            block.append(line)
    if block:
        yield block


def items(lines: list[str]) -> Iterator[str]:
    """``name: what it is`` as a definition list."""
    for item in re.split(r"\n(?=\S)", "\n".join(lines)):
        name, _, what = item.partition(":")
        yield from (quoted(f"`{' '.join(name.split())}`"), f"   {quoted(what or '…')}", "")


def table(rows: list[str]) -> Iterator[str]:
    """A table of Markdown."""
    yield from (".. list-table::", "   :header-rows: 1", "")
    for k, row in enumerate(rows):
        if k != 1:
            cells = [quoted(cell) for cell in row.strip("|").split("|")]
            yield f"   * - {cells[0]}"
            yield from (f"     - {cell}" for cell in cells[1:])
    yield ""


def indented(directive: str, lines: str | list[str]) -> Iterator[str]:
    """A directive and its content."""
    content = lines.split("\n") if isinstance(lines, str) else lines
    yield from (directive, "", *(f"   {line}" if line else "" for line in content), "")


def quoted(words: str) -> str:
    """A paragraph in a line: what stands in backticks is code, and nothing else has a meaning."""
    words = re.sub(r"\*\*(\w[^*`]*\w)\*\*", r"\1", " ".join(words.split()))
    parts, end = [], 0
    for code in QUOTED.finditer(words):
        parts.append(plain(words[end : code.start()]))
        parts.append(f"\\ ``{code[2].lstrip('~')}``\\ ")
        end = code.end()
    return "".join([*parts, plain(words[end:])])


def plain(words: str) -> str:
    """Words without markup."""
    return re.sub(r"([\\*`|_:.>+-])", r"\\\1", words)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("reference", Reference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
