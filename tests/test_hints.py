"""Names that PyTorch's users type: each gets a sentence, and what the sentence says exists."""

import builtins
import copy
import operator
import pickle
import re

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq import data, hints, messages, nn, optim, seq

PLACES = {
    "FUNCTIONS": ts,
    "METHODS": ts.Tensor(np.ones((2, 3))),
    "MODULES": nn.Linear(2, 2),
    "NN": nn,
    "OPTIM": optim,
    "OPTIMIZERS": optim.SGD([ts.ones(2, requires_grad=True)]),
    "DATA": data,
    "INIT": nn.init,
    "AUTOGRAD": ts.autograd,
    "SEQ": seq,
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
    with pytest.raises(AttributeError, match=r"a Tensor has no attribute 'gibberish'$"):
        _ = x.gibberish
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


def test_the_similar_name_is_looked_for_when_the_message_is_read(monkeypatch):
    asked, near = [], messages.near
    monkeypatch.setattr(messages, "near", lambda *a: (asked.append(a[0]), near(*a))[1])
    layer = nn.Linear(2, 3)
    for thing in (ts.ones(2), layer, optim.SGD(layer.parameters(), lr=0.1), ts, nn):
        assert getattr(thing, "parametres", None) is None
        assert not hasattr(thing, "conv1d")
    assert asked == []
    with pytest.raises(AttributeError, match="did you mean parameters") as caught:
        _ = layer.parametres
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


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
        (lambda: nn.Linear(3, 4, bais=False), "bias? Linear(in_features, out_features, bias=True,"),
        (lambda: nn.Dropout(rate=0.1), "Dropout takes no 'rate': did you mean p? Dropout(p=0.5)"),
        (lambda: nn.LSTM(3, 4, return_state=True), "here it is nothing: a layer gives (y, state)."),
        (lambda: nn.LSTMCell(3, 4, dropuot=0.1), "here it is a cell around it"),
        (lambda: data.Batches([[1]], batchsize=2), "did you mean batch_size?"),
        (lambda: ts.Checkpoint(None), "too many positional arguments: Checkpoint(**parts)"),
        (lambda: nn.Zoneout(nn.LSTMCell(3, 4)), "a required argument: 'p': Zoneout(cell, p"),
        (lambda: nn.LSTM(3, 4)(np.ones((5, 2, 3), "f4"), lenghts=[5, 4]), "did you mean lengths?"),
        (lambda: ts.zeros(2, device="cuda"), "zeros takes no 'device': here it is"),
        (lambda: ts.softmax(ts.ones(2), dim=0), "softmax takes no 'dim': did you mean axis?"),
        (lambda: ts.randn(3, dtyp="f8"), "takes no 'dtyp': did you mean dtype? randn(*shape,"),
        (lambda: ts.grad(len, argnum=1), "grad takes no 'argnum': did you mean argnums?"),
        (lambda: ts.index_add([1.0], 0, val=2), "takes no 'val': index_add(x, index, v)"),
        (lambda: data.pad_sequences([[1]], padding_value=1), "did you mean value?"),
        (lambda: data.read_csv("a.csv", dtyp="f4"), "read_csv takes no 'dtyp'"),
        (lambda: seq.bptt(nn.RNNCell(1, 1), [], los=None), "no 'los': did you mean loss?"),
        (lambda: nn.init.uniform((2,), hihg=1), "uniform takes no 'hihg': did you mean high?"),
        (lambda: nn.CrossEntropyLoss(size_average=True), "did you mean reduction?"),
        (lambda: nn.cross_entropy([[0.0]], [0], reduce="mean"), "did you mean reduction?"),
        (lambda: nn.bce_with_logits(input=[0.0], targets=[0.0]), "did you mean logits?"),
        (lambda: ts.quantile([1.0, 2.0], 0.5, dim=0), "did you mean axis?"),
        (lambda: optim.StepLR(None, stepsize=3), "did you mean step_size?"),
        (lambda: optim.EarlyStopping(nn.Tanh(), patiense=3), "did you mean patience?"),
        (lambda: optim.WeightAverage([], decy=0.9), "did you mean decay?"),
        (lambda: optim.StepLR(optim.SGD, 3), "got the class SGD: write SGD(...)"),
        (lambda: nn.Tanh(inplace=True), "Tanh takes no 'inplace': here it is nothing"),
        (lambda: nn.Linear(3, 4, activation="relu"), "here it is a module after it"),
        (lambda: nn.LSTMCell(3, 4, activation="relu"), "did you mean activations?"),
        (lambda: nn.Tanh(3), "too many positional arguments: Tanh()"),
        (lambda: nn.Tanh(ts.ones(3)), "To compute with it, make it first: Tanh(...)(x)"),
        (lambda: nn.MSELoss(ts.ones(3), ts.ones(3)), "make it first: MSELoss(...)(x)"),
        (lambda: nn.Bidirectional(nn.LSTMCell, nn.LSTMCell), "write LSTMCell(...) for forwards"),
        (lambda: nn.InitialState(nn.GRUCell), "the class GRUCell: write GRUCell(...) for module"),
    ],
)
def test_arguments_that_a_call_does_not_take(made, sentence):
    with pytest.raises(TypeError, match=re.escape(sentence)):
        made()


def test_a_module_that_passes_its_keyword_arguments_on_takes_any():
    class Own(nn.Linear):
        def __init__(self, size, **options):
            super().__init__(size, size, **options)

    assert Own(3, bias=False).bias is None
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'bais'"):
        Own(3, bais=False)


def test_an_error_within_a_call_stays_as_it_is():
    class Own(nn.Module):
        def forward(self, x):
            return len(x, x)

    with pytest.raises(TypeError, match=r"len\(\) takes exactly one argument"):
        Own()(1)
    kinds = seq.EncoderDecoder(5, 5, 3, 4, layer=nn.GRU), copy.deepcopy(nn.LSTM(2, 3))
    assert kinds  # a class that is wanted, and a copy, which gives no arguments


@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(3, 4),
        nn.MinGRU(3, 4),
        nn.Recurrent(nn.GRUCell(3, 4)),
        nn.Stacked(nn.Recurrent(nn.GRUCell(3, 4))),
        nn.Bidirectional(
            nn.Recurrent(nn.GRUCell(3, 4)), nn.Recurrent(nn.GRUCell(3, 4), reverse=True)
        ),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layers_pair_is_a_tuple_and_no_tensor(layer):
    for x in (ts.ones(5, 2, 3), ts.ones(5, 3)):
        with ts.no_grad():
            pair = layer(x)
        y, _ = pair
        assert isinstance(pair, tuple)
        assert y is pair[0]
        assert type(copy.copy(pair)) is type(pickle.loads(pickle.dumps(pair))) is type(pair)
        assert (pair + (1,))[2] == 1  # noqa: RUF005  # the sum is what is tested
        with pytest.raises(AttributeError, match=r"y, state = layer\(x\), then y\.sum"):
            pair.sum()
        assert not hasattr(pair, "shape")
        for slip in (
            ts.tanh,
            np.tanh,
            nn.Linear(4, 1),
            lambda pair: pair * 2,
            lambda pair: pair + 1,
            lambda pair: -pair,
            lambda pair: pair @ ts.ones(4, 4),
        ):
            with pytest.raises(TypeError, match=r"y, state = layer\(x\)"):
                slip(pair)


def test_the_gradient_of_a_result_is_not_there_and_says_so():
    w = ts.ones(3, requires_grad=True)
    h, kept = ts.tanh(w), ts.exp(w)
    kept.retain_grad()
    (h * kept).sum().backward()
    with pytest.warns(UserWarning, match=r"retain_grad\(\) before backward"):
        assert h.grad is None
    assert kept.grad is not None


@pytest.mark.parametrize(
    ("slip", "sentence"),
    [
        (lambda x: nn.Sequential(nn.GRU(3, 4), nn.Linear(4, 2))(x), "y, state = layer(x)"),
        (lambda x: nn.mse_loss(nn.LSTM(3, 4)(x), x), "y, state = layer(x)"),
        (lambda x: nn.Sequential([nn.Tanh()]), "got list: give them one by one"),
        (lambda x: nn.Linear(2, 2).load_state_dict("w.npz"), "read a file with ts.load(path)"),
        (lambda x: nn.LSTM(3, 4)(x, [5, 3]), "lengths are given by name, lengths=[...]"),
        (lambda x: data.CharTokenizer("hello"), "CharTokenizer.from_text(text) makes one"),
        (lambda x: nn.Sequential(nn.Tanh), "got the class Tanh: write Tanh(...)"),
        (lambda x: nn.ModuleDict({"a": nn.Linear}), "got the class Linear: write Linear(...)"),
        (lambda x: nn.Recurrent(nn.LSTMCell), "got the class LSTMCell: write LSTMCell(...)"),
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


def test_a_tensor_that_would_not_be_trained_is_refused():
    class Own(nn.Module):
        def __init__(self):
            self.scale = ts.ones(2)
            self.w = ts.ones(2, requires_grad=True)

    with pytest.raises(TypeError, match=r"write self\.w = nn\.Parameter"):
        Own()


def test_an_option_set_on_the_optimizer_is_refused():
    adam = optim.Adam([ts.ones(2, requires_grad=True)], lr=0.1)
    with pytest.raises(AttributeError, match=r'param_groups\[0\]\["lr"\] = 0\.01'):
        adam.lr = 0.01
    adam.note = "mine"
    assert adam.param_groups[0]["lr"] == 0.1


def test_a_cell_that_got_no_state_is_told():
    cell = nn.Recurrent(lambda x, h: (x + h, h))
    with pytest.raises(TypeError) as caught:
        cell(ts.ones((5, 2, 3)))
    assert "Recurrent(cell)(x, state)" in caught.value.__notes__[0]


def test_tensors_of_other_libraries_keep_their_dtype():
    torch = pytest.importorskip("torch")
    for dtype in ("float32", "float64", "int64"):
        assert ts.tensor(torch.ones(3, dtype=getattr(torch, dtype))).dtype == dtype
    assert nn.mse_loss(ts.ones(3), torch.zeros(3)).item() == 1


@pytest.mark.parametrize("name", ["sum", "mean", "var", "std", "max", "softmax", "cumsum"])
def test_an_axis_that_is_not_there(name):
    with pytest.raises(np.exceptions.AxisError, match=r"axis 2 is out of bounds"):
        getattr(ts, name)(ts.ones(3, 4), axis=2)
