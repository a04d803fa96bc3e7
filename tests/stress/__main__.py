"""Run all campaigns, or those named, and print their figures as a table: ``python -m stress``."""

from __future__ import annotations

import argparse
import sys
import time
import zlib

import numpy as np

from . import damage, forks, interrupts, kills, memory

CAMPAIGNS = {
    "kills": kills.campaign,
    "damage": damage.campaign,
    "interrupts": interrupts.campaign,
    "forks": forks.campaign,
    "memory": memory.campaign,
}


def main() -> int:
    """The number of things that went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("campaigns", nargs="*", choices=[[], *CAMPAIGNS])
    parser.add_argument("--scale", type=float, default=1.0, help="how often, as a factor")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    total = 0
    print("| tried | times | wrong | seen |\n|---|---|---|---|")
    for name in options.campaigns or CAMPAIGNS:
        rng = np.random.default_rng((options.seed, zlib.crc32(name.encode())))
        start = time.perf_counter()
        for row in CAMPAIGNS[name](rng, options.scale):
            print(f"| {row.what} | {row.tried:,} | {row.wrong} | {row.seen} |", flush=True)
            total += row.wrong
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return total


if __name__ == "__main__":
    sys.exit(min(main(), 1))
