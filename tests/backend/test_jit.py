"""The compiled kernels against those of NumPy: every option, what falls through, and the switch.

The truth is the NumPy kernel in float64. The compiled one is in float32, and its tanh is a quotient
of polynomials within 4e-7 of tanh (NumPy's float32 tanh: 1e-7). Six steps with moderate weights
enlarge that to about 1e-6 of the largest value, here TOLERANCE; a wrong term is a thousand times
more. The derivative of relu jumps, so that relu gets whole numbers, which float32 adds up exactly.
"""

import os
import platform
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tinygrad_seq.backend.recurrence import KERNELS as NUMPY

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.backend import jit

pytest.importorskip("numba")

TOLERANCE = 5e-6
EVERY = {"x", "h0", "c0", "W", "U", "b", "c"}
KINDS = {"lstm": 4, "gru": 3, "gru_after": 3, "rnn_tanh": 1, "rnn_relu": 1}  # gates
MODULES = ("lstm", "gru", "gru_after", "rnn")
each_kind = pytest.mark.parametrize("kind", KINDS)


class Case:
    """Arguments of a layer and upstream gradients, at random; float32 values in float64."""

    def __init__(self, rng, kind, steps, batch, size, hidden, reverse=False, bias=True,
                 padding=None, state=True, projected=False, upstream=(True,) * 3):  # fmt: skip
        self.kind = kind
        out, gates = hidden - 1 if projected else hidden, KINDS[kind]

        def array(*shape, scale=1.0, there=True):
            values = (scale * rng.standard_normal(shape)).astype("f4").astype("f8")
            if kind == "rnn_relu":  # few of each row, so that they do not grow too large
                values = np.clip(np.rint(2 * values), -2, 2)
                values *= rng.random(shape) < min(1, 4 * scale**2)
            return values if there else None

        bound = hidden**-0.5
        self.arrays = {
            "x": array(steps, batch, size),
            "h0": array(batch, out, there=state),
            "c0": array(batch, hidden, there=state),
            "W": array(gates * hidden, size, scale=size**-0.5),
            "U": array(gates * hidden, out, scale=bound),
            "b": array(gates * hidden, there=bias),
            "c": array(gates * hidden, there=bias),
            "R": array(out, hidden, scale=bound, there=projected),
        }
        self.results = ["y", "h_n", "c_n"]
        if kind != "lstm":
            del self.arrays["c0"], self.arrays["R"], self.results[2]
        if kind == "gru":
            del self.arrays["c"]
        mask = None
        if padding == "ends":
            mask = np.arange(steps)[:, None] < rng.integers(1, steps + 1, batch)
        elif padding == "holes":
            mask = rng.random((steps, batch)) < 0.6
        self.more = [mask, reverse]
        shapes = (steps, batch, out), (batch, out), (batch, hidden)
        self.upstream = [array(*s, there=t) for s, t in zip(shapes, upstream, strict=True)]
        del self.upstream[len(self.results) :]

    def run(self, kernels, dtype="f4", wanted=EVERY):
        """Results, gradients, and the results of a forward that keeps nothing."""
        arrays, upstream = (
            [a if a is None else a.astype(dtype) for a in group]
            for group in (self.arrays.values(), self.upstream)
        )
        forward, backward = (kernels[f"{self.kind}_{way}"] for way in ("forward", "backward"))
        results, saved = forward(np, *arrays, *self.more, True)
        lean, nothing = forward(np, *arrays, *self.more, False)
        assert nothing is None
        for one, other in zip(results, lean, strict=True):
            np.testing.assert_array_equal(one, other)
        gradients = backward(np, *upstream, saved, wanted)
        again = backward(np, *upstream, saved, wanted)
        for name, gradient in gradients.items():
            np.testing.assert_array_equal(gradient, again[name])
        return dict(zip(self.results, results, strict=True)) | gradients

    def check(self):
        compiled, truth = self.run(jit.KERNELS), self.run(NUMPY, "f8")
        assert compiled.keys() == truth.keys()
        for name, value in compiled.items():
            assert value.dtype == np.float32
            assert value.shape == truth[name].shape
            scale = max(1.0, np.abs(truth[name]).max())
            difference = np.abs(value - truth[name]).max() / scale
            assert difference < TOLERANCE, f"{name}: {difference}"
        mask = self.more[0]
        if mask is not None:
            assert not compiled["y"][~mask].any()
            assert not compiled["x"][~mask].any()


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Also few rows are compiled; returns the calls of compiled functions, by name."""
    monkeypatch.setattr(jit, "ROWS", 1)
    made = []
    for module in MODULES:
        compiled = jit._compiled(module)
        assert compiled is not None
        for name in ("steps", "steps_backward"):
            function = getattr(compiled, name)
            monkeypatch.setattr(
                compiled, name, lambda *a, f=function, n=name, **k: (made.append(n), f(*a, **k))[1]
            )
    with ts.use_jit():
        yield made


def draw_case(rng, kind):
    """Sizes around those at which another piece of code takes over, and any options."""
    steps, batch, size = rng.integers(1, 7), rng.integers(1, 41), rng.integers(1, 20)
    hidden = rng.choice([1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 48, 63, 64, 65, 128])
    upstream = rng.random(3) < 0.75
    upstream[0] |= not upstream.any()
    return Case(
        rng, kind, int(steps), int(batch), int(size), int(hidden), bool(rng.random() < 0.5),
        bool(rng.random() < 0.7), rng.choice([None, "ends", "holes"]), bool(rng.random() < 0.5),
        upstream=upstream,
    )  # fmt: skip


@each_kind
@given(seed=st.integers(0, 2**32))
def test_equal_to_the_numpy_kernels(kind, seed):
    rng = np.random.default_rng(seed)
    for _ in range(3):
        draw_case(rng, kind).check()


@each_kind
@pytest.mark.parametrize("hidden", [5, 32])
def test_equal_for_every_size_of_batch(kind, hidden, rng, calls):
    for batch in range(1, 41):
        Case(rng, kind, 3, batch, 4, hidden).check()
    assert calls.count("steps") == calls.count("steps_backward") == 2 * 40


@each_kind
def test_a_mask_that_leaves_nothing_out_changes_nothing(kind, rng):
    case = Case(rng, kind, 4, 6, 3, 32)
    plain = case.run(jit.KERNELS)
    case.more[0] = np.ones((4, 6), bool)
    for name, value in case.run(jit.KERNELS).items():
        np.testing.assert_array_equal(value, plain[name])


@each_kind
def test_only_wanted_gradients_are_made(kind, rng):
    made = Case(rng, kind, 3, 4, 5, 6).run(jit.KERNELS, wanted={"U"})
    assert made.keys() & {"x", "W", "b", "c"} == set()
    assert "U" in made


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "rnn_relu"])
def test_saturated_gates_stay_in_their_range(kind, rng):
    case = Case(rng, kind, 1, 8, 3, 32)
    case.arrays["x"] *= 1e6
    made = case.run(jit.KERNELS)
    assert np.abs(made["y"]).max() <= max(1, np.abs(case.arrays["h0"]).max())
    case.check()


def test_tanh_is_as_exact_as_promised(calls):
    from tinygrad_seq.backend.jit import loops

    @loops.compiled(cache=False)
    def tanh(x, y):
        for j in range(len(x)):
            y[j] = loops.tanh(x[j])

    x = np.concatenate([s * np.geomspace(1e-30, 1e30, 400_001) for s in (1, -1)]).astype("f4")
    y = np.empty_like(x)
    tanh(x, y)
    truth = np.tanh(x.astype("f8"))
    assert np.abs(y / truth - 1).max() < 4e-7
    assert np.abs(y).max() <= 1
    ends = np.array([np.nan, np.inf, -np.inf, 0], "f4")
    tanh(ends, y[:4])
    np.testing.assert_array_equal(y[:4], [np.nan, 1, -1, 0])


@each_kind
@pytest.mark.parametrize("hidden", [7, 32, 200])
@pytest.mark.parametrize("batch", [3, 8])
@pytest.mark.parametrize("padding", [None, "ends"])
def test_nan_passes_through_and_other_sequences_stay_clean(kind, hidden, batch, padding, rng):
    case = Case(rng, kind, 5, batch, 3, hidden, padding=padding)
    if padding:
        case.more[0][:, 1] = True
    case.arrays["W"][:, 0] = 1  # no gate may leave it out
    case.arrays["x"][2, 1, 0] = np.nan
    made, truth = case.run(jit.KERNELS), case.run(NUMPY, "f8")
    assert np.isnan(made["y"][2:, 1]).all()
    assert not np.isnan(np.delete(made["y"], 1, axis=1)).any()
    for name, value in made.items():
        np.testing.assert_array_equal(np.isnan(value), np.isnan(truth[name]), name)


@each_kind
def test_padding_hands_gradients_on_whatever_the_weights(kind, rng):
    case = Case(rng, kind, 4, 5, 3, 32)
    case.more[0] = np.arange(4)[:, None] < [4, 4, 0, 4, 4]
    case.arrays["U"][:] = np.inf
    with np.errstate(invalid="ignore"):
        made = case.run(jit.KERNELS)
    for name, upstream in zip(("h0", "c0"), case.upstream[1:], strict=False):
        np.testing.assert_array_equal(made[name][2], upstream[2].astype("f4"))


@each_kind
def test_arrays_of_any_layout_are_taken(kind, rng, calls):
    x, w, u = (rng.standard_normal(s).astype("f4") for s in ((4, 5, 3), (8, 3), (8, 8)))
    w, u = (np.tile(a, (KINDS[kind], 1)) / 4 for a in (w, u))
    of_lstm, of_others = kind == "lstm", kind != "gru"
    once = np.ones((1, 1, 1), "f4")
    once.flags.writeable = False
    results = []
    for kernels in (NUMPY, jit.KERNELS):
        for layout in (x, np.asfortranarray(x), np.repeat(x, 2, axis=2)[:, :, ::2]):
            view = layout[:]
            view.flags.writeable = False
            mask = np.asfortranarray(x[:, :, 0] > 0)
            states, biases = (None,) * (1 + of_lstm), (None,) * (1 + of_others + of_lstm)
            (y, *_), saved = kernels[f"{kind}_forward"](
                np, view, *states, w, u, *biases, mask, False, True
            )
            gy = np.broadcast_to(once, y.shape)
            made = kernels[f"{kind}_backward"](np, gy, *states, saved, {"x"})
            results.append((y, made["x"]))
    assert len(calls) == 6
    for y, x_ in results[1:]:
        np.testing.assert_allclose(y, results[0][0], atol=TOLERANCE)
        np.testing.assert_allclose(x_, results[0][1], atol=TOLERANCE)


@each_kind
@pytest.mark.parametrize("why", ["float64", "projected", "no sequence", "few rows"])
def test_other_cases_fall_through_to_numpy(kind, why, rng, calls, monkeypatch):
    if why == "projected" and kind != "lstm":
        pytest.skip("only the LSTM has a projection")
    monkeypatch.setattr(jit, "ROWS", 8)
    case = Case(rng, kind, 5, {"no sequence": 0, "few rows": 1}.get(why, 4), 3, 6,
                projected=why == "projected")  # fmt: skip
    dtype = "f8" if why == "float64" else "f4"
    wanted = EVERY | ({"R"} if why == "projected" else set())
    made, expected = (case.run(k, dtype, wanted) for k in (jit.KERNELS, NUMPY))
    assert calls == []
    for name, value in made.items():
        np.testing.assert_array_equal(value, expected[name])


@pytest.mark.parametrize(
    ("layer", "options"),
    [
        ("LSTM", {}),
        ("GRU", {"reset_after": True}),
        ("GRU", {"reset_after": False}),
        ("RNN", {}),
    ],
)
def test_layers_use_them_with_the_gradients_of_the_unrolled_cell(layer, options, rng, calls):
    layer = getattr(nn, layer)(5, 16, num_layers=2, bidirectional=True, **options)
    x = ts.tensor(rng.standard_normal((6, 4, 5)).astype("f4"), requires_grad=True)
    inputs = [x, *layer.parameters()]

    def gradients():
        y, last = layer(x, lengths=[6, 2, 5, 1])
        h, c = last if isinstance(layer, nn.LSTM) else (last, last)
        return ts.autograd.grad((y * y).sum() + (h * c).sum(), inputs)

    compiled = gradients()
    assert calls == ["steps"] * 4 + ["steps_backward"] * 4
    with nn.unrolled():
        unrolled = gradients()
    assert len(calls) == 8
    for one, other in zip(compiled, unrolled, strict=True):
        scale = max(1.0, np.abs(other.data).max())
        np.testing.assert_allclose(one.data, other.data, rtol=0, atol=TOLERANCE * scale)


@each_kind
def test_the_switch(kind, rng, calls):
    case = Case(rng, kind, 3, 4, 5, 6)
    expected = case.run(NUMPY)

    def same_as_numpy():
        del calls[:]
        made = case.run(jit.KERNELS)
        assert calls or all(np.array_equal(made[name], expected[name]) for name in made)
        return calls == []

    assert not same_as_numpy()
    with ts.use_jit(False):
        assert same_as_numpy()
        with ts.use_jit(True):
            assert not same_as_numpy()
        assert same_as_numpy()
    assert not same_as_numpy()
    ts.use_jit(False)
    assert same_as_numpy()
    ts.use_jit()
    assert not same_as_numpy()


@each_kind
def test_forward_compiled_and_backward_not(kind, rng):
    """They save the same, so that the switch may be turned in between."""
    case = Case(rng, kind, 4, 5, 3, 32, padding="holes")
    forward, backward = f"{kind}_forward", f"{kind}_backward"
    mixed = {forward: jit.KERNELS[forward], backward: NUMPY[backward]}
    other = {forward: NUMPY[forward], backward: jit.KERNELS[backward]}
    expected = case.run(NUMPY)
    for kernels in (mixed, other):
        for name, value in case.run(kernels).items():
            np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-5)


@pytest.fixture
def fresh():
    """As at the start of a process: nothing is compiled yet."""
    jit._compiled.cache_clear()
    yield
    jit._compiled.cache_clear()


@each_kind
def test_without_numba_numpy_computes(kind, rng, fresh, monkeypatch):
    monkeypatch.setattr(jit.importlib.util, "find_spec", lambda name: None)
    case = Case(rng, kind, 3, 4, 5, 6)
    expected = case.run(NUMPY)
    for name, value in case.run(jit.KERNELS).items():
        np.testing.assert_array_equal(value, expected[name])


def test_a_compiler_that_fails_is_told_once_and_numpy_computes(rng, fresh, monkeypatch):
    monkeypatch.setitem(sys.modules, "tinygrad_seq.backend.jit.gru", None)
    case, other = (Case(rng, kind, 3, 4, 5, 6) for kind in ("gru", "lstm"))
    expected = case.run(NUMPY)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        made = case.run(jit.KERNELS)
    assert [w.category for w in told] == [RuntimeWarning]
    assert "no compiled GRU is to be had here, NumPy computes" in str(told[0].message)
    other.check()
    for name, value in made.items():
        np.testing.assert_array_equal(value, expected[name])


def run(code, **environment):
    """What a Python process of its own prints."""
    environment = {"PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])} | {
        "PYTHONWARNINGS": "error",
        **environment,
    }
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "TINYGRAD_SEQ_JIT": "1", **environment},
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


READ = """
import sys, numpy as np, tinygrad_seq as ts
def loaded(): return "numba" in sys.modules
def kinds():
    names = ("lstm", "gru", "gru_after", "rnn")
    return " ".join(n for n in names if f"tinygrad_seq.backend.jit.{n}" in sys.modules)
def read(dtype, kind="LSTM"):
    getattr(ts.nn, kind)(3, 4, dtype=dtype)(ts.ones((5, 4, 3), dtype=dtype))
    return loaded()
"""


def test_numba_is_imported_at_the_first_layer_that_it_compiles_and_only_for_that_kind():
    code = READ + "print(loaded(), read('f8'), read('f4', 'RNN')); print(kinds())"
    assert run(code).splitlines() == ["False False True", "rnn"]


def test_switched_off_by_the_environment_and_on_by_the_switch():
    code = READ + "print(read('f4')); ts.use_jit(); print(read('f4'))"
    assert run(code, TINYGRAD_SEQ_JIT="0").split() == ["False", "True"]


@pytest.mark.parametrize(
    ("lanes", "name", "features"),
    [(8, "haswell", "+avx,+avx2,+fma"), (8, "sandybridge", "+avx"), (4, "x86-64", "+sse2")],
)
def test_equal_on_lesser_processors(lanes, name, features):
    """Vectors of another width, and without a fused multiply-add."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("of x86")
    code = f"import test_jit; test_jit.sweep({lanes})"
    assert run(code, NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features) == "equal"


def sweep(lanes):
    """Many cases in a process of its own, compiled for that many lanes."""
    jit.ROWS = 1
    jit._compiled("rnn")
    from tinygrad_seq.backend.jit import thin

    assert lanes == thin.LANES
    rng = np.random.default_rng(lanes)
    for batch in range(1, 41):
        for kind in KINDS:
            Case(rng, kind, 2, batch, 4, 3).check()
            Case(rng, kind, 2, batch, 4, 64).check()
            draw_case(rng, kind).check()
    print("equal")
