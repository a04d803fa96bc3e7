"""Module: the tree, its names, its values, and what it says when something is wrong."""

import collections
import copy
import dataclasses
import functools
import pickle
import re
import types
import weakref
from collections import OrderedDict

import numpy as np
import pytest
from device import host
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.backend import xp

pytestmark = pytest.mark.usefixtures("backend")


class Block(nn.Module):
    """Parameters and children, defined in a mixed order, without calling super().__init__()."""

    def __init__(self):
        self.first = nn.Linear(2, 3)
        self.scale = nn.Parameter(np.array([1.0, 2.0, 3.0], "f4"))
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1, bias=False)])
        self.offset = nn.Parameter([0.5])
        self.note = "no parameter"

    def forward(self, x):
        x = self.first(x) * self.scale
        for layer in self.layers:
            x = layer(x)
        return x + self.offset


NAMES = [
    "scale",
    "offset",
    "first.weight",
    "first.bias",
    "layers.0.weight",
    "layers.0.bias",
    "layers.2.weight",
]


class Tied(nn.Module):
    def __init__(self):
        self.embed = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight


def test_parameters_come_in_pytorchs_order():
    model = Block()
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert list(model.state_dict()) == NAMES
    for parameter, (_, same) in zip(model.parameters(), model.named_parameters(), strict=True):
        assert parameter is same


def test_modules_come_with_their_paths():
    paths = [path for path, _ in Block().named_modules()]
    assert paths == ["", "first", "layers", "layers.0", "layers.1", "layers.2"]


def test_a_shared_parameter_is_one_parameter_with_two_names():
    model = Tied()
    assert [name for name, _ in model.named_parameters()] == ["embed.weight"]
    assert list(model.state_dict()) == ["embed.weight", "head.weight"]
    x = ts.Tensor(np.eye(4, dtype="f4"))
    (model.embed([0]).sum() + model.head(x).sum()).backward()
    grad = host(model.embed.weight.grad)
    np.testing.assert_array_equal(grad, np.ones((5, 4)) + np.eye(5)[0][:, None])
    twin = copy.deepcopy(model)
    assert twin.head.weight is twin.embed.weight
    assert twin.astype("float64").head.weight is twin.embed.weight


def test_a_shared_module_is_visited_once():
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    assert [path for path, _ in model.named_modules()] == ["", "0", "1"]
    assert len(list(model.parameters())) == 2


def test_zero_grad_forgets():
    model = Block()
    model(np.ones((1, 2), "f4")).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_train_and_eval_reach_the_whole_tree():
    model = nn.Sequential(nn.Dropout(0.5), nn.ModuleList([nn.Dropout(0.5)]))
    assert model.eval() is model
    assert [m.training for m in model.modules()] == [False] * 4
    assert model.train() is model
    assert [m.training for m in model.modules()] == [True] * 4


def test_a_parameter_owns_its_buffer():
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    parameter = nn.Parameter(array)
    assert parameter.requires_grad
    assert parameter.is_leaf
    assert parameter.data.flags.c_contiguous
    array[:] = 0
    np.testing.assert_array_equal(host(parameter), np.arange(6.0).reshape(2, 3))
    tensor = ts.Tensor([1.0, 2.0])
    assert not xp(tensor.data).shares_memory(nn.Parameter(tensor).data, tensor.data)
    assert nn.Parameter([1, 2.5]).dtype == np.float32
    with pytest.raises(TypeError, match="int64"):
        nn.Parameter([1, 2])


def test_state_dict_is_a_copy_of_plain_arrays():
    model = Block()
    state = model.state_dict()
    assert all(type(value) is np.ndarray for value in state.values())
    state["scale"][:] = 7
    np.testing.assert_array_equal(host(model.scale), [1, 2, 3])


@pytest.mark.parametrize("wrap", [np.asarray, ts.Tensor, np.ndarray.tolist])
def test_load_writes_into_the_buffers(wrap):
    source, model = Block(), Block()
    buffers = {name: p.data for name, p in model.named_parameters()}
    report = model.load_state_dict({k: wrap(v) for k, v in source.state_dict().items()})
    assert report == ([], [])
    for name, p in model.named_parameters():
        assert p.data is buffers[name]
        assert p.dtype == np.float32
        np.testing.assert_array_equal(host(p), source.state_dict()[name])
        assert p.data is not dict(source.named_parameters())[name].data


def test_load_casts_between_floats():
    model = nn.Linear(2, 2)
    model.load_state_dict({"weight": np.eye(2) / 3, "bias": np.ones(2, "float16")})
    assert model.weight.dtype == np.float32
    np.testing.assert_array_equal(host(model.weight), np.eye(2, dtype="f4") / np.float32(3))


def test_load_reads_pytorchs_tensors():
    torch = pytest.importorskip("torch")
    theirs, ours = torch.nn.Linear(3, 2), nn.Linear(3, 2)
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("f4")
    np.testing.assert_allclose(
        host(ours(x)), theirs(torch.from_numpy(x)).detach().numpy(), rtol=0, atol=1e-6
    )


def test_load_tells_everything_at_once_and_changes_nothing():
    model = Block()
    before = model.state_dict()
    state = {k: v + 1 for k, v in before.items()}
    del state["offset"]
    state["first.weight"] = np.zeros((3, 3))
    state["layers.0.bias"] = np.zeros(3, int)
    state["extra"] = np.zeros((4, 1))
    state[7] = np.zeros(2)
    with pytest.raises(ValueError, match=r"Block\.load_state_dict changed nothing") as caught:
        model.load_state_dict(state)
    message = str(caught.value)
    for line in (
        "missing offset (1,)",
        "unexpected extra (4, 1)",
        "unexpected 7 (2,)",
        "first.weight has shape (3, 3), expected (3, 2)",
        "layers.0.bias must be floating, got int64",
    ):
        assert line in message
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_load_not_strict_passes_over_names_but_not_shapes():
    model = nn.Linear(2, 2)
    report = model.load_state_dict({"weight": np.eye(2), "old": np.ones(1)}, strict=False)
    assert report.missing_keys == ["bias"]
    assert report.unexpected_keys == ["old"]
    np.testing.assert_array_equal(host(model.weight), np.eye(2))
    with pytest.raises(ValueError, match=r"weight has shape \(3, 2\), expected \(2, 2\)"):
        model.load_state_dict({"weight": np.ones((3, 2))}, strict=False)


def test_load_refuses_two_values_for_one_parameter():
    model = Tied()
    state = model.state_dict()
    model.load_state_dict(state)
    state["head.weight"] = state["head.weight"] + 1
    with pytest.raises(ValueError, match=r"head\.weight and embed\.weight are one parameter"):
        model.load_state_dict(state)
    del state["embed.weight"]
    model.load_state_dict(state, strict=False)
    np.testing.assert_array_equal(host(model.embed.weight), state["head.weight"])


def test_load_refuses_a_masked_array():
    layer = nn.Linear(2, 1, bias=False)
    with pytest.raises(TypeError, match="mask would be lost"):
        layer.load_state_dict({"weight": np.ma.masked_array(np.ones((1, 2)), [[True, False]])})


def test_load_refuses_what_is_no_dict():
    with pytest.raises(TypeError, match="expects a dict of name -> array; got list"):
        nn.Linear(2, 2).load_state_dict([np.eye(2)])


def test_a_backward_after_a_load_raises():
    """Loading writes into buffers that a recorded graph still needs."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    y = model(ts.Tensor(np.ones((1, 2), "f4"), requires_grad=True)).sum()
    model.load_state_dict(model.state_dict())
    with pytest.raises(RuntimeError):
        y.backward()


def test_astype_converts_in_place():
    model = Block()
    parameters = list(model.parameters())
    model(np.ones((1, 2), "f4")).sum().backward()
    assert model.astype("float64") is model
    assert [p.dtype for p in model.parameters()] == [np.float64] * len(NAMES)
    assert all(p is q for p, q in zip(parameters, model.parameters(), strict=True))
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert {p.dtype for p in Block().astype("float16").parameters()} == {np.dtype("float16")}
    model(np.ones((1, 2))).sum().backward()
    assert model.scale.grad.dtype == np.float64
    with pytest.raises(TypeError, match="floating"):
        model.astype(int)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_independent(duplicate):
    model = Block()
    twin = duplicate(model)
    x = np.ones((1, 2), "f4")
    np.testing.assert_array_equal(host(twin(x)), host(model(x)))
    twin(x).sum().backward()
    assert model.scale.grad is None
    with ts.no_grad():
        twin.scale.copy_(np.zeros(3, "f4"))
    np.testing.assert_array_equal(host(model.scale), [1, 2, 3])
    assert isinstance(twin.scale, nn.Parameter)


def test_repr_shows_the_tree_and_counts():
    assert repr(nn.Linear(2, 3)) == "Linear(2, 3)  # 9 parameters"
    assert repr(nn.Tanh()) == "Tanh()"
    assert repr(Block()) == "\n".join(
        [
            "Block(  # 28 parameters",
            "  (first): Linear(2, 3)  # 9 parameters",
            "  (layers): ModuleList(  # 15 parameters",
            "    (0): Linear(3, 3)  # 12 parameters",
            "    (1): Tanh()",
            "    (2): Linear(3, 1, bias=False)  # 3 parameters",
            "  )",
            ")",
        ]
    )
    assert "# 20 parameters" in repr(Tied()).splitlines()[0]  # shared ones count once


def test_what_would_fall_out_of_the_tree_is_refused():
    model = nn.Module()
    for held in ([nn.Tanh()], (nn.Parameter([1.0]),), {"a": nn.Tanh()}):
        with pytest.raises(TypeError, match=r"nn\.ModuleList"):
            model.layers = held
    model.names = ["a", "b"]  # an ordinary list is fine
    model.later = []
    model.later.append(nn.Tanh())
    with pytest.raises(TypeError, match=r"Module\.later, a list, holds modules"):
        list(model.parameters())
    del model.later
    model.weight = nn.Parameter([1.0])
    assert model.weight.name == "weight"
    with pytest.raises(TypeError, match=r"weight is a Parameter and cannot become a ndarray"):
        model.weight = np.ones(1)
    model.weight = None
    assert list(model.parameters()) == []
    with pytest.raises(ValueError, match="a part of itself"):
        model.me = model
    with pytest.raises(ValueError, match="a part of itself"):
        model.me = nn.Sequential(model)


def test_a_module_without_forward_says_so():
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty .* define forward"):
        Empty()(1)
    with pytest.raises(AttributeError, match="weigth"):
        _ = nn.Linear(2, 2).weigth


def test_module_list_is_a_list():
    layers = nn.ModuleList(nn.Linear(k, k + 1) for k in (1, 2, 3))
    layers.append(nn.Tanh())
    assert len(layers) == 4
    assert layers[1].in_features == 2
    assert layers[-1] is list(layers)[3]
    assert [type(m).__name__ for m in layers] == ["Linear"] * 3 + ["Tanh"]
    with pytest.raises(IndexError, match="holds 4 modules; got index 4"):
        layers[4]
    with pytest.raises(TypeError, match="holds Modules; got function"):
        layers.append(lambda x: x)
    with pytest.raises(NotImplementedError):
        layers(1)
    first, last = layers[0], layers[-1]
    assert layers.pop() is last
    assert layers.pop(0) is first
    assert [m.in_features for m in layers] == [2, 3]
    with pytest.raises(IndexError, match="holds 2 modules; got index 2"):
        layers.pop(2)
    named = nn.ModuleDict({"a": first, "b": last})
    assert named.pop("a") is first
    assert list(named) == ["b"]
    with pytest.raises(KeyError, match="got 'a'"):
        named.pop("a")


def test_sequential_composes_in_order():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1), nn.Sigmoid(), nn.ReLU())
    w = model.state_dict()
    assert list(w) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    x = np.random.default_rng(0).normal(size=(4, 2)).astype("f4")
    hidden = np.tanh(x @ w["0.weight"].T + w["0.bias"])
    expected = 1 / (1 + np.exp(-(hidden @ w["2.weight"].T + w["2.bias"])))
    np.testing.assert_allclose(host(model(x)), expected, rtol=0, atol=1e-6)
    assert nn.Sequential()(3) == 3
    np.testing.assert_array_equal(host(nn.ReLU()([-1.0, 0.0, 2.0])), [0, 0, 2])


def test_an_ordered_dict_loads_like_a_dict():
    model = nn.Linear(1, 1)
    model.load_state_dict(OrderedDict(bias=np.zeros(1), weight=np.ones((1, 1))))
    assert model([[3.0]]).item() == 3


def test_loading_refuses_numbers_beyond_the_dtype():
    layer = nn.Linear(2, 1)
    before = layer.state_dict()
    for value in (1e300, -1e39):
        message = f"weight holds {re.escape(str(value))}.*beyond float32"
        with pytest.raises(ValueError, match=message):
            layer.load_state_dict({"weight": np.array([[0.5, value]]), "bias": np.zeros(1)})
        np.testing.assert_equal(layer.state_dict(), before)
    layer.load_state_dict({"weight": np.array([[np.inf, np.nan]]), "bias": np.zeros(1)})
    np.testing.assert_array_equal(host(layer.weight), [[np.inf, np.nan]])


# -- lists, names, buffers, and what walks the tree ------------------------------------------------


@given(
    moves=st.lists(
        st.tuples(st.sampled_from(["append", "insert", "set", "del", "extend"]), st.integers(-4, 4))
    )
)
def test_a_module_list_is_changed_as_a_list_is(moves):
    ours, plain = nn.ModuleList([nn.Tanh(), nn.ReLU()]), []
    plain += ours
    for move, k in moves:
        module = nn.Linear(1, 1)
        inside = -len(plain) <= k < len(plain)
        if move in ("set", "del") and not inside:
            with pytest.raises(IndexError, match=f"got index {k}"):
                ours[k] = module
            continue
        for held in (ours, plain):
            if move == "set":
                held[k] = module
            elif move == "del":
                del held[k]
            elif move == "insert":
                held.insert(k, module)
            else:
                held.append(module) if move == "append" else held.extend([module, module])
        assert list(ours) == plain
        assert [name for name, _ in ours._children()] == [str(k) for k in range(len(plain))]
        assert list(ours[1:]) == plain[1:]
        assert list(ours[::-1]) == plain[::-1]


def test_slices_of_sequential_share_modules_and_are_sequential():
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    front = net[:2]
    assert type(front) is nn.Sequential
    assert front[0] is net[0]
    x = ts.ones(4, 2)
    np.testing.assert_array_equal(host(net[2](front(x))), host(net(x)))
    net[-1] = nn.Linear(3, 5)
    assert net(x).shape == (4, 5)
    assert "2.weight" in net.state_dict()
    del net[1:]
    assert net(x).shape == (4, 3)
    before = list(net)
    for wrong, error in ((3, TypeError), (net, ValueError)):
        with pytest.raises(error):
            net.append(wrong)
        assert list(net) == before


def test_modules_by_name():
    heads = nn.ModuleDict({"tag": nn.Linear(2, 3), "len": nn.Linear(2, 1)})
    assert (len(heads), list(heads), "tag" in heads) == (2, ["tag", "len"], True)
    assert heads["tag"](ts.ones(1, 2)).shape == (1, 3)
    assert set(heads.state_dict()) == {"tag.weight", "tag.bias", "len.weight", "len.bias"}
    assert [name for name, _ in heads.items()] == list(heads.keys())
    assert next(heads.values()) is heads["tag"]
    heads["tag"] = nn.Identity()
    del heads["len"]
    assert list(heads) == ["tag"]
    with pytest.raises(KeyError, match=r"holds \['tag'\]; got 'len'"):
        del heads["len"]
    for name, module, error in (
        ("a.b", nn.Tanh(), ValueError),
        ("keys", nn.Tanh(), ValueError),
        ("", nn.Tanh(), ValueError),
        ("a", 3, TypeError),
        (3, nn.Tanh(), TypeError),
    ):
        with pytest.raises(error, match="ModuleDict"):
            heads[name] = module


class Centred(nn.Module):
    """Less a running mean; and counts."""

    def __init__(self):
        self.scale = nn.Parameter(np.ones(2))
        self.mean = nn.Buffer(np.zeros(2))
        self.seen = nn.Buffer(0)

    def forward(self, x):
        self.mean = 0.5 * self.mean + 0.5 * x.mean(axis=0)
        self.seen = self.seen + 1
        return self.scale * (x - self.mean)


def test_buffers_are_saved_and_moved_but_not_trained(tmp_path):
    net = nn.Sequential(Centred(), nn.Identity())
    net(ts.tensor([[2.0, 4.0]], dtype="f8"))
    assert [name for name, _ in net.named_parameters()] == ["0.scale"]
    assert [(name, b.name) for name, b in net.named_buffers()] == [
        ("0.mean", "mean"), ("0.seen", "seen")
    ]  # fmt: skip
    assert not any(b.requires_grad for b in net.buffers())
    ts.save(tmp_path / "net.npz", net.state_dict())
    other = nn.Sequential(Centred(), nn.Identity()).astype("f4")
    other.load_state_dict(ts.load(tmp_path / "net.npz"))
    assert host(other[0].mean).tolist() == [1.0, 2.0]
    assert (other[0].mean.dtype, other[0].seen.dtype) == (np.float32, np.int64)
    assert other[0].seen.item() == 1
    for backend in ("numpy", net[0].mean.backend):
        assert {b.backend for b in net.to(backend).buffers()} == {backend}
    wrong = net.state_dict() | {"0.seen": np.array(0.5)}
    with pytest.raises(ValueError, match=r"0\.seen must be integer or boolean, got float64"):
        net.load_state_dict(wrong)
    with pytest.raises(ValueError, match=r"missing 0\.mean"):
        net.load_state_dict({"0.scale": np.ones(2), "0.seen": np.array(3)})


def test_freezing_and_walking():
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 3), nn.Tanh()))
    net(ts.ones(1, 2)).sum().backward()
    assert net.requires_grad_(False) is net
    assert not any(p.requires_grad or p.grad is not None for p in net.parameters())
    net[1].requires_grad_()
    assert [p.requires_grad for p in net.parameters()] == [False, False, True, True]
    assert list(net.children()) == [net[0], net[1]]
    shared = nn.Sequential(net[0], net[0])
    assert [name for name, _ in shared.named_children()] == ["0"]
    order = []
    assert net.apply(lambda m: order.append(type(m).__name__)) is net
    assert order == ["Tanh", "Linear", "Sequential", "Linear", "Sequential"]


class Plain:
    """No module, but with one inside."""

    def __init__(self, part):
        self.part = part


@pytest.mark.parametrize(
    "hold",
    [
        lambda m: [(m, nn.Tanh()) for _ in range(2)],
        lambda m: [None, m],
        lambda m: {"a": [m]},
        lambda m: {m},
        lambda m: collections.deque([m]),
        lambda m: {m: "a name"},
        lambda m: np.array([[m, None]]),
        lambda m: ({"a": {"b": (0, [m.weight])}},),
        lambda m: types.MappingProxyType({"a": m}),
        lambda m: Plain(m),
        lambda m: [Plain(m.weight)],
    ],
)
def test_what_the_tree_cannot_see_is_refused(hold):
    """At assignment, and where a list has grown since."""
    with pytest.raises(TypeError, match="would not be trained or saved"):
        nn.Sequential().blocks = hold(nn.Linear(2, 2))
    grown = nn.Sequential()
    grown.blocks = box = []
    box.append(hold(nn.Linear(2, 2)))
    with pytest.raises(TypeError, match="would not be trained or saved"):
        list(grown.parameters())


def function(m):
    return lambda x: m(x)


HIDDEN = {
    "a dataclass": lambda m: dataclasses.make_dataclass("D", ["parts"])([m]),
    "slots": lambda m: dataclasses.make_dataclass("D", ["part"], slots=True)(m),
    "an object in an object": lambda m: Plain(Plain(m)),
    "a namedtuple of tuples": lambda m: collections.namedtuple("Pair", "a b")(0, (m,)),
    "an object of a class with it": lambda m: type("Cell", (), {"part": m})(),
    "a generator": lambda m: (part for part in [m]),
    "an iterator": lambda m: zip([m], [1], strict=True),
    "views of a dict": lambda m: {"a": m}.items(),
    "a function": function,
    "a function with a default": lambda m: lambda x, m=m: m(x),
    "a function of functions": lambda m: function(function([m])),
    "a partial": lambda m: functools.partial(function, [m]),
    "a method of it": lambda m: m.forward,
    "a method of a list of it": lambda m: [m].append,
    "a cached function": lambda m: functools.lru_cache(function(m)),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_python_can_follow_hides_no_parts(name):
    hold = HIDDEN[name]

    def made_and(use):
        net = nn.Sequential()
        net.hold = hold(nn.Linear(2, 2))
        return use(net)

    for use in (nn.Module.state_dict, nn.Module.eval, lambda net: list(net.parameters())):
        with pytest.raises(TypeError, match="would not be trained or saved"):
            made_and(use)
    known = nn.Sequential(nn.Linear(2, 2))
    known.hold = hold(known[0])  # what is in the tree as well is trained
    assert len(list(known.eval().parameters())) == 2


def test_functions_that_know_the_module_above_are_no_fault():
    class Net(nn.Module):
        def __init__(self):
            self.embed = nn.Embedding(3, 2)
            self.cell = nn.Recurrent(lambda x, h: (self.embed(x) + h, h))
            self.above = nn.Sequential()
            self.above.net = weakref.ref(self)

    net = Net()
    assert len(list(net.parameters())) == len(list(net.cell.parameters())) + 1 == 1
    assert "Embedding(3, 2)" in repr(net)


def test_parts_of_a_class_are_refused():
    with pytest.raises(TypeError, match=r"Net\.layer is an attribute of the class"):
        type("Net", (nn.Module,), {"layer": nn.Linear(2, 2)})


def test_what_holds_no_parts_may_be_an_attribute():
    """Numbers, functions, an optimizer of the module's parameters, a list that holds itself."""
    net = nn.Linear(2, 2)
    net.history = [1.0, {"a": (2, "b")}]
    net.history.append(net.history)
    net.activation = ts.tanh
    net.optimizer = ts.optim.SGD(net.parameters(), lr=0.1)
    assert len(list(net.parameters())) == 2
