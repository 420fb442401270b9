"""The results of a measurement: medians of runs, criteria, the table, and the files that are kept."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HISTORY = Path(__file__).parent.parent / "history"


def median(values: Iterable[float | None]) -> float | None:
    """Return the median of the measured values, None if there are no values."""
    measured = [value for value in values if value is not None]
    return statistics.median(measured) if measured else None


def slope(samples: Sequence[tuple[float, float]]) -> float | None:
    """Return the slope of a least-squares line through samples (x, y), None for fewer than two values of x."""
    if len({x for x, _ in samples}) < 2:
        return None
    return statistics.linear_regression(*zip(*samples, strict=True)).slope


def ratio(before: float | None, after: float | None) -> float | None:
    """Return how many times `before` is in `after`: below 1 a cost has become smaller. None if one was not measured."""
    return None if before is None or after is None or before == 0 else after / before


def number(value: float | None) -> str:
    """Return a figure with three significant digits, `-` for a figure that was not measured."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def limit(value: float) -> str:
    """Return a limit as it was written: `1.5`, `1,500,000`."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A criterion: a limit, and the largest permitted part of Telegraf's figure, which counts only if it was measured."""

    at_most: float | None = None
    at_least: float | None = None
    of_telegraf: float | None = None

    def met(self, value: float | None, telegraf: float | None = None) -> bool | None:
        """Return whether a figure meets it, None if it was not measured or no criterion is set."""
        if value is None or self == Wanted():
            return None
        return (
            (self.at_most is None or value <= self.at_most)
            and (self.at_least is None or value >= self.at_least)
            and (self.of_telegraf is None or telegraf is None or value <= self.of_telegraf * telegraf)
        )

    def __str__(self) -> str:
        parts = []
        if self.at_most is not None:
            parts.append(f"≤ {limit(self.at_most)}")
        if self.at_least is not None:
            parts.append(f"≥ {limit(self.at_least)}")
        if self.of_telegraf is not None:
            parts.append(f"≤ {self.of_telegraf:g} of Telegraf's")
        return ", ".join(parts) or "-"


@dataclass(slots=True)
class Result:
    """The figures of one row: those of every run, by product. `notes` say why a product has no figure."""

    name: str
    what: str
    unit: str
    wanted: Wanted
    runs: dict[str, list[float | None]]
    notes: dict[str, str]

    def figure(self, product: str) -> float | None:
        """Return the median of a product's runs, None if it was not measured."""
        return median(self.runs.get(product, ()))

    def cell(self, product: str) -> str:
        """Return the text of a product's cell."""
        value = self.figure(product)
        return self.notes.get(product, "-") if value is None else number(value)

    @property
    def met(self) -> bool | None:
        """Whether Lineside meets the criterion, None if it was not measured."""
        return self.wanted.met(self.figure("Lineside"), self.figure("Telegraf"))


VERDICTS = {True: "met", False: "NOT MET", None: "-"}


LEFT = 2
"""Columns that are aligned to the left: names and units."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns: the first two to the left, the others to the right."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(3, *map(len, column)) for column in columns]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if place < LEFT else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = (
        "|" + "|".join("-" * (width + 1) + ("-" if place < LEFT else ":") for place, width in enumerate(widths)) + "|"
    )
    return "\n".join([line(header), rule, *map(line, rows)])


def results_table(results: Sequence[Result], peers: Sequence[str]) -> str:
    """Return the table of `make bench`: row, measured, wanted, verdict, peers."""
    return table(
        ["what", "unit", "measured", "wanted", "verdict", *peers],
        [
            [one.what, one.unit, one.cell("Lineside"), str(one.wanted), VERDICTS[one.met], *map(one.cell, peers)]
            for one in results
        ],
    )


def comparison_table(results: Sequence[Result], before: str, after: str) -> str:
    """Return the table of `make bench-compare`: two revisions and their ratio."""
    return table(
        ["what", "unit", before, after, "ratio"],
        [
            [
                one.what,
                one.unit,
                one.cell(before),
                one.cell(after),
                number(ratio(one.figure(before), one.figure(after))),
            ]
            for one in results
        ],
    )


def as_json(results: Sequence[Result], conditions: Mapping[str, Any]) -> bytes:
    """Return the results as JSON: the conditions, and of each row the median, every run and the criterion."""
    rows = {
        one.name: {
            "what": one.what,
            "unit": one.unit,
            "wanted": str(one.wanted),
            "met": one.met,
            "figures": {product: one.figure(product) for product in one.runs},
            "runs": one.runs,
            "notes": one.notes,
        }
        for one in results
    }
    return orjson.dumps({**conditions, "rows": rows}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def conditions(tree: Path, runs: int, seconds: float) -> dict[str, Any]:
    """Return the commit, the date and the machine of a measurement."""
    return {
        "commit": commit(tree),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "python": platform.python_version(),
        "runs": runs,
        "seconds": seconds,
    }


def machine() -> dict[str, Any]:
    """Return the processor, its cores, the kernel, and the load of the last minute before the measurement."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 2),
    }


def commit(tree: Path) -> str:
    """Return the commit of a checkout, with `+` for changes that are not committed; `unknown` without git."""
    try:
        head = _git(tree, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(tree, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(tree: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(tree), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def record(document: bytes) -> Path:
    """Keep a result in the history, named after its date and commit; return the file."""
    written = orjson.loads(document)
    HISTORY.mkdir(exist_ok=True)
    file = HISTORY / f"{written['date'][:10]}-{written['commit']}.json"
    file.write_bytes(document)
    print(f"recorded in {file}", file=sys.stderr)
    return file
