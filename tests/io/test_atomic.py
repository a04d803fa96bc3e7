"""A save that fails or is killed at any moment leaves a good file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_seq.io import load, save
from tinygrad_seq.io.atomic import replacing

# Forks a process per line of input that saves and is killed at that call of a function, then says
# how many calls a whole save takes, and what was left: the old file or the new one, and how much
# beside it.
KILLED = """
import os, signal, sys
import numpy as np
from tinygrad_seq.io import load, save

path, last = sys.argv[1], -1
folder = os.path.dirname(path)

def state(k):
    return {"k": k, "w": np.full(3000, k), "b": np.zeros(3)}

def counting(end):
    calls = 0
    def on_event(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")
        if calls == end:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(on_event)
    save(path, state(1))
    sys.setprofile(None)
    return calls

save(path, state(0))  # imports what it needs
print(counting(None), flush=True)
for line in sys.stdin:
    save(path, state(0))
    before = len(os.listdir(folder))
    child = os.fork()
    if child == 0:
        counting(int(line))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    left = load(path)
    assert np.array_equal(left["w"], np.full(3000, left["k"])), left
    print(left["k"], len(os.listdir(folder)) - before, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_process_killed_while_it_saves_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, suffix: str, rng: np.random.Generator
) -> None:
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / f"run{suffix}")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        calls = int(process.stdout.readline())
        moments = [*rng.integers(1, calls - 25, size=40), *range(calls - 25, calls + 1)]
        output, _ = process.communicate("".join(f"{moment}\n" for moment in moments))
    assert process.returncode == 0
    left = [tuple(map(int, line.split())) for line in output.splitlines()]
    assert len(left) == len(moments)
    assert {k for k, _ in left} == {0, 1}
    assert {beside for _, beside in left} == {0, 1}  # killed also while the new file was written


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_an_error_at_any_step_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "run.npz"
    save(path, "old")

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    if step == "write":
        monkeypatch.setattr(np.lib.format, "write_array", fail)
    else:
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        save(path, {"w": np.zeros(5)})
    monkeypatch.undo()
    assert load(path) == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_an_interrupt_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_bytes_reach_the_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))[1]
        )
    save(tmp_path / "run.npz", 1)
    assert calls[:2] == ["fsync", "replace"]
    assert calls[2:] == (["fsync"] if hasattr(os, "O_DIRECTORY") else [])


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_the_mode_follows_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        save(tmp_path / "run.npz", 1)
    finally:
        os.umask(before)
    assert (tmp_path / "run.npz").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.skipif(os.name != "posix", reason="links are POSIX's")
def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "latest.npz"
    link.symlink_to(tmp_path / "real" / "run.npz")
    save(link, 7)
    assert link.is_symlink()
    assert load(tmp_path / "real" / "run.npz") == 7
