"""The examples on a device, as they are: each must learn there what it shows on NumPy."""

import importlib.util
import os
from pathlib import Path

import pytest

import tinygrad_seq as ts

pytest.importorskip("tqdm")
pytest.importorskip("matplotlib")
EXAMPLES = Path(__file__).parent.parent.parent / "examples"
SHORT = {"01_unfolding", "05_char_lm", "14_reparameterisation"}
SMALLER = {"05_char_lm": ["--hidden=48", "--epochs=3", "--lr=0.012", "--length=20"]}
ALL = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
LONG = pytest.mark.skipif(not ALL, reason="long: with HYPOTHESIS_PROFILE=thorough it runs")
SCRIPTS = [
    pytest.param(path, marks=[] if path.stem in SHORT else LONG, id=path.stem)
    for path in sorted(EXAMPLES.glob("[0-9]*.py"))
]


@pytest.mark.parametrize(
    "backend", ["fake", pytest.param("cupy", marks=pytest.mark.gpu)], indirect=True
)
@pytest.mark.parametrize("script", SCRIPTS)
def test_it_learns_what_it_shows(backend, script, monkeypatch, tmp_path, capsys):
    """With ``--quick`` an example ends with an error where it did not learn."""
    if script.stem == "17_digits":
        pytest.importorskip("sklearn")
    if script.stem == "20_onnx":
        pytest.importorskip("onnxruntime")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert ts.zeros(1).backend == "cupy"
    module.main(["--quick", "--out", str(tmp_path), *SMALLER.get(script.stem, [])])
    assert "picture: " in capsys.readouterr().out
