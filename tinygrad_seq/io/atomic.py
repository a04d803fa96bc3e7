"""Replace a file in one step, so that a crash never leaves half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write; when the block ends well it takes the place of ``path``.

    The bytes go to a new file in the same folder, reach the disk, and only then get the name.
    When the block raises, the new file is removed and ``path`` stays as it was. A link is followed.

    Raises:
        FileNotFoundError: The folder does not exist.
        IsADirectoryError: ``path`` is a folder.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot save {path}: there is no folder {target.parent}")
    if target.is_dir():
        raise IsADirectoryError(f"cannot save {path}: it is a folder")
    temporary = target.parent / f".saving-{os.urandom(8).hex()}.tmp"
    try:
        # open() gives the mode that the umask allows, unlike the tempfile module's 0600.
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk, where the system lets a folder be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
