"""Ranks that are real, from MPI's launcher, and ranks that are threads."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
LIMIT = 120
"""Seconds after which a run is ended and its test fails."""


def mpiexec() -> list[str]:
    """The launcher of the MPI library that mpi4py finds here, with what it needs as root."""
    if importlib.util.find_spec("mpi4py") is None:
        pytest.skip("mpi4py is not installed")
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        pytest.skip("there is no mpiexec")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    open_mpi = "Open MPI" in said or "prte" in said.lower()
    return [found, *(["--allow-run-as-root", "--oversubscribe"] if open_mpi else [])]


def start(
    ranks: int, *arguments: object, watched: bool = True, **environment: str
) -> subprocess.Popen[str]:
    """A program of ours on so many ranks."""
    module = ["-m", "tinygrad_seq.parallel"] if watched else []
    command = [*mpiexec(), "-n", str(ranks), sys.executable, *module, *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=os.environ | {"PYTHONPATH": str(HERE.parent.parent)} | environment,
    )


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """What it said; where it takes too long it is ended, launcher first, and the test fails."""
    try:
        out, error = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.terminate()  # a launcher that is killed leaves its ranks behind
        out, error = process.communicate(timeout=LIMIT)
        pytest.fail(f"{process.args} did not end in {LIMIT} s:\n{out}\n{error}")
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


def run(ranks: int, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """A program of ours on so many ranks, to its end."""
    return ended(start(ranks, *arguments, **options))
