"""A save that fails or is killed at any moment leaves a good file."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from stress.interrupts import interrupted, moments
from stress.kills import WRITERS, killed

from tinygrad_seq import atomic
from tinygrad_seq.atomic import replacing
from tinygrad_seq.io import load, save


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("writer", WRITERS)
def test_a_process_killed_while_it_writes_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, writer: str, rng: np.random.Generator
) -> None:
    if writer == "save.safetensors":
        pytest.importorskip("safetensors")

    def moments(count: int) -> list[int]:
        return [*rng.integers(1, count - 40, size=30), *range(count - 40, count + 1)]

    _, left = killed(writer, tmp_path, moments)
    assert {version for version, _ in left} == {0, 1}
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


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_a_file_keeps_its_mode_and_is_never_open_to_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    path = tmp_path / "run.npz"
    save(path, 1)
    path.chmod(mode)
    meanwhile = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda d: (meanwhile.append(os.fstat(d).st_mode & 0o777), real(d))
    )
    with replacing(path) as file:
        assert os.fstat(file.fileno()).st_mode & 0o777 & ~mode == 0
        file.write(b"x")
    assert meanwhile[0] == path.stat().st_mode & 0o777 == mode


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_what_is_no_ordinary_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "null.npz").symlink_to("/dev/null")
    (tmp_path / "folder.npz").mkdir()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s.npz"))
        for name in ("pipe.npz", "null.npz", "s.npz"):
            with pytest.raises(FileExistsError, match=f"{name}: it is no ordinary file"):
                save(tmp_path / name, 1)
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        save(tmp_path / "folder.npz", 1)
    assert len(list(tmp_path.iterdir())) == 4
    assert not Path("/dev/null").is_file()


def left_over(path: Path, age: float) -> Path:
    """What a process that was killed while it saved to ``path`` has left, so many seconds ago."""
    known = set(path.parent.iterdir())

    def killed() -> None:
        with replacing(path):
            (made,) = set(path.parent.iterdir()) - known
            copied.append(made.rename(made.with_name(made.name.replace(".tmp", "0.tmp"))))
            raise KeyboardInterrupt

    copied: list[Path] = []
    with pytest.raises(KeyboardInterrupt):
        killed()
    os.utime(copied[0], (time.time() - age,) * 2)
    return copied[0]


def test_a_save_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    path, other = tmp_path / "run.npz", tmp_path / "other.npz"
    old, young = left_over(path, atomic.OLD + 5), left_over(path, 0)
    others = left_over(other, atomic.OLD + 5)
    assert old.parent == tmp_path
    save(path, 1)
    assert not old.exists()
    assert young.exists()  # it may be being made
    assert others.exists()  # it is another file's
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.skipif(atomic.fcntl is None, reason="no locks of files here")
def test_a_save_that_takes_long_keeps_its_file(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    with replacing(path) as file:
        (temporary,) = tmp_path.iterdir()
        os.utime(temporary, (1, 1))
        save(path, "meanwhile")
        assert load(path) == "meanwhile"
        file.write(b"later")
    assert path.read_bytes() == b"later"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes are POSIX's")
def test_a_folder_that_cannot_be_listed_is_saved_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(real):  # the superuser, whom tests may run as, can list everything
        def refusing(path, *args, **kwargs):
            if os.path.isdir(path):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *args, **kwargs)

        return refusing

    for name in ("open", "scandir", "listdir"):
        monkeypatch.setattr(os, name, refuse(getattr(os, name)))
    save(tmp_path / "run.npz", 1)
    monkeypatch.undo()
    assert load(tmp_path / "run.npz") == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a __del__
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_an_interrupt_at_any_moment_is_one_and_leaves_a_good_file(
    tmp_path: Path, suffix: str
) -> None:
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    path = tmp_path / f"run{suffix}"
    new = {"a": np.ones(3), "b": np.zeros((2, 2))}
    save(path, new)
    seen = set()
    for moment in range(1, moments(lambda: save(path, new)) + 1):
        save(path, "old")
        interrupted(lambda: save(path, new), moment)  # raises what is no KeyboardInterrupt
        seen.add(load(path) == "old")
        assert len(list(tmp_path.iterdir())) == 1, moment
    assert seen == {True, False}
