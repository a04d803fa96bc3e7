"""The writer of example 20, of NumPy and ONNX Runtime alone, writes what the model here writes."""

import ast
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq import io

pytest.importorskip("tqdm")
pytest.importorskip("onnxruntime")
EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("20_onnx"), importlib.import_module("onnx_writer")


def test_it_writes_the_same_text(example, tmp_path):
    onnx, writer = example
    model = onnx.CharModel(5, 8).eval()
    for parameter in model.parameters():  # scores that differ
        parameter.detach().copy_(ts.randn(parameter.shape))
    part = io.Input(1, "batch", 8)
    inputs = {"ids": io.Input("time", "batch", dtype="int64"), "state": {"h": part, "c": part}}
    metadata = {"vocabulary": json.dumps(list("abcde"))}
    path = tmp_path / "m.onnx"
    io.export_onnx(model, path, inputs, ["scores", "h2", "c2"], metadata=metadata)
    there = writer.Model(str(path))
    assert there.vocabulary == list("abcde")
    uniforms = np.random.default_rng(0).random(50)
    theirs = list(writer.write(there.step, there.start(), [1, 2], uniforms, 0.8))
    ours = list(writer.write(lambda *a: onnx.step(model, *a), None, [1, 2], uniforms, 0.8))
    assert [token for token, _ in ours] == [token for token, _ in theirs]
    assert len({token for token, _ in ours}) > 2


def test_the_writer_imports_nothing_of_the_library():
    tree = ast.walk(ast.parse((EXAMPLES / "onnx_writer.py").read_text()))
    names = {alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names}
    assert names == {"argparse", "json", "numpy", "onnxruntime"}
