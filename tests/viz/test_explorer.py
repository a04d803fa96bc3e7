"""The data of the explorer: it is what the engine computes, and nothing is disturbed by it."""

import base64
import json

import numpy as np
import pytest
from device import host
from hypothesis import given
from hypothesis import strategies as st
from nets import LAYERS, chain, tagger_loss

import tinygrad_seq as ts
from tinygrad_seq import html, nn, viz
from tinygrad_seq.backend import get_rng_state
from tinygrad_seq.viz.explorer.arrays import Arrays
from tinygrad_seq.viz.explorer.bands import bands
from tinygrad_seq.viz.explorer.data import describe
from tinygrad_seq.viz.explorer.page import page
from tinygrad_seq.viz.explorer.rules import rule_of

pytestmark = pytest.mark.usefixtures("backend")


def described(loss, **options):
    return describe(loss, viz.graph(loss), "a graph", **options)


def array(data, number):
    """A stored array, as the page decodes it."""
    stored = data["arrays"][number]
    values = np.frombuffer(base64.b64decode(stored["data"]), f"<{stored['kind']}")
    assert stored["exact"]
    return values.reshape(stored["shape"])


def gru_loss(layer=None, steps=6):
    layer = layer or nn.GRU(3, 4)
    with viz.trace(layer), nn.unrolled():
        y, _ = layer(ts.randn(steps, 2, 3))
        return layer, (y * y).mean()


@pytest.mark.parametrize("name", LAYERS)
def test_values_gradients_and_contributions_are_those_of_the_tensors(name):
    layer, loss = gru_loss(LAYERS[name](), steps=4)
    data = described(loss)
    loss.backward()
    parameters = dict(layer.named_parameters())
    leaves = [leaf for leaf in data["leaves"] if leaf["kind"] == "parameter"]
    assert {leaf["name"] for leaf in leaves} == set(parameters)
    for leaf in leaves:
        wanted = parameters[leaf["name"]]
        np.testing.assert_array_equal(array(data, leaf["values"][0]), host(wanted))
        gradient = array(data, leaf["gradients"][0])  # a sum of steps, elsewhere one product
        np.testing.assert_allclose(gradient, host(wanted.grad), rtol=1e-4, atol=1e-7)
        total = sum(array(data, part["array"]) for part in leaf["steps"])
        np.testing.assert_allclose(total, host(wanted.grad), rtol=1e-4, atol=1e-6)
        if host(wanted.grad).any():
            assert sum(part["along"] for part in leaf["steps"]) == pytest.approx(1, abs=1e-4)
    for k, operation in enumerate(data["operations"][:-1]):
        for slot, gradient in enumerate(operation["gradients"]):
            arrived = [
                array(data, part["array"])
                for user in data["operations"]
                for part in user["handed"]
                if (part["to"], part["slot"]) == (k, slot)
            ]
            if gradient is not None:
                np.testing.assert_allclose(
                    sum(arrived, np.zeros(1)), array(data, gradient), rtol=1e-4, atol=1e-6
                )


@given(steps=st.integers(1, 6), prepared=st.booleans(), seed=st.integers(0, 99))
def test_the_part_of_a_step_is_the_gradient_of_a_weight_used_there_alone(steps, prepared, seed):
    """The oracle: the same recurrence, with a weight of its own for every step."""
    rng = np.random.default_rng(seed)
    values, x = rng.standard_normal((3, 3)), rng.standard_normal((2, 3))

    def run(weights):
        h = ts.tensor(x)
        for t, w in enumerate(weights):
            with viz.at_step(t):
                h = ts.tanh(h @ w)
        return (h * h).sum()

    shared = nn.Parameter(values, name="w")
    with viz.trace():
        w = shared * 1.5 if prepared else shared
        loss = run([w] * steps)
    data = described(loss)
    (leaf,) = [leaf for leaf in data["leaves"] if leaf["name"] == "w"]
    own = [ts.tensor(values, requires_grad=True) for _ in range(steps)]
    run([w * 1.5 if prepared else w for w in own]).backward()
    assert [part["step"] for part in leaf["steps"]] == list(reversed(range(steps)))
    for part in leaf["steps"]:
        expected = host(own[part["step"]].grad)
        np.testing.assert_allclose(array(data, part["array"]), expected, rtol=1e-10, atol=1e-14)
        assert part["norm"] == pytest.approx(np.linalg.norm(expected))


def test_nothing_is_disturbed(tmp_path):
    layer, loss = gru_loss()
    called = []
    layer.weight_hh_l0.register_hook(called.append)
    y = loss * 2
    y.retain_grad()
    z = y * 3
    before = repr(get_rng_state())
    viz.explore(z, tmp_path / "graph.html")
    assert repr(get_rng_state()) == before
    assert not called
    assert y.grad is None
    assert all(p.grad is None for p in layer.parameters())
    z.backward()  # the graph is still there, and so are its hooks
    assert len(called) == 1
    assert y.grad.item() == 3


def test_the_same_graph_gives_the_same_bytes(tmp_path):
    made = []
    for name in ("a", "b"):
        ts.manual_seed(1)
        made.append(viz.explore(gru_loss()[1], tmp_path / name, title="x").read_bytes())
    assert made[0] == made[1]
    assert b"http://www.w3.org/2000/svg" in made[0]  # a name, not an address to open
    assert made[0].count(b"://") == 1


def test_what_cannot_be_explored_is_refused_with_advice(tmp_path):
    x = ts.tensor([1.0, 2.0], requires_grad=True)
    target = tmp_path / "graph.html"
    with pytest.raises(TypeError, match="expects the loss as a Tensor; got float"):
        viz.explore(1.0, target)
    with pytest.raises(TypeError, match=r"takes what viz.profile\(\) gave; got list"):
        viz.explore(x.sum(), target, profile=[])
    with pytest.raises(ValueError, match=r"one element; got shape \(2,\): reduce it"):
        viz.explore(x * 2, target)
    with pytest.raises(ValueError, match="nothing was recorded"):
        viz.explore(ts.tensor(1.0), target)
    with pytest.raises(ValueError, match="nothing was recorded"):
        viz.explore(ts.tensor(1.0, requires_grad=True), target)
    loss = (x * x).sum()
    with pytest.raises(ValueError, match="needs it recorded inside"):
        viz.explore(loss, target, check=True)
    loss.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        viz.explore(loss, target)
    assert not target.exists()


def test_names_cannot_leave_the_data():
    evil = "</script><script>alert(1)</script>{{style}}<!--\u2028"
    x = ts.tensor(2.0, requires_grad=True, name=evil)
    loss = x * x
    text = page(describe(loss, viz.graph(loss), evil))
    inside = text.split('id="data">')[1].split("</script>")[0]
    assert json.loads(inside)["title"] == evil
    assert evil not in text
    assert "alert(1)</script>" not in text
    assert "\u2028" not in text


@pytest.mark.filterwarnings("ignore")
def test_nan_and_infinities_survive():
    x = ts.tensor([0.0, -1.0, 4.0], requires_grad=True)
    data = described(ts.sqrt(x).sum())
    text = json.dumps(data, allow_nan=False)
    assert "NaN" in text
    (leaf,) = data["leaves"]
    gradient = data["arrays"][leaf["gradients"][0]]
    assert (gradient["nan"], gradient["inf"]) == (1, 1)
    np.testing.assert_array_equal(array(data, leaf["gradients"][0]), [np.inf, np.nan, 0.25])


@given(st.tuples(st.integers(1, 90), st.integers(1, 90)), st.integers(0, 9))
def test_a_coarse_picture_keeps_the_largest_magnitude_and_is_bounded(shape, seed):
    store = Arrays(expected=100_000)
    values = np.random.default_rng(seed).standard_normal(shape)
    stored = store.stored[store.add(values)]
    cells = np.frombuffer(base64.b64decode(stored["data"]), f"<{stored['kind']}")
    assert cells.size == stored["rows"] * stored["columns"] <= store.limit
    assert stored["exact"] == (values.size <= store.limit)
    assert np.abs(cells).max() == pytest.approx(np.abs(values).max())
    values[-1, -1] = np.nan
    stored = store.stored[store.add(values)]
    assert np.isnan(np.frombuffer(base64.b64decode(stored["data"]), f"<{stored['kind']}")).any()


def test_equal_arrays_are_stored_once_and_empty_ones_at_all():
    store = Arrays(1)
    assert store.add(np.ones(3)) == store.add(np.ones(3)) != store.add(np.ones(3, "f4"))
    assert store.stored[store.add(np.ones((0, 3)))]["norm"] == 0


@pytest.mark.parametrize("build", [lambda: gru_loss(steps=3)[1], lambda: fused_loss()])
def test_gradients_agree_with_differences_of_the_loss(build):
    data = described(build(), check=True)
    assert len(data["checks"]) >= len(data["operations"])
    assert max(check["difference"] for check in data["checks"].values()) < 1e-5


def fused_loss():
    lstm = nn.LSTM(3, 4, dtype="float64")
    with viz.trace(lstm):
        return (lstm(ts.randn(5, 2, 3, dtype="float64"))[0] ** 2).sum()


def test_a_wrong_rule_is_found():
    @ts.primitive
    def twice(x, /):
        return 2 * x

    twice.defvjp(x=lambda g: g * 3)
    x = ts.tensor([1.0, -2.0], requires_grad=True, name="x")
    with viz.trace():
        loss = (twice(x) ** 2).sum()
    checks = described(loss, check=True)["checks"]
    names = {
        o["name"]: checks[k]["difference"] for k, o in enumerate(described(loss)["operations"])
    }
    assert max(names.values()) < 1e-5  # above the wrong rule all is right
    assert checks[len(names)]["difference"] > 0.01  # and what it hands on is not


def test_layers_stand_above_each_other():
    lstm = nn.LSTM(3, 4, num_layers=3)
    _, loss = gru_loss(lstm)
    made, _ = bands(viz.graph(loss))
    timed = [band for band in made if band.timed]
    assert [band.path for band in timed] == ["l0", "l1", "l2"]
    assert [band.level for band in timed] == sorted({band.level for band in timed})


def test_a_cell_of_several_modules_is_one_band():
    _, loss = gru_loss(nn.Recurrent(nn.LayerNormLSTMCell(3, 4)))
    made, of = bands(viz.graph(loss))
    assert len([band for band in made if band.timed]) == 1
    assert made[of[-1]].level == max(band.level for band in made)


def test_without_a_trace_what_was_saved_is_shown():
    data = described(tagger_loss())
    assert not data["traced"]
    known = [o for o in data["operations"] if o["values"][0] is not None]
    assert 0 < len(known) < len(data["operations"])


def test_a_long_chain_needs_no_recursion():
    assert len(described(chain(3000))["operations"]) == 3000


def test_what_is_recomputed_is_one_operation():
    x = ts.tensor([1.0, -2.0], requires_grad=True, name="x")
    with viz.trace():
        loss = ts.recompute(lambda a: ts.tanh(a) * a, x).sum()
    data = described(loss, check=True)
    assert [operation["name"] for operation in data["operations"]] == ["recompute", "sum"]
    expected = np.tanh(host(x)) + host(x) * (1 - np.tanh(host(x)) ** 2)
    np.testing.assert_allclose(array(data, data["leaves"][0]["gradients"][0]), expected, rtol=1e-6)
    assert data["checks"] == {}  # what is recomputed is checked as one


def test_rules_are_read_from_docstrings_or_the_table():
    assert rule_of(ts.matmul)["formulas"] == ["y = a b", "ā = ȳ bᵀ", "b̄ = aᵀ ȳ"]
    assert rule_of(ts.split)["code"] == ["x: concatenate(g, axis=axis)"]


def test_rules_are_quoted_where_no_formula_says_them():
    assert rule_of(ts.where)["code"] == [
        "a: where(condition, g, 0.0)", "b: where(condition, 0.0, g)",
    ]  # fmt: skip
    taken, inner, *_ = rule_of(ts.autograd.PRIMITIVES["set_at"])["code"]
    assert (taken, inner) == ("x: set_at(g, 0.0, index)", "v: _set_at_rule(g, v_shape, index):")

    @ts.primitive
    def cube(x, /):
        return x * x * x

    def rule(g, x):
        square = x * x
        return 3 * g * square

    cube.defvjp(x=rule)
    assert rule_of(cube) == {
        "words": "",
        "formulas": [],
        "code": ["x: rule(g, x):", "    square = x * x", "    return 3 * g * square"],
    }
    cube.defvjp(x=eval("lambda g, x: 3 * g * x * x"))  # as if typed at a prompt
    assert rule_of(cube)["code"] == []


def test_time_is_taken_from_a_profile():
    x = ts.tensor([1.0, -2.0], requires_grad=True)
    with viz.profile() as measured:
        loss = (x * x).sum()
    data = described(loss, profile=measured)
    assert data["profiled"]
    assert all(operation["seconds"] > 0 for operation in data["operations"])


# Machado, Oliveira & Fernandes 2009, severity 1: what linear RGB looks like.
SIGHT = {
    "full": np.eye(3),
    "protan": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deutan": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritan": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}


def seen(colour, sight):
    """CIE L*a*b* of a colour in 0..255, as somebody sees it."""
    c = np.asarray(colour) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(SIGHT[sight]) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    f = np.cbrt(np.asarray(to_xyz) @ linear / [0.9505, 1.0, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_signs_and_nan_are_told_apart_by_all_kinds_of_colour_vision(theme, sight):
    low, zero, high, nan = np.array(getattr(html, theme.upper()))

    def apart(one, other):
        return np.linalg.norm(seen(one, sight) - seen(other, sight))

    assert apart(low, high) > 80
    for end in (low, high):
        assert apart(end, zero) > 25
        assert min(apart(nan, zero + k * (end - zero)) for k in np.linspace(0, 1, 41)) > 25
