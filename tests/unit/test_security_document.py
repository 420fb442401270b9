"""The table of requirements in docs/dashboard-security.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "dashboard-security.md"


def test_each_requirement_has_a_test_that_exists() -> None:
    """A test that was renamed must not leave a claim without its proof."""
    text = PAGE.read_text(encoding="utf-8").partition("## IEC 62443-4-2")[2]
    head, _, table = text.partition("| requirement |")
    files = {letter: ROOT / file for letter, file in re.findall(r"`(\w)`(?: is)?\s+`(tests/[\w/]+\.py)`", head)}
    rows = [line for line in table.splitlines() if line.startswith("| CR ")]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"\b([A-Z]) `(test_\w+)`", row)
        assert named, row
        for letter, test in named:
            assert f"def {test}(" in files[letter].read_text(encoding="utf-8"), (row, test)
