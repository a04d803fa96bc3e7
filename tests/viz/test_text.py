"""Listings and drawings equal their golden files; hostile names do no harm.

After a wanted change, write the files anew and read the difference:

    UPDATE_GOLDEN=1 python -m pytest tests/viz/test_text.py && git diff tests/viz/golden
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nets import Tagger, tagger_loss

import tinygrad_seq as ts
from tinygrad_seq import nn, viz
from tinygrad_seq.viz.fold import common

pytestmark = pytest.mark.usefixtures("backend")

GOLDEN = Path(__file__).parent / "golden"


def tagger(steps, fused):
    with viz.trace():
        if fused:
            return tagger_loss(steps)
        with nn.unrolled():
            return tagger_loss(steps)


FILES = {
    "listing.txt": lambda: viz.listing(tagger(2, fused=False)),
    "listing_fused.txt": lambda: viz.listing(tagger(4, fused=True)),
    "listing_time.txt": lambda: viz.listing(tagger(6, fused=False), fold="time"),
    "listing_module.txt": lambda: viz.listing(tagger(6, fused=False), fold="module"),
    "time.dot": lambda: viz.to_dot(tagger(4, fused=False)),
    "module.dot": lambda: viz.to_dot(tagger(4, fused=False), fold="module"),
    "all.dot": lambda: viz.to_dot(tagger(2, fused=False), fold=None),
    "time.mmd": lambda: viz.to_mermaid(tagger(4, fused=False)),
    "all.mmd": lambda: viz.to_mermaid(tagger(2, fused=False), fold=None),
}


@pytest.mark.parametrize("name", FILES)
def test_golden(name):
    text = FILES[name]() + "\n"
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_the_backward_program_is_what_the_engine_does():
    """Every line of rules is a pullback, in the order in which the engine asks for them."""
    with nn.unrolled():
        loss = tagger_loss(3)
    g = viz.graph(loss)
    number = {id(node): k for k, node in enumerate(g.sources)}
    done = []

    class Watch(viz.trace):
        def pullback(self, node, *args):
            for source, gradient in super().pullback(node, *args):
                whole = source.edges[0] if getattr(source, "slot", None) is not None else source
                done.append((number[id(node)], number[id(whole)]))
                yield source, gradient

    text = viz.listing(loss)
    with Watch():
        loss.backward()
    rules = [line for line in text.split("backward\n")[1].split("\n") if "(" in line]
    names = {f"%{o.id}": o.id for o in g.operations} | {leaf.name: leaf.id for leaf in g.leaves}
    said, seen = [], {f"d%{len(g.operations) - 1}"}
    for line in rules:
        target, sign, source = re.match(r"  (d\S+) (\+?=) .*?\(d%(\d+)", line).groups()
        said.append((int(source), names[target[1:].split("[")[0]]))
        assert (sign == "+=") == (target in seen), line  # marked where it is added
        seen.add(target)
    assert said == done


HOSTILE = [
    'a"b',
    "</script><script>alert(1)</script>",
    "a\nb",
    "<b>&amp;",
    "x\\",
    'x\\"y',
    "#35;`|{}[]()",
    "",
]


def hostile_examples(test):
    """All of them, before any others."""
    for name in HOSTILE:
        test = example(name)(test)
    return test


class Evil(nn.Module):
    """Its parameter has the name of an attack."""

    def __init__(self, name):
        self.weight = nn.Parameter(np.ones(2, "f4"), name=name)

    def forward(self, x):
        return (self.weight * x).sum()


def label_of(line):
    """The string of DOT in a line, as Graphviz reads it, and what is outside of it."""
    quoted = re.findall(r'"(?:[^"\\]|\\.)*"', line)
    return quoted, re.sub(r'"(?:[^"\\]|\\.)*"', "", line)


@given(st.text(max_size=30))
@hostile_examples
def test_hostile_names_stay_inside_their_labels(name):
    y = Evil(name)(ts.tensor([1.0, 2.0], requires_grad=True, name=name))
    for fold in ("time", "module", None):
        dot, mermaid = viz.to_dot(y, fold=fold), viz.to_mermaid(y, fold=fold)
        assert dot.splitlines() == dot.split("\n")  # no other kind of line break
        for line in dot.split("\n"):
            _, rest = label_of(line)
            assert re.fullmatch(r"[\w\s\[\]{},=>.-]*", rest, re.ASCII), line
        for line in mermaid.split("\n"):
            for text in re.findall(r'"([^"]*)"', line):
                assert not set("<>&`[](){}|\\") & set(text.replace("<br/>", ""))
            assert line.count('"') in (0, 2)
    listing = viz.listing(y)
    assert listing.splitlines() == listing.split("\n")
    assert len(listing.split("\n")) == 2 + 2 + 2 + 4  # titles, leaves, operations, gradients


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
@pytest.mark.parametrize("name", ["plain", *HOSTILE])
@pytest.mark.parametrize("fold", ["time", "module", None])
def test_graphviz_reads_it(name, fold):
    text = viz.to_dot(Evil(name)(ts.tensor([1.0, 2.0], requires_grad=True, name=name)), fold=fold)
    result = subprocess.run(
        ["dot", "-Tsvg"], input=text, capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert "<script" not in result.stdout
    assert not result.stderr


def test_a_weight_stands_beside_each_step_that_reads_it():
    with viz.trace(), nn.unrolled():
        loss = tagger_loss(5)
    dot = viz.to_dot(loss)
    assert dot.count("Tagger.rnn.cell.weight_hh [3, 3]") == 5
    arrows = re.findall(r"(\w+) -> (\w+)", dot)
    assert max(sum(start == box for start, _ in arrows) for box, _ in arrows) <= 5  # the unstacking


@pytest.mark.parametrize("fold", ["time", None])
def test_only_few_arrows_have_labels_to_lay_out(fold):
    """Labels are what made Graphviz slow: in a long net they are tooltips."""
    for steps, shown in ((2, "label"), (60, "tooltip")):
        with viz.trace(), nn.unrolled():
            arrows = re.findall(r"-> \w+ \[(\w+)=", viz.to_dot(tagger_loss(steps), fold=fold))
        assert set(arrows) == {shown}


def test_folded_by_time_no_arrow_goes_back():
    with viz.trace(), nn.unrolled():
        loss = (nn.LSTM(2, 3, 2, bidirectional=True)(np.ones((4, 1, 2), "f4"))[0] ** 2).mean()
    for start, end in re.findall(r" g(\d+) -> g(\d+)", viz.to_dot(loss)):
        assert int(start) < int(end)


def test_the_fold_by_module_has_a_box_for_each():
    with viz.trace(), nn.unrolled():
        loss = tagger_loss(5)
    boxes = re.findall(r"g\d+ \[shape=box, label=\"([^\\\"]*)", viz.to_dot(loss, fold="module"))
    assert boxes == [
        "Tagger.embed", "Tagger.rnn", "Tagger.rnn.cell t=0..4", "Tagger.head", "top level",
    ]  # fmt: skip


def test_the_same_model_gives_the_same_text():
    ts.manual_seed(1)
    texts = set()
    for _ in range(2):
        with viz.trace():
            y = Tagger()(np.zeros((3, 1), int)).sum()
        texts.add(viz.listing(y) + viz.to_dot(y) + viz.to_mermaid(y))
    assert len(texts) == 1


def test_names_of_classes_and_primitives_are_printable():
    for name in ("a\x1b[31m", "a\u202eb", "a\u200bb", "a\nb"):
        for base in (nn.Module, ts.optim.SGD):
            with pytest.raises(TypeError, match="printable"):
                type(name, (base,), {})

        def double(x, /):
            return 2 * x

        double.__name__ = name
        with pytest.raises(TypeError, match="printable"):
            ts.primitive(double)
    type("Größe<int>", (nn.Module,), {})


HOSTILE = "a\x1b[31m\u202e\ud800$x_{$\nb"


def test_names_are_shown_without_what_is_no_character_to_be_seen(tmp_path):
    """Escapes of terminals, marks of direction, line breaks, halves of surrogate pairs, and $."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    model = nn.ModuleDict({HOSTILE: nn.Linear(2, 2)})
    x = ts.tensor([1.0, 2.0], requires_grad=True, name=HOSTILE)
    with viz.trace(model):
        loss = (model[HOSTILE](x) ** 2).sum()
    with viz.profile(model) as profile:
        model[HOSTILE](x).sum().backward()
    with pytest.raises(ValueError, match="changed nothing") as error:
        model.load_state_dict({HOSTILE: np.ones(2)})
    shown = [
        repr(x), repr(model), x._repr_html_(), model._repr_html_(), str(viz.listing(loss)),
        viz.to_dot(loss), viz.to_mermaid(loss), str(profile), str(error.value),
    ]  # fmt: skip
    for text in shown:
        assert all(c.isprintable() for c in text.replace("\n", "")), text
    path = viz.explore(loss, tmp_path / "page.html", title=HOSTILE)
    page = path.read_text("utf-8")
    assert page.rstrip().endswith("</html>")
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    for text in (data["title"], *(part["path"] for part in data["operations"])):
        assert text.isprintable()
    for axes in (viz.gradient_flow(model), viz.hidden_states(np.ones((1, 3)), tokens=[HOSTILE])):
        axes.figure.savefig(tmp_path / "picture.png")
        labels = [*axes.get_xticklabels(), *axes.get_yticklabels()]
        assert any("a [31m  $x_{$ b" in label.get_text() for label in labels)
        pyplot.close(axes.figure)


def test_the_common_module_is_of_whole_names():
    for paths, above in [
        (["m.a", "m.a-x", "m.a.b"], "m"),
        (["a.b", "a.b.c"], "a.b"),
        (["", "a"], ""),
    ]:
        assert common(paths) == common(paths[::-1]) == above
