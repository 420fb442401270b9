"""Note how long the files of tests take: `tests/durations.json`, by which the files are sorted.

make test PARALLEL="-n 6 --junitxml=report.xml"
.venv/bin/python tools/test_durations.py report.xml
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

FILE = Path(__file__).parents[1] / "tests" / "durations.json"

SHORTEST = 5.0
"""Seconds of the tests of a file that is worth to be noted."""


def durations(report: Path) -> dict[str, int]:
    """Return the seconds of each file that takes long, the longest first, from a report in JUnit's format."""
    seconds: Counter[str] = Counter()
    for case in ET.parse(report).getroot().iter("testcase"):
        name = case.attrib["classname"].removeprefix("tests.").replace(".", "/") + ".py"
        seconds[name] += float(case.attrib["time"])  # type: ignore[assignment] # a Counter takes any number
    return {name: round(total) for name, total in seconds.most_common() if total >= SHORTEST}


if __name__ == "__main__":
    FILE.write_text(json.dumps(durations(Path(sys.argv[1])), indent=0) + "\n", encoding="utf-8")
