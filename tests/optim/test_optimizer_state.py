"""The state of an optimizer can be kept, copied and loaded, whole or not at all."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from device import host
from trajectories import CASES, make, parameters, train, values

from tinygrad_seq import optim
from tinygrad_seq.tensor import Tensor

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_state_that_is_loaded_goes_on_bit_for_bit(name: str, options: dict) -> None:
    straight, stopped = parameters(), parameters()
    whole = make(name, straight, **options)
    train(whole, straight, range(12))

    first = make(name, stopped, **options)
    train(first, stopped, range(5))
    state = copy.deepcopy(first.state_dict())
    resumed = [Tensor(host(p).copy(), requires_grad=True) for p in stopped]
    second = make(name, resumed)
    second.load_state_dict(state)
    train(second, resumed, range(5, 12))
    for p, q in zip(straight, resumed, strict=True):
        np.testing.assert_array_equal(host(p), host(q))


def test_a_state_is_a_copy_both_ways() -> None:
    params = parameters()
    optimizer = optim.Adam(params)
    train(optimizer, params, range(2))
    state = optimizer.state_dict()
    kept = copy.deepcopy(state)
    train(optimizer, params, range(2, 4))
    np.testing.assert_equal(state, kept)
    optimizer.load_state_dict(state)
    train(optimizer, params, range(2, 4))
    np.testing.assert_equal(state, kept)


def test_a_state_of_pytorch_can_be_loaded() -> None:
    torch = pytest.importorskip("torch")
    theirs = [torch.tensor(value, requires_grad=True) for value in values()]
    ours = parameters()
    other, one = torch.optim.Adam(theirs, lr=0.1), optim.Adam(ours)
    for p in theirs:
        p.grad = torch.ones_like(p)
    other.step()
    state = other.state_dict()
    for group in state["param_groups"]:
        for option in set(group) - set(one.param_groups[0]):
            del group[option]
    state["state"] = {
        i: {k: int(v) if k == "step" else v.numpy() for k, v in memory.items()}
        for i, memory in state["state"].items()
    }
    one.load_state_dict(state)
    assert one.param_groups[0]["lr"] == 0.1
    np.testing.assert_allclose(one.state_dict()["state"][0]["exp_avg"], np.full((3, 4), 0.1))


def wrong_states() -> dict[str, tuple[dict, str]]:
    good = optim.Adam(parameters())
    params = good.param_groups[0]["params"]
    train(good, params, range(1))

    def changed(change) -> dict:
        state = copy.deepcopy(good.state_dict())
        change(state)
        return state

    return {
        "keys": ({"weights": 1}, "state_dict"),
        "groups": (changed(lambda s: s["param_groups"].append({})), "2 parameter groups"),
        "optimizer": (optim.SGD(parameters()).state_dict(), "another optimizer"),
        "number": (optim.Adam(parameters()[:2]).state_dict(), "has 3 parameters"),
        "index": (changed(lambda s: s["state"].update({9: {}})), "parameter 9"),
        "shape": (
            changed(lambda s: s["state"][1].update(exp_avg=np.zeros(6))),
            r"'exp_avg' of parameter 1 has shape \(6,\)",
        ),
        "range": (changed(lambda s: s["param_groups"][0].update(lr=-1.0)), "lr=-1.0"),
    }


@pytest.mark.parametrize("what", wrong_states())
def test_a_state_that_does_not_fit_changes_nothing(what: str) -> None:
    state, message = wrong_states()[what]
    params = parameters()
    optimizer = optim.Adam(params, lr=0.5)
    train(optimizer, params, range(3))
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state)
    np.testing.assert_equal(optimizer.state_dict(), before)


def test_a_memory_beyond_the_dtype_changes_nothing() -> None:
    p = Tensor(np.ones(2, "f4"), requires_grad=True)
    optimizer = optim.Adam([p])
    p.grad = Tensor(np.ones(2, "f4"))
    optimizer.step()
    before, state = optimizer.state_dict(), optimizer.state_dict()
    state["state"][0]["exp_avg"] = np.array([1.0, 1e39])
    with pytest.raises(ValueError, match=r"'exp_avg' of parameter 0 holds 1e\+39.*beyond float32"):
        optimizer.load_state_dict(state)
    np.testing.assert_equal(optimizer.state_dict(), before)
