"""What every race is run by: contenders in processes of their own, which take turns.

Two pools of threads of BLAS or OpenMP in one process fight. So a contender is a script that calls
:func:`answer`, and a race starts them all (:func:`started`) and lets them take turns, A B A B
(:func:`turns`).
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np

from tinygrad_seq.atomic import replacing

REST = 0.25  # seconds before a turn: the threads of the one before wait for work by spinning
PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # choose slower products than the machine has

# Seconds of steps before a turn is timed: after a rest the system leaves new work on one processor
# for some 50 ms (two threads then take as long as one), and caches are cold.
WARM = 0.1


def write(path, text):
    """A report, whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())


def save(figure, path):
    """A picture, whole or not at all."""
    with replacing(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=120)


def started(command, threads):
    """A contender that is ready, of so many threads."""
    env = {k: v for k, v in os.environ.items() if k not in PINS}
    env |= {f"{pool}_NUM_THREADS": str(threads) for pool in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
    env["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    env["TINYGRAD_SEQ_THREADS"] = str(threads)
    process = subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=env,
    )
    if process.stdout.readline() != "ready\n":
        raise SystemExit(f"a contender failed: {' '.join(map(str, command))}")
    return process


def turns(runners, count):
    """Seconds of every turn of each contender; then they end."""
    times = {name: [] for name in runners}
    for _ in range(count):
        for name, process in runners.items():
            time.sleep(REST)
            process.stdin.write("go\n")
            process.stdin.flush()
            times[name].append(float(process.stdout.readline()))
    for process in runners.values():
        process.stdin.close()
        process.wait()
    return times


def answer(step):
    """In a contender: answer each line on standard input with the seconds of a step."""
    start = time.perf_counter()
    step()
    count = max(1, int(0.15 / (time.perf_counter() - start)))
    print("ready", flush=True)
    for _ in sys.stdin:
        rested = time.perf_counter()
        while time.perf_counter() - rested < WARM:
            step()
        start = time.perf_counter()
        for _ in range(count):
            step()
        print((time.perf_counter() - start) / count, flush=True)


def apart(found, base):
    """The largest difference of results, relative to the largest number of each."""
    return max(float(np.abs(found[k] - base[k]).max() / np.abs(base[k]).max()) for k in base)


def machine():
    """The machine and the versions, by name."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((x.split(": ")[1] for x in lines if x.startswith("model name")), cpu)
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    for name in ("torch", "jax", "autograd", "mygrad", "numba"):
        try:
            versions[name] = metadata.version(name)
        except ImportError:
            versions[name] = "not installed"
    return {"cpu": cpu, "cores": os.cpu_count(), "system": platform.platform(), **versions}
