"""CSV files: the numbers exactly, whatever the pieces; errors say where."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_seq as ts
from tinygrad_seq.data import RandomWindows, Standardizer, csv_chunks, read_csv

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TABLES = hnp.arrays(
    float, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=NUMBERS, fill=st.nothing()
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table")


@given(TABLES, st.integers(1, 5), st.sampled_from(",;\t"), st.randoms(use_true_random=False))
def test_numbers_come_back_exactly_whatever_the_pieces(
    folder: Path, table: Any, rows: int, delimiter: str, random: Any
) -> None:
    names = [f"c{k}" for k in range(table.shape[1])]
    path = folder / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([names, *table.tolist()])
    np.testing.assert_array_equal(read_csv(path, delimiter=delimiter), table)
    order = random.sample(range(len(names)), random.randint(1, len(names)))
    chunks = list(csv_chunks(path, [names[k] for k in order], delimiter=delimiter, rows=rows))
    assert all(len(chunk) == rows for chunk in chunks[:-1])
    np.testing.assert_array_equal(np.concatenate(chunks), table[:, order])


def test_what_spreadsheets_write_is_read(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes('\ufeffday,"the ""sun""",note\r\n1, 2.5 ,"a,\nb"\r\n\r\n2,-3e2,\r\n'.encode())
    np.testing.assert_array_equal(read_csv(path, ["day", 'the "sun"']), [[1, 2.5], [2, -300]])


@pytest.mark.parametrize("gap", ["", "NA", " nan ", "NULL", "n/a", "None"])
def test_missing_values_are_an_error_or_nan_or_drop_the_row(tmp_path: Path, gap: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"a,b,c\n1,2,x\n3,{gap},y\n5,6,\n")
    with pytest.raises(ValueError, match=r"line 3, column 'b': the value is missing"):
        read_csv(path, ["a", "b"])
    np.testing.assert_array_equal(
        read_csv(path, ["a", "b"], missing="nan"), [[1, 2], [3, np.nan], [5, 6]]
    )
    np.testing.assert_array_equal(read_csv(path, ["a", "b"], missing="drop"), [[1, 2], [5, 6]])
    np.testing.assert_array_equal(read_csv(path, ["a"]), [[1], [3], [5]])  # no gap of its own
    chunks = csv_chunks(path, ["a", "b"], "drop", rows=2)
    assert [len(chunk) for chunk in chunks] == [2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: expected a first line that names the columns"),
        ("a,b\n", "has no rows of numbers"),
        ("1,2\n3,4\n", r"names the columns; got \['1', '2'\]"),
        ("a,b\n1,2\n3\n", "line 3: expected 2 cells, as the first line has; got 1"),
        ("a,b\n1,2\n3,4,5\n", "line 3: expected 2 cells, as the first line has; got 3"),
        ("a,b\n1,2\n3,4 m\n", "line 3, column 'b': expected a finite number; got '4 m'"),
        ("a,b\n1,2\n3,1_000\n", "column 'b': expected a finite number; got '1_000'"),
        ("a,b\n1,2\ninf,3\n", "line 3, column 'a': expected a finite number; got 'inf'"),
        ('a,b\n"x\ny",2\n3,4\n', r"line 3, column 'a': expected a finite number; got 'x\\ny'"),
        ("a,a\n1,2\n", "has 2 of the column 'a'"),
        ('a,b\n1,"2\n3,4\n', "no CSV"),
        (b"a,b\n1,\xff\n", r"no UTF-8 text, somewhere after line"),
    ],
)
def test_bad_files_get_a_sentence(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        read_csv(path)


@pytest.mark.parametrize("content", ["a,b\n1,{}\n", "{},{}\n1,2\n", "{}\n3\n"])
def test_a_message_does_not_repeat_a_long_cell(tmp_path: Path, content: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(content.replace("{}", "9x" * 50_000))
    with pytest.raises(ValueError, match="9x9x") as caught:
        read_csv(path, None if "b" in content else ["9x" * 50_000, "c"])
    assert len(str(caught.value)) < 1000


def test_arguments_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a;b\n1;2\n")
    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda: read_csv(path, ["a"]), ValueError, r"has none of the column 'a' .* with ','"),
        (lambda: read_csv(path, "a"), TypeError, "list of names; got the string 'a'"),
        (lambda: read_csv(path, []), ValueError, "columns names none"),
        (lambda: read_csv(path, missing="zero"), ValueError, '"error", "nan" or "drop"; got'),
        (lambda: list(csv_chunks(path, rows=0)), ValueError, "rows of at least 1; got 0"),
        (lambda: read_csv(tmp_path / "absent.csv"), FileNotFoundError, "absent"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize("shape", [(5, 1), (5,), (5, 4), (), (3, 3, 2)])
def test_numbers_with_other_features_are_not_taken_for_standardised_ones(shape: Any) -> None:
    scale = Standardizer(np.arange(15.0).reshape(5, 3))
    for way in (scale.encode, scale.decode):
        with pytest.raises(ValueError, match=r"3 features on the last axis.* got shape"):
            way(np.zeros(shape))
    assert scale.encode(np.zeros(3)).shape == (3,)
    assert scale.decode(np.zeros((7, 2, 3))).shape == (7, 2, 3)


@given(TABLES.filter(lambda table: np.abs(table).max() < 1e100))
def test_standardised_data_have_mean_0_and_deviation_1_and_come_back(table: Any) -> None:
    scale = Standardizer(table)
    ts.set_default_dtype("float64")
    z = scale.encode(table)
    large = np.abs(table).max(axis=0)
    assert (np.abs(scale.decode(z) - table) <= 1e-9 * large).all()
    clear = table.std(axis=0) > 1e-6 * large
    np.testing.assert_allclose(z[:, clear].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(z[:, clear].std(axis=0), 1, rtol=1e-6)
    constant = np.ptp(table, axis=0) == 0
    assert (scale.std[constant] == 1).all()


def test_a_series_is_standardised_by_its_training_part_and_read_in_windows() -> None:
    series = np.arange(50.0)
    scale = Standardizer(series[:40])
    z = scale.encode(series)
    assert z.dtype == np.float32
    assert z[:40].mean() == pytest.approx(0, abs=1e-6)
    assert z[40:].min() > 1
    inputs, targets = next(iter(RandomWindows(z[:, None], 8, 4, seed=0)))
    assert inputs.shape == targets.shape == (8, 4, 1)
    np.testing.assert_allclose(scale.decode(targets) - scale.decode(inputs), 1, rtol=1e-5)
    for bad in ([], [1.0, np.nan], [1.0, np.inf]):
        with pytest.raises(ValueError, match="expects finite training data"):
            Standardizer(bad)


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("a;b\n1,5;-,25\n2e-1;3\n", {"delimiter": ";", "decimal": ","}, [[1.5, -0.25], [0.2, 3]]),
        (
            "a;b\n1.234.567,5;12\n-1.000;999\n",
            {"delimiter": ";", "decimal": ",", "thousands": "."},
            [[1234567.5, 12], [-1000, 999]],
        ),
        ("a\tb\n1 000\t2.5\n", {"delimiter": "\t", "thousands": " "}, [[1000, 2.5]]),
        ("1,2\n\n3,4\n", {"header": False}, [[1, 2], [3, 4]]),
        ("1,x,2\n3,y,4\n", {"header": False, "columns": [2, 0]}, [[2, 1], [4, 3]]),
        ("a,b\n1,?\n-99.9,2\n", {"marks": ["?", "-99.9"], "missing": "nan"}, None),
    ],
)
def test_numbers_as_other_countries_and_instruments_write_them(
    tmp_path: Path, content: str, options: Any, expected: Any
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(content)
    expected = [[1, np.nan], [np.nan, 2]] if expected is None else expected
    np.testing.assert_array_equal(read_csv(path, **options), expected)


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("Höhe,b\n1,2\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r'no UTF-8 text.* encoding="latin-1"'):
        read_csv(path)
    np.testing.assert_array_equal(read_csv(path, ["Höhe"], encoding="latin-1"), [[1]])


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("a\n1,5\n", {"delimiter": ";"}, "line 2, column 'a': expected a finite number; got '1,5'"),
        ("a\n1.5\n", {"delimiter": ";", "decimal": ","}, "got '1.5'"),
        ("a\n1.23,5\n", {"delimiter": ";", "decimal": ",", "thousands": "."}, "got '1.23,5'"),
        ("a\n1234.567\n", {"delimiter": ";", "decimal": ",", "thousands": "."}, "got '1234.567'"),
        ("a\n١\n", {}, "got '١'"),
        ("a,b\n1,2\n", {"decimal": ","}, "delimiter ',', decimal ',' .* different single char"),
        ("a,b\n1,2\n", {"decimal": ""}, "different single characters"),
        ("1,2\n", {"header": False, "columns": [2]}, r"columns 0 to 1 and no line .* got .*\[2\]"),
        ("1,2\n", {"header": False, "columns": ["a"]}, r"no line that names them; got .*\['a'\]"),
        ("1,2\n3\n", {"header": False}, "line 2: expected 2 cells"),
        ("", {"header": False}, "has no rows of numbers"),
        ("1,2\n", {}, "with header=False it is read as numbers"),
    ],
)
def test_numbers_in_another_form_are_not_guessed(
    tmp_path: Path, content: str, options: Any, message: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_csv(path, **options)


def test_a_checkpoint_keeps_the_statistics(tmp_path: Path) -> None:
    scale = Standardizer(np.arange(12.0).reshape(4, 3) ** 2)
    for suffix in ("npz", "safetensors"):
        if suffix == "safetensors":
            pytest.importorskip("safetensors")
        path = tmp_path / f"run.{suffix}"
        ts.Checkpoint(scale=scale).save(path)
        again = Standardizer()
        ts.Checkpoint(scale=again).restore(path)
        np.testing.assert_array_equal(again.encode(np.ones(3)), scale.encode(np.ones(3)))
    with pytest.raises(ValueError, match="has seen no data"):
        Standardizer().decode(1.0)
    before = again.mean.copy()
    for state in (Standardizer([1.0, 2.0]).state_dict(), {"mean": 1.0}, {"mean": [1], "std": [0]}):
        with pytest.raises(ValueError, match="the state of Standardizer has"):
            again.load_state_dict(state)
    np.testing.assert_array_equal(again.mean, before)
