"""Real ranks: what is learned does not depend on their number."""

import shutil

import numpy as np
import pytest

import tinygrad_seq as ts
from parallel import HERE, program, run
from tinygrad_seq.parallel import Team

PROGRAM = HERE / "program.py"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Results by number of ranks, and those of runs that were interrupted or not."""
    where = tmp_path_factory.mktemp("ranks")

    def ranks(number, *tasks):
        """Each task is its name, the name of what it finds, and what else it takes."""
        tasks = [f"{task} {where / name} {more}" for task, name, more in tasks]
        done = run(number, PROGRAM, *" then ".join(tasks).split())
        assert done.returncode == 0, done.stderr

    def resumed(path, dropout, until):
        return f"{where / path} {until} {dropout}"

    ts.set_default_dtype("float64")
    try:
        np.savez(where / "one.npz", **program.results(Team()))
        np.savez(where / "whole.npz", **program.run(Team(), where / "alone.npz", 24, 0.0))
        ranks(4, ("results", "four.npz", ""))
        ranks(
            3,
            ("results", "three.npz", ""),
            ("run", "begun.npz", resumed("run.npz", 0.0, 9)),
            ("run", "masked.npz", resumed("masked_run.npz", 0.5, 20)),
            ("run", "begun.npz", resumed("stopped.npz", 0.5, 7)),
        )
        shutil.copy(where / "run.npz", where / "again.npz")
        np.savez(where / "resumed_by_1.npz", **program.run(Team(), where / "again.npz", 24, 0.0))
        ranks(
            3,
            ("results", "three_again.npz", ""),
            ("run", "masked_in_parts.npz", resumed("stopped.npz", 0.5, 20)),
        )
        ranks(2, ("run", "resumed_by_2.npz", resumed("run.npz", 0.0, 24)))
    finally:
        ts.set_default_dtype("float32")

    def loaded(name):
        with np.load(where / f"{name}.npz") as arrays:
            return dict(arrays)

    loaded.where = where
    return loaded


@pytest.mark.parametrize("ranks", ["four", "three"])
def test_twelve_steps_equal_those_of_one_process(found, ranks):
    alone, team = found("one"), found(ranks)
    assert team.keys() == alone.keys()
    for name, value in alone.items():
        np.testing.assert_allclose(team[name], value, rtol=1e-12, atol=1e-12, err_msg=name)


def test_the_same_bits_from_run_to_run(found):
    one, other = found("three"), found("three_again")
    for name, value in one.items():
        np.testing.assert_array_equal(other[name], value, err_msg=name)


@pytest.mark.parametrize("number", [1, 2])
def test_saved_on_three_ranks_and_resumed(found, number):
    whole, resumed = found("whole"), found(f"resumed_by_{number}")
    np.testing.assert_allclose(resumed["losses"], whole["losses"], rtol=1e-12)
    np.testing.assert_allclose(resumed["weights"], whole["weights"], rtol=1e-12, atol=1e-12)


def test_with_dropout_a_resumed_run_is_bit_identical(found):
    whole, parts = found("masked"), found("masked_in_parts")
    for name in whole:
        np.testing.assert_array_equal(parts[name], whole[name])


def test_each_rank_has_masks_of_its_own_and_one_for_its_whole_share(found):
    generators = ts.load(found.where / "masked_run.npz")["notes"]["team"]["generators"]
    states = [g["state"]["state"] for g in generators]
    assert len(set(states)) == 3
    start = np.random.PCG64()
    start.state = generators[0]
    jumped = start.jumped(1).state["state"]
    assert generators[1]["state"]["inc"] == jumped["inc"]  # one sequence, at places far apart
