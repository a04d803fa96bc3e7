"""Test the tests: spoil a derivative rule on purpose, and see whether a gradient check notices.

    report = mutation_report(my_op, [Case((x, w)), Case((x, w), {"axis": 0})])
    print(report)                     # my_op: 31 of 31 mutants caught, 2 equivalent
    assert not report.survived

A mutant that survives is a case missing from the tests. A mutant that gives the same gradient as
the rule itself in every case is called equivalent: shown by its numbers, not from a list.
"""

from __future__ import annotations

import ast
import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from types import CodeType, FunctionType, TracebackType
from typing import Any

import numpy as np

from ..autograd import Primitive
from ..ops import reshape, swapaxes
from .backward import differentiate, draw_cotangents
from .oracles import Array
from .reference import Reference, compare, references
from .report import Situation, describe
from .subject import Subject

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


@dataclass(frozen=True)
class Mutant:
    """A primitive with spoilt rules: in a `with` block they are installed, after it restored."""

    primitive: Primitive
    name: str
    rules: dict[str, Rule] = field(default_factory=dict)
    places: dict[str, Rule] = field(default_factory=dict)
    _originals: dict[str, Rule] = field(default_factory=dict, repr=False)
    _places: dict[str, Rule] = field(default_factory=dict, repr=False)

    def __enter__(self) -> Mutant:
        self._originals.update(self.primitive.rules)
        self._places.update(self.primitive.places)
        self.primitive.defvjp(**self.rules)
        self.primitive.accumulate(**self.places)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.primitive.defvjp(**self._originals)
        self.primitive.accumulate(**self._places)


@dataclass(frozen=True)
class Case:
    """Arguments to check a primitive at, and the right gradients where no oracle can look (kinks).

    Attributes:
        args, kwargs: what the primitive is called with.
        upstream: an upstream gradient for each output; drawn where there are no expected gradients.
        expected: the gradient of each floating argument for that upstream gradient.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    upstream: tuple[Array, ...] | None = None
    expected: tuple[Array, ...] | None = None


@dataclass
class MutationReport:
    """The names of a primitive's mutants by what became of them."""

    primitive: str
    caught: list[str] = field(default_factory=list)
    equivalent: list[str] = field(default_factory=list)
    survived: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        total = len(self.caught) + len(self.survived)
        return (
            f"{self.primitive}: {len(self.caught)} of {total} mutants caught, "
            f"{len(self.equivalent)} equivalent"
        )


def mutants(primitive: Primitive) -> Iterator[Mutant]:
    """Every mutant of every rule of a primitive.

    Of what a rule returns: the sign, a factor 2 or ½, zeros, two axes exchanged. Of what it is
    given: each saved value moved a little, or changed altogether. Of its source, where it can be
    read: terms and factors dropped, operators exchanged, constants and comparisons changed,
    arguments exchanged. Of its place: rules of two arguments exchanged. The same of what a rule
    adds in place (see :meth:`~tinygrad_seq.autograd.Primitive.accumulate`).
    """
    for argument, rule in primitive.rules.items():
        for name, mutated in _mutations(rule, primitive):
            yield Mutant(primitive, f"{primitive.name}.{argument}: {name}", {argument: mutated})
    for argument, place in primitive.places.items():
        label = f"{primitive.name}.{argument} in place"
        for name, change in RESULTS.items():
            mutated = _on_argument(place, 1, change)  # what is added
            yield Mutant(primitive, f"{label}: {name}", places={argument: mutated})
        for name, mutated in _source_mutations(place):
            yield Mutant(primitive, f"{label}: {name}", places={argument: mutated})
    for a, b in combinations(primitive.rules, 2):
        swapped = {a: primitive.rules[b], b: primitive.rules[a]}
        yield Mutant(primitive, f"{primitive.name}: rules of {a} and {b} exchanged", swapped)


def mutation_report(
    primitive: Primitive, cases: Iterable[Case], *, seed: int = 0
) -> MutationReport:
    """Check every mutant of a primitive against an oracle, up to the first case that catches it.

    Args:
        primitive: the primitive; its rules are restored afterwards.
        cases: arguments to check it at, floating ones in float64.
        seed: the upstream gradients are drawn from it.

    Raises:
        GradientError: the unspoilt rules fail the check.
    """
    trials = [_Trial(primitive, case, seed + k) for k, case in enumerate(cases)]
    report = MutationReport(primitive.name)
    for mutant in mutants(primitive):
        with mutant, np.errstate(all="ignore"):
            outcomes = set(_until("caught", (t.run() for t in trials)))
        if "caught" in outcomes:
            report.caught.append(mutant.name)
        elif "different" in outcomes:
            report.survived.append(mutant.name)
        else:
            report.equivalent.append(mutant.name)
    return report


class _Trial:
    """One case with what the oracle and the unspoilt rules say, computed once for all mutants."""

    def __init__(self, primitive: Primitive, case: Case, seed: int) -> None:
        def f(*args: Any) -> Any:
            return primitive(*([args] if primitive.variadic else args), **case.kwargs)

        f.__name__ = primitive.name
        self.subject = Subject(f, case.args)
        inputs = [describe(leaf.label, leaf.value) for leaf in self.subject.leaves]
        self.situation = Situation(primitive.name, "mutation_report", seed, inputs)
        if case.expected is None or case.upstream is None:
            self.cotangents = draw_cotangents(self.subject.call(self.subject.values), seed)
            self.expected = references(self.subject, self.cotangents)
        else:
            self.cotangents = list(case.upstream)
            self.expected = [
                Reference(x, np.full(x.shape, 1e-12), "given by the case") for x in case.expected
            ]
        self.right = self._gradients()
        compare(self.subject, self.cotangents, self.right, self.expected, self.situation)

    def run(self) -> str:
        """With a mutant installed: `caught`, `different` but within tolerance, or `same`."""
        try:
            found = self._gradients()
            compare(self.subject, self.cotangents, found, self.expected, self.situation)
        except Exception:  # a mutant may fail in any way: it is caught
            return "caught"
        return "same" if all(map(_close, found, self.right)) else "different"

    def _gradients(self) -> list[Array | None]:
        return differentiate(self.subject, self.cotangents, self.situation)[1]


def _mutations(rule: Rule, primitive: Primitive) -> Iterator[tuple[str, Rule]]:
    """Names and mutated copies of one rule."""
    for name, change in RESULTS.items():
        yield name, _on_result(rule, change)
    saved = {"y", *primitive.arguments}
    for position, argument in enumerate(_names(rule)):
        if argument in saved:
            yield f"{argument} moved by 1%", _on_argument(rule, position, _moved)
            yield f"{argument} changed", _on_argument(rule, position, _changed)
    yield from _source_mutations(rule)


def _names(rule: Rule) -> Sequence[str]:
    return tuple(inspect.signature(rule).parameters)


def _on_result(rule: Rule, change: Callable[[Any], Any]) -> Rule:
    def mutated(*needs: Any) -> Any:
        result = rule(*needs)
        return None if result is None else change(result)

    return functools.update_wrapper(mutated, rule)


def _on_argument(rule: Rule, position: int, change: Callable[[Any], Any]) -> Rule:
    def mutated(*needs: Any) -> Any:
        value = needs[position]
        several = isinstance(value, tuple | list)
        value = tuple(change(v) for v in value) if several else change(value)
        return rule(*needs[:position], value, *needs[position + 1 :])

    return functools.update_wrapper(mutated, rule)


def _transposed(x: Any) -> Any:
    if x.ndim < 2:
        return x
    return reshape(swapaxes(x, -1, -2), x.shape)


RESULTS: dict[str, Callable[[Any], Any]] = {
    "sign": lambda x: -x,
    "doubled": lambda x: x * 2,
    "halved": lambda x: x * 0.5,
    "zeros": lambda x: x * 0,
    "axes exchanged": _transposed,
}


def _moved(x: Any) -> Any:
    return x * 1.01 if _kind(x) == "f" else x


def _changed(x: Any) -> Any:
    """Another value of the same kind: reflected, inverted, reordered."""
    kind = _kind(x)
    if kind == "f":
        return 0.3 - x
    if kind == "b":
        return np.logical_not(x)
    return np.roll(x, 1) if kind in "iu" else x


def _kind(x: Any) -> str:
    return str(x.dtype.kind) if hasattr(x, "dtype") else "f" if isinstance(x, float) else "O"


def _close(x: Array | None, y: Array | None) -> bool:
    if x is None or y is None:
        return x is y
    return bool(np.allclose(x, y, rtol=1e-12, atol=1e-14))


def _until(end: str, outcomes: Iterator[str]) -> Iterator[str]:
    for outcome in outcomes:
        yield outcome
        if outcome == end:
            return


# -- mutations of the source: small changes, such as an author makes by mistake


def _source_mutations(rule: Rule) -> Iterator[tuple[str, Rule]]:
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
            yield name, functools.update_wrapper(_compile(mutated, rule), rule)


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
