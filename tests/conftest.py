"""Hypothesis profiles, and a seed for NumPy that a failure names.

The profile `default` draws the same few cases every time, so that a run does not depend on luck.
`HYPOTHESIS_PROFILE=thorough` draws many cases, and others each time.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Iterator

import device
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings

import tinygrad_seq as ts
from tinygrad_seq.autograd import PRIMITIVES

# A gradient check takes as long as it takes: one deadline for all, here and nowhere else.
COMMON = {
    "deadline": None,
    "print_blob": True,
    "phases": set(Phase) - {Phase.explain},  # it runs a failing check many times more
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("default", max_examples=12, derandomize=True, **COMMON)
settings.register_profile("thorough", max_examples=300, **COMMON)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or "default"
THOROUGH = PROFILE == "thorough"
settings.load_profile(PROFILE)


# The processes that tests start read the package's bytecode: compiling it takes each 0.5 s.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(
    scope="module", params=["numpy", "fake", pytest.param("cupy", marks=pytest.mark.gpu)]
)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the module with new tensors on each device: NumPy, the strict fake GPU, a real one."""
    with device.selected(request.param) as name:
        yield name


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "host(why): runs on NumPy alone, in a module that runs on every device"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out on other devices what is marked ``host``, and repeated rows of parameters.

    Of a test with several ``parametrize``, each row of each of them runs once there, and not every
    combination: which functions of the device's library are called depends on the rows; the numbers
    that combinations give are checked on the host.
    """
    tried: set[tuple[object, ...]] = set()

    def left_out(item: pytest.Item) -> bool:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if params.get("backend", "numpy") == "numpy":
            return False
        if item.get_closest_marker("host") is not None:
            return True
        test = item.nodeid.partition("[")[0], params["backend"]
        names = [mark.args[0] for mark in item.iter_markers("parametrize")]
        rows = [n.replace(" ", "").split(",") if isinstance(n, str) else list(n) for n in names]
        rows += [[name] for name in params if not any(name in row for row in rows)]  # of fixtures
        values = {(*test, *row, *(id(params[name]) for name in row)) for row in rows}
        again = len(values) > 1 and values <= tried and not THOROUGH
        tried.update(values)
        return again

    left = [item for item in items if left_out(item)]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in set(left)]


def pytest_report_header(config: pytest.Config) -> str:
    """Which devices the tests of ``backend`` really run on."""
    return f"devices: {device.description(config.option.markexpr)}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Draw a few cases only on another device: the equations are the host's, checked there."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    name, test = "_hypothesis_internal_use_settings", getattr(item, "obj", None)
    own = getattr(test, name, None)  # Hypothesis has no public way to change it
    if own is None or params.get("backend", "numpy") == "numpy" or THOROUGH:
        return (yield)
    setattr(test, name, settings(own, max_examples=min(own.max_examples, 4)))
    try:
        return (yield)
    finally:
        setattr(test, name, own)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed that belongs to the test, or TEST_SEED."""
    return int(os.environ.get("TEST_SEED") or zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """A NumPy generator for tests that draw by themselves."""
    return np.random.default_rng(seed)


@pytest.fixture(autouse=True)
def _library_randomness(seed: int) -> Iterator[None]:
    """Start the library's generator from the test's seed; put the default dtype back."""
    dtype = ts.default_dtype()
    ts.manual_seed(seed)
    yield
    ts.set_default_dtype(dtype)


@pytest.fixture(autouse=True)
def _nothing_compiled() -> Iterator[None]:
    """Loops of NumPy's calls: drawn shapes and cells would each be compiled, for seconds."""
    with ts.use_jit(False):
        yield


@pytest.fixture(autouse=True)
def _op_table() -> Iterator[None]:
    """Forget the primitives that a test defines."""
    before = dict(PRIMITIVES)
    yield
    PRIMITIVES.clear()
    PRIMITIVES.update(before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failure says which seed the test's random numbers came from."""
    report = yield
    values = getattr(item, "funcargs", {})
    if report.failed and "seed" in values:
        report.sections.append(
            ("seed", f"random numbers came from seed {values['seed']}: set TEST_SEED to repeat")
        )
    return report
