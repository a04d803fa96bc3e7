"""Pictures show the numbers that they are given."""

import subprocess
import sys

import numpy as np
import pytest
from device import host
from nets import Tagger

import tinygrad_seq as ts
from tinygrad_seq import nn, viz
from tinygrad_seq.html import LIGHT

pytestmark = pytest.mark.usefixtures("backend")

pytest.importorskip("matplotlib").use("Agg")
pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _closed():
    yield
    pyplot.close("all")


def trained():
    model = Tagger()
    (model(np.arange(5)[:, None]) ** 2).mean().backward()
    return model


def test_gradient_flow_draws_each_parameter_at_its_size():
    model = trained()
    ax = viz.gradient_flow(model)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [name for name, _ in model.named_parameters()]
    spans, dots = ax.lines[::2], ax.lines[1::2]
    for row, (parameter, span, dot) in enumerate(zip(model.parameters(), spans, dots, strict=True)):
        gradient = host(parameter.grad).astype(float)
        rms = np.sqrt((gradient**2).mean())
        np.testing.assert_allclose(span.get_xdata(), [rms, np.abs(gradient).max()])
        assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (pytest.approx(rms), row)


def test_gradient_flow_says_what_cannot_be_drawn():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    weight, bias, second, _ = model.parameters()
    weight.grad = ts.zeros((2, 2))
    bias.grad = ts.tensor(np.array([np.nan, 1], "f4"))
    second.grad = ts.ones((2, 2))
    ax = viz.gradient_flow(model)
    assert [text.get_text() for text in ax.texts] == ["zero", "NaN or Inf", "none"]


def test_hidden_states_have_the_colours_of_notebooks():
    image = viz.hidden_states(np.array([[-2.0, 0.0, 2.0]])).images[0]
    shown = [image.cmap(image.norm(value), bytes=True)[:3] for value in (-2.0, 0.0, 2.0)]
    for pixel, expected in zip(shown, LIGHT[:3], strict=True):
        np.testing.assert_allclose(np.array(pixel, int), expected, atol=2)  # of 256 steps


def test_gradient_flow_needs_gradients():
    with pytest.raises(ValueError, match="no parameter has a gradient"):
        viz.gradient_flow(Tagger())
    with pytest.raises(TypeError, match="takes a module"):
        viz.gradient_flow(ts.ones(2))


def test_hidden_states_are_units_by_time():
    states = np.random.default_rng(0).normal(size=(6, 3, 4))
    ax = pyplot.subplots()[1]
    assert viz.hidden_states(ts.tensor(states, requires_grad=True), "abcdef", 1, ax) is ax
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), states[:, 1].T)
    assert [label.get_text() for label in ax.get_xticklabels()] == list("abcdef")
    low, high = image.get_clim()
    assert low == -high == -np.abs(states[:, 1]).max()
    np.testing.assert_array_equal(
        viz.hidden_states(states[:, 2]).images[0].get_array(), states[:, 2].T
    )


@pytest.mark.parametrize(
    ("states", "tokens", "sequence", "words"),
    [
        (np.ones(3), None, 0, "shape"),
        (np.ones((0, 2, 3)), None, 0, "shape"),
        (np.ones((2, 2, 3)), "abc", 0, "tokens must be one for each of 2 steps"),
        (np.ones((2, 2, 3)), None, 2, "sequence must be one of 2"),
    ],
)
def test_hidden_states_bad_input(states, tokens, sequence, words):
    with pytest.raises(ValueError, match=words):
        viz.hidden_states(states, tokens, sequence)


def test_without_matplotlib_the_error_names_the_extra():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from tinygrad_seq import viz\n"
        "try:\n    viz.hidden_states([[1.0]])\n"
        "except ImportError as error:\n    print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install matplotlib" in out.stdout
