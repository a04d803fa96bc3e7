"""The examples as a course: each says its command, has the three options, and is listed."""

import importlib.util
import re
import runpy
from pathlib import Path

import pytest

pytest.importorskip("tqdm")
EXAMPLES = Path(__file__).parent.parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("[0-9]*.py"))
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")


@pytest.fixture(params=SCRIPTS, ids=lambda path: path.stem)
def script(request):
    return request.param


@pytest.fixture
def module(script, monkeypatch):
    if script.stem == "17_digits":
        pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_they_are_numbered_without_gaps():
    assert [int(path.stem[:2]) for path in SCRIPTS] == list(range(1, len(SCRIPTS) + 1))


def test_its_docstring_says_what_it_shows_where_it_is_from_and_its_command(script, module):
    title, blank, *_ = module.__doc__.split("\n")
    assert title.endswith((".", "?"))
    assert blank == ""
    assert f"\n    python examples/{script.name}" in module.__doc__
    assert re.search(r"Deep Learning \d|d2l \d", module.__doc__.replace("\n", " "))


def test_it_has_the_three_options_and_says_so(module, capsys):
    with pytest.raises(SystemExit) as ended:
        module.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(
        re.search(rf"^  {option}\b", said, re.M) for option in ("--quick", "--seed", "--out")
    )


def test_the_readme_lists_it_with_its_command(script):
    assert f"]({script.name})" in README
    assert f"python examples/{script.name}" in README


def test_what_the_readme_links_is_there():
    links = re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", README)
    local = [a or b for a, b in links if not (a or b).startswith("http")]
    assert len(local) >= len(SCRIPTS)
    assert [link for link in local if not (EXAMPLES / link).exists()] == []


@pytest.mark.parametrize(
    ("name", "option", "content", "sentence"),
    [
        ("04_language_models", "--text", "", "at least one token"),
        ("04_language_models", "--text", "a short text, ten times over. " * 10, "a longer text"),
        ("05_char_lm", "--text", "a short text", "a longer text is needed"),
        ("05_char_lm", "--text", "a short text, ten times over. " * 30, "a longer text"),
        ("18_piano_roll", "--data", '{"train": [[[60], [62]]]}', "train, valid and test"),
        (
            "18_piano_roll",
            "--data",
            '{"train": [[[60], [62]]], "valid": [[[60], []]], "test": [[[60]]]}',
            "test needs pieces of 88 keys and two steps or more",
        ),
        ("20_onnx", "--text", "a short text, ten times over. " * 10, "a longer text"),
    ],
)
def test_a_short_file_gets_a_sentence_before_training(
    name, option, content, sentence, tmp_path, monkeypatch
):
    if name == "20_onnx":
        pytest.importorskip("onnxruntime")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    path = tmp_path / ("short.json" if option == "--data" else "short.txt")
    path.write_text(content)
    monkeypatch.setattr("sys.argv", [name, option, str(path), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=f"^error: .*{sentence}"):
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert not (tmp_path / "out").exists()
