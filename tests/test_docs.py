"""What the documents show is what the library does: their examples are run."""

import doctest
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import tinygrad_seq as ts

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted((ROOT / "docs" / "guide").glob("*.md"))
CELL = re.compile(r"^```\{code-cell\}\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", sorted(p.name for p in (ROOT / "docs").glob("*.md")))
def test_documents(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # pages save files
    failed, _ = doctest.testfile(str(ROOT / "docs" / page), module_relative=False)
    assert not failed


def test_some_documents_have_examples():
    text = "".join(p.read_text() for p in (ROOT / "docs").glob("*.md"))
    assert text.count(">>>") > 20


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_chapters(chapter, tmp_path, monkeypatch):
    """A chapter's code runs as a script would, warnings are errors, and what it asserts holds."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    monkeypatch.chdir(tmp_path)  # explorers are written here
    text, names = chapter.read_text(), {"__name__": chapter.stem}
    for cell in CELL.finditer(text):
        line = text.count("\n", 0, cell.start(1))  # so that an error names the line of the chapter
        exec(compile("\n" * line + cell[1], chapter, "exec"), names)
    pyplot.close("all")
    for page in re.findall(r'(?:src="|]\()(\w+\.html)', text):
        assert (tmp_path / page).exists(), page


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_its_parts(chapter):
    text = chapter.read_text()
    number = CHAPTERS.index(chapter) + 1
    assert chapter.name.startswith(f"{number:02}_")
    assert f"\n# {number}. " in text
    assert text.count("<details>\n<summary>Answer</summary>\n") == text.count("## Exercise") == 1
    assert text.count("```{code-cell}") == len(CELL.findall(text)) > 3
    assert "assert " in text.split("## Exercise")[0]
    assert "assert " in text.split("## Exercise")[1]
    assert f"guide/{chapter.stem}\n" in (ROOT / "docs" / "index.md").read_text()


def test_every_package_is_in_the_reference():
    pages = "".join(p.read_text() for p in (ROOT / "docs" / "reference").glob("*.rst"))
    documented = set(re.findall(r"^\.\. reference:: ([\w.]+)$", pages, re.MULTILINE))
    packages = {m.name for m in pkgutil.walk_packages(ts.__path__, "tinygrad_seq.") if m.ispkg}
    # Inner parts, which a package above hands on.
    hidden = {"tinygrad_seq.backend", "tinygrad_seq.io.layouts", "tinygrad_seq.io.onnx"}
    hidden |= {"tinygrad_seq.viz.explorer", "tinygrad_seq.recurrence", "tinygrad_seq.nn.recurrent"}
    below = tuple(f"{package}." for package in hidden)
    assert packages - hidden - {p for p in packages if p.startswith(below)} <= documented


def modules():
    return [m.name for m in pkgutil.walk_packages(ts.__path__, "tinygrad_seq.")]


class Finder(doctest.DocTestFinder):
    """Finds the examples of decorated functions too."""

    def _from_module(self, module, object):
        return super()._from_module(module, inspect.unwrap(object))


@pytest.mark.parametrize("module", modules())
def test_docstrings(module):
    names = {"np": np, "ts": ts, "nn": ts.nn, "optim": ts.optim, "data": ts.data, "seq": ts.seq}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in Finder().find(importlib.import_module(module), extraglobs=names):
        runner.run(test)
    assert not runner.failures


def readme(kind):
    return re.findall(rf"```{kind}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_readme_example_prints_what_the_readme_shows(capsys):
    exec(compile(readme("python")[0], "README.md", "exec"), {})
    printed, shown = capsys.readouterr().out, readme("text")[0]

    def numbers(s):
        return np.array([float(n) for n in re.findall(r"\d+\.?\d*", s)])

    assert re.sub(r"[\d.]+", "", printed) == re.sub(r"[\d.]+", "", shown)
    # float32 sums in another order on another machine, and training makes differences grow
    np.testing.assert_allclose(numbers(printed), numbers(shown), rtol=0.1, atol=2e-4)


def test_every_other_python_block_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"ts": ts, "nn": ts.nn, "optim": ts.optim}
    for code in readme("python")[1:]:
        if "import torch" in code and importlib.util.find_spec("torch") is None:
            continue
        exec(compile(code, "README.md", "exec"), names)
    names["test_my_layer"]()


def test_readme_has_no_gaps():
    text = (ROOT / "README.md").read_text()
    assert "@@" not in text
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / link).exists(), link


def test_what_never_runs_on_a_device_is_told():
    """Of each module of tests that asks for no device, or of its folder, docs/gpu.md says why."""
    page = (ROOT / "docs" / "gpu.md").read_text()
    told = re.findall(r"`(\w+/(?:test_\w+\.py)?)`", "".join(re.findall(r"^\| `.*? \|", page, re.M)))
    for path in sorted((ROOT / "tests").glob("*/test_*.py")):
        name, text = f"{path.parent.name}/{path.name}", path.read_text()
        on_devices = any(word in text for word in ('"backend"', "from device import"))
        assert on_devices != (name in told or f"{path.parent.name}/" in told), name
