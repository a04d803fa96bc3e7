"""Mutations of a rule's source: small changes, such as an author makes by mistake."""

from __future__ import annotations

import ast
import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

Rule = Callable[..., Any]

EXCHANGED: dict[type[ast.AST], ast.AST] = {
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.Div(),
    ast.Div: ast.Mult(),
    ast.Gt: ast.GtE(),
    ast.GtE: ast.Gt(),
    ast.Lt: ast.LtE(),
    ast.LtE: ast.Lt(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
}


def source_mutations(rule: Rule) -> Iterator[tuple[str, Rule]]:
    """Names and functions for each single change of a rule's source.

    Nothing is yielded for a rule whose source cannot be read.
    """
    tree = _tree_of(rule)
    if tree is None:
        return
    if isinstance(tree, ast.FunctionDef):
        parts = [part for statement in tree.body for part in ast.walk(statement)]
    else:
        parts = list(ast.walk(tree.body))
    seen = {ast.dump(tree)}
    for part in parts:
        for changed in _changes(part):
            mutated = _Replace(part, changed).visit(copy.deepcopy(tree, {id(part): part}))
            if ast.dump(mutated) in seen:
                continue
            seen.add(ast.dump(mutated))
            place = f"line {getattr(part, 'lineno', 0)}, column {getattr(part, 'col_offset', 0)}"
            name = f"`{ast.unparse(part)}` became `{ast.unparse(changed)}` in {place}"
            yield name, renamed(_compile(mutated, rule), rule)


def renamed(mutated: Rule, rule: Rule) -> Rule:
    """A mutant that asks for what the rule asks for."""
    return functools.update_wrapper(mutated, rule)


def _changes(part: ast.AST) -> Iterator[ast.expr]:
    """What may stand in the place of an expression."""
    if isinstance(part, ast.BinOp):
        if type(part.op) in EXCHANGED:
            yield ast.BinOp(part.left, EXCHANGED[type(part.op)], part.right)  # type: ignore[arg-type]
        if isinstance(part.op, ast.MatMult | ast.Pow):
            yield ast.BinOp(part.right, part.op, part.left)
        yield part.left
        yield part.right
    elif isinstance(part, ast.UnaryOp):
        yield part.operand
    elif isinstance(part, ast.Compare) and type(part.ops[0]) in EXCHANGED:
        yield ast.Compare(part.left, [EXCHANGED[type(part.ops[0])]], part.comparators)  # type: ignore[list-item]
    elif isinstance(part, ast.IfExp):
        yield part.body
        yield part.orelse
    elif isinstance(part, ast.Constant) and isinstance(part.value, bool):
        yield ast.Constant(not part.value)
    elif isinstance(part, ast.Constant) and isinstance(part.value, int | float):
        yield ast.Constant(part.value + 1)
    elif isinstance(part, ast.Call) and part.args:
        first, last = part.args[0], part.args[-1]
        yield first
        if len(part.args) > 1:
            yield ast.Call(part.func, [*part.args[:-2], last, part.args[-2]], part.keywords)


class _Replace(ast.NodeTransformer):
    """Puts one expression in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else super().visit(node)


def _tree_of(rule: Rule) -> ast.Lambda | ast.FunctionDef | None:
    """The syntax of a rule: found in its file by its line and its column."""
    if not isinstance(rule, FunctionType):
        return None
    path = inspect.getsourcefile(rule)
    if path is None or not Path(path).exists():
        return None
    line = rule.__code__.co_firstlineno
    for node in ast.walk(_parse(path)):
        if not isinstance(node, ast.Lambda | ast.FunctionDef) or node.lineno != line:
            continue
        if _start(_compile(node, rule).__code__) == _start(rule.__code__):
            return node
    return None


def _start(code: CodeType) -> tuple[int, int]:
    """Line and column of the first expression of a function."""
    places = ((line or 0, column) for line, _, column, _ in code.co_positions() if column)
    return min(places, default=(0, 0))


@functools.cache
def _parse(path: str) -> ast.Module:
    return ast.parse(Path(path).read_text(encoding="utf-8"))


def _compile(tree: ast.Lambda | ast.FunctionDef, rule: Rule) -> FunctionType:
    """A function of this syntax, in the namespace of the rule."""
    scope = {**rule.__globals__, **inspect.getclosurevars(rule).nonlocals}
    if isinstance(tree, ast.Lambda):
        expression = ast.fix_missing_locations(ast.Expression(copy.deepcopy(tree)))
        made: FunctionType = eval(compile(expression, "<mutant>", "eval"), scope)
        return made
    module = ast.Module([copy.deepcopy(tree)], type_ignores=[])
    local: dict[str, Any] = {}
    exec(compile(ast.fix_missing_locations(module), "<mutant>", "exec"), scope, local)
    result: FunctionType = local[tree.name]
    return result
