"""Mathematics as MathML, which browsers typeset by themselves: no script is loaded."""

import re
from html import escape

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

LOGGER = logging.getLogger(__name__)
BAR = r'<mo stretchy="false">ˉ</mo>\s*'
BARRED = re.compile(rf'<mover accent="true">\s*<mi>(.)</mi>\s*{BAR}</mover>')
BARRED_WITH_INDEX = re.compile(rf"<munderover>\s*<mi>(.)</mi>(.*?){BAR}</munderover>", re.DOTALL)


def mathml(node: nodes.Element, as_block: bool) -> str:
    """A formula in LaTeX as MathML; a warning, and the LaTeX, where it is not understood."""
    try:
        return barred(tex2mathml(node.astext(), as_block=as_block))
    except MathError as error:
        LOGGER.warning("%s in the formula %s", error, node.astext(), location=node)
        return f"<code>{escape(node.astext())}</code>"


def barred(formula: str) -> str:
    """x̄ as one character, and its index beside it, not below: fonts draw the sign itself astray."""
    bar = '<mi class="barred">\\1\N{COMBINING MACRON}</mi>'
    return BARRED_WITH_INDEX.sub(rf"<msub>{bar}\2</msub>", BARRED.sub(bar, formula))


def inline(self: HTML5Translator, node: nodes.math) -> None:
    """Write a formula in the line."""
    self.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def display(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on a line of its own."""
    self.body.append(f'<div class="math">{mathml(node, as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
