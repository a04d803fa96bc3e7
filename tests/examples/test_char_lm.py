"""The main job: a resumed run equals one that never stopped; bad input gets a sentence."""

import importlib.util
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_seq as ts

pytest.importorskip("tqdm")
pytest.importorskip("matplotlib")

SCRIPT = Path(__file__).parent.parent.parent / "examples" / "05_char_lm.py"
TEXT = "".join(f"{k} green bottles hanging on the wall, and " for k in range(120))
SMALL = "--hidden=12 --layers=2 --dropout=0.3 --steps=16 --batch=4 --minutes=inf --length=5"
SMALL = shlex.split(SMALL)


@pytest.fixture
def char_lm(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("char_lm", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    before = signal.getsignal(signal.SIGINT)
    yield module
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return str(path)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_an_interrupted_and_resumed_run_is_bit_identical(char_lm, text, tmp_path, cell):
    common = ["--text", text, "--cell", cell, "--epochs", "3", *SMALL]
    char_lm.main([*common, "--out", str(tmp_path / "whole")])

    parts = [*common, "--out", str(tmp_path / "parts")]
    stop_after = iter([5, 70, 3])  # batches: in the first epoch, in the second, in the third

    class Interrupted(char_lm.Run):
        def __init__(self, minutes):
            super().__init__(minutes)
            self.left = next(stop_after, 10**9)

        def stopped(self):
            self.left -= 1
            if self.left <= 0:
                self.interrupted = True
            return super().stopped()

    original, char_lm.Run = char_lm.Run, Interrupted
    char_lm.main(parts)
    for _ in range(3):
        ts.manual_seed(999)  # whatever happened in between
        char_lm.main([*parts, "--resume"])
    char_lm.Run = original

    one, other = (ts.load(tmp_path / name / "char_lm.npz") for name in ("whole", "parts"))
    assert one["notes"]["history"] == other["notes"]["history"]
    assert len(one["notes"]["history"]) == 3
    for part in ("model", "optimizer", "schedule", "data", "rng"):
        assert_same(one["parts"][part], other["parts"][part])


def assert_same(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        capture_output=True,
        text=True,
        cwd=SCRIPT.parent.parent,
        **options,
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("too short", "longer text"), ("", "longer text"), (b"\xff\xfe\x00binary", "no UTF-8 text")],
)
def test_a_bad_text_gets_a_sentence(tmp_path, content, sentence):
    path = tmp_path / "text.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = run("--text", str(path), "--out", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_text_of_a_few_lines_is_learned_and_saved(char_lm, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT[:200])  # of which the last 20 characters are held out
    char_lm.main(["--text", str(path), "--out", str(tmp_path), "--epochs", "2", *SMALL])
    assert len(ts.load(tmp_path / "char_lm.npz")["notes"]["history"]) == 2


def test_it_writes_from_a_checkpoint_alone(char_lm, text, tmp_path):
    char_lm.main(["--text", text, "--out", str(tmp_path), "--epochs", "1", *SMALL])
    write = ["--write", str(tmp_path / "char_lm.npz"), "--temperatures", "0.5"]
    done = run(*write, "--start", "g", "--length", "30")
    assert done.returncode == 0, done.stderr
    heading, written = done.stdout.strip().split("\n", 1)
    assert heading == "--- temperature 0.5 ---"
    assert written.startswith("g")
    assert len(written) == 31
    assert run(*write, "--start", "g", "--length", "30").stdout == done.stdout
    for start, sentence in (("é", "--start has characters"), ("", "one character or more")):
        done = run(*write, "--start", start)
        assert (done.returncode, sentence in done.stderr) == (1, True)
    ts.save(tmp_path / "other.npz", {"parts": {}, "notes": {}})
    done = run("--write", str(tmp_path / "other.npz"))
    assert (done.returncode, "no checkpoint of this example's" in done.stderr) == (1, True)


def test_a_missing_text_or_checkpoint_gets_a_sentence(text, tmp_path):
    done = run("--text", str(tmp_path / "absent.txt"))
    assert (done.returncode, "absent.txt" in done.stderr) == (1, True)
    done = run("--text", text, "--resume", "--out", str(tmp_path), *SMALL)
    assert (done.returncode, "without --resume first" in done.stderr) == (1, True)
    done = run("--text", text, "--start", "日本", "--out", str(tmp_path), *SMALL)
    assert (done.returncode, "--start has characters" in done.stderr) == (1, True)
    done = run("--temperatures", "0")
    assert (done.returncode, "above 0" in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr


def test_a_damaged_checkpoint_gets_a_sentence_and_stays(char_lm, text, tmp_path):
    out = ["--text", text, "--epochs", "1", "--out", str(tmp_path), *SMALL]
    char_lm.main(out)
    path = tmp_path / "char_lm.npz"
    damaged = path.read_bytes()[:-500]
    path.write_bytes(damaged)
    done = run(*out, "--resume")
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert path.read_bytes() == damaged


@pytest.mark.skipif(not hasattr(os, "kill"), reason="needs signals")
def test_ctrl_c_saves_and_ends(text, tmp_path):
    code = (
        "import os, runpy, signal, sys; sys.argv[0] = sys.argv.pop(1); "
        "sys.path.insert(0, os.path.dirname(sys.argv[0])); "
        "import tinygrad_seq.optim as optim; step = optim.Adam.step\n"
        "def press(self):\n"
        "    step(self); press.count += 1\n"
        "    if press.count == 7: os.kill(os.getpid(), signal.SIGINT)\n"
        "press.count = 0; optim.Adam.step = press\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    arguments = ["--text", text, "--out", str(tmp_path), *SMALL]
    done = subprocess.run(
        [sys.executable, "-c", code, str(SCRIPT), *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "stopped by Ctrl-C" in done.stdout
    assert ts.load(tmp_path / "char_lm.npz")["parts"]["data"]["position"] == 7
