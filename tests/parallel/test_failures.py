"""Whatever happens on one rank, all end, with one sentence, and the checkpoint stays whole."""

import os
import select
import signal

import pytest

import tinygrad_seq as ts
from parallel import HERE, LIMIT, ended, run, start

PROGRAM = HERE / "program.py"
AGAIN = "the last checkpoint is unchanged: start again from it"


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (
            "raises",
            "rank 1 of 3 failed: ValueError: these data are bad. This ends all ranks at step 3",
        ),
        ("exits", "ranks 0, 2 average gradients at step 4; rank 1 has ended after step 3"),
        ("exits with 5", "rank 1 of 3 left (5). This ends all ranks at step 3"),
        ("has fewer batches", "rank 1 has ended after step 3. Run the same program on every rank"),
        ("is interrupted", "rank 1 of 3 was interrupted. This ends all ranks at step 3"),
        ("is stopped", "rank 1 did not answer at step 4 in 3 s"),
    ],
)
def test_it_ends_all_with_a_sentence(how, sentence, tmp_path):
    """What else ranks may do differently is tested on threads, which raise the same sentences."""
    path = tmp_path / "run.npz"
    limit = "3" if how == "is stopped" else "60"
    watched = how in ("raises", "is stopped", "is interrupted")  # it makes no difference
    done = run(3, PROGRAM, "fails", how, path, watched=watched, TEST_TIMEOUT=limit)
    assert done.returncode == {"is interrupted": 130, "exits with 5": 5}.get(how, 1), done.stderr
    said = [line for line in done.stderr.splitlines() if AGAIN in line]
    assert len(said) == 1, done.stderr
    assert sentence in said[0]
    assert ts.load(path)["notes"]["step"] == 2


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (
            "is killed",
            "rank 1 of 3 was killed by SIGKILL (out of memory?) at step 3, which ends all",
        ),
        (
            "vanishes",
            "rank 1 of 3 ended with status 0 and without a message at step 3, which ends all",
        ),
        ("before", "rank 1 of 3 ended with status 1 and without a message before its team began"),
    ],
)
def test_a_rank_that_can_say_nothing_is_spoken_for(how, sentence, tmp_path):
    path = tmp_path / "run.npz"
    done = run(3, PROGRAM, "fails", how, path)
    assert done.returncode != 0
    assert sentence in done.stderr, done.stderr
    if how != "before":
        assert ts.load(path)["notes"]["step"] == 2


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
@pytest.mark.parametrize("watched", [True, False])
def test_ctrl_c_ends_all(watched, tmp_path):
    process = start(
        3, PROGRAM, "fails", "all are interrupted", tmp_path / "run.npz", watched=watched
    )
    pids = [int(process.stdout.readline()) for _ in range(3)]
    ranks = [os.pidfd_open(pid) for pid in pids]
    process.send_signal(signal.SIGINT)
    assert ended(process).returncode != 0
    for rank in ranks:
        assert select.select([rank], [], [], LIMIT)[0], "a rank is left"
        os.close(rank)
