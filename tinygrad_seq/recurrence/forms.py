"""How a map is computed, number by number: one table for the compilers of loops.

A form is an expression of the operands a, b and c, in Python. numba compiles it as
:func:`in_python` writes it, CUDA as :func:`in_c` does.
"""

from __future__ import annotations

import ast
import functools
import re
from typing import Any

from .. import ops
from .program import SAME

SIGMOID = "(0.5 + 0.5 * tanh(0.5 * a))"  # which does not overflow

FORMS: dict[Any, str] = {
    SAME: "a",
    ops.add: "a + b",
    ops.subtract: "a - b",
    ops.multiply: "a * b",
    ops.divide: "a / b",
    ops.arithmetic.quotient: "0 if a == 0 else a / b",
    ops.arithmetic.product: "0 if a == 0 or (b == 0 and a == a) else a * b",
    ops.negative: "-a",
    ops.where: "b if a else c",
    ops.power: "a ** b",
    ops.square: "a * a",
    ops.absolute: "abs(a)",
    ops.sign: "1 if a > 0 else -1 if a < 0 else a",
    ops.maximum: "a if a > b or a != a else b",
    ops.minimum: "a if a < b or a != a else b",
    ops.logaddexp: "a + 0.6931471805599453 if a == b else "
    "(a if a > b else b) + log1p(exp(-abs(a - b)))",
    ops.sigmoid: SIGMOID,
    ops.silu: f"a * {SIGMOID}",
    ops.relu: "a if a > 0 or a != a else 0",
    ops.leaky_relu: "a if a > 0 else b * a",
    ops.elu: "a if a > 0 else b * expm1(a)",
    ops.softplus: "(a if a > 0 else 0) + log1p(exp(-abs(a)))",
    ops.round: "rint(a * 10**b) / 10**b",
    ops.remainder: "fmod(a, b) + (b if fmod(a, b) != 0 and (fmod(a, b) < 0) != (b < 0) else 0)",
    ops.gelu: "a * (0.5 + 0.5 * erf(a * 0.7071067811865476))",
    ops.equal: "a == b",
    ops.not_equal: "a != b",
    ops.less: "a < b",
    ops.less_equal: "a <= b",
    ops.greater: "a > b",
    ops.greater_equal: "a >= b",
    ops.logical_and: "a != 0 and b != 0",
    ops.logical_or: "a != 0 or b != 0",
    ops.logical_xor: "(a != 0) != (b != 0)",
    ops.logical_not: "a == 0",
    ops.bitwise_and: "a and b",
    ops.bitwise_or: "a or b",
    ops.bitwise_xor: "a != b",
    ops.invert: "not a",
    ops.isnan: "a != a",
}
"""By primitive. Bitwise operations are those of conditions."""

_OF_ONE = """
    tanh exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan sinh cosh arcsin arccos arctan arcsinh
    arccosh arctanh floor ceil erf
"""
FORMS |= {getattr(ops, name): f"{name}(a)" for name in _OF_ONE.split()}
FORMS |= {ops.arctan2: "arctan2(a, b)", ops.hypot: "hypot(a, b)"}


def constant(number: Any) -> str:
    """A number in the text of a loop for numba, in the dtype of the loop."""
    known = {0: "ZERO", 0.5: "HALF", 1: "ONE"}
    if isinstance(number, bool):
        return str(number)
    return known[number] if number in known else f"F({literal(number)})"


def literal(number: Any) -> str:
    """A number as Python reads it: infinity and NaN too, whose ``repr`` is a name."""
    return repr(number).replace("inf", "1e999").replace("nan", "(1e999 - 1e999)")


PLACES = {"a": "{0}", "b": "{1}", "c": "{2}"}

# -- Python ----------------------------------------------------------------------------------------


def in_python(op: Any) -> str:
    """A template of an expression; it calls a function if the form reads an operand twice."""
    form = FORMS[op]
    operands = _operands(form)
    if len(operands) > len({*operands}):
        return f"{op.name}_of({', '.join([PLACES[name] for name in sorted({*operands})])})"
    text = re.sub(r"\b[abc]\b", lambda found: PLACES[found[0]], _in_dtype(form))
    return text if op is SAME else f"({text})"


def with_functions(text: str) -> str:
    """The text of a loop, after the functions that it calls."""
    forms = {f"{op.name}_of": form for op, form in FORMS.items()}
    lines = []
    for name in sorted({*re.findall(r"\b\w+_of\b", text)}):
        operands = ", ".join(sorted({*_operands(forms[name])}))
        lines.append(f"def {name}({operands}):\n    return {_in_dtype(forms[name])}\n\n")
    return "".join([*lines, text])


def _operands(form: str) -> list[str]:
    return re.findall(r"\b[abc]\b", form)


@functools.cache
def _in_dtype(form: str) -> str:
    return ast.unparse(_Numbers().visit(ast.parse(form, mode="eval")))


class _Numbers(ast.NodeTransformer):
    """Writes numbers in the dtype of the loop."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.Name(constant(node.value))


# -- C ---------------------------------------------------------------------------------------------

C_NAMES = {"abs": "fabs"} | {
    f"arc{name}": f"a{name}" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "tan2")
}
C_SIGNS: dict[Any, str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.And: "&&", ast.Or: "||",
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.USub: "-", ast.Not: "!",
}  # fmt: skip


def in_c(op: Any) -> str:
    """A template of an expression whose operands are names or numbers."""
    return _in_c(ast.parse(FORMS[op], mode="eval").body)


def _in_c(node: ast.expr) -> str:
    match node:
        case ast.Name(name):
            return PLACES[name]
        case ast.Constant(value):
            return str(value) if type(value) is int else f"(T){value!r}"
        case ast.Call(ast.Name(name), operands):
            return f"{C_NAMES.get(name, name)}({', '.join(map(_in_c, operands))})"
        case ast.IfExp(condition, a, b):
            return f"({_in_c(condition)} ? {_in_c(a)} : {_in_c(b)})"
        case ast.BinOp(a, ast.Pow(), b):
            return f"pow({_in_c(a)}, {_in_c(b)})"
        case ast.BinOp(a, sign, b) | ast.Compare(a, [sign], [b]) | ast.BoolOp(sign, [a, b]):
            return f"({_in_c(a)} {C_SIGNS[type(sign)]} {_in_c(b)})"
        case ast.UnaryOp(sign, a):
            return f"({C_SIGNS[type(sign)]}{_in_c(a)})"
    raise NotImplementedError(ast.dump(node))
