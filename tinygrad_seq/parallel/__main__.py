"""``python -m tinygrad_seq.parallel train.py``: run a rank and report how it ended."""

import sys

from .watch import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
