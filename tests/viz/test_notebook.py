"""What a notebook and a terminal show of tensors and modules."""

import html
import itertools
import json
import re
import xml.etree.ElementTree as xml
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from nets import Tagger

import tinygrad_seq as ts
from tinygrad_seq import nn, optim, viz
from tinygrad_seq.html import DARK, LIGHT, colour, statistics
from tinygrad_seq.viz.draw import draw
from tinygrad_seq.viz.picture import _placed

pytestmark = pytest.mark.usefixtures("backend")

shapes = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=40)
names = st.text(st.characters(exclude_categories=["C"]), max_size=10)  # XML has no control codes
dtypes = st.sampled_from(["float32", "float64", "float16", "int64", "bool"])


@given(dtypes.flatmap(lambda dtype: arrays.arrays(dtype, shapes)), names)
def test_any_tensor_is_well_formed_and_the_same_each_time(array, name):
    t = ts.tensor(array, name=name)
    page = t._repr_html_()
    assert page == ts.tensor(array.copy(), name=name)._repr_html_()
    root = xml.fromstring(page)  # raises where a bracket is open
    cells = root.findall(".//{http://www.w3.org/2000/svg}rect")
    rows, columns = np.atleast_2d(np.empty(array.shape[-2:])).shape
    assert len(cells) == (min(rows, 24) * min(columns, 24) if array.size else 0)
    if array.size:
        assert f"{array.dtype}{list(array.shape)}" in page


@given(arrays.arrays("float64", arrays.array_shapes(max_dims=2, max_side=5)))
def test_statistics(array):
    found = statistics(array)
    finite = array[np.isfinite(array)]
    assert int(found["NaN"]) == np.isnan(array).sum()
    assert int(found["Inf"]) == np.isinf(array).sum()
    if finite.size:
        mean = sum(map(Fraction, finite.tolist())) / finite.size
        error = abs(Fraction(found["mean"]) - mean)  # of the text, which may be beyond float64
        assert error <= abs(mean) / 1000 + Fraction(abs(finite).max()) / 10**12
        assert found["min"] == f"{finite.min():.4g}"
        assert found["max"] == f"{finite.max():.4g}"
    else:
        assert "mean" not in found


@pytest.mark.parametrize("values", [[9e307, 9e307], [-9e307] * 3, [9e307, -9e307] * 40, [5e-324]])
def test_the_mean_of_extreme_values(values):
    found = statistics(np.array(values))
    assert found["mean"] == f"{float(sum(map(Fraction, values)) / len(values)):.4g}"


@pytest.mark.parametrize("value", [2.5, 1e308, -1e308, np.nan, np.inf])
def test_a_small_tensor_shows_its_numbers(value):
    page = ts.tensor(np.float64(value))._repr_html_()
    assert f"<pre>{np.array2string(np.float64(value))}</pre>" in page
    assert "<pre>[1. 2. 3.]</pre>" in ts.tensor([1.0, 2.0, 3.0])._repr_html_()
    assert "<pre>" not in ts.ones(100)._repr_html_()


def test_colours_are_one_scale(tmp_path):
    assert colour(0.0, 1.0) == "#f7f7f7"
    assert colour(1.0, 1.0) == "#e66101"
    assert colour(-1.0, 1.0) == "#2166ac"
    assert colour(float("nan"), 1.0) == colour(float("inf"), 1.0) == "#111111"
    dark, light = (json.loads(json.dumps(scale)) for scale in (DARK, LIGHT))
    page = viz.explore(ts.ones(1, requires_grad=True).sum() * 1, tmp_path / "page.html")
    assert f'"scale":{{"light":{light},"dark":{dark}}}'.replace(" ", "") in page.read_text("utf-8")
    greens = [int(colour(v, 1.0)[3:5], 16) for v in np.linspace(0, 1, 9)]
    assert greens == sorted(greens, reverse=True)


def test_hostile_names_are_escaped():
    t = ts.tensor(1.0, name="</code><script>alert(1)</script>")
    assert "<script" not in t._repr_html_()

    class Evil(nn.Module):
        def extra_repr(self):
            return "<script>alert(1)</script>"

    model = nn.Sequential()
    setattr(model, "<img src=x>", Evil())
    assert "<script" not in model._repr_html_()
    assert "<img" not in model._repr_html_()


def test_a_large_tensor_fits_a_line():
    x = ts.tensor(np.zeros((35, 20, 64), "f4"), requires_grad=True)
    assert repr(x) == "Tensor(float32[35, 20, 64], requires_grad=True)"
    assert repr(ts.tanh(x)) == "Tensor(float32[35, 20, 64], from=tanh)"
    assert repr(ts.zeros((0, 3))) == "Tensor([], dtype=float32, shape=(0, 3))"
    assert repr(ts.tensor([1.0, 2.0])) == "Tensor([1., 2.], dtype=float32)"


def rows_of(page):
    lines = re.findall(r"<tr>(?:<td.*?</td>)+</tr>", page)
    return [re.sub(r"<[^>]*>", " ", line).split() for line in lines]


def test_a_module_shows_its_tree_with_parameters_and_bytes():
    rows = rows_of(Tagger()._repr_html_())
    assert [row[0] for row in rows] == ["Tagger()", "embed", "rnn", "cell", "head"]
    assert rows[0][-2:] == ["43", "172"]
    assert [int(row[-2]) for row in rows[1:]] == [14, 21, 21, 8]


def test_a_shared_parameter_counts_once():
    class Tied(nn.Module):
        def __init__(self):
            self.embed = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

    rows = rows_of(Tied()._repr_html_())
    assert [row[-2:] for row in rows] == [["15", "60"]] * 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bytes_are_those_of_the_dtype(dtype):
    size = np.dtype(dtype).itemsize
    assert rows_of(nn.Linear(2, 2).astype(dtype)._repr_html_())[0][-1] == str(6 * size)


def test_a_graph_is_a_picture_and_a_large_one_its_listing():
    x = ts.tensor([1.0, 2.0], requires_grad=True, name="</text><script>")
    page = viz.graph(ts.tanh(x) * x)._repr_html_()
    root = xml.fromstring(page)
    assert len(root.findall(".//{http://www.w3.org/2000/svg}rect")) == 3  # x, what ran, output
    words = "".join(root.itertext())
    assert "2 operations" in words
    assert "</text><script> [2]" in words
    rnn = nn.RNN(1, 1)
    for steps, drawn in ((3, True), (200, False)):
        with viz.trace(rnn), nn.unrolled():
            y, _ = rnn(ts.ones(steps, 1, 1))
        assert ("<svg" in viz.graph(y.sum())._repr_html_()) == drawn


def test_boxes_of_a_graph_do_not_overlap_and_read_from_left_to_right():
    rnn = nn.RNN(2, 3, bidirectional=True)
    with viz.trace(rnn), nn.unrolled():
        y, _ = rnn(ts.ones(4, 1, 2))
    drawn = draw(viz.graph((y * y).mean()), "time")
    places = _placed(drawn)
    assert places.keys() == drawn.boxes.keys()
    for a, b in itertools.combinations(places.values(), 2):
        apart = a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0]
        assert apart or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]
    assert all(places[a][0] < places[b][0] for a, b in drawn.arrows if a != b)


def test_a_page_of_the_explorer_shows_in_a_frame(tmp_path):
    x = ts.tensor([1.0, 2.0], requires_grad=True)
    page = viz.explore(ts.tanh(x).sum(), tmp_path / "a page.html")
    assert page == tmp_path / "a page.html"
    frame = re.match(r'<iframe srcdoc="([^"]*)" title="a page" ', page._repr_html_())
    assert html.unescape(frame[1]) == page.read_text("utf-8")


def test_what_watches_training_says_where_it_is():
    net = nn.Linear(2, 1)
    stop, average = optim.EarlyStopping(net, 3), optim.WeightAverage(net.parameters(), 0.9)
    stop.step(0.5), stop.step(0.7), average.update()
    assert repr(stop) == "EarlyStopping(patience=3, mode='min'): best 0.5, 1 steps ago"
    assert repr(average) == "WeightAverage(decay=0.9): 1 updates  # 3 parameters"
    with viz.trace() as trace:
        y = ts.tanh(net(ts.ones(2)))
    assert repr(trace).startswith("trace of "), y
