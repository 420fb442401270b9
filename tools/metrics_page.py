#!/usr/bin/env python3
"""Write the tables of docs/metrics.md: the metrics from gateway/metrics/definitions.py, the alerts from the rules.

tools/metrics_page.py            write the tables
tools/metrics_page.py --check    exit 1 if the page has other tables
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gateway.metrics.definitions import BUCKETS, GATEWAY, INGEST  # noqa: E402 - behind the path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.metrics.definitions import Definition

PAGE = ROOT / "docs" / "metrics.md"
RULES = ROOT / "deploy" / "prometheus" / "lineside.rules.yml"


def metrics(definitions: Iterable[Definition]) -> str:
    """Return the table of some metrics."""
    rows = ["| metric | type | labels | unit | meaning |", "|---|---|---|---|---|"]
    for one in definitions:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        rows.append(f"| `{one.name}` | {one.kind} | {labels} | {one.unit} | {one.help} |")
    return "\n".join(rows)


def buckets() -> str:
    """Return the table of the histograms with the bounds of their buckets."""
    rows = ["| histogram | upper bounds of its buckets, in seconds |", "|---|---|"]
    rows += [f"| `{name}` | {', '.join(f'{bound:g}' for bound in bounds)} |" for name, bounds in BUCKETS.items()]
    return "\n".join(rows)


def alerts() -> str:
    """Return the table of the alerts: the condition is in the rules."""
    rows = ["| alert | severity | means | what to do |", "|---|---|---|---|"]
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            summary, description = (rule["annotations"][key] for key in ("summary", "description"))
            summary = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: match[1].upper(), summary)
            description = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: match[1].upper(), description)
            rows.append(f"| `{rule['alert']}` | {rule['labels']['severity']} | {summary} | {description} |")
    return "\n".join(rows)


TABLES = {
    "gateway": lambda: metrics(GATEWAY),
    "ingest": lambda: metrics(INGEST),
    "buckets": buckets,
    "alerts": alerts,
}
"""The tables by the names of their places in the page."""


def page(text: str) -> str:
    """Return the page with its tables made again. Raises `KeyError` for a place without a table."""

    def table(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n\n{TABLES[match[1]]()}\n\n<!-- end of table -->"

    return re.sub(r"<!-- table: (\w+) -->.*?<!-- end of table -->", table, text, flags=re.DOTALL)


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the page differs")
    check = parser.parse_args().check
    text = PAGE.read_text(encoding="utf-8")
    new = page(text)
    if check:
        if new != text:
            print(f"{PAGE}: its tables differ; run tools/metrics_page.py", file=sys.stderr)
        return int(new != text)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
