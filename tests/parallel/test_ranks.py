"""Real ranks: what is learned does not depend on their number."""

import numpy as np
import pytest

import tinygrad_seq as ts
from parallel import HERE, program, run
from tinygrad_seq.parallel import Team

PROGRAM = HERE / "program.py"


@pytest.fixture
def _float64():
    ts.set_default_dtype("float64")


@pytest.fixture
def alone(_float64):
    return program.results(Team())


def loaded(done, path):
    assert done.returncode == 0, done.stderr
    with np.load(path) as arrays:
        return dict(arrays)


def test_twelve_steps_on_four_ranks_equal_those_of_one_process(alone, tmp_path):
    out = tmp_path / "out.npz"
    assert_equal_to(alone, loaded(run(4, PROGRAM, "results", out), out))


def test_so_do_those_of_three_with_the_same_bits_from_run_to_run(alone, tmp_path):
    one, other = (
        loaded(run(3, PROGRAM, "results", tmp_path / name), tmp_path / name)
        for name in ("one.npz", "other.npz")
    )
    assert_equal_to(alone, one)
    for name, value in one.items():
        np.testing.assert_array_equal(other[name], value, err_msg=name)


def assert_equal_to(alone, found):
    assert found.keys() == alone.keys()
    for name, value in alone.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.usefixtures("_float64")
def test_saved_on_three_ranks_and_resumed_on_two_and_one(tmp_path):
    path, out = tmp_path / "run.npz", tmp_path / "out.npz"
    whole = program.run(Team(), tmp_path / "whole.npz", 24, 0.0)
    loaded(run(3, PROGRAM, "run", out, path, 9, 0.0), out)
    kept = path.read_bytes()
    on_one = program.run(Team(), path, 24, 0.0)
    path.write_bytes(kept)
    on_two = loaded(run(2, PROGRAM, "run", out, path, 24, 0.0), out)
    for found in (on_one, on_two):
        np.testing.assert_allclose(found["losses"], whole["losses"], rtol=1e-12)
        np.testing.assert_allclose(found["weights"], whole["weights"], rtol=1e-12, atol=1e-12)


def test_with_dropout_a_resumed_run_is_bit_identical(tmp_path):
    def results(name, *stops):
        for until in stops:
            done = run(2, PROGRAM, "run", tmp_path / "out.npz", tmp_path / name, until, 0.5)
        return loaded(done, tmp_path / "out.npz")

    whole, parts = results("whole.npz", 20), results("parts.npz", 7, 20)
    for name in whole:
        np.testing.assert_array_equal(parts[name], whole[name])


def test_each_rank_has_masks_of_its_own_and_one_for_its_whole_share(tmp_path):
    path = tmp_path / "run.npz"
    assert run(3, PROGRAM, "run", tmp_path / "out.npz", path, 4, 0.5).returncode == 0
    generators = ts.load(path)["notes"]["team"]["generators"]
    states = [g["state"]["state"] for g in generators]
    assert len(set(states)) == 3
    start = np.random.PCG64()
    start.state = generators[0]
    jumped = start.jumped(1).state["state"]
    assert generators[1]["state"]["inc"] == jumped["inc"]  # one sequence, at places far apart
