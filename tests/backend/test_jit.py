"""Derived loops compiled by numba: the same numbers as the cell, the switch, and the cache.

The truth is the loop of NumPy's calls in float64. The compiled one is in float32, and its tanh is a
quotient of polynomials within 4e-7 of tanh. Six steps with moderate weights enlarge that to about
1e-6 of the largest value, here TOLERANCE; a wrong term is a thousand times more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq import nn, viz
from tinygrad_seq.backend import threads
from tinygrad_seq.recurrence import explained
from tinygrad_seq.recurrence.compiled import Compiled
from tinygrad_seq.recurrence.planning import planned
from tinygrad_seq.recurrence.record import differentiated, record
from tinygrad_seq.recurrence.scan import Scan
from tinygrad_seq.recurrence.trees import flat, like

numba = pytest.importorskip("numba")

TOLERANCE = 5e-6
CELLS = {
    "lstm": lambda i, h: nn.LSTMCell(i, h),
    "gru": lambda i, h: nn.GRUCell(i, h),
    "gru after": lambda i, h: nn.GRUCell(i, h, reset_after=True),
    "rnn": lambda i, h: nn.RNNCell(i, h),
    "layer-normalised": lambda i, h: nn.LayerNormRNNCell(i, h),
}


def passes(cell, T, N, size, mask=None, reverse=False):
    """Results and gradients of the compiled loop, and of NumPy's in float64."""
    rng = np.random.default_rng(T + N)
    x = ts.tensor(rng.standard_normal((T, N, size)).astype("f4"))
    state = cell.initial_state((N,))
    state = like(state, [ts.tensor(rng.standard_normal(p.shape).astype("f4")) for p in flat(state)])
    found, upstream = [], []
    for make, dtype in ((Compiled, "f4"), (Scan, "f8")):
        cell = cell.astype(dtype)
        given, before = x.astype(dtype), like(state, [p.astype(dtype) for p in flat(state)])
        first = record(cell, given[0], before)
        scan = make(planned(differentiated(first)))
        arrays = [given.data, *[p.data for p in flat(before)], *first.reads.arrays]
        results, run = scan.forward(*arrays, keep=True, mask=mask, reverse=reverse)
        bare, _ = scan.forward(*arrays, keep=False, mask=mask, reverse=reverse)
        for one, other in zip(results, bare, strict=True):
            np.testing.assert_array_equal(one, other)
        upstream = upstream or [rng.standard_normal(r.shape).astype("f4") for r in results]
        names = {name for name in scan.arguments if name[0] != "s"}
        gradients = scan.backward(*[g.astype(dtype) for g in upstream], run, names)
        found.append(dict(enumerate(results)) | gradients)
    return found


def compare(compiled, truth):
    assert compiled.keys() == truth.keys()
    for name, value in compiled.items():
        assert value.dtype == np.float32
        scale = max(1.0, np.abs(truth[name]).max())
        difference = np.abs(value - truth[name]).max() / scale
        assert difference < TOLERANCE, f"{name}: {difference}"


@pytest.mark.parametrize("kind", CELLS)
def test_equals_numpy(kind, monkeypatch):
    """Few rows and many, widths that fill registers and that do not, one thread and several."""
    monkeypatch.setattr(threads, "count", lambda: 3)
    for T, N, size, hidden in ((1, 1, 1, 1), (6, 3, 5, 7), (5, 40, 3, 32), (4, 33, 18, 48)):
        compare(*passes(CELLS[kind](size, hidden), T, N, size))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_padding_and_both_directions(kind, reverse, rng):
    mask = rng.random((6, 20)) < 0.6
    compiled, truth = passes(CELLS[kind](4, 32), 6, 20, 4, mask, reverse)
    compare(compiled, truth)
    assert not compiled[0][~mask].any()
    assert not compiled["x0"][~mask].any()


def test_what_is_computed_does_not_depend_on_the_number_of_threads(monkeypatch):
    cell = nn.LSTMCell(8, 32)
    found = []
    for count in (1, 2, 3):
        monkeypatch.setattr(threads, "count", lambda count=count: count)
        monkeypatch.setattr("tinygrad_seq.recurrence.compiled.WORK", 1)
        found.append(passes(cell, 4, 48, 8)[0])
    for other in found[1:]:
        for name, value in found[0].items():
            if name in (0, 1, 2, "x0"):  # sums over all rows go through BLAS
                np.testing.assert_array_equal(value, other[name])


def test_a_layer_is_compiled_where_it_can_be():
    cell, x = nn.GRUCell(3, 4), ts.ones((8, 2, 3))
    state = cell.initial_state((2,))
    with ts.use_jit():
        assert explained(cell, x, state).kind == "numba"
        with ts.use_jit(False):
            assert explained(cell, x, state).kind == "numpy"
        assert explained(cell, x[:3], state).kind == "numpy"  # few rows
        exact = nn.GRUCell(3, 4, dtype="f8")
        assert explained(exact, x.astype("f8"), exact.initial_state((2,))).kind == "numpy"


@pytest.mark.parametrize("name", ["MinGRU", "MinLSTM", "RGLRU"])
def test_a_loop_of_maps_alone_computes_the_gates_too(name, rng):
    """It equals the products and the scan of all steps, for padding and in both directions."""
    layer = getattr(nn, name)(5, 6, num_layers=2, bidirectional=True)
    x, g = (ts.tensor(rng.standard_normal((7, 4, k)).astype("f4")) for k in (5, 12))
    x.requires_grad = True
    found = []
    for compiled in (False, True):
        layer.zero_grad()
        x.grad = None
        with ts.use_jit(compiled):
            y, h = layer(x, lengths=[7, 1, 4, 6])
        assert (f"{name.lower()}(" in viz.listing(y.sum())) is compiled
        ((y * g).sum() + (h * h).sum()).backward()
        found.append([t.numpy() for t in (y.detach(), h.detach(), x.grad)])
        found[-1] += [p.grad.numpy() for p in layer.parameters()]
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


def test_what_the_compiled_form_lacks_is_said():
    weights = ts.randn(4, 4)

    def summing(x, h):
        h = ts.tanh(x @ weights + ts.cumsum(h, -1))
        return h, h

    with ts.use_jit():
        known = explained(summing, ts.ones((8, 2, 4)), ts.zeros((2, 4)))
    assert known.kind == "numpy"
    assert "no compiled form of cumsum" in known.reason
    with ts.use_jit():
        known = explained(summing, ts.ones((8, 2, 4)), ts.zeros((2, 4), dtype="float64"))
    assert known.reason == "compiled loops are of float32; its state and output are of float64"


@pytest.mark.filterwarnings("error")
def test_a_state_that_is_a_matrix_beside_one_number_for_each_sequence():
    weights = ts.randn(4, 3)

    def cell(x, s):  # the delta rule
        a = x @ weights
        b = ts.sigmoid(x[:, :1]) * (a - (s @ a[:, :, None])[:, :, 0])
        s = s + b[:, :, None] * a[:, None]
        return ts.matvec(s, a), s

    with ts.use_jit():
        y, _ = nn.Recurrent(cell)(ts.randn(8, 2, 4), ts.zeros(2, 3, 3))
    assert y.shape == (8, 2, 3)


SCRIPT = """
import sys, numpy as np, tinygrad_seq as ts
from tinygrad_seq import nn
assert "numba" not in sys.modules
ts.manual_seed(0)
layer = nn.RNN(2, 3)
y, _ = layer(ts.tensor(np.ones((9, 2, 2), "f4")))
y.sum().backward()
print("numba" in sys.modules, y.sum().item(), layer.weight_hh_l0.grad.sum().item())
"""


def in_a_process(**environment):
    made = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert made.returncode == 0, made.stderr
    return made.stdout.split()


def test_the_environment_switches_it_off():
    assert in_a_process(TINYGRAD_SEQ_JIT="0")[0] == "False"


def test_machine_code_is_kept_and_a_damaged_file_is_compiled_anew(tmp_path):
    first = in_a_process(TINYGRAD_SEQ_JIT="1", NUMBA_CACHE_DIR=str(tmp_path))
    assert first[0] == "True"
    kept = sorted(tmp_path.glob("loop-*.nbc"))
    assert len(kept) == 2  # forward and backward
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    assert in_a_process(TINYGRAD_SEQ_JIT="1", NUMBA_CACHE_DIR=str(tmp_path)) == first
    assert {path: path.stat().st_mtime_ns for path in kept} == stamps  # read, not written
    kept[0].write_bytes(b"damaged")
    assert in_a_process(TINYGRAD_SEQ_JIT="1", NUMBA_CACHE_DIR=str(tmp_path)) == first
    assert kept[0].stat().st_size > 100


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", ["emptied", "cut", "other", "flipped"])
def test_a_damaged_file_of_machine_code_is_written_over(suffix, damage, tmp_path, monkeypatch):
    from tinygrad_seq.backend.jit import cache

    def call():
        def more(x):
            return x + 1.5

        function = cache.compiled(more)
        assert function(1.0) == 2.5
        return sum(function.stats.cache_hits.values())

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert [call(), call()] == [0, 1]
    (path,) = tmp_path.glob(f"*{suffix}")
    content = bytearray(path.read_bytes())
    if damage == "flipped":  # in the middle of the machine code, where nothing else would see it
        content[len(content) // 2] ^= 1
    else:
        content = {"emptied": b"", "cut": content[:-20], "other": b"\x00damaged"}[damage]
    path.write_bytes(content)
    assert [call(), call()] == [0, 1]


def test_the_key_of_machine_code_holds_all_that_it_is_made_of(monkeypatch):
    from tinygrad_seq.backend.jit import cache

    stamp = cache._Locator("loop").get_source_stamp()
    assert cache._Locator("another loop").get_source_stamp() != stamp
    monkeypatch.setattr(cache, "_sources", lambda: b"another file of the folder")
    assert cache._Locator("loop").get_source_stamp() != stamp


def test_the_key_holds_the_settings_of_numba_and_sources_in_any_form(tmp_path, monkeypatch):
    pytest.importorskip("numba")
    from tinygrad_seq.backend.jit import cache

    def key(folder):
        cache._sources.cache_clear()
        monkeypatch.setattr(cache.resources, "files", lambda package: folder)
        return cache._sources()

    try:
        assert key(tmp_path) is None
        assert cache.folder() is None  # what code is made of is not known: none is kept
        zipped = zipfile.Path(zipfile.ZipFile(tmp_path / "a.zip", "w"))
        zipped.root.writestr("loops.py", "1")
        for name in ("thin.pyc", "loops.py"):
            (tmp_path / name).write_text("1")
        keys = {key(tmp_path), key(zipped)}
        (tmp_path / "thin.pyc").write_text("2")
        keys.add(key(tmp_path))
        for name in cache.SETTINGS:
            monkeypatch.setattr(cache.numba.config, name, "other")
            keys.add(key(tmp_path))
        assert len(keys) == 3 + len(cache.SETTINGS)
    finally:
        monkeypatch.undo()
        cache._sources.cache_clear()


def test_a_layer_trains_alike_with_and_without(rng):
    x = rng.standard_normal((12, 16, 4)).astype("f4")
    gradients = []
    for on in (True, False):
        ts.manual_seed(1)
        layer = nn.LSTM(4, 32, num_layers=2, bidirectional=True)
        with ts.use_jit(on):
            y, _ = layer(x, lengths=rng.integers(12, 13, 16))
            (y * y).mean().backward()
        gradients.append([p.grad.numpy() for p in layer.parameters()])
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


def test_a_number_that_changes_is_not_compiled_again_and_again(monkeypatch):
    monkeypatch.setattr("tinygrad_seq.recurrence.trust.VARIANTS", 1)
    x, h = ts.ones((8, 2, 3), dtype="f4"), ts.zeros((2, 3), dtype="f4")
    kinds = []
    for temperature in (1.25, 1.5, ts.tensor(1.5, dtype="f4")):

        def cell(x, h):
            h = ts.tanh((x + h) / temperature)  # noqa: B023 (it runs in this turn alone)
            return h, h

        with ts.use_jit():
            derived = nn.derivation(cell, x, h)
        kinds.append(derived.kind)
    assert kinds == ["numba", "numpy", "numba"]
    assert derived.reason == ""
