"""Measure the periods until a Modbus driver reads as before, after a trouble of 60 s.

    python benchmarks/modbus_recovery.py

A device in memory has 136 points in 3 requests, read every second, and one trouble after the other. Time is virtual, so
a run takes some seconds. Prints for each trouble the periods until all points are good and the requests of a scan are as
before, and the most requests of a scan after the trouble.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

from modbus_recovery import TROUBLES, recovery  # noqa: E402 - found by the line above

UNITS = (1, 3)
"""Units behind the connection, of which the first is in trouble."""


def main() -> None:
    """Print a row for each trouble."""
    print(f"{'trouble':<45}" + "".join(f"{f'{units} unit(s)':>12}{'most':>6}" for units in UNITS))
    for trouble in TROUBLES:
        results = [recovery(trouble, units) for units in UNITS]
        print(f"{trouble:<45}" + "".join(f"{found.periods:>12}{found.most:>6}" for found in results))


if __name__ == "__main__":
    main()
