"""Readings and buckets as lines of text, as CSV and as JSON, for people and for other programs."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import orjson

from gateway.cli.arguments import time_text
from gateway.common.text import printable, printable_json
from gateway.model.path import MachinePath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from drivers.base import Value
    from gateway.model.reading import Reading
    from gateway.stores.buckets import Bucket

STYLES = ("text", "csv", "json")

FUNCTIONS: dict[str, Callable[[Bucket], Value | None]] = {
    "mean": lambda bucket: bucket.mean,
    "min": lambda bucket: bucket.min,
    "max": lambda bucket: bucket.max,
    "first": lambda bucket: bucket.first,
    "last": lambda bucket: bucket.last,
    "count": lambda bucket: bucket.values,
    "sum": lambda bucket: bucket.total if bucket.values else None,
    "range": lambda bucket: (
        None if bucket.min is None or bucket.max is None else float(bucket.max) - float(bucket.min)
    ),
}
"""Functions of a bucket, by name."""

_POINT = (*MachinePath._fields, "point")
_READING = ("time", *_POINT, "value", "unit", "quality", "reason", "code", "late")

_TEXT = "{time}  {point:<72} {value:>18} {unit:<8} {quality}"


def reading_row(reading: Reading, *, local: bool) -> dict[str, Any]:
    """Return a reading by the names of its columns."""
    return {
        "time": time_text(reading.time, local=local), **reading.path._asdict(), "point": reading.point,
        "value": reading.value, "unit": reading.unit, "quality": reading.quality.value, "reason": reading.reason,
        "code": reading.code, "late": reading.late,
    }  # fmt: skip


def bucket_row(bucket: Bucket, functions: Sequence[str], *, local: bool) -> dict[str, Any]:
    """Return a bucket by the names of its columns; `time` is its start, `quality` the worst quality in it."""
    path, point, unit = bucket.series.id
    return {
        "time": time_text(bucket.start, local=local), **path._asdict(), "point": point,
        **{name: FUNCTIONS[name](bucket) for name in functions}, "unit": unit, "quality": bucket.quality.value,
        "readings": bucket.values + bucket.bad, "uncertain": bucket.uncertain, "bad": bucket.bad,
    }  # fmt: skip


def reading_lines(readings: Iterable[Reading], style: str, *, local: bool = False) -> Iterator[str]:
    """Yield readings as lines, in CSV after a line with the names of the columns."""
    if style == "csv":
        yield _csv(_READING)
    for reading in readings:
        yield reading_line(reading, style, local=local)


def reading_line(reading: Reading, style: str, *, local: bool = False) -> str:
    """Return a reading as a line."""
    row = reading_row(reading, local=local)
    if style == "json":
        return printable_json(orjson.dumps(row).decode())
    if style == "csv":
        return _csv(row.values())
    words = (reading.quality.value, reading.reason, reading.code, "late" if reading.late else "")
    return _TEXT.format(
        time=row["time"], point=printable(f"{reading.path}/{reading.point}"), value=_cell(reading.value),
        unit=printable(reading.unit), quality=printable(" ".join(word for word in words if word)),
    )  # fmt: skip


def bucket_lines(
    buckets: Iterable[Bucket], functions: Sequence[str], style: str, *, local: bool = False
) -> Iterator[str]:  # fmt: skip
    """Yield buckets as lines, in text and CSV after a line with the names of the columns."""
    if style == "csv":
        columns = ("time", *_POINT, *functions, "unit", "quality", "readings", "uncertain", "bad")
        yield _csv(columns)
    elif style == "text":
        yield _bucket_text("time", "point", functions, "unit", "quality")
    for bucket in buckets:
        row = bucket_row(bucket, functions, local=local)
        if style == "json":
            yield printable_json(orjson.dumps(row).decode())
        elif style == "csv":
            yield _csv(row.values())
        else:
            faults = [f"{row[name]} {name}" for name in ("uncertain", "bad") if row[name]]
            quality = f"{row['quality']} ({', '.join(faults)})" if faults else row["quality"]
            cells = [_cell(row[name]) for name in functions]
            yield _bucket_text(row["time"], printable(str(bucket.series)), cells, printable(row["unit"]), quality)


def _bucket_text(time: str, point: str, cells: Sequence[str], unit: str, quality: str) -> str:
    return f"{time:<32} {point:<72} {' '.join(f'{cell:>14}' for cell in cells)} {unit:<8} {quality}"


def _csv(cells: Iterable[Any]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="").writerow(
        [("true" if one else "false") if isinstance(one, bool) else "" if one is None else one for one in cells]
    )
    return file.getvalue()


def _cell(value: Value | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    return printable(value) if isinstance(value, str) else str(value)
