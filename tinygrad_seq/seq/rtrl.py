"""Real-time recurrent learning: the exact gradient, carried forward in time.

The influence J_t = ds_t/dθ is the derivative of the state with respect to the weights of all steps.
With s_{t-1} detached, one step f gives everything (∂ acts within the step):

    J_t = ∂f/∂s J_{t-1} + ∂f/∂θ,    J_0 = 0
    dL_t/dθ = ∂L_t/∂s_{t-1} J_{t-1} + ∂L_t/∂θ

Unrolled, the recursion is the sum that back-propagation through time adds from the other end.
Source: Williams & Zipser 1989; d2l 9.7.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..autograd import Variable, backward, grad
from ..autograd.graph import source_of
from ..autograd.reach import reachable
from ..backend import xp
from ..messages import Hinted
from ..nn.checks import as_tensor
from ..nn.recurrent.wrappers import cell_within
from ..recurrence import each, flat, pair
from ..tensor import Tensor

Influence: TypeAlias = dict[Any, Any]
"""For each leaf θ, the array J ``(D, size of θ)``; D elements in all parts of the state."""


@dataclass(frozen=True)
class RTRL(Hinted):
    """Real-time recurrent learning, for :func:`bptt`: exact, and online.

    Memory does not depend on T. The influence has D times the number of weights, for a state of D
    elements in the whole batch. A step takes D pullbacks through the cell and a product of D² times
    the number of weights, so use it for small nets: tens of units, few sequences. The weights are
    those that the state depends on, also through closures. Steps run one by one, so noise that all
    steps of a sequence share is not supported.

    Source: Williams & Zipser 1989.
    """


def forward_in_time(
    cell: Any,
    steps: Iterator[Tensor],
    loss: Callable[[int, Tensor], Tensor | None],
    state: Any,
    update: Callable[[], object],
) -> tuple[float, Any]:
    """The sum of the losses and the last state; gradients are added to ``.grad``."""
    total: Any = 0.0
    influence, learns = None, False
    for t, x in enumerate(steps):
        if influence is None:
            state, influence = _start(cell, x, state)
        y, after = pair("a cell", cell(x, state), state)
        each(check_part, after)
        l_t = loss(t, y)
        if l_t is not None:
            if not (learns or influence or _leaves([l_t], _parts(state))):
                raise nothing_to_learn(t)
            learns = True
            total = total + value_of(l_t)
            _deposit(l_t, _parts(state), influence)
        influence = _advance(_parts(after), _parts(state), influence)
        state = each(_cut, after)
        if l_t is not None:
            update()
    return float(total), each(Tensor.detach, state)


def value_of(loss: Tensor) -> Tensor:
    """A detached loss in float64, summed and read only at the end, because reading may wait."""
    return Tensor.astype(loss.detach(), "f8")


def check_part(part: Any) -> None:
    """Raise unless a part of a state is a Tensor."""
    if not isinstance(part, Tensor):
        raise TypeError(
            "bptt expects of a cell a state that is a Tensor, or tuples or dicts of Tensors; got a "
            f"{type(part).__name__}"
        )


def nothing_to_learn(t: int) -> RuntimeError:
    """The error for a first loss, at step t, that depends on nothing that requires grad."""
    return RuntimeError(
        f"nothing that the loss depends on at t={t} requires grad: give bptt a cell with "
        "parameters, or a state made with requires_grad=True"
    )


def _start(cell: Any, x: Tensor, given: Any) -> tuple[Any, Influence]:
    """The first state, detached; if it requires grad, its influence on itself is 1."""
    if given is None:
        return None, {}
    library = cell_within(cell)
    given = each(as_tensor, given) if library is None else library.check(x, given)[1]
    parts = _parts(given)
    size, at, influence = sum(part.size for part in parts), 0, {}
    for part in parts:
        if part.requires_grad:
            influence[part] = xp(part.data).eye(size, part.size, k=-at, dtype=part.dtype)
        at += part.size
    return each(_cut, given), influence


def _deposit(loss: Tensor, parts: Sequence[Tensor], influence: Influence) -> None:
    """Add dL_t/dθ to ``.grad``."""
    if not loss.requires_grad:
        return
    loss.backward(
        retain_graph=True
    )  # the second term; the state's gradient is the factor of the first
    if parts and influence:
        np = xp(parts[0].data)
        g = np.concatenate(
            [(np.zeros_like(s.data) if s.grad is None else s.grad.data).reshape(-1) for s in parts]
        )
        owed = [Tensor._wrap((g @ j).reshape(leaf.shape)) for leaf, j in influence.items()]
        backward(list(influence), owed, retain_graph=True)


def _advance(after: Sequence[Tensor], before: Sequence[Tensor], influence: Influence) -> Influence:
    """J_t from J_{t-1}: one pullback for each element of the state."""
    if not after:
        return {}
    np, leaves = xp(after[0].data), _leaves(after, before)
    inputs = [*before, *leaves]
    size, dtype = sum(part.size for part in after), after[0].dtype
    blocks = [np.zeros((size, x.size), dtype) for x in inputs]
    row = 0
    for part in after:
        units = np.eye(part.size, dtype=part.dtype).reshape(part.size, *part.shape)
        for k, unit in enumerate(units if inputs and part.requires_grad else ()):
            found = grad(part, inputs, Tensor._wrap(unit), retain_graph=True, allow_unused=True)
            for block, g in zip(blocks, found, strict=True):
                if g is not None:
                    block[row + k] = g.data.reshape(-1)
        row += part.size
    new = dict(zip(leaves, blocks[len(before) :], strict=True))
    if before:
        across = np.concatenate(blocks[: len(before)], axis=1)
        for leaf, j in influence.items():
            new[leaf] = across @ j + new[leaf] if leaf in new else across @ j
    return new


def _leaves(results: Sequence[Tensor], before: Sequence[Tensor]) -> list[Any]:
    """The leaves that the results depend on, except the state before."""
    tops = [source_of(y) for y in results if y.requires_grad]
    ends = [*tops, *(edge for node in reachable(tops) for edge in node.edges)]
    known = set(before)
    return [e for e in dict.fromkeys(ends) if isinstance(e, Variable) and e not in known]


def _cut(part: Tensor) -> Tensor:
    """The same values as a new leaf; a part of integers (a counter) has no gradient."""
    return part.detach().requires_grad_(part.dtype.kind == "f")


def _parts(state: Any) -> list[Tensor]:
    """The parts of a state that can have a gradient, in order."""
    return [part for part in flat(state) if part.dtype.kind == "f"]
