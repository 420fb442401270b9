"""Readings and buckets as lines of CSV (RFC 4180), safe to be opened in a spreadsheet."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from gateway.model.reading import Reading
    from gateway.stores.buckets import Bucket

_EPOCH = datetime.fromtimestamp(0, UTC)

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Beginnings of a text that a spreadsheet takes for a formula (OWASP, CSV injection)."""

_BOM = "\ufeff"
"""Lets a spreadsheet see that the file is UTF-8."""

READING = ("time", "machine", "point", "value", "unit", "quality", "reason")
BUCKET = (
    "time", "machine", "point", "mean", "min", "max", "first", "last", "unit", "quality", "values",
    "uncertain", "bad",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CsvStyle:
    """How a reader's spreadsheet wants its numbers and times.

    With a decimal `comma` the columns are separated by semicolons. `zone` is that of the times.
    """

    comma: bool = False
    zone: tzinfo = UTC

    def time(self, microseconds: int) -> str:
        """Return a time as ISO 8601 with its offset: unambiguous also when clocks are set back."""
        try:
            moment = (_EPOCH + timedelta(microseconds=microseconds)).astimezone(self.zone)
        except OverflowError:
            return f"{microseconds}us"
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

    def cell(self, value: Any) -> str:  # noqa: ANN401 - a value of a reading, or a number
        """Return a cell. A text that looks like a formula gets an apostrophe in front."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            text = repr(value)
            return text.replace(".", ",") if self.comma else text
        text = str(value)
        return f"'{text}" if text.startswith(_FORMULA) else text

    def line(self, cells: Iterable[Any]) -> str:
        """Return a line with its end."""
        file = io.StringIO()
        writer = csv.writer(file, delimiter=";" if self.comma else ",", lineterminator="\r\n")
        writer.writerow([self.cell(one) for one in cells])
        return file.getvalue()


def reading_lines(readings: Iterable[Reading], style: CsvStyle) -> Generator[str]:
    """Yield a line of headings, and one for each reading."""
    yield _BOM + style.line(READING)
    for one in readings:
        yield style.line(
            (style.time(one.time), str(one.path), one.point, one.value, one.unit, one.quality.value, one.reason)
        )


def bucket_lines(buckets: Iterable[Bucket], style: CsvStyle) -> Generator[str]:
    """Yield a line of headings, and one for each bucket; `time` is its start."""
    yield _BOM + style.line(BUCKET)
    for one in buckets:
        path, point, unit = one.series.id
        yield style.line(
            (
                style.time(one.start), str(path), point, one.mean, one.min, one.max, one.first, one.last, unit,
                one.quality.value, one.values, one.uncertain, one.bad,
            )
        )  # fmt: skip
