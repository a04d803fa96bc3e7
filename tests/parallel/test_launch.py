"""Who started the process, what each rank gets of a machine, and the process that watches."""

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallel import HERE
from tinygrad_seq import parallel
from tinygrad_seq.backend import blas, threads
from tinygrad_seq.parallel.launch import fair_share
from tinygrad_seq.parallel.watch import LAUNCHERS, place


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in [name for pair in LAUNCHERS for name in pair]:
        monkeypatch.delenv(name, raising=False)


def python(*arguments, **environment):
    root = str(HERE.parent.parent)
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": root} | environment,
    )


@pytest.mark.parametrize("names", LAUNCHERS)
def test_a_launcher_is_known_by_what_it_sets(names, monkeypatch):
    assert place() is None
    monkeypatch.setenv(names[0], "2")
    assert place() is None
    monkeypatch.setenv(names[1], "5")
    assert place() == (2, 5)


def test_without_a_launcher_there_is_a_team_of_one_and_no_mpi():
    code = (
        "import sys; sys.modules['mpi4py'] = None\n"
        "from tinygrad_seq import parallel\n"
        "with parallel.team() as team: print(team)"
    )
    assert python("-c", code).stdout == "<rank 0 of a team of 1, at step 0>\n"


def test_an_error_in_a_team_of_one_is_the_programs_own():
    with pytest.raises(KeyError), parallel.team():
        raise KeyError


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_is_above_0(timeout):
    with pytest.raises(ValueError, match="above 0"), parallel.team(timeout):
        pass


def test_a_launcher_without_mpi4py_gets_a_sentence():
    code = (
        "import sys; sys.modules['mpi4py'] = None\n"
        "from tinygrad_seq import parallel\n"
        "with parallel.team(): pass"
    )
    done = python("-c", code, PMI_RANK="0", PMI_SIZE="2")
    assert done.returncode == 1
    assert "a launcher started 2 of these processes" in done.stderr
    assert "pip install mpi4py mpich" in done.stderr


def test_a_launcher_of_another_mpi_gets_a_sentence():
    pytest.importorskip("mpi4py")
    code = "from tinygrad_seq import parallel\nwith parallel.team(): pass"
    done = python("-c", code, SLURM_PROCID="0", SLURM_STEP_NUM_TASKS="4")
    assert done.returncode == 1
    assert "the launcher started 4 processes, but the MPI library that mpi4py found" in done.stderr
    assert "sees 1: launch with the mpiexec of that library" in done.stderr


# -- cores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cores", "shares"),
    [
        ([{0, 1}, {0, 1}], [1, 1]),
        ([{0, 1, 2, 3}] * 2, [2, 2]),
        ([{0, 1}] * 4, [1, 1, 1, 1]),
        ([{0, 1}, {2, 3}], [2, 2]),  # the launcher has bound them
        ([{0, 1, 2}, {2}], [2, 1]),
    ],
)
def test_cores_are_divided(cores, shares):
    assert [fair_share(cores, rank) for rank in range(len(cores))] == shares


@given(st.lists(st.sets(st.integers(0, 9), min_size=1), min_size=1, max_size=6))
def test_no_more_threads_than_cores_but_one_each(cores):
    shares = [fair_share(cores, rank) for rank in range(len(cores))]
    assert min(shares) >= 1
    assert sum(share for share in shares if share > 1) <= len(set.union(*cores))


@pytest.fixture
def _put_back(monkeypatch):
    before = blas._openblas() and blas._openblas()[0]()
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_limit", None)
    threads.count.cache_clear()
    yield
    monkeypatch.undo()
    threads.count.cache_clear()
    if before:
        blas._openblas()[1](before)


@pytest.mark.usefixtures("_put_back")
def test_a_limit_holds_for_our_threads_and_numpys():
    threads.limit(3)
    assert threads.count() == 3
    if blas._openblas():
        assert blas._openblas()[0]() == 3
        with blas.one_thread():
            threads.limit(2)
            assert blas._openblas()[0]() == 1
        assert blas._openblas()[0]() == 2


@pytest.mark.usefixtures("_put_back")
@pytest.mark.parametrize("name", threads.VARIABLES)
def test_the_environment_comes_before_a_limit(name, monkeypatch):
    monkeypatch.setenv(name, "5")
    threads.limit(2)
    assert threads.count() == 5


# -- the watcher, without MPI --------------------------------------------------------------------


def watched(code, **environment):
    return python("-m", "tinygrad_seq.parallel", "-c", code, **environment)


RANK = {"PMI_RANK": "1", "PMI_SIZE": "4"}


@pytest.mark.parametrize("code", ["print('done')", "import sys; sys.exit(0)"])
def test_a_good_end_is_silent(code):
    done = watched(code, **RANK)
    assert (done.returncode, done.stderr) == (0, "")


def test_alone_it_changes_nothing():
    done = watched("import sys; print('x'); sys.exit(3)")
    assert (done.returncode, done.stdout, done.stderr) == (3, "x\n", "")


def test_a_team_that_ended_well_is_silent_whatever_comes_after():
    done = watched("from tinygrad_seq.parallel.watch import *; Log().note(7, ENDED); 1 / 0", **RANK)
    assert done.returncode == 1
    assert "rank 1" not in done.stderr


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL (out of memory?) at step 12"),
        ("os.kill(os.getpid(), 11)", "was killed by SIGSEGV at step 12"),
        ("os._exit(0)", "ended with status 0 and without a message at step 12"),
    ],
)
def test_a_bad_end_is_told(end, sentence):
    code = f"import os; from tinygrad_seq.parallel.watch import *; Log().note(12, INSIDE); {end}"
    done = watched(code, **RANK)
    assert done.returncode not in (0, -signal.SIGKILL)
    assert done.stderr == (
        f"rank 1 of 4 {sentence}, which ends all ranks. The last checkpoint is unchanged: "
        "start again from it, on any number of ranks\n"
    )


def test_before_a_team_it_dies_by_a_signal_which_launchers_notice():
    done = watched("raise SystemExit(3)", **RANK)
    assert done.returncode == -signal.SIGTERM
    assert "ended with status 3 and without a message before its team began" in done.stderr


def test_without_a_program_there_is_a_line_of_help():
    done = python("-m", "tinygrad_seq.parallel")
    assert (done.returncode, done.stderr[:14]) == (2, "usage: mpiexec")
