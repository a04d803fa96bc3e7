"""no_grad, enable_grad and anomaly mode (design points 6 and 7)."""

import asyncio
import contextlib
import functools
import threading

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq import nn, viz

pytestmark = pytest.mark.usefixtures("backend")


def leaf(values):
    return ts.tensor(values, dtype="f8", requires_grad=True)


def test_no_grad_and_enable_grad_nest():
    x = leaf(1.0)
    with ts.no_grad():
        assert not (x * 2).requires_grad
        with ts.enable_grad():
            assert (x * 2).requires_grad
        assert not ts.is_grad_enabled()
    assert (x * 2).requires_grad


def test_modes_end_with_an_exception():
    with pytest.raises(KeyError), ts.no_grad():
        raise KeyError
    assert ts.is_grad_enabled()


def test_modes_decorate_functions():
    x = leaf(1.0)

    @ts.no_grad()
    def f(depth):
        """Doc."""
        assert not ts.is_grad_enabled()
        return f(depth - 1) if depth else x * 2

    assert not f(3).requires_grad
    assert ts.is_grad_enabled()
    assert f.__doc__ == "Doc."


def test_modes_decorate_generators_without_leaking():
    @ts.no_grad()
    def steps():
        for _ in range(2):
            assert not ts.is_grad_enabled()
            yield
        return 7

    def outer():
        return (yield from steps())

    run = outer()
    next(run)
    assert ts.is_grad_enabled()
    next(run)
    with pytest.raises(StopIteration) as stop:
        next(run)
    assert stop.value.value == 7


def test_modes_are_bare_decorators_too():
    @ts.no_grad
    def f():
        return ts.is_grad_enabled()

    assert not f()
    assert ts.is_grad_enabled()


def test_decorated_generators_pass_on_throw_and_close():
    seen = []

    @ts.no_grad()
    def steps():
        try:
            yield 1
        except KeyError:
            seen.append(("caught", ts.is_grad_enabled()))
        try:
            yield 2
        finally:
            seen.append(("closed", ts.is_grad_enabled()))

    run = steps()
    next(run)
    assert run.throw(KeyError()) == 2
    run.close()
    assert seen == [("caught", False), ("closed", False)]


def test_decorated_async_generators():
    @ts.no_grad()
    async def steps():
        for _ in range(2):
            yield ts.is_grad_enabled()

    async def main():
        return [(inside, ts.is_grad_enabled()) async for inside in steps()]

    assert asyncio.run(main()) == [(False, True), (False, True)]


def test_modes_are_local_to_async_tasks():
    seen = {}

    @ts.no_grad()
    async def off(gate, other):
        gate.set()
        await other.wait()
        seen["off"] = ts.is_grad_enabled()

    async def on(gate, other):
        await gate.wait()
        seen["on"] = ts.is_grad_enabled()
        other.set()

    async def main():
        a, b = asyncio.Event(), asyncio.Event()
        await asyncio.gather(off(a, b), on(a, b))

    asyncio.run(main())
    assert seen == {"off": False, "on": True}


def test_modes_are_local_to_threads():
    seen = []
    with ts.no_grad():
        thread = threading.Thread(target=lambda: seen.append(ts.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_threads_build_and_run_graphs_at_once():
    results = {}

    def work(k):
        x = leaf(np.full(50, float(k)))
        for _ in range(20):
            x.grad = None
            ts.sin(x * x).sum().backward()
        results[k] = x.grad.numpy()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(4):
        np.testing.assert_allclose(results[k], 2 * k * np.cos(k * k), rtol=1e-12)


def test_anomaly_mode_names_the_forward_op_shapes_and_line():
    x = leaf([1.0, 0.0])
    with (
        np.errstate(divide="ignore"),
        ts.anomaly_mode(),
        pytest.raises(FloatingPointError, match=r"log of shapes \(2,\).*test_modes\.py:\d+"),
    ):
        ts.log(x)  # the line


def test_anomaly_mode_names_the_backward_op_and_the_line_that_recorded_it():
    x = leaf([1.0, 0.0])
    with np.errstate(divide="ignore"), ts.anomaly_mode():
        y = ts.sqrt(x).sum()
        with pytest.raises(FloatingPointError, match=r"rule of sqrt.*test_modes\.py:\d+"):
            y.backward()
    assert x.grad is None


def test_anomaly_mode_lets_finite_work_and_given_infinities_pass():
    x = leaf([1.0, 2.0])
    with ts.anomaly_mode():
        (ts.exp(x) * 2).sum().backward()
        ts.maximum(ts.tensor([-np.inf, 1.0]), 0.0)
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.exp([1.0, 2.0]))


def test_anomaly_mode_passes_over_infinities_that_were_asked_for():
    x = leaf([1.0, 2.0])
    with ts.anomaly_mode():
        ts.logsumexp(ts.where(np.array([True, False]), x, -np.inf)).backward()
        labels = ts.log_softmax(leaf(np.zeros((5, 2, 3))), axis=-1)
        nn.ctc_loss(labels, [[1, 1], [2, 0]], target_lengths=[2, 1]).backward()
    np.testing.assert_allclose(x.grad.numpy(), [1.0, 0.0])


def test_anomaly_mode_sees_what_overflows_where_a_gradient_gets_its_dtype():
    @ts.primitive
    def twice(x, /):
        return x * 2

    twice.defvjp(x=lambda g: np.full(g.shape, 1e300))
    x = ts.tensor([1.0], requires_grad=True)
    with np.errstate(over="ignore"), ts.anomaly_mode():
        y = twice(x).sum()
        with pytest.raises(FloatingPointError, match=r"rule of twice.*NaN or Inf"):
            y.backward()


@pytest.mark.parametrize("order", [1, -1])
def test_every_observer_is_told(order):
    x = leaf([1.0, 4.0])
    blocks = [ts.anomaly_mode(), viz.profile(), viz.trace()][::order]
    with contextlib.ExitStack() as stack:
        told = {type(stack.enter_context(block)): block for block in blocks}
        y = ts.sqrt(x).sum()
        y.backward()
        with np.errstate(divide="ignore"), pytest.raises(FloatingPointError, match="log of shapes"):
            ts.log(x * 0)
    calls = [(c.phase, c.operation) for c in told[viz.profile].calls]
    assert calls[:2] == [("forward", "sqrt"), ("forward", "sum")]
    assert calls[2:4] == [("backward", "sum"), ("backward", "sqrt")]
    assert float(told[viz.trace].values[y.node]) == 3.0
    assert "test_modes.py" in y.node.origin


@pytest.mark.parametrize("observer", [ts.anomaly_mode, viz.profile, viz.trace])
@pytest.mark.parametrize(
    "length", [ts.norm, ts.std, lambda x: ts.hypot(x[0], x[1])], ids=["norm", "std", "hypot"]
)
def test_second_derivatives_at_the_origin_are_the_same_when_observed(length, observer):
    plain = ts.hessian(lambda x: length(x) ** 2)(np.zeros(2)).numpy()
    with observer():
        observed = ts.hessian(lambda x: length(x) ** 2)(np.zeros(2)).numpy()
    assert plain.any()
    np.testing.assert_array_equal(observed, plain)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.RNN(2, 3, nonlinearity="relu"),
        lambda: nn.Bidirectional(*(nn.Recurrent(Doubling(), reverse=r) for r in (False, True))),
        lambda: nn.Recurrent(nn.Zoneout(Doubling(), 0.1)),
    ],
)
def test_anomaly_mode_names_the_operation_within_a_fused_one(make):
    layer, x = make(), np.ones((9, 1, 2), np.float32)
    with ts.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(np.full(parameter.shape, 1e9))
    with np.errstate(over="ignore", invalid="ignore"):
        layer(x)  # which is what it is without the mode
        with (
            ts.anomaly_mode(),
            pytest.raises(FloatingPointError, match=r"(affine|matmul) of shapes .* from finite"),
        ):
            layer(x)


class Doubling(nn.Module):
    """A cell of the user's, whose state overflows."""

    def __init__(self):
        self.w = nn.Parameter(ts.ones((2, 2)))

    def initial_state(self, batch_shape=()):
        return ts.ones((*batch_shape, 2))

    def forward(self, x, state):
        h = ts.relu(x + state @ self.w)
        return h, h


def test_threads_may_share_a_mode():
    mode, inside, leave = ts.no_grad(), threading.Barrier(2, timeout=60), threading.Event()
    found = {}

    def first():
        with ts.enable_grad():
            with mode:
                inside.wait()
                leave.wait(60)
            found["first"] = ts.is_grad_enabled()

    def second():
        with ts.no_grad():
            with mode:
                inside.wait()
            found["second"] = ts.is_grad_enabled()
            leave.set()

    threads = [threading.Thread(target=f) for f in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"first": True, "second": False}


def test_a_mode_may_be_entered_again_and_left_out_of_order():
    a, b = ts.no_grad(), ts.enable_grad()
    with a, a:
        assert not ts.is_grad_enabled()
    assert ts.is_grad_enabled()
    a.__enter__()
    b.__enter__()
    with a:
        assert not ts.is_grad_enabled()
    assert ts.is_grad_enabled()
    b.__exit__(None, None, None)
    assert not ts.is_grad_enabled()
    a.__exit__(None, None, None)
    assert ts.is_grad_enabled()


def test_a_decorated_async_generator_keeps_its_protocol():
    heard, closed = [], []

    @ts.no_grad()
    async def steps():
        try:
            while True:
                try:
                    heard.append((yield ts.is_grad_enabled()))
                except KeyError as error:
                    heard.append(error)
        finally:
            closed.append(ts.is_grad_enabled())

    async def consume():
        s = steps()
        assert await anext(s) is False
        assert ts.is_grad_enabled()
        assert await s.asend("sent") is False
        error = KeyError("thrown")
        assert await s.athrow(error) is False
        await s.aclose()
        assert closed == [False]
        assert heard == ["sent", error]
        with pytest.raises(StopAsyncIteration):
            await anext(s)
        assert ts.is_grad_enabled()

    asyncio.run(consume())


def test_an_object_that_is_called_is_decorated_by_what_its_call_is():
    class Generating:
        def __call__(self):
            yield ts.is_grad_enabled()

    class Waiting:
        async def __call__(self):
            return ts.is_grad_enabled()

    assert list(ts.no_grad()(Generating())()) == [False]
    assert asyncio.run(ts.no_grad()(Waiting())()) is False
    assert ts.no_grad()(functools.partial(ts.is_grad_enabled))() is False
    with pytest.raises(TypeError, match="no_grad decorates functions; got <class"):
        ts.no_grad()(Waiting)
