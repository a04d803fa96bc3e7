"""Weight norm and DropConnect around any cell: equations, masks, PyTorch, loops, and names."""

import numpy as np
import pytest
from device import host

import tinygrad_seq as ts
from tinygrad_seq import io, nn
from tinygrad_seq.testing import gradcheck

pytestmark = pytest.mark.usefixtures("backend")

CELLS = {"gru": nn.GRUCell, "lstm": nn.LSTMCell, "mgu": nn.MGUCell}
cells = pytest.mark.parametrize("kind", CELLS)


def same(found, expected, **how):
    np.testing.assert_allclose(host(found), host(expected), **{"rtol": 1e-12, "atol": 1e-14} | how)


def copy_with(make, cell, weight):
    """The same cell with another ``weight_hh``."""
    other = make(3, 4, dtype="f8")
    other.load_state_dict(cell.state_dict() | {"weight_hh": weight})
    return nn.Recurrent(other)


@cells
def test_weight_norm_is_its_equation(kind, rng):
    cell = CELLS[kind](3, 4, dtype="f8")
    wrapped, x = nn.WeightNorm(cell), rng.normal(size=(5, 2, 3))
    lengths = {"lengths": [5, 2]}
    same(nn.Recurrent(wrapped)(x, **lengths)[0], nn.Recurrent(cell)(x, **lengths)[0])
    v, g = host(cell.weight_hh), rng.normal(size=(len(cell.weight_hh), 1))
    with ts.no_grad():
        wrapped.weight_hh_g.copy_(g)
    expected = copy_with(CELLS[kind], cell, g * v / np.linalg.norm(v, axis=1, keepdims=True))
    same(nn.Recurrent(wrapped)(x, **lengths)[0], expected(x, **lengths)[0])
    same(wrapped(x[0])[0], expected(x[:1])[0][0])


@cells
def test_weight_drop_leaves_out_the_same_numbers_at_every_step(kind, rng):
    cell, x = CELLS[kind](3, 4, dtype="f8"), rng.normal(size=(5, 2, 3))
    layer = nn.Recurrent(nn.WeightDrop(cell, 0.4))
    ts.manual_seed(5)
    u = host(layer.cell.weight())
    assert (u == 0).any()
    kept = u != 0
    same(u[kept], host(cell.weight_hh)[kept] / 0.6)
    expected = copy_with(CELLS[kind], cell, u)
    ts.manual_seed(5)
    same(layer(x)[0], expected(x)[0])
    assert (host(layer(x)[0]) != host(layer(x)[0])).any()
    layer.eval()
    same(layer(x)[0], nn.Recurrent(cell)(x)[0], rtol=0)
    same(layer.cell(x[0])[0], cell(x[0])[0], rtol=0)


def test_how_many_are_left_out():
    cell = nn.RNNCell(1, 200)
    share = (host(nn.WeightDrop(cell, 0.3).weight()) == 0).mean()
    assert abs(share - 0.3) < 0.01
    assert not host(nn.WeightDrop(cell, 1.0).weight()).any()


WRAPPED = {
    "norm": nn.WeightNorm,
    "drop": lambda cell: nn.WeightDrop(cell, 0.5),
    "both": lambda cell: nn.WeightDrop(nn.WeightNorm(nn.WeightNorm(cell, "weight_ih")), 0.5),
    "around others": lambda cell: nn.WeightDrop(
        nn.Zoneout(nn.VariationalDropout(nn.WeightNorm(cell), 0.2, 0.3), 0.1), 0.5
    ),
    "within others": lambda cell: nn.VariationalDropout(nn.WeightDrop(cell, 0.5), 0.2, 0.3),
}


@pytest.mark.parametrize(("kind", "reverse"), [("lstm", False), ("mgu", True)])
@pytest.mark.parametrize("how", WRAPPED)
def test_the_loop_is_derived_and_is_the_cell_unrolled(kind, how, reverse, rng):
    layer = nn.Recurrent(WRAPPED[how](CELLS[kind](3, 4, dtype="f8")), reverse)
    x = rng.normal(size=(6, 3, 3))
    assert nn.derivation(layer, x).kind != "unrolled"
    found = []
    for mode in (nn.unrolled, ts.enable_grad):
        ts.manual_seed(2)
        layer.zero_grad()
        start = ts.Tensor(x, requires_grad=True)
        with mode():
            y, _ = layer(start, lengths=[6, 1, 4])
        (y * y).sum().backward()
        found.append([y, start.grad, *(p.grad for p in layer.parameters())])
    for plain, fused in zip(*found, strict=True):
        assert host(plain).any()
        same(fused, plain, rtol=1e-11)


@pytest.mark.host("long; the same operations on every device")
@pytest.mark.parametrize("how", ["norm", "both"])
def test_gradients(how, rng):
    layer = nn.Recurrent(WRAPPED[how](nn.MGUCell(2, 2, dtype="f8")))

    class Seeded(nn.Module):
        def __init__(self):
            self.layer = layer

        def forward(self, x):
            ts.manual_seed(4)
            return self.layer(x)[0]

    gradcheck(Seeded(), rng.normal(size=(3, 2, 2)))


@pytest.mark.host("PyTorch computes on the host")
def test_weight_norm_is_that_of_pytorch(rng):
    torch = pytest.importorskip("torch")
    from torch.nn.utils.parametrizations import weight_norm

    theirs = weight_norm(torch.nn.LSTM(3, 4).double(), "weight_hh_l0")
    ours = nn.Recurrent(nn.WeightNorm(nn.LSTMCell(3, 4, dtype="f8")))
    g, v = theirs.parametrizations.weight_hh_l0.parameters()
    with torch.no_grad():
        g.mul_(1.5)
    weights = {n: p for n, p in theirs.named_parameters() if n.endswith("_l0")}
    state = {f"cell.cell.{n.removesuffix('_l0')}": p.detach().numpy() for n, p in weights.items()}
    state |= {"cell.cell.weight_hh": v.detach().numpy(), "cell.weight_hh_g": g.detach().numpy()}
    ours.load_state_dict(state)
    x, up = rng.normal(size=(5, 2, 3)), rng.normal(size=(5, 2, 4))
    y, _ = theirs(torch.from_numpy(x))
    y.backward(torch.from_numpy(up))
    z, _ = ours(x)
    z.backward(ts.Tensor(up))
    same(z, y.detach().numpy())
    same(ours.cell.weight_hh_g.grad, g.grad.numpy(), rtol=1e-10)
    same(ours.cell.cell.weight_hh.grad, v.grad.numpy(), rtol=1e-10, atol=1e-13)


def test_it_is_saved_under_the_names_of_its_weights(tmp_path):
    layer = nn.Recurrent(nn.WeightDrop(nn.WeightNorm(nn.GRUCell(3, 4, bias=False)), 0.5))
    names = ["cell.cell.cell.weight_ih", "cell.cell.cell.weight_hh", "cell.cell.weight_hh_g"]
    assert sorted(layer.state_dict()) == sorted(names)
    io.save(tmp_path / "m.npz", layer.state_dict())
    other = nn.Recurrent(nn.WeightDrop(nn.WeightNorm(nn.GRUCell(3, 4, bias=False)), 0.5))
    other.load_state_dict(io.load(tmp_path / "m.npz"))
    x = np.ones((3, 2, 3), "f4")
    same(other.eval()(x)[0], layer.eval()(x)[0], rtol=0)
    assert "WeightDrop(p=0.5, weight_hh" in str(layer).replace("\n", "")


def test_what_does_not_fit_is_told():
    cell = nn.GRUCell(2, 3)
    cell.weight_hh.data[2] = 0
    with pytest.raises(ValueError, match=r"weight of GRUCell.*'weight' is NoneType"):
        nn.WeightNorm(nn.GRUCell(2, 3), "weight")
    with pytest.raises(ValueError, match=r"two axes.*'weight_hh' is shape \(6,\)"):
        nn.WeightDrop(nn.VariationalDropout(nn.SRUCell(2, 3), 0.1), 0.5)
    with pytest.raises(ValueError, match=r"nn.WeightDrop\(nn.WeightNorm\(cell\), p\)"):
        nn.WeightNorm(nn.Zoneout(nn.WeightDrop(nn.GRUCell(2, 3), 0.5), 0.1))
    with pytest.raises(ValueError, match=r"row 2 .* is zero"):
        nn.WeightNorm(cell)
    with pytest.raises(ValueError, match="between 0 and 1"):
        nn.WeightDrop(nn.GRUCell(2, 3), 1.5)
    with pytest.raises(TypeError, match="is a layer"):
        nn.WeightDrop(nn.GRU(2, 3), 0.5)
    with pytest.raises(RuntimeError, match="one mask for all steps"):
        nn.WeightDrop(nn.GRUCell(2, 3), 0.5)(np.ones((1, 2), "f4"))
