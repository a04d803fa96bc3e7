"""Names that PyTorch's users type: each gets a sentence, and what the sentence says exists."""

import builtins
import re

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq import data, hints, nn, optim

PLACES = {
    "FUNCTIONS": ts,
    "METHODS": ts.Tensor(np.ones((2, 3))),
    "MODULES": nn.Linear(2, 2),
    "NN": nn,
    "OPTIM": optim,
    "DATA": data,
}
ENTRIES = [(table, name) for table in PLACES for name in getattr(hints, table)]


@pytest.mark.parametrize(("table", "name"), ENTRIES)
def test_the_name_is_missing_and_the_error_has_the_sentence(table, name):
    sentence = getattr(hints, table)[name]
    with pytest.raises(AttributeError, match=re.escape(f"{name!r}: here it is {sentence}")):
        getattr(PLACES[table], name)
    assert not hasattr(PLACES[table], name)


@pytest.mark.parametrize(("table", "name"), ENTRIES)
def test_what_the_sentence_names_exists(table, name):
    sentence = getattr(hints, table)[name]
    spaces = {"ts": ts, "nn": nn, "optim": optim, "data": data, "np": np}
    spaces |= {"distributions": ts.distributions, "x": PLACES["METHODS"], "p": PLACES["METHODS"]}
    for space, rest in re.findall(r"\b([a-z]+)\.(\w+(?:\.\w+)*)", sentence):
        found = spaces.get(space)
        for part in rest.split(".") if found is not None else ():
            found = getattr(found, part)
    first = re.match(r"(\w+)(?:$|\(|, )", sentence)
    if first and first[1] not in ("nothing", "threads", "x"):
        assert any(hasattr(place, first[1]) for place in (PLACES[table], ts, builtins)), sentence


def test_functions_that_are_no_methods_and_writes_are_told():
    x = ts.ones(2)
    with pytest.raises(AttributeError, match=r"'softplus': here it is the function ts\.softplus"):
        x.softplus()
    for name in ("add_", "clamp_", "normal_"):
        with pytest.raises(AttributeError, match=r"here it is a new tensor; .*p\.copy_"):
            getattr(x, name)
    with pytest.raises(AttributeError, match=r"a Tensor has no attribute 'nonsense'$"):
        _ = x.nonsense
    for name in ("__torch_function__", "_private_"):
        with pytest.raises(AttributeError, match=f"{name}'$"):
            getattr(x, name)


def test_size_is_a_number_that_answers_who_calls_it():
    x = ts.ones(2, 3)
    assert x.size == 6
    assert (type(x.size + 1), f"{x.size}", np.zeros(x.size).shape) == (int, "6", (6,))
    for call in (lambda: x.size(), lambda: x.size(0)):
        with pytest.raises(TypeError, match=r"x\.shape\[k\] for x\.size\(k\)"):
            call()


def test_gradients_become_none_whoever_asks():
    p = ts.ones(2, requires_grad=True)
    model = nn.Linear(1, 1)
    for owner in (optim.SGD([p], lr=0.1), model):
        owner.zero_grad(set_to_none=True)
        with pytest.raises(ValueError, match="leave set_to_none out"):
            owner.zero_grad(set_to_none=False)


@pytest.mark.parametrize(("name", "ours"), [("cuda:0", "cupy"), ("gpu", "cupy"), ("cpu", "numpy")])
def test_devices_have_other_names(name, ours):
    with pytest.raises(ValueError, match=f"got {name!r}: that is {ours!r} here"):
        ts.ones(2).to(name)
