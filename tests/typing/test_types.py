"""The public API is typed: what ``right.py`` says is so, and each marked line of ``wrong.py`` is an
error, for mypy and for pyright; and an editor shows signatures and docstrings."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from editor import Editor

import tinygrad_seq as ts
from tinygrad_seq import nn

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PACKAGE = Path(ts.__file__).parent


def mypy():
    """The errors that ``mypy --strict`` finds, as {(file, line)}, and its words."""
    pytest.importorskip("mypy")
    command = ["-m", "mypy", "--strict", "--no-error-summary"]  # with the cache of `make types`
    said = run([*command, str(HERE / "right.py"), str(HERE / "wrong.py")])
    return {
        (Path(file).name, int(line)): words
        for file, line, words in re.findall(r"^(.+?):(\d+): error: (.*)$", said, re.M)
    }


def pyright():
    """The errors that pyright finds."""
    pytest.importorskip("pyright")
    said = run(["-m", "pyright", "--outputjson", str(HERE / "right.py"), str(HERE / "wrong.py")])
    if not said.lstrip().startswith("{"):
        pytest.skip(f"pyright does not run here: {said.strip()[-200:]}")
    return {
        (Path(d["file"]).name, d["range"]["start"]["line"] + 1): d["message"]
        for d in json.loads(said)["generalDiagnostics"]
        if d["severity"] == "error"
    }


def run(arguments):
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout or done.stderr


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_checkers_see_the_types_and_refuse_what_is_wrong(checker):
    found = checker()
    lines = (HERE / "wrong.py").read_text().splitlines()
    marked = {("wrong.py", k) for k, line in enumerate(lines, 1) if line.endswith("# error")}
    assert marked
    unmarked = {place: words for place, words in found.items() if place not in marked}
    assert not unmarked, f"unexpected errors: {unmarked}"
    assert not marked - set(found), f"not refused: {sorted(marked - set(found))}"


KINDS = {"Joining": 0, "Unary": 1, "Binary": 2, "Ternary": 3}


def test_checkers_know_how_many_arrays_each_operation_takes(tmp_path):
    """A static parameter that is ``Any``, or may be an array, would be taken for an array."""
    pytest.importorskip("mypy")
    table = {
        name: op for name in ts.ops.__all__ if isinstance(op := getattr(ts, name), ts.Primitive)
    }
    asked = [f"reveal_type(ts.{name})" for name in table]
    (tmp_path / "asked.py").write_text("\n".join(["import tinygrad_seq as ts", *asked]))
    said = run(["-m", "mypy", "--strict", "--no-error-summary", str(tmp_path / "asked.py")])
    kinds = re.findall(r'Revealed type is "(?:[\w.]*\.)?(\w+)', said)
    arrays = [0 if op.variadic else len(op.arguments) for op in table.values()]
    seen = dict(zip(table, map(KINDS.get, kinds), strict=True))
    assert seen == {**dict(zip(table, arrays, strict=True)), "scatter_add": None}


def test_the_marker_of_typed_packages_is_in_the_package():
    assert (PACKAGE / "py.typed").exists()


def test_the_operators_that_checkers_see_are_those_of_a_tensor():
    stub = (PACKAGE / "autograd" / "signatures.pyi").read_text()
    seen = set(re.findall(r"def (__\w+__)\(self", stub.partition("class Operators")[2]))
    names = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "divmod"]
    names += ["and", "or", "xor", "lshift", "rshift"]
    every = {f"__{p}{n}__" for p in ("", "r", "i") for n in names}
    every |= {f"__{n}__" for n in ["lt", "le", "gt", "ge", "neg", "abs", "invert", "round"]}
    assert seen == {name for name in every if hasattr(ts.Tensor, name) and name != "__pos__"}


PROGRAM = """import tinygrad_seq as ts
from tinygrad_seq import nn
x = ts.ones(3)
ts.tanh(x)
x.sum()
lstm = nn.LSTM(2, 3)
h, s = lstm(x)
h.
"""
SHOWN = {
    3: ("tanh", "(x: Tensor, /) -> Tensor", "Hyperbolic tangent."),
    4: ("sum", "(axis: Axis = None, keepdims: bool = False) -> Tensor", "Sum."),
    5: (
        "LSTM",
        "(input_size: int, hidden_size: int, num_layers: int = 1,",
        "Long short-term memory",
    ),
    6: ("lstm", "(x: Operand, state: Operand | None = None, lengths:", ""),
}


def test_an_editor_shows_signatures_and_first_lines_and_completes():
    pytest.importorskip("pyright")
    try:
        editor = Editor(ROOT, PROGRAM)
    except RuntimeError as error:
        pytest.skip(f"pyright does not run here: {error}")
    lines = PROGRAM.splitlines()
    try:
        for line, (name, signature, first) in SHOWN.items():
            start = lines[line].index(name)
            assert first in json.dumps(editor.at("hover", line, start)["contents"])
            told = editor.at("signatureHelp", line, start + len(name) + 1)["signatures"]
            assert any(signature in each["label"] for each in told)
        offered = editor.at("completion", 7, len(lines[7]))
        assert {"sum", "backward", "shape"} <= {item["label"] for item in offered["items"]}
    finally:
        editor.close()


@pytest.mark.parametrize(
    ("name", "first"),
    [("ts.tanh", SHOWN[3][2]), ("ts.Tensor.sum", SHOWN[4][2]), ("nn.LSTM", SHOWN[5][2])],
)
def test_a_notebook_shows_a_signature_and_the_first_line(name, first):
    jedi = pytest.importorskip("jedi")
    (told,) = jedi.Interpreter(f"{name}(", [{"ts": ts, "nn": nn}]).get_signatures()
    assert told.to_string().startswith(f"{name.rpartition('.')[2]}(")
    assert first in told.docstring(raw=True).partition("\n")[0]
