"""A NumPy name answers as NumPy's function does, in NumPy's positions and keywords, or refuses."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.cases import CASES, cases_of
from ops.table import FUNCTIONS

import tinygrad_seq as ts
from tinygrad_seq.interop import METHODS, ON_VALUES, TABLE, WRITERS, from_numpy_function, name_of
from tinygrad_seq.interop import signature_of as signature

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "numpy.md").read_text()
LISTS = {"concatenate", "stack", "hstack", "vstack", "dstack", "column_stack", "linalg.multi_dot"}
# The case's arguments stand in another order than NumPy's, or the function is tested by itself.
OTHERWISE = {
    "average",
    "block",
    "einsum",
    "put_along_axis",
    "select",
    "linalg.svd",
    "linalg.cholesky",
}
NAMED = {
    name_of(f): f
    for f in TABLE
    if name_of(f) not in OTHERWISE and not isinstance(f, np.ufunc) and f is not np.where
}
DRAWN = {
    name: f
    for name, f in NAMED.items()
    if name in CASES or (name.startswith("linalg.") and name.removeprefix("linalg.") in CASES)
}
DRAWN = {name: f for name, f in DRAWN.items() if name in FUNCTIONS or name.startswith("linalg.")}


def told(f):
    """NumPy's signature, or none where an older NumPy does not tell it."""
    try:
        return inspect.signature(f)
    except ValueError:
        return None


def same(found, expected):
    found = found if isinstance(found, tuple | list) else (found,)
    expected = expected if isinstance(expected, tuple | list) else (expected,)
    assert len(found) == len(expected)
    for y, z in zip(found, expected, strict=True):
        assert isinstance(y, ts.Tensor)
        assert y.requires_grad
        assert y.shape == np.shape(z)
        np.testing.assert_allclose(y.detach().numpy(), z, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", DRAWN)
@settings(max_examples=6)
@given(data=st.data())
def test_values_are_numpys_by_keyword_and_by_position(name, data):
    f = DRAWN[name]
    drawn = name if name in CASES else name.removeprefix("linalg.")
    args, kwargs = data.draw(cases_of(drawn, FUNCTIONS[drawn]))
    args = (list(args),) if name in LISTS else args
    leaves = [
        [ts.Tensor(x, requires_grad=True) for x in arg]
        if isinstance(arg, list)
        else ts.Tensor(arg, requires_grad=True)
        for arg in args
    ]
    try:
        expected = f(*args, **kwargs)
    except TypeError:
        pytest.skip("an older NumPy has other keywords")
    same(f(*leaves, **kwargs), expected)
    if told(f) is not None:
        bound = told(f).bind(*leaves, **kwargs)
        same(f(*bound.args, **bound.kwargs), expected)


@pytest.mark.parametrize("name", NAMED)
def test_defaults_that_both_have_are_the_same(name):
    numpys, ours = told(NAMED[name]), signature(TABLE[NAMED[name]]).parameters
    for key, parameter in (numpys.parameters if numpys else {}).items():
        if key in ours and parameter.default is not parameter.empty:
            left_out = type(parameter.default).__name__ == "_NoValueType"
            expected = ours[key].default if left_out else parameter.default
            assert ours[key].default == expected, key
            assert not (left_out and ours[key].default not in (None, False)), key


@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_known_is_refused_by_its_name(name):
    """Each keyword of NumPy's that ours lacks, with a value that is not its default."""
    f = NAMED[name]
    harmless = {"kind", "stable", "casting", "copy", "subok", "optimize", "overwrite_input"}
    answered = {"dtype", "initial", "where", "a_min", "a_max", "newshape", "correction"}
    required, optional = [], []
    for key, p in (told(f).parameters if told(f) else {}).items():
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        (required if p.default is p.empty else optional).append(key)
    x = ts.Tensor(np.ones((2, 2)), requires_grad=True)
    for key in set(optional) - set(signature(TABLE[f]).parameters) - harmless - answered:
        with pytest.raises(TypeError, match=rf"^np\.{name} on a tensor takes no {key}: [^\n]+$"):
            from_numpy_function(f, (x,) * max(len(required), 1), {key: ["nonsense"]})


X = np.array([[1.5, -2.0, 0.5], [3.0, 0.25, -1.0]])
CALLS = {
    "norm of a matrix": lambda m: np.linalg.norm(m, 2),
    "norm 1": lambda m: np.linalg.norm(m, 1),
    "norm inf": lambda m: np.linalg.norm(m, np.inf),
    "norm nuc": lambda m: np.linalg.norm(m, "nuc", (1, 0), True),
    "norm of rows": lambda m: np.linalg.norm(m, axis=1, ord=1),
    "prod with a dtype": lambda m: np.prod(m, 0, np.float32),
    "sum, all positions": lambda m: np.sum(m, 1, np.float64, None, True),
    "sum from, of some": lambda m: np.sum(m, initial=2.0, where=X > 0),
    "prod of some": lambda m: np.prod(m, axis=0, where=X > 0),
    "max from": lambda m: np.max(m, 0, initial=1.0),
    "min from, of some": lambda m: np.min(m, axis=1, initial=9.0, where=X > 0),
    "cumsum in float64": lambda m: np.cumsum(m, 0, np.float64),
    "var with correction": lambda m: np.var(m, ddof=1, dtype=np.float64),
    "trace": lambda m: np.trace(m, 1, 0, 1, None, None),
    "pad of pairs": lambda m: np.pad(m, 1, constant_values=((1, 2), (3, 4))),
    "pad of each axis": lambda m: np.pad(m, ((1, 0), (0, 2)), "constant", constant_values=(7, 8)),
    "clip a_min": lambda m: np.clip(m, a_min=-1, a_max=1),
    "clip to None": lambda m: np.clip(m, None, 1, None),
    "sort kind": lambda m: np.sort(m, 0, kind="stable"),
    "split": lambda m: np.split(ary=m, indices_or_sections=[1], axis=1),
    "where": lambda m: np.where(X > 0, m, 0.0),
    "average": lambda m: np.average(m, 1, np.array([1.0, 2.0, 3.0])),
    "block": lambda m: np.block([[m, m], [m, m]]),
    "append": lambda m: np.append(m, m, axis=0),
    "select": lambda m: np.select([X > 1, X > 0], [m, 2 * m], 7),
    "svd": lambda m: np.linalg.svd(m, full_matrices=False)[1],
    "svd of a square": lambda m: np.linalg.svd(m[:, :2])[1],
    "cholesky": lambda m: np.linalg.cholesky(m @ m.T + np.eye(2)),
    "linspace": lambda m: np.linspace(m, 5, 4, endpoint=False, axis=1),
    "windows": lambda m: np.lib.stride_tricks.sliding_window_view(m, 2, axis=1),
    "add.reduce": lambda m: np.add.reduce(m),
    "add.reduce of all": lambda m: np.add.reduce(m, axis=None, keepdims=True, initial=1.0),
    "multiply.reduce": lambda m: np.multiply.reduce(m, 1),
    "maximum.reduce": lambda m: np.maximum.reduce(m, axis=1),
    "logaddexp.reduce": lambda m: np.logaddexp.reduce(m),
    "add.accumulate": lambda m: np.add.accumulate(m),
    "multiply.accumulate": lambda m: np.multiply.accumulate(m, 1),
    "maximum.accumulate": lambda m: np.maximum.accumulate(m, axis=1),
    "minimum.accumulate": lambda m: np.minimum.accumulate(m),
    "logaddexp.accumulate": lambda m: np.logaddexp.accumulate(m, axis=1),
    "subtract.outer": lambda m: np.subtract.outer(m, np.ones(2)),
    "ufunc, defaults": lambda m: np.exp(m, where=True, dtype=None, casting="same_kind"),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(name):
    same(CALLS[name](ts.Tensor(X, requires_grad=True)), CALLS[name](X))


def test_where_of_a_condition_alone_asks_for_places():
    found = np.where(ts.Tensor(X, requires_grad=True) > 0)
    np.testing.assert_array_equal(found, np.where(X > 0))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t: np.mean(t, where=X > 0), "np.mean on a tensor takes no where"),
        (lambda t: np.reshape(t, (3, 2), order="F"), "np.reshape on a tensor takes no order"),
        (lambda t: np.exp(t, dtype=np.float32), "np.exp on a tensor takes no dtype"),
        (lambda t: np.exp(t, where=X > 0), "np.exp on a tensor takes no where"),
        (lambda t: np.add.at(t, 0, 1.0), r"np.add.at has no derivative rule"),
        (lambda t: np.put_along_axis(t, np.zeros((2, 1), int), t, 1), "ts.put_along_axis gives"),
        (lambda t: np.linalg.svd(t), "full_matrices=False"),
        (lambda t: np.fft.fft(t), r"np\.fft\.fft has no derivative rule"),
        (lambda t: np.nan_to_num(t, copy=False), "np.nan_to_num on a tensor takes no copy"),
        (lambda t: np.linalg.qr(t), "np.linalg.qr has no derivative rule"),
        (lambda t: np.einsum(t, [0, 1], [0]), "einsum takes the subscripts as a string"),
        (lambda t: np.pad(t, 1, constant_values=t[0, 0]), "no gradient passes through"),
        (lambda t: np.linalg.norm(t, "two"), "a matrix norm takes ord"),
        (lambda t: np.linalg.norm(t[0], "fro"), "the norm of a vector takes a number"),
        (lambda t: ts.prod(t, 0, np.float64), "keepdims is True or False"),
        (lambda t: ts.sum(t, 0, np.float64), "keepdims is True or False"),
        (lambda t: ts.median(t, 0, np.float64), "keepdims is True or False"),
        (lambda t: ts.hstack([]), "hstack needs at least one array"),
        (lambda t: ts.hstack(None), "hstack takes a list of arrays; got NoneType"),
        (lambda t: ts.stack(None), "stack takes a list of arrays; got NoneType"),
        (lambda t: ts.concatenate(3), "concatenate takes a list of arrays; got int"),
        (lambda t: ts.concatenate([t, None]), "got None in a list"),
        (lambda t: ts.median(t, dim=0), "did you mean axis"),
        (lambda t: ts.append(t, t, dim=0), "did you mean axis"),
        (lambda t: ts.block([[t], t]), "nested equally deep"),
        (lambda t: ts.quantile(t, 1.5), r"q in \[0, 1\]"),
        (lambda t: ts.diff(t, -1), "n >= 0"),
        (lambda t: ts.take_along_axis(t, [[0.0, 1.0]], 0), "are integers"),
    ],
)
def test_one_sentence_says_what_is_wrong(call, words):
    with pytest.raises((TypeError, ValueError), match=words) as caught:
        call(ts.Tensor(X, requires_grad=True))
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def generator():
    path = ROOT / "docs" / "extensions" / "numpy_page.py"
    spec = importlib.util.spec_from_file_location("numpy_page", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def listed():
    """The names on the page, each with its section."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)[1:]
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    sections.pop("Methods of ufuncs")
    return {
        name: section.lower()
        for section, text in sections.items()
        for name in re.findall(r"`([\w.]+)`", text.strip().rpartition("\n\n")[2])
    }


def test_the_page_is_true(generator):
    page, version = listed(), re.search(r"namespace of NumPy (\d+)\.(\d+)", PAGE).groups()
    newer = tuple(map(int, np.__version__.split(".")[:2])) > tuple(map(int, version))
    assert len(page) > 400
    for name, function in generator.functions().items():
        if name in page or not newer:
            assert page[name] == generator.status(function), name


def test_what_is_refused_says_so(generator):
    x = ts.Tensor(X, requires_grad=True)
    for function in generator.functions().values():
        if generator.status(function) != "refused":
            continue
        words = (
            rf"^np\.{re.escape(name_of(function))} has no derivative rule here: take .*\.numpy\(\)"
        )
        if function in WRITERS:
            words = rf"^np\.{re.escape(name_of(function))} writes in place"
        ufunc = isinstance(function, np.ufunc)
        with pytest.raises(TypeError, match=words):
            function(*(x,) * function.nin) if ufunc else from_numpy_function(function, (x,), {})


def test_what_is_answered_by_values_needs_no_detach():
    x = ts.Tensor(np.array([1.0, 2.0]), requires_grad=True)
    assert np.count_nonzero(x) == 2
    assert np.searchsorted(x, 1.5) == 1
    assert np.flatnonzero(x > 1).tolist() == [1]
    assert all(not isinstance(f, np.ufunc) for f in ON_VALUES)
    assert np.gcd(ts.tensor([4, 6]), 2).tolist() == [2, 2]  # nothing requires grad


def test_every_method_of_a_ufunc_is_tested():
    names = {f"{ufunc.__name__}.{method}" for method, table in METHODS.items() for ufunc in table}
    tested = {name.partition(" ")[0] for name in CALLS}
    assert names - tested == {"minimum.reduce", "logical_and.reduce", "logical_or.reduce"}
