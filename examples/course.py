"""What the examples share: options, a text to read, a progress bar, the table, the picture.

Import it before NumPy: the products of one time step are too small to share between cores, and
waiting for one another two threads take longer than one.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from tqdm import tqdm

from tinygrad_seq.atomic import replacing

# Where cells are compared, each has its color. Gray and dashed is what they are measured against.
COLORS = {
    "RNN": "black",
    "IRNN": "tab:pink",
    "leaky": "tab:green",
    "GRU": "tab:orange",
    "LSTM": "tab:blue",
}
BASELINE = {"color": "tab:gray", "linestyle": "--", "linewidth": 1.2}
STYLE = {
    "axes.titlesize": 11,
    "font.size": 10,
    "legend.fontsize": 9,
    "legend.framealpha": 0.9,
    "lines.markersize": 5,
}


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser with what every example has: ``--quick``, ``--seed`` and ``--out``."""
    parser = argparse.ArgumentParser(description=(doc or "").strip().split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for the picture")
    return parser


def run(main: Callable[[], object]) -> None:
    """Run an example that reads the user's files: what is wrong with one is said in a sentence."""
    try:
        main()
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None


def text(path: Path | None) -> str:
    """A UTF-8 file's text, or one that every Python carries: its documentation."""
    if path is not None:
        from tinygrad_seq import data

        return data.read_text(path)
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def progress(steps: Iterable[Any], **options: Any) -> Any:
    """The steps behind a progress bar, which shows only in a terminal."""
    return tqdm(steps, disable=None, leave=False, **options)


def table(heads: Iterable[str], *rows: Iterable[object]) -> None:
    """Print rows under their heads; floats with four significant digits."""
    cells = [
        [f"{c:.4g}" if isinstance(c, float) else str(c) for c in row] for row in (heads, *rows)
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for k, row in enumerate(cells):
        print("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())
        if k == 0:
            print("  ".join("-" * w for w in widths))


@contextmanager
def picture(path: Path, rows: int = 1, columns: int = 1, **options: Any) -> Iterator[Any]:
    """Axes to draw on; what was drawn is saved as ``path``, and its name printed.

    Gives what ``matplotlib.pyplot.subplots`` gives as axes.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, columns, layout="constrained", **options)
        yield axes
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            figure.savefig(file, format=path.suffix[1:], dpi=100)
        plt.close(figure)
    print(f"picture: {path}")


def expect(learned: bool, otherwise: str) -> None:
    """End with an error where an example did not learn what it is there to show."""
    if not learned:
        raise SystemExit(f"it did not learn: {otherwise}")
