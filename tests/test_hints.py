"""Names that PyTorch's users type: each gets a sentence, and what the sentence says exists."""

import builtins
import operator
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


def test_layers_and_containers_know_the_names_too():
    for module in (nn.LSTM(2, 3), nn.LSTMCell(2, 3), nn.Sequential()):
        for name, sentence in hints.MODULES.items():
            with pytest.raises(AttributeError, match=re.escape(f"here it is {sentence}")):
                getattr(module, name)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: optim.Adam([ts.ones(2, requires_grad=True)], learning_rate=1), "mean lr?"),
        (lambda: nn.LSTM(3, 4, num_layer=2), "LSTM takes no 'num_layer': did you mean num_layers?"),
        (lambda: nn.GRU(3, hidden_dim=4), "did you mean hidden_size?"),
        (lambda: nn.Linear(3, 4, bais=False), "It takes in_features, out_features, bias, dtype"),
        (lambda: nn.CrossEntropyLoss(size_average=True), "did you mean reduction?"),
        (lambda: optim.StepLR(None, step=3), "did you mean step_size?"),
        (lambda: optim.EarlyStopping(nn.Tanh(), patiense=3), "did you mean patience?"),
        (lambda: optim.WeightAverage([], decy=0.9), "did you mean decay?"),
        (lambda: optim.StepLR(optim.SGD, 3), "got the class SGD: write SGD(...)"),
        (lambda: nn.Tanh(inplace=True), "Tanh takes no arguments; got ['inplace']"),
        (lambda: nn.Tanh(3), "Tanh takes no arguments; got [3]"),
    ],
)
def test_a_keyword_argument_that_a_constructor_does_not_take(made, sentence):
    with pytest.raises(TypeError, match=re.escape(sentence)):
        made()


def test_a_module_that_passes_its_keyword_arguments_on_takes_any():
    class Own(nn.Linear):
        def __init__(self, size, **options):
            super().__init__(size, size, **options)

    assert Own(3, bias=False).bias is None
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'bais'"):
        Own(3, bais=False)


@pytest.mark.parametrize(
    ("slip", "sentence"),
    [
        (lambda x: nn.Sequential(nn.GRU(3, 4), nn.Linear(4, 2))(x), "y, state = layer(x)"),
        (lambda x: nn.mse_loss(nn.LSTM(3, 4)(x), x), "y, state = layer(x)"),
        (lambda x: nn.Sequential(nn.Tanh), "got the class Tanh: write Tanh(...)"),
        (lambda x: nn.ModuleDict({"a": nn.Linear}), "got the class Linear: write Linear(...)"),
        (lambda x: nn.Recurrent(nn.LSTMCell), "write Recurrent(LSTMCell(...))"),
        (lambda x: ts.tensor(2, requires_grad=True), "write its numbers as 2.0"),
        (
            lambda x: nn.Recurrent(lambda x, h: (x, ts.concatenate([h, x], -1)))(x, x[0]),
            "got Tensor[2, 6] after Tensor[2, 3]",
        ),
    ],
)
def test_usual_slips(slip, sentence):
    with pytest.raises(TypeError, match=re.escape(sentence)):
        slip(ts.ones((5, 2, 3)))


@pytest.mark.parametrize("minus", [operator.isub, operator.iadd])
def test_a_gradient_is_not_added_into_the_data(minus):
    p = nn.Parameter(np.ones(3, "f4"))
    (p * p).sum().backward()
    with pytest.raises(TypeError, match=r"p\.copy_\(p - lr \* p\.grad\)"):
        p.data = minus(p.data, 0.1 * p.grad)
    np.testing.assert_array_equal(p.data, 1)


def test_optimizers_and_schedules_show_their_options():
    adam = optim.SGD([{"params": nn.Linear(2, 3).parameters()}], lr=0.1)
    assert repr(adam).startswith("SGD(lr=0.1, momentum=0")
    assert repr(adam).endswith("  # 9 parameters")
    assert repr(optim.StepLR(adam, 3)) == "StepLR: step 0, lr 0.1"
