"""Records one step of a cell as a program, and its derivative by the rules.

A trace receives every primitive that the step calls, with the arrays themselves; a value is
identified by its array. For the derivative, the engine runs backward through the recorded step with
``create_graph``. The rules then run on tensors, and the same trace receives what they compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..autograd import enable_grad
from ..autograd.engine import pull
from ..autograd.graph import Node, Source, source_of
from ..autograd.observe import Observer
from ..backend import is_array, xp
from ..ops.linear import affine, affine_in_parts
from ..tensor import Tensor
from .program import FULL, Instr, Program, Type, Value, values_in
from .trees import alike, flat, like

Step = Callable[[Any, Any], Any]


class Underivable(Exception):
    """No loop can be derived from the step; the message says why."""


class Reads(NamedTuple):
    """What a step reads in addition to its input and its state.

    Attributes:
        arrays: The arrays, in the order of ``program.free``.
        sources: Where the gradient of each array goes, or None.
    """

    arrays: tuple[Any, ...]
    sources: tuple[Source | None, ...]


class Recording(NamedTuple):
    """One step that was run.

    Attributes:
        program: What it computed, without the derivative.
        reads: What it read in addition to its input and state.
        y, after: What the step returned.
        trace: The recorder.
        leaves: The tensors passed as the parts of x and of the state.
    """

    program: Program
    reads: Reads
    y: Tensor
    after: Any
    trace: Recorder
    leaves: tuple[Tensor, ...]

    def outline(self) -> Any:
        """What programs have in common that differ in their numbers alone."""
        p = self.program
        code = [(i.op, tuple([v if type(v) is Value else None for v in i.ins])) for i in p.code]
        types = [(p.types[v].shape, p.types[v].dtype.str) for v in (*p.xs, *p.states, *p.free)]
        return tuple(code), tuple(types)

    def signature(self) -> Any:
        """What two steps with the same program have in common.

        Operations, shapes, dtypes, and what needs gradients; hashable, without array values.
        """
        p = self.program
        types = tuple([(t.shape, t.dtype.str) for t in map(p.types.__getitem__, p.free)])
        code = tuple([(i.op, repr(i.ins), repr(i.params), i.outs) for i in p.code])
        wanted = tuple([s is not None for s in self.reads.sources])
        inputs = tuple([(p.types[v].shape, p.types[v].dtype.str) for v in (*p.xs, *p.states)])
        return code, inputs, p.free, types, wanted, p.y, p.after, len(p.xs)


class Recorder(Observer):
    """An observer that records every primitive as an instruction."""

    symbolic = True
    unfuses = True

    def __init__(self) -> None:
        self.values: dict[int, Value] = {}  # by the identity of arrays, which are kept alive here
        self.arrays: list[Any] = []
        self.types: dict[Value, Type] = {}
        self.code: list[Instr] = []
        self.free: list[Value] = []
        self.sources: dict[Value, Source] = {}
        self.passes: dict[Value, tuple[bool, ...]] = {}  # to which operands gradients pass
        self.read: str | None = None
        self.deriving = False
        self._args: tuple[Any, ...] = ()

    def new(self, array: Any) -> Value:
        """The number of an array not met before."""
        v = Value(len(self.arrays))
        self.arrays.append(array)
        self.values[id(array)] = v
        self.types[v] = Type(array.shape, array.dtype)
        return v

    def at(self, value: Any) -> Any:
        """The value of an operand; a number stays a number."""
        if not is_array(value):
            return value
        v = self.values.get(id(value))
        if v is not None:
            return v
        v = self.new(value)
        if self.deriving:  # for example zeros for an unused part of a result
            self._equal(v, value)
        else:
            self.free.append(v)
        return v

    def _equal(self, v: Value, array: Any) -> None:
        first: Any = array.flat[0] if array.size else 0.0
        if not (array == first).all():
            raise Underivable(
                f"its derivative reads an array of shape {array.shape} that a rule made from no "
                "value of the step"
            )
        params = (("value", float(first)),)
        self.code.append(Instr(FULL, (), params, (v,)))

    def _param(self, value: Any) -> Any:
        """A static parameter, with arrays in it replaced by their values."""
        if isinstance(value, tuple):
            return tuple([self._param(part) for part in value])
        if isinstance(value, list):
            return [self._param(part) for part in value]
        return self.at(value)

    def instead(self, op: Any, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Divide an affine map: its product and its sum are placed each for itself."""
        return affine_in_parts(*args) if op is affine else NotImplemented

    def forward(self, op: Any, compute: Callable[..., Any], /, *args: Any, **params: Any) -> Any:
        """Run a primitive and record it."""
        result = compute(*args, **params)
        several = type(result) is tuple
        # a new view, if the primitive returned an array that already has a number
        outs = [
            out.view() if id(out) in self.values else out
            for out in (result if several else (result,))
        ]
        ins = tuple([self.at(a) for a in args])
        static = tuple(sorted([(name, self._param(p)) for name, p in params.items()]))
        self.code.append(Instr(op, ins, static, tuple([self.new(o) for o in outs])))
        self._args = args
        return tuple(outs) if several else outs[0]

    def recorded(self, node: Node) -> None:
        """Remember where the gradients of the operands go."""
        if node.slot is None and len(self._args) == len(node.edges):
            self.passes[self.code[-1].outs[0]] = tuple([edge is not None for edge in node.edges])
            for array, edge in zip(self._args, node.edges, strict=True):
                if edge is not None:
                    self._passes_to(self.values[id(array)], edge)

    def result(self, tensor: Tensor) -> Value:
        """The value that the step returns as ``tensor``; it may be one that it only read."""
        v: Value = self.at(tensor._data)
        if v in self.free and tensor._requires_grad:
            self._passes_to(v, source_of(tensor))
        return v

    def _passes_to(self, v: Value, source: Source) -> None:
        """Remember where the gradient of a value goes."""
        if self.sources.setdefault(v, source) is not source and v in self.free:
            raise Underivable("two tensors that need gradients share one array")

    def knows(self, array: Any) -> bool:
        """Whether the array is a value of the step."""
        return id(array) in self.values

    def looked(self, array: Any, how: str) -> None:
        """Remember that the step read numbers, on which it might branch."""
        v = self.values.get(id(array))
        if v is not None and v not in self.free:
            self.read = how

    def detaches(self, leaves: Iterable[Value], results: Iterable[Tensor]) -> bool:
        """Whether an operand or a result that depends on the leaves gets no gradient."""
        needs = {*leaves, *self.sources}
        for i in self.code:
            if not getattr(i.op, "rules", None):
                continue
            passes = self.passes.get(i.outs[0], (False,) * len(i.ins))
            cut = [v for v, passed in zip(i.ins, passes, strict=True) if not passed]
            if not needs.isdisjoint(values_in(cut)):
                return True
            if any(passes):
                needs.update(i.outs)
        return any(self.at(t._data) in needs and not t._requires_grad for t in results)

    def refuse_reads(self) -> None:
        """Raise Underivable if numbers were read."""
        if self.read is not None:
            raise Underivable(
                f"it reads numbers of a tensor by {self.read}, and may branch on them"
            )


def record(step: Step, xs: Any, state: Any) -> Recording:
    """Run ``step(xs, state)`` and record what it computes.

    Args:
        step: The cell.
        xs: Input of one step: a tensor, or a tuple of them.
        state: State before it: a tensor, tuples of them, or None.

    Raises:
        Underivable: the step cannot be expressed as a program of its arguments.
    """
    trace = Recorder()
    # fresh views, so that an array which the step also knows from elsewhere is not its input
    leaves = []
    for part in (*flat(xs), *flat(state)):
        if not isinstance(part, Tensor):
            kind = type(part).__name__
            raise Underivable(f"its state has a part of type {kind}, which is not a tensor")
        leaf = Tensor._wrap(part._data.view())
        leaf._requires_grad = leaf.dtype.kind == "f"
        leaves.append(leaf)
    count = len(flat(xs))
    numbers = [trace.new(leaf._data) for leaf in leaves]
    try:
        with trace, enable_grad():
            result = step(like(xs, leaves[:count]), like(state, leaves[count:]))
    except Underivable:
        raise
    except Exception as error:  # its own error is raised again when it runs step by step
        if trace.read is None:
            raise Underivable(f"its step raised {type(error).__name__}: {error}") from error
    trace.refuse_reads()
    y, after = _checked(result, state)
    parts = flat(after)
    for before, part in zip(leaves[count:], parts, strict=True):
        if (before.shape, before.dtype) != (part.shape, part.dtype):
            raise Underivable(
                f"a part of its state goes from {before.dtype}{list(before.shape)} to "
                f"{part.dtype}{list(part.shape)}"
            )
    program = Program(
        code=tuple(trace.code),
        types=trace.types,
        xs=tuple(numbers[:count]),
        states=tuple(numbers[count:]),
        free=(),
        y=trace.result(y),
        after=tuple([trace.result(part) for part in parts]),
    )
    free = tuple(trace.free)  # a result that is returned unchanged is one of these
    reads = Reads(
        tuple([trace.arrays[v] for v in free]), tuple([trace.sources.get(v) for v in free])
    )
    return Recording(program._replace(free=free), reads, y, after, trace, tuple(leaves))


def _checked(result: Any, state: Any) -> tuple[Tensor, Any]:
    """(y, state after) of a step, if it returned tensors in the form of its arguments."""
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[0], Tensor):
        raise Underivable("it does not return the pair (y, state)")
    y, after = result
    if not alike(state, after) or not all(isinstance(p, Tensor) for p in flat(after)):
        raise Underivable("its state changes its structure from step to step")
    return y, after


def differentiated(recording: Recording) -> Program:
    """The program with the derivative of the step: gradients of x, the state and free values."""
    p, trace, leaves = recording.program, recording.trace, recording.leaves
    trace.deriving = True
    outputs = [t for t in (recording.y, *flat(recording.after)) if t._requires_grad]
    seeds: dict[int, Tensor] = {}
    for t in outputs:  # an output that is a part of the state has a separate gradient
        np = xp(t._data)
        seeds[len(seeds)] = Tensor._wrap(np.ones_like(t._data))
    given = [trace.new(s._data) for s in seeds.values()]
    targets: list[Source | None] = [
        source_of(leaf) if leaf._requires_grad else None for leaf in leaves
    ]
    targets += recording.reads.sources
    wanted = [t for t in targets if t is not None]
    found: dict[Source, Any] = {}
    if outputs and wanted:
        with trace:
            found = pull(outputs, list(seeds.values()), wanted, create_graph=True)
        trace.refuse_reads()
    numbers = [None if t is None or t not in found else trace.at(found[t]._data) for t in targets]
    upstream = iter(given)
    gy, *gafter = (
        next(upstream) if t._requires_grad else None for t in (recording.y, *flat(recording.after))
    )
    n, m = len(p.xs), len(p.xs) + len(p.states)
    for k, part in enumerate(flat(recording.after)):
        if gafter[k] is None and numbers[n + k] is not None:
            # it depends on nothing that needs a gradient: its gradient is not read
            gafter[k] = trace.new(xp(part._data).ones_like(part._data))
    return p._replace(
        code=tuple(trace.code),
        types=dict(trace.types),
        detaches=trace.detaches(
            [trace.at(t._data) for t in leaves if t._requires_grad],
            [recording.y, *flat(recording.after)],
        ),
        gy=gy,
        gafter=tuple(gafter),
        gxs=tuple(numbers[:n]),
        gstates=tuple(numbers[n:m]),
        gfree=tuple(numbers[m:]),
    )


def difference(first: Recording, second: Recording) -> str | None:
    """Why two recorded steps are not the same program; None if they are."""
    p, q = first.program, second.program
    if first.signature() != second.signature():
        names = [[i.op.name for i in r.code] for r in (p, q)]
        if names[0] != names[1]:
            return "its second step does not compute what its first step did"
        return "its second step uses other constants or other values"
    for a, b in zip(first.reads.arrays, second.reads.arrays, strict=True):
        if a is not b and not _equal(a, b):
            return f"it reads an array of shape {a.shape} that is a different one at every step"
    if any(s is not t for s, t in zip(first.reads.sources, second.reads.sources, strict=True)):
        return "its second step reads other parameters than its first step"
    return None


def _equal(a: Any, b: Any) -> bool:
    return bool(((a == b) | ((a != a) & (b != b))).all())
