"""Ranks that are real, from MPI's launcher, and ranks that are threads."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

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


def run(
    ranks: int, *arguments: object, watched: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A program of ours on so many ranks; ended, launcher first, when it takes too long."""
    module = ["-m", "tinygrad_seq.parallel"] if watched else []
    command = [*mpiexec(), "-n", str(ranks), sys.executable, *module, *map(str, arguments)]
    variables = os.environ | {"PYTHONPATH": str(HERE.parent.parent)} | environment
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=variables,
    )
    try:
        out, error = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.terminate()  # a launcher that is killed leaves its ranks behind
        out, error = process.communicate(timeout=LIMIT)
        pytest.fail(f"{' '.join(command)} did not end in {LIMIT} s:\n{out}\n{error}")
    return subprocess.CompletedProcess(command, process.returncode, out, error)
