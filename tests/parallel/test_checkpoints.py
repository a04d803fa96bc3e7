"""One file, written once, restored on any number of ranks. Ranks are threads.

Threads share the library's generator, so what ranks draw is tested on processes, elsewhere.
"""

import threading

import numpy as np
import pytest

import tinygrad_seq as ts
from parallel.threads import together
from tinygrad_seq import nn, optim
from tinygrad_seq.parallel import Team, TeamError


def parts():
    model = nn.Linear(3, 2)
    return model, optim.Adam(model.parameters(), lr=0.1)


def trained(team, model, optimizer, steps):
    for k in range(steps):
        for p in model.parameters():
            p.grad = ts.Tensor(np.full(p.shape, k + team.rank, p.dtype))
        team.average(model.parameters(), 1 + team.rank)
        optimizer.step()


def test_saved_on_three_ranks_and_restored_on_two_and_one(tmp_path):
    path = tmp_path / "run.npz"
    start = nn.Linear(3, 2).state_dict()

    def first(team):
        model, optimizer = parts()
        model.load_state_dict(start)
        trained(team, model, optimizer, 3)
        team.save(ts.Checkpoint(model=model, optimizer=optimizer), path, best=1.5)
        return model.state_dict(), optimizer.state_dict()

    saved = together(3, first)

    def then(team):
        model, optimizer = parts()
        notes = team.restore(ts.Checkpoint(model=model, optimizer=optimizer), path)
        return notes, team.step, model.state_dict(), optimizer.state_dict()

    for notes, step, weights, state in [*together(2, then), then(Team()), *together(3, then)]:
        assert (notes, step) == ({"best": 1.5}, 3)
        for name, value in saved[0][0].items():
            np.testing.assert_array_equal(weights[name], value)
        np.testing.assert_array_equal(
            state["state"][0]["exp_avg"], saved[0][1]["state"][0]["exp_avg"]
        )


def test_one_process_reads_what_a_team_saved_and_the_other_way_round(tmp_path):
    model, optimizer = parts()
    checkpoint = ts.Checkpoint(model=model, optimizer=optimizer)
    Team().save(checkpoint, tmp_path / "team.npz", best=2)
    notes = checkpoint.restore(tmp_path / "team.npz")
    assert notes.pop("team")["step"] == 0
    assert notes == {"best": 2}
    checkpoint.save(tmp_path / "alone.npz", best=3)
    assert Team().restore(checkpoint, tmp_path / "alone.npz") == {"best": 3}


def test_ranks_that_have_come_apart_save_nothing(tmp_path):
    path = tmp_path / "run.npz"
    path.write_bytes(b"the last one")

    def program(team):
        model, optimizer = parts()
        model.load_state_dict({n: np.ones(a.shape) for n, a in model.state_dict().items()})
        if team.rank == 1:
            model.bias.data[1] = np.nextafter(np.float32(1), np.float32(2))
        team.save(ts.Checkpoint(model=model, optimizer=optimizer), path)

    errors = together(3, program)
    assert all(isinstance(e, TeamError) for e in errors)
    assert {str(e).split(".")[0] for e in errors} == {"the ranks are not equal at step 0: model"}
    assert "model.bias of rank 1 differs from that of rank 0" in str(errors[2])
    assert path.read_bytes() == b"the last one"


def test_a_learning_rate_of_another_rank_is_seen(tmp_path):
    def program(team):
        model = nn.Linear(3, 2)
        model.load_state_dict({n: np.ones(a.shape) for n, a in model.state_dict().items()})
        optimizer = optim.SGD(model.parameters(), lr=0.1 + team.rank)
        team.save(ts.Checkpoint(model=model, optimizer=optimizer), tmp_path / "run.npz")

    errors = together(2, program)
    assert all("optimizer of rank 1 differs from that of rank 0" in str(e) for e in errors)


@pytest.mark.parametrize(
    ("name", "kind"), [("absent/run.npz", FileNotFoundError), ("run.txt", ValueError)]
)
def test_all_ranks_raise_what_rank_0_meets(tmp_path, name, kind):
    def save(team):
        model = nn.Linear(1, 1)
        model.load_state_dict({n: np.ones(a.shape) for n, a in model.state_dict().items()})
        team.save(ts.Checkpoint(model=model), tmp_path / name)

    def restore(team):
        team.restore(ts.Checkpoint(model=nn.Linear(1, 1)), tmp_path / name)

    for program in (save, restore):
        assert [type(e) for e in together(3, program)] == [kind] * 3


def test_only_rank_0_writes(tmp_path, monkeypatch):
    writers = []
    save = ts.Checkpoint.save
    monkeypatch.setattr(
        ts.Checkpoint,
        "save",
        lambda *a, **k: (writers.append(threading.current_thread()), save(*a, **k)),
    )

    def program(team):
        model = nn.Linear(1, 1)
        model.load_state_dict({n: np.ones(a.shape) for n, a in model.state_dict().items()})
        team.save(ts.Checkpoint(model=model), tmp_path / "run.npz")
        return threading.current_thread()

    assert writers == together(3, program)[:1]


def test_the_note_team_is_taken(tmp_path):
    with pytest.raises(ValueError, match="is reserved"):
        Team().save(ts.Checkpoint(), tmp_path / "run.npz", team=1)
