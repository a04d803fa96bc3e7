"""Optimizers: PyTorch's trajectories, groups, dtypes and checks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from device import host
from trajectories import CASES, NAMES, gradient, make, parameters, train, values

import tinygrad_seq as ts
from tinygrad_seq import optim
from tinygrad_seq.backend import Backend
from tinygrad_seq.tensor import Tensor

pytestmark = pytest.mark.usefixtures("backend")

HALF = pytest.param(np.float16, marks=pytest.mark.host("kernels compute in 32 and 64 bits"))


@pytest.fixture
def double() -> Iterator[None]:
    """Let PyTorch keep numbers such as NAdam's running product in float64, as ours are."""
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_trajectory_is_that_of_pytorch(name: str, options: dict, double: None) -> None:
    torch = pytest.importorskip("torch")
    ours = parameters()
    theirs = [torch.tensor(value, requires_grad=True) for value in values()]
    one = make(name, ours, **options)
    other = getattr(torch.optim, name)(theirs, **options)
    for step in range(100):
        train(one, ours, range(step, step + 1))
        for p in theirs:
            p.grad = torch.tensor(gradient(p.detach().numpy(), step))
        other.step()
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(host(p), q.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_defaults_are_those_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.optim, name)([torch.zeros(1, requires_grad=True)]).defaults
    ours = make(name, parameters()).defaults
    assert ours == {option: theirs[option] for option in ours}


def test_groups_have_options_of_their_own_as_in_pytorch() -> None:
    torch = pytest.importorskip("torch")
    ours = parameters()
    theirs = [torch.tensor(value, requires_grad=True) for value in values()]

    def groups(p: list) -> list[dict]:
        return [{"params": p[:1], "lr": 0.5}, {"params": p[1:], "betas": (0.5, 0.6)}]

    one, other = optim.Adam(groups(ours), lr=0.01), torch.optim.Adam(groups(theirs), lr=0.01)
    for step in range(20):
        train(one, ours, range(step, step + 1))
        for p in theirs:
            p.grad = torch.tensor(gradient(p.detach().numpy(), step))
        other.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(host(p), q.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_without_a_gradient_is_left_alone(name: str) -> None:
    params = parameters()
    optimizer = make(name, params)
    before = host(params[1]).copy()
    for p in params[0], params[2]:
        p.grad = Tensor(gradient(host(p), 0))
    optimizer.step()
    np.testing.assert_array_equal(host(params[1]), before)
    assert set(optimizer.state_dict()["state"]) <= {0, 2}


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("dtype", [HALF, np.float32, np.float64])
def test_a_step_writes_in_place_keeps_the_dtype_and_leaves_the_gradient(
    name: str, options: dict, dtype: type, backend: str
) -> None:
    params = parameters(dtype)
    optimizer = make(
        name, params, **{k: np.float64(v) if k == "lr" else v for k, v in options.items()}
    )
    buffers = [p.data for p in params]
    starts = [host(p).copy() for p in params]
    for step in range(2):
        gradients = [gradient(host(p), step) for p in params]
        for p, g in zip(params, gradients, strict=True):
            p.grad = Tensor(g.copy())
        optimizer.step()
        for p, g in zip(params, gradients, strict=True):
            np.testing.assert_array_equal(host(p.grad), g)
        if step == 0 and backend != "numpy":  # the first step lays them into one buffer there
            buffers = [p.data for p in params]
    for p, buffer, start in zip(params, buffers, starts, strict=True):
        assert p.data is buffer
        assert p.data.dtype == dtype
        assert (host(p) != start).all()
    kept = np.result_type(dtype, np.float32)  # averages of float16 are float32
    for memory in optimizer.state_dict()["state"].values():
        assert all(v.dtype == kept for v in memory.values() if isinstance(v, np.ndarray))


@pytest.mark.host("its arrays are a kind of ndarray")
def test_no_step_makes_a_float64_array_of_float32_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    class Spy(np.ndarray):
        """An array that tells when a computation with it widens."""

        def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
            plain = [np.asarray(x) if isinstance(x, Spy) else x for x in inputs]
            assert not any(type(x) is np.float64 for x in inputs)
            target = {} if out is None else {"out": tuple(np.asarray(o) for o in out)}
            result = getattr(ufunc, method)(*plain, **target, **kwargs)
            assert result.dtype != np.float64
            return out[0] if out is not None else np.asarray(result).view(Spy)

    for name, options in CASES:
        p = np.ones((2, 3), np.float32).view(Spy)
        g = np.ones((2, 3), np.float32).view(Spy)
        optimizer = make(name, parameters(np.float32), **options)
        state: dict = {}
        for _ in range(2):
            optimizer.update(p, g, state, optimizer.param_groups[0])
        assert not np.array_equal(np.asarray(p), np.ones((2, 3)))


@pytest.mark.parametrize("name", NAMES)
def test_a_numpy_number_as_rate_computes_as_a_python_one(name: str) -> None:
    one, other = parameters(np.float32), parameters(np.float32)
    for params, rate in (one, 0.1), (other, np.float64(0.1)):
        optimizer = make(name, params)
        optimizer.param_groups[0]["lr"] = rate  # as a user's own schedule may do
        train(optimizer, params, range(5))
    for p, q in zip(one, other, strict=True):
        np.testing.assert_array_equal(host(p), host(q))


def test_centered_rmsprop_of_a_constant_gradient_stays_finite() -> None:
    params = parameters(np.float32)
    optimizer = optim.RMSprop(params, centered=True, alpha=0.5)
    for _ in range(200):
        for p in params:
            p.grad = Tensor(np.full(p.shape, 0.3, np.float32))
        optimizer.step()
    assert all(np.isfinite(host(p)).all() for p in params)


def test_zero_grad_forgets_the_gradients() -> None:
    params = parameters()
    optimizer = optim.SGD(params)
    train(optimizer, params, range(1))
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("SGD", {"lr": -0.1}, r"SGD expects lr of at least 0 and finite; got lr=-0\.1"),
        ("SGD", {"lr": float("nan")}, "lr=nan"),
        ("SGD", {"momentum": -1}, "momentum"),
        ("SGD", {"nesterov": True}, "nesterov=True needs momentum"),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "nesterov=True needs"),
        ("RMSprop", {"alpha": 1.0}, "alpha of at least 0 and below 1"),
        ("Adagrad", {"eps": float("inf")}, "eps"),
        ("Adam", {"betas": (0.9, 1.0)}, r"betas=\(0\.9, 1\.0\)"),
        ("Adam", {"betas": 0.9}, r"expects betas=\(beta1, beta2\); got betas=0\.9"),
        ("AdamW", {"betas": (0.9, 0.99, 0.999)}, r"expects betas=\(beta1, beta2\)"),
        ("AdamW", {"weight_decay": -1e-3}, "weight_decay"),
    ],
)
def test_an_option_out_of_range_is_refused(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, parameters(), **options)
    with pytest.raises(ValueError, match=message):
        make(name, [{"params": parameters(), **options}])


def test_parameters_of_the_wrong_kind_are_refused() -> None:
    p = parameters()[0]
    for params, kind, message in [
        ([], ValueError, "no parameters"),
        (iter(()), ValueError, "no parameters"),
        ([{"params": []}], ValueError, "no parameters"),
        ([p, p], ValueError, "given twice"),
        ([{"params": [p]}, {"params": [p]}], ValueError, "given twice"),
        ([p, np.zeros(3)], TypeError, "got ndarray as parameter 1"),
        (p, TypeError, "put it into a list"),
        (3, TypeError, "iterable of Tensors; got int"),
        ([Tensor(np.zeros(3))], ValueError, "not a leaf that requires grad"),
        ([{"params": [p], "rate": 3}], ValueError, "no option 'rate'; it has lr"),
        ([{"lr": 3}], ValueError, 'needs the key "params"'),
    ]:
        with pytest.raises(kind, match=message):
            optim.SGD(params)


def test_a_backward_that_needs_the_old_weights_raises() -> None:
    w = Tensor(np.array([2.0, 3.0]), requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)
    w.sum().backward()
    optimizer.step()  # on a device the first step lays the weights into one buffer
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError):
        loss.backward()


def test_a_frozen_parameter_is_left_alone_until_it_is_thawed():
    layer = ts.nn.Linear(2, 1)
    layer.requires_grad_(False)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    optimizer.step()
    layer.requires_grad_()
    before = layer.weight.detach().numpy().copy()
    layer(ts.ones(1, 2)).sum().backward()
    optimizer.step()
    np.testing.assert_allclose(layer.weight.detach().numpy(), before - 0.1, rtol=1e-6)


class Lamb(optim.Adam):
    """Adam's step, scaled for each parameter by ‖p‖ / ‖step‖ (You et al. 2020, without decay)."""

    def update(self, p, g, state, group):
        before = p.copy()
        super().update(p, g, state, group)
        step = p - before
        p[...] = before + step * (np.linalg.norm(before) / np.linalg.norm(step))


class SteppedTwice(optim.SGD):
    """Says again that it acts element by element."""

    elementwise = True

    def update(self, p, g, state, group):
        super().update(p, g, state, group)
        super().update(p, g, state, group)


class Trusting:
    """An update from a class that is no optimizer."""

    def update(self, p, g, state, group):
        p -= 0.1 * g * np.linalg.norm(p)


class Mixed(Trusting, optim.SGD):
    pass


@pytest.mark.host("the flag of NumPy's backend is set by hand")
@pytest.mark.parametrize(
    ("kind", "joined"),
    [(Lamb, False), (Mixed, False), (SteppedTwice, True), (optim.AdamW, True), (optim.SGD, True)],
)
def test_only_what_says_that_it_acts_element_by_element_is_joined(kind, joined, monkeypatch, rng):
    starts = [rng.standard_normal(shape).astype("f4") for shape in ((3, 4), (5,), (2, 2))]
    gradients = [rng.standard_normal(a.shape).astype("f4") for a in starts]
    results = []
    for flat in (False, True):
        monkeypatch.setattr(Backend, "flat", flat)
        params = [ts.tensor(a, requires_grad=True) for a in starts]
        optimizer = kind(params, lr=0.1)
        for _ in range(3):
            for p, g in zip(params, gradients, strict=True):
                p.grad = ts.Tensor(g.copy())
            optimizer.step()
        assert bool(optimizer._flat) == (flat and joined)
        results.append([p.data for p in params])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


class LARS(optim.Optimizer):
    """A user's own algorithm, as the docstring of Optimizer writes it: a ratio for each layer."""

    def __init__(self, params, lr=0.1, momentum=0.9, trust=1e-3):
        super().__init__(params, lr=lr, momentum=momentum, trust=trust)

    def update(self, p, g, state, group):
        ratio = (p * p).sum() ** 0.5 / (g * g).sum() ** 0.5
        v = state.setdefault("v", 0 * p)
        v *= group["momentum"]
        v += group["lr"] * group["trust"] * ratio * g
        p -= v


def test_a_layer_wise_algorithm_of_the_user(rng):
    values = [rng.standard_normal(shape).astype("f4") for shape in ((3, 4), (5,))]
    params = [ts.tensor(a, requires_grad=True) for a in values]
    optimizer, memory = LARS(params, trust=0.5), [np.zeros_like(a) for a in values]
    for step in range(4):
        for k, p in enumerate(params):
            g = rng.standard_normal(p.shape).astype("f4")
            p.grad = ts.tensor(g)
            ratio = np.linalg.norm(values[k]) / np.linalg.norm(g)
            memory[k] = 0.9 * memory[k] + 0.05 * ratio * g
            values[k] = values[k] - memory[k]
        optimizer.step()
        if step == 1:  # it is saved and loaded as the library's own
            saved, optimizer = optimizer.state_dict(), LARS(params, trust=0.5)
            optimizer.load_state_dict(saved)
    for p, expected in zip(params, values, strict=True):
        assert p.dtype == np.float32
        np.testing.assert_allclose(host(p), expected, rtol=1e-5)
