"""Checks whether one recorded step represents all steps, and whether its derived loop is right.

A step is recorded at each call and looked up by what it computes, unless it has ``constant()``
(:mod:`.constant`). For a new program, the second real step must be the same program of the same
arrays, and the derived loop must equal two unrolled steps, in values and in all gradients. A step
that changes what it holds is noticed at every call, as far as :mod:`.held` looks. A cell that fails
runs unrolled, and ``nn.derivation`` says why.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

from ..autograd import enable_grad, no_grad
from ..autograd.engine import pull
from ..autograd.graph import source_of
from ..autograd.observe import Place
from ..autograd.operands import on_host
from ..backend import backend_of, there, xp
from ..backend.forks import in_forked_child
from ..messages import warn
from ..tensor import Tensor
from . import constant
from .derived import MOST, Derived
from .held import Held
from .loop_text import Uncompiled
from .record import Reads, Recording, Underivable, difference, record
from .scan import Scan
from .trees import each, flat, like
from .twice import Replay
from .unroll import unroll

TOLERANCE = {"float64": 1e-6, "float32": 2e-3, "float16": 1e-1}

VARIANTS = 8
"""Programs that differ in numbers alone are compiled so many times."""

_known: OrderedDict[Any, Derived | str] = OrderedDict()
_outlines: OrderedDict[Any, int] = OrderedDict()
_lock = threading.RLock()  # a signal handler may run a sequence in between


@in_forked_child
def _renew() -> None:
    global _lock
    _lock = threading.RLock()


class Found(NamedTuple):
    """What is known about a step: what it reads, the derived loop, or why there is none."""

    reads: Reads | None
    derived: Derived | None
    scan: Scan | None
    reason: str = ""

    @property
    def kind(self) -> str:
        """``"numpy"``, ``"numba"``, ``"numpy and numba"`` or ``"cuda"``; ``"unrolled"`` if none."""
        return "unrolled" if self.scan is None else self.scan.kind


def found(
    step: Callable[[Any, Any], Any], xs: Any, state: Any, masked: bool, reverse: bool
) -> Found:
    """The loop derived from a step, checked when its program is new."""
    said = constant.known(step, xs, state)
    if said is not None:
        reads, derived = said
        ready = derived.ready(flat(xs)[0]._data, masked)
        if ready is not None:
            return Found(reads, derived, ready)
    try:
        held = Held(step)
        try:
            with Place(None):  # the steps below are no part of what an observer is shown
                return _found(held, step, xs, state, masked, reverse)
        finally:
            held.put_back()
    except Underivable as error:
        return Found(None, None, None, str(error))


def _found(held: Held, step: Any, xs: Any, state: Any, masked: bool, reverse: bool) -> Found:
    """The loop of a step that is run to be recorded.

    Raises:
        Underivable: there is none; the message says why.
    """
    order = (-1, -2) if reverse else (0, 1)
    first = record(step, _at(xs, order[0]), state)
    held.put_back()
    derived = _derived(step, xs, first, order[1], held.code)
    if isinstance(derived, str):
        raise Underivable(derived)
    scan = _trusted(derived, Case(step, xs, state, first, masked, reverse))
    if isinstance(scan, str):
        raise Underivable(scan)
    held.put_back()
    constant.remember(step, xs, state, first.reads, derived)
    return Found(first.reads, derived, scan)


def _derived(
    step: Any, xs: Any, first: Recording, after: int, code: frozenset[Any]
) -> Derived | str:
    """What was derived from this program of this code before, or is now; or why nothing can be."""
    key = (first.signature(), code, backend_of(first.leaves[0]._data).name)
    with _lock:
        known = _known.get(key)
        if known is not None:
            _known.move_to_end(key)
            return known
    now = each(lambda part: None if part is None else part.detach(), first.after)
    why = difference(first, record(step, _at(xs, after), now))
    verdict: Derived | str
    try:
        verdict = why or Derived(first, _uncompiled(step, first, code))
    except Underivable as error:
        verdict = str(error)
    with _lock:
        verdict = _known.setdefault(key, verdict)
        while len(_known) > MOST:
            _known.popitem(last=False)
    return verdict


def _uncompiled(step: Any, first: Recording, code: frozenset[Any]) -> str:
    """Why numba is not to compile this program, or an empty string."""
    if isinstance(step, Replay):
        return "its loops are the gradient of another"
    key = (first.outline(), code)
    with _lock:
        count = _outlines[key] = _outlines.pop(key, 0) + 1
        while len(_outlines) > MOST:
            _outlines.popitem(last=False)
    if count <= VARIANTS:
        return ""
    return (
        f"it was derived {VARIANTS} times with other numbers, and compiling it for each would take "
        "longer: make a number that changes a tensor"
    )


class Case(NamedTuple):
    """A call whose first steps are compared with a loop."""

    step: Any
    xs: Any
    state: Any
    recording: Recording
    masked: bool
    reverse: bool


def _trusted(derived: Derived, case: Case) -> Scan | str:
    """The fastest correct loop for these arrays; or why there is none."""
    verdict: Any = None
    for kind in derived.kinds(flat(case.xs)[0]._data):
        verdict = derived.trusted.get((kind, case.masked)) or _verdict(derived, kind, case)
        if verdict is None:  # no finite numbers to compare: this call runs step by step
            return "its first two steps give NaN or infinite values"
        derived.trusted[kind, case.masked] = verdict
        if verdict is True:
            return derived.scan(kind)
    return str(verdict)


def _verdict(derived: Derived, kind: str, case: Case) -> Any:
    """Whether a loop of this kind equals two steps: True, None if unknown, or why not."""
    turned = derived.plan.turned() if case.masked else None
    if turned:
        return f"a value of shape {list(turned)} does not begin with the axis of the sequences"
    if case.masked and kind in ("numba", "cuda") and not derived.plan.lead:
        return "its state is one number for each sequence, and some sequences are padded"
    try:
        scan = derived.scan(kind)
        largest, differs = error_of(scan, case)
        if largest is None:
            return None
        if case.masked and _mixes(case):
            return "it mixes the sequences of a batch, of which some are padded"
        if differs is None:
            return True
        if case.masked and error_of(scan, case._replace(masked=False))[1] is None:
            return f"its loop differs from it where sequences are padded: {differs}"
        why = f"its derived loop differs from it: {differs}"
    except (Uncompiled, Underivable) as error:
        return str(error)
    except Exception as error:
        why = f"its derived loop ({kind}) fails: {type(error).__name__}: {error}"
    warn(
        f"a cell is computed in a slower way, because {why}. This is a fault of tinygrad_seq; "
        "please report the cell",
        RuntimeWarning,
    )
    return why


def _mixes(case: Case) -> bool:
    """Whether what the first step gives for a sequence depends on another of the batch.

    Half of the sequences become NaN (ids become those of another sequence), in turn those with a 0
    and with a 1 in each binary digit of their number, so that any two are once told apart.
    """
    first, n = case.recording, len(flat(case.xs))
    count = len(first.leaves[0]._data)
    numbers = numpy.arange(count)
    for digit in range((count - 1).bit_length()):
        for one in (0, 1):
            kept = (numbers >> digit & 1) != one
            rows = [
                Tensor._wrap(_spoilt(a, kept) if a.shape[:1] == (count,) else a)
                for a in (leaf._data for leaf in first.leaves)
            ]
            with no_grad(), numpy.errstate(all="ignore"):
                try:
                    y, after = case.step(like(case.xs, rows[:n]), like(case.state, rows[n:]))
                except Exception:  # for example, NaN is no index: this shows nothing
                    continue
            for a, b in zip([first.y, *flat(first.after)], [y, *flat(after)], strict=True):
                if a.shape[:1] == (count,):
                    where = there(kept, a._data)
                    why = _compared([("it", a._data[where], b._data[where])])[1]
                    if why is not None:
                        return True
    return False


def _spoilt(array: Any, kept: Any) -> Any:
    """The rows that are kept, and rows that no other may read in place of the others."""
    floats = array.dtype.kind == "f"
    other = array.dtype.type(numpy.nan) if floats else array[int(kept.argmax())]
    return xp(array).where(there(kept.reshape(-1, *[1] * (array.ndim - 1)), array), array, other)


def error_of(scan: Scan, case: Case) -> tuple[float | None, str | None]:
    """The largest error of two steps of the loop against the unrolled cell, ÷ the tolerance.

    Returns:
        (None, None) if the cell itself gives numbers that are not finite; else the error, and a
        description of what differs, or None within the tolerance.
    """
    step, xs, state, recording, masked, reverse = case
    two = slice(-2, None) if reverse else slice(0, 2)
    leaves = [_leaf(part._data[two]) for part in flat(xs)] + [_leaf(s._data) for s in flat(state)]
    n = len(flat(xs))
    x, s = like(xs, leaves[:n]), like(state, leaves[n:])
    mask = _some_padding(leaves[0]._data) if masked else None
    rng, want = numpy.random.default_rng(0), []
    with enable_grad(), numpy.errstate(all="ignore"):
        try:
            y, last = unroll(step, x, s, mask, reverse)
        except Exception as error:  # it is raised again when the cell runs step by step
            raise Underivable(f"its step raised {type(error).__name__}: {error}") from error
        outs = [y, *flat(last)]
        seeds = [_drawn(rng, out) for out in outs]
        asked = [(o, g) for o, g in zip(outs, seeds, strict=True) if o._requires_grad]
        targets = [source_of(leaf) if leaf._requires_grad else None for leaf in leaves]
        targets += recording.reads.sources
        pulled = {}
        if asked:
            given = [g for _, g in asked]
            goals = [t for t in targets if t is not None]
            pulled = pull([o for o, _ in asked], given, goals, False)
        names = [a for a, t in zip(scan.arguments, targets, strict=True) if t is not None]
        where = None if mask is None else there(mask, leaves[0]._data)
        arrays = [*[leaf._data for leaf in leaves], *recording.reads.arrays]
        how: dict[str, Any] = {"mask": where, "reverse": reverse}
        results, run = scan.forward(*arrays, keep=True, **how)
        bare, _ = scan.forward(*arrays, keep=False, **how)
        got = scan.backward(*[g._data for g in seeds], run, set(names))
    for out, *both in zip(outs, results, bare, strict=True):
        want += [("its results", out._data, r) for r in both]
    sources = [t for t in targets if t is not None]
    for name, source in zip(names, sources, strict=True):
        gradient = pulled[source]._data if source in pulled else got[name] * 0
        want.append((f"the gradient of {_named(name)}", gradient, got[name]))
    return _compared(want)


def _compared(pairs: list[tuple[str, Any, Any]]) -> tuple[float | None, str | None]:
    floats: list[tuple[str, Any, Any]] = []
    for name, *both in pairs:
        a, b = map(on_host, both)
        as_number = a.dtype if a.dtype.kind == "f" else numpy.dtype(int)  # True - True is no number
        if a.size:
            floats.append((name, a.astype(as_number, copy=False), b.astype(as_number, copy=False)))
    if not all(numpy.isfinite(a).all() for _, a, _ in floats):
        return None, None
    scale = max([float(numpy.abs(a).max()) for _, a, _ in floats], default=0.0)
    worst, why = 0.0, None
    for name, a, b in floats:
        bound = TOLERANCE.get(str(a.dtype), 0.0) * (float(numpy.abs(a).max()) + 0.01 * scale)
        error = float(numpy.abs(a - b).max()) if numpy.isfinite(b).all() else numpy.inf
        if error > bound and why is None:
            why = f"{name} by {error:.2g} of {float(numpy.abs(a).max()):.2g}"
        worst = max(worst, error / bound if bound else float(error > 0))
    return worst, why


def _at(xs: Any, t: int) -> Any:
    return like(xs, [Tensor._wrap(part._data[t]) for part in flat(xs)])


def _leaf(array: Any) -> Tensor:
    leaf = Tensor._wrap(array.copy())
    leaf._requires_grad = leaf.dtype.kind == "f"
    return leaf


def _drawn(rng: Any, like: Tensor) -> Tensor:
    values = rng.standard_normal(like.shape).astype(like.dtype)
    return Tensor._wrap(there(values, like._data))


def _some_padding(x: Any) -> Any:
    """A mask of two steps, with padding in each unless there is one sequence."""
    mask = numpy.ones(x.shape[:2], bool)
    mask[0, 1::2] = False
    mask[1, ::2] = False
    return mask


def _named(argument: str) -> str:
    kind = {"x": "the input", "s": "the state", "p": "what it reads besides"}[argument[0]]
    return f"{kind} ({argument[1:]})"
