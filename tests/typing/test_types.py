"""The public API is typed: what ``right.py`` says is so, and each marked line of ``wrong.py`` is an
error, for mypy and for pyright; and an editor shows signatures and docstrings."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_seq as ts

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


NAMES = {
    "ts.tanh": "Hyperbolic tangent.",
    "ts.Tensor.sum": "Sum.",
    "ts.ones(3).sum": "Sum.",
    "nn.LSTM": "Long short-term memory; state is the tuple (h, c).",
    "ts.grad": "The gradient of a function with one number as its result.",
}


@pytest.mark.parametrize("name", NAMES)
def test_an_editor_shows_a_signature_and_the_first_line(name):
    jedi = pytest.importorskip("jedi")
    script = jedi.Script(f"import tinygrad_seq as ts\nfrom tinygrad_seq import nn\n{name}(")
    assert any(NAMES[name] in n.docstring() for n in script.infer(3, len(name)))
    assert script.get_signatures(3, len(name) + 1)
