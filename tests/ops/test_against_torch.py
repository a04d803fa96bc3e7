"""Values and gradients against PyTorch's, in float64, to 1e-10, where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as ts

pytestmark = pytest.mark.usefixtures("backend")

torch = pytest.importorskip("torch")
F = torch.nn.functional


def reals(*shape, low=-3.0, high=3.0):
    """A sample of uniform numbers."""
    return lambda rng: rng.uniform(low, high, shape)


def positive(*shape):
    """A sample of numbers in (0.2, 4)."""
    return reals(*shape, low=0.2, high=4.0)


def ties(*shape):
    """A sample of few values, so that many are equal, and kinks are hit."""
    return lambda rng: rng.integers(-2, 3, shape).astype(np.float64)


def both(name):
    """A function that both libraries give the same name."""
    return getattr(ts, name), getattr(torch, name)


X, W = reals(3, 4), reals(3, 4)
IDS = np.array([[0, 2, 2, 1], [1, 1, 0, 0], [2, 2, 2, 2]])
T_IDS = torch.tensor(IDS)

UNARY = {
    "exp": X, "expm1": X, "tanh": X, "sigmoid": X, "sin": X, "cos": X, "abs": X, "square": X,
    "sinh": X, "cosh": X, "arctan": X, "arcsinh": X, "exp2": X, "erf": X, "negative": X,
    "log": positive(3, 4), "log1p": positive(3, 4), "log2": positive(3, 4), "log10": positive(3, 4),
    "sqrt": positive(3, 4), "tan": reals(5, low=-1.2, high=1.2),
    "arcsin": reals(5, low=-0.9, high=0.9), "arccos": reals(5, low=-0.9, high=0.9),
    "arctanh": reals(5, low=-0.9, high=0.9), "arccosh": reals(5, low=1.2, high=4.0),
    "floor": X, "ceil": X, "round": X, "sign": X,
}  # fmt: skip

# name: (ours, theirs, samples)
TABLE = {
    **{name: (*both(name), (sample,)) for name, sample in UNARY.items()},
    "abs at kinks": (ts.abs, torch.abs, (ties(3, 4),)),
    "relu": (ts.relu, torch.relu, (X,)),
    "relu at its kink": (ts.relu, torch.relu, (ties(3, 4),)),
    "leaky_relu": (ts.leaky_relu, F.leaky_relu, (X,)),
    "leaky_relu 0.2": (lambda x: ts.leaky_relu(x, 0.2), lambda x: F.leaky_relu(x, 0.2), (ties(9),)),
    "elu": (ts.elu, F.elu, (X,)),
    "elu 0.5": (lambda x: ts.elu(x, 0.5), lambda x: F.elu(x, 0.5), (ties(9),)),
    "gelu": (ts.gelu, F.gelu, (X,)),
    "gelu far out": (ts.gelu, F.gelu, (reals(50, low=-12, high=12),)),
    "softplus": (ts.softplus, lambda x: F.softplus(x, threshold=1e9), (X,)),
    "silu": (ts.silu, F.silu, (X,)),
    # arithmetic, with broadcasting
    "add": (ts.add, torch.add, (reals(3, 4), reals(4))),
    "subtract": (ts.subtract, torch.subtract, (reals(3, 1), reals(2, 1, 4))),
    "multiply": (ts.multiply, torch.multiply, (reals(3, 4), reals())),
    "divide": (ts.divide, torch.divide, (reals(3, 4), positive(3, 1))),
    "power": (ts.power, torch.pow, (positive(3, 4), reals(4))),
    "power 3": (lambda x: x**3, lambda x: x**3, (X,)),
    "power 2": (lambda x: x**2, lambda x: x**2, (ties(9),)),
    "power 0": (lambda x: x**0, lambda x: x**0, (ties(9),)),
    "number to a power": (lambda x: 2.0**x, lambda x: 2.0**x, (X,)),
    "reflected": (lambda x: 1 - 2 / x, lambda x: 1 - 2 / x, (positive(3),)),
    "maximum": (ts.maximum, torch.maximum, (X, W)),
    "maximum with ties": (ts.maximum, torch.maximum, (ties(3, 4), ties(4))),
    "minimum with ties": (ts.minimum, torch.minimum, (ties(3, 4), ties(4))),
    "clamp": (lambda x: ts.clamp(x, -1, 1), lambda x: torch.clamp(x, -1, 1), (X,)),
    "clamp at its bounds": (
        lambda x: ts.clamp(x, -1, 1), lambda x: torch.clamp(x, -1, 1), (ties(9),)
    ),
    "clamp below": (lambda x: ts.clamp(x, 0), lambda x: torch.clamp(x, 0), (ties(9),)),
    "clamp above": (lambda x: ts.clamp(x, None, 1), lambda x: torch.clamp(x, None, 1), (ties(9),)),
    "where": (
        lambda x, y: ts.where(x > y, x, y * 2),
        lambda x, y: torch.where(x > y, x, y * 2), (X, reals(4)),
    ),
    # products
    **{
        f"matmul {a} {b}": (ts.matmul, torch.matmul, (reals(*a), reals(*b)))
        for a, b in [
            ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)),
            ((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)), ((2, 3), (5, 3, 4)), ((5, 2, 3), (3,)),
            ((3,), (5, 3, 2)), ((1, 5, 2, 3), (4, 1, 3, 2)), ((4, 1, 2, 3), (5, 3, 2)),
        ]
    },
    **{
        f"einsum {form}": (
            lambda *xs, form=form: ts.einsum(form, *xs),
            lambda *xs, form=form: torch.einsum(form, *xs),
            samples,
        )
        for form, samples in {
            "ij,jk->ik": (reals(2, 3), reals(3, 4)),
            "ij,jk": (reals(2, 3), reals(3, 4)),
            "i,j->ij": (reals(2), reals(3)),
            "i,i->": (reals(3), reals(3)),
            "ij->ji": (reals(2, 3),),
            "ij->": (reals(2, 3),),
            "ij->j": (reals(2, 3),),
            "ii->i": (reals(3, 3),),
            "ii": (reals(3, 3),),
            "bij,bjk->bik": (reals(2, 3, 4), reals(2, 4, 2)),
            "...ij,...jk->...ik": (reals(2, 3, 4), reals(4, 2)),
            "bhid,bhjd->bhij": (reals(2, 2, 3, 4), reals(2, 2, 5, 4)),
            "ij,jk,kl->il": (reals(2, 3), reals(3, 4), reals(4, 2)),
            "ij,ij->i": (reals(2, 3), reals(2, 3)),
        }.items()
    },
    # reductions
    **{
        f"{name} {axis} {keep}": (
            lambda x, f=ours, axis=axis, keep=keep: f(x, axis=axis, keepdims=keep),
            lambda x, f=theirs, axis=axis, keep=keep: f(x, dim=axis, keepdim=keep),
            (reals(2, 3, 4),),
        )
        for name, ours, theirs in [
            ("sum", ts.sum, torch.sum), ("mean", ts.mean, torch.mean),
            ("max", ts.max, torch.amax), ("min", ts.min, torch.amin),
            ("logsumexp", ts.logsumexp, torch.logsumexp),
        ]
        for axis in (0, -1, (0, 2))
        for keep in (False, True)
    },
    "sum": (ts.sum, torch.sum, (X,)),
    "mean": (ts.mean, torch.mean, (X,)),
    "prod": (ts.prod, torch.prod, (X,)),
    "prod with a zero": (ts.prod, torch.prod, (lambda rng: np.array([2.0, 0.0, 3.0]),)),
    "prod with two zeros": (ts.prod, torch.prod, (lambda rng: np.array([0.0, 0.0, 3.0]),)),
    "prod -1": (lambda x: ts.prod(x, axis=-1), lambda x: torch.prod(x, dim=-1), (ties(4, 3),)),
    "var": (lambda x: ts.var(x, axis=1), lambda x: torch.var(x, dim=1, correction=0), (X,)),
    "var ddof 1": (lambda x: ts.var(x, axis=0, ddof=1), lambda x: torch.var(x, dim=0), (X,)),
    "std": (lambda x: ts.std(x, axis=1), lambda x: torch.std(x, dim=1, correction=0), (X,)),
    "std ddof 1": (lambda x: ts.std(x, ddof=1), torch.std, (X,)),
    "max over all shares": (ts.max, torch.max, (ties(3, 4),)),
    "min over all shares": (ts.min, torch.min, (ties(3, 4),)),
    "max along an axis": (lambda x: ts.max(x, axis=1), lambda x: torch.max(x, dim=1).values, (X,)),
    "max along an axis gives one": (
        lambda x: ts.max(x, axis=0), lambda x: torch.max(x, dim=0).values, (ties(6, 4),)
    ),
    "min along an axis gives one": (
        lambda x: ts.min(x, axis=0), lambda x: torch.min(x, dim=0).values, (ties(6, 4),)
    ),
    "norm": (ts.norm, torch.linalg.vector_norm, (X,)),
    "norm -1": (lambda x: ts.norm(x, axis=-1), lambda x: torch.linalg.vector_norm(x, dim=-1), (X,)),
    "norm at 0": (ts.norm, torch.linalg.vector_norm, (lambda rng: np.zeros(3),)),
    "softmax": (lambda x: ts.softmax(x, axis=-1), lambda x: torch.softmax(x, -1), (X,)),
    "softmax 0": (lambda x: ts.softmax(x, axis=0), lambda x: torch.softmax(x, 0), (X,)),
    "log_softmax": (lambda x: ts.log_softmax(x, axis=-1), lambda x: torch.log_softmax(x, -1), (X,)),
    "log_softmax far out": (
        lambda x: ts.log_softmax(x, axis=0), lambda x: torch.log_softmax(x, 0),
        (reals(5, low=-1e4, high=1e4),),
    ),
    "cumsum": (lambda x: ts.cumsum(x, axis=1), lambda x: torch.cumsum(x, 1), (X,)),
    # shapes
    "reshape": (lambda x: ts.reshape(x, (2, 6)), lambda x: x.reshape(2, 6), (X,)),
    "reshape -1": (lambda x: ts.reshape(x, (-1,)), lambda x: x.reshape(-1), (X,)),
    "transpose": (ts.transpose, lambda x: x.T, (X,)),
    "transpose axes": (
        lambda x: ts.transpose(x, (2, 0, 1)), lambda x: x.permute(2, 0, 1), (reals(2, 3, 4),)
    ),
    "swapaxes": (lambda x: ts.swapaxes(x, 0, -1), lambda x: x.swapaxes(0, -1), (reals(2, 3, 4),)),
    "moveaxis": (lambda x: ts.moveaxis(x, 0, -1), lambda x: x.movedim(0, -1), (reals(2, 3, 4),)),
    "expand_dims": (lambda x: ts.expand_dims(x, 1), lambda x: x.unsqueeze(1), (X,)),
    "squeeze": (ts.squeeze, torch.squeeze, (reals(1, 3, 1),)),
    "squeeze 0": (lambda x: ts.squeeze(x, 0), lambda x: x.squeeze(0), (reals(1, 3, 1),)),
    "broadcast_to": (
        lambda x: ts.broadcast_to(x, (2, 3, 4)), lambda x: x.expand(2, 3, 4), (reals(3, 1),)
    ),
    "concatenate": (
        lambda a, b: ts.concatenate([a, b], axis=1), lambda a, b: torch.cat([a, b], 1),
        (reals(2, 3), reals(2, 2)),
    ),
    "concatenate itself": (
        lambda a: ts.concatenate([a, a * 2, a]), lambda a: torch.cat([a, a * 2, a]), (X,)
    ),
    "stack": (lambda a, b: ts.stack([a, b], axis=-1), lambda a, b: torch.stack([a, b], -1), (X, W)),
    "split": (
        lambda x: tuple(ts.split(x, 2, axis=1)), lambda x: torch.tensor_split(x, 2, 1), (X,)
    ),
    "split at": (
        lambda x: tuple(ts.split(x, [1, 3], axis=1)),
        lambda x: torch.tensor_split(x, [1, 3], 1), (X,),
    ),
    "unstack": (lambda x: ts.unstack(x, axis=1), lambda x: x.unbind(1), (X,)),
    "pad": (
        lambda x: ts.pad(x, ((1, 0), (2, 1))), lambda x: F.pad(x, (2, 1, 1, 0)), (X,)
    ),
    "flip": (lambda x: ts.flip(x, 0), lambda x: x.flip(0), (X,)),
    "flip all": (ts.flip, lambda x: x.flip(0, 1), (X,)),
    "repeat": (lambda x: ts.repeat(x, 3, axis=1), lambda x: x.repeat_interleave(3, 1), (X,)),
    "tile": (lambda x: ts.tile(x, (2, 1, 3)), lambda x: x.tile(2, 1, 3), (X,)),
    "tril": (ts.tril, torch.tril, (X,)),
    "triu 1": (lambda x: ts.triu(x, 1), lambda x: torch.triu(x, 1), (reals(2, 3, 4),)),
    "diag of a vector": (ts.diag, torch.diag, (reals(3),)),
    "diag of a matrix": (lambda x: ts.diag(x, 1), lambda x: torch.diag(x, 1), (X,)),
    "trace": (ts.trace, torch.trace, (reals(3, 3),)),
    # indexing
    **{
        f"x[{index!r}]": (
            lambda x, index=index: x[index], lambda x, index=index: x[index], (reals(3, 4, 2),)
        )
        for index in [
            0, -1, slice(1, None), slice(None, None, 2), (slice(None), 1), (..., 0), None,
            (0, None, ..., slice(1)), [0, 0, 2], ([0, 1], [1, 1]), (slice(None), [3, 3, 0]),
            ([1, 1], slice(None), [0, 1]), (1, 2, 1),
        ]
    },
    "boolean mask": (lambda x: x[x > 0], lambda x: x[x > 0], (X,)),
    "mask of rows": (
        lambda x: x[np.array([True, False, True])],
        lambda x: x[torch.tensor([True, False, True])], (X,),
    ),
    "reversed rows": (lambda x: x[::-1], lambda x: x.flip(0), (X,)),
    "take": (lambda x: ts.take(x, IDS, axis=0), lambda x: x[T_IDS], (X,)),
    "take_along_axis": (
        lambda x: ts.take_along_axis(x, IDS, axis=0),
        lambda x: torch.take_along_dim(x, T_IDS, 0), (X,),
    ),
    "index_add": (
        lambda x, v: ts.index_add(x, np.array([0, 2, 0]), v),
        lambda x, v: x.index_add(0, torch.tensor([0, 2, 0]), v), (X, W),
    ),
    "index_set": (
        lambda x, v: ts.index_set(x, (slice(None), 1), v),
        lambda x, v: x.index_put((torch.arange(3), torch.tensor(1)), v), (X, reals(3)),
    ),
    "sort": (lambda x: ts.sort(x, axis=0), lambda x: x.sort(0).values, (X,)),
    "topk": (
        lambda x: ts.topk(x, 2)[0], lambda x: torch.topk(x, 2).values, (X,)
    ),
    "embedding": (lambda w: ts.take(w, IDS, axis=0), lambda w: F.embedding(T_IDS, w), (X,)),
    # a whole: one cell, one loss
    "lstm gate": (
        lambda x, w, c: ts.sigmoid(x @ w) * c + ts.sigmoid(x @ w * 2) * ts.tanh(x @ w - 1),
        lambda x, w, c: torch.sigmoid(x @ w) * c + torch.sigmoid(x @ w * 2) * torch.tanh(x @ w - 1),
        (reals(3, 4), reals(4, 2), reals(3, 2)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_values_and_gradients(name, rng):
    ours, theirs, samples = TABLE[name]
    arrays = [sample(rng) for sample in samples]
    a = [ts.Tensor(np.array(x), requires_grad=True) for x in arrays]
    b = [torch.tensor(x, requires_grad=True) for x in arrays]
    ys, zs = _several(ours(*a)), _several(theirs(*b))
    gradients = []
    for y, z in zip(ys, zs, strict=True):
        assert y.shape == tuple(z.shape)
        assert y.dtype == np.float64
        np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-10, atol=1e-12)
        gradients.append(rng.normal(size=y.shape))
    found = ts.autograd.grad(ys, a, grad_outputs=[ts.Tensor(g) for g in map(np.asarray, gradients)])
    expected = torch.autograd.grad(zs, b, grad_outputs=[torch.tensor(g) for g in gradients])
    for x, z in zip(found, expected, strict=True):
        np.testing.assert_allclose(x.numpy(), z.numpy(), rtol=1e-10, atol=1e-12)


def _several(result):
    return tuple(result) if isinstance(result, list | tuple) else (result,)
