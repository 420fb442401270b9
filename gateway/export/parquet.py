"""The columns of readings in Parquet, and the writer of a file.

A reading is a row. Its value is in the column of its type, so a query needs no conversion: `value` has numbers, a
bool as 1 or 0; `integer` has the exact number of an int point, since `value` has 53 bits; `text` has strings and
JSON texts.
"""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from types import TracebackType

    from gateway.model.reading import Reading

BATCH = 50_000
"""Rows of a row group of a file with readings of all machines."""

_WORD = pa.dictionary(pa.int32(), pa.string())
_PATH = ("enterprise", "site", "area", "line", "machine")

_COLUMNS = [
    pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False, metadata={"description": "of acquisition, UTC"}),
    pa.field("point", _WORD, nullable=False),
    pa.field("value", pa.float64(), metadata={"description": "number; true is 1; null if bad or a text"}),
    pa.field("integer", pa.int64(), metadata={"description": "exact value of an int point"}),
    pa.field("text", pa.string(), metadata={"description": "value of a string or json point"}),
    pa.field("unit", _WORD, nullable=False, metadata={"description": "UCUM code; empty without a unit"}),
    pa.field("quality", _WORD, nullable=False, metadata={"description": "good, uncertain or bad"}),
    pa.field("reason", _WORD, nullable=False, metadata={"description": "why it is not good; else empty"}),
    pa.field("code", _WORD, nullable=False, metadata={"description": "protocol code; else empty"}),
    pa.field("late", pa.bool_(), nullable=False, metadata={"description": "missed in an outage, read afterwards"}),
]

MACHINE_SCHEMA = pa.schema(_COLUMNS)
"""Of a file of one machine."""

SCHEMA = pa.schema([_COLUMNS[0], *(pa.field(name, _WORD, nullable=False) for name in _PATH), *_COLUMNS[1:]])
"""Of a file of several machines."""


def record_batch(readings: Iterable[Reading], schema: pa.Schema) -> pa.RecordBatch:
    """Return readings as the columns of a schema."""
    columns: dict[str, list[Any]] = defaultdict(list)
    paths = SCHEMA is schema
    for reading in readings:
        value = reading.value
        columns["time"].append(reading.time)
        columns["point"].append(reading.point)
        columns["value"].append(None if value is None or isinstance(value, str) else float(value))
        columns["integer"].append(value if type(value) is int else None)
        columns["text"].append(value if isinstance(value, str) else None)
        columns["unit"].append(reading.unit)
        columns["quality"].append(reading.quality.value)
        columns["reason"].append(reading.reason)
        columns["code"].append(reading.code)
        columns["late"].append(reading.late)
        if paths:
            for name, level in zip(_PATH, reading.path, strict=True):
                columns[name].append(level)
    arrays = [pa.array(columns[field.name], _plain(field.type)).cast(field.type) for field in schema]
    return pa.record_batch(arrays, schema=schema)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


class ParquetFile:
    """A file that appears under its name when it is complete and on disk, and not at all after an error or a kill."""

    def __init__(self, file: Path, schema: pa.Schema, metadata: Mapping[str, str] | None = None) -> None:
        """Prepare; no I/O. `metadata` goes into the schema."""
        self._file = file
        self._schema = schema.with_metadata(dict(metadata)) if metadata else schema
        # readers of folders leave out files with a dot before their names
        self._new = file.with_name(f".{file.name}.new")
        self._writer: pq.ParquetWriter | None = None
        self.rows = 0
        """Rows that were written so far."""

    def __enter__(self) -> Self:
        self._writer = pq.ParquetWriter(self._new, self._schema, compression="zstd")
        return self

    def write(self, readings: Iterable[Reading]) -> None:
        """Write readings as one row group. Raises `OSError`."""
        if self._writer is None:
            raise ValueError("the file is not open")
        batch = record_batch(readings, SCHEMA if "machine" in self._schema.names else MACHINE_SCHEMA)
        if batch.num_rows:
            self._writer.write_batch(batch.replace_schema_metadata(self._schema.metadata))
            self.rows += batch.num_rows

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        if kind is not None:
            with suppress(OSError):  # the first error is reported
                self._close()
            self._new.unlink(missing_ok=True)
            return
        self._close()
        with self._new.open("rb") as written:
            os.fsync(written.fileno())
        self._new.replace(self._file)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def write_readings(file: Path, readings: Iterable[Reading]) -> int:
    """Write readings of any machines to a file, as they come; returns how many. Raises `OSError`."""
    with ParquetFile(file, SCHEMA) as written:
        batch: list[Reading] = []
        for reading in readings:
            batch.append(reading)
            if len(batch) == BATCH:
                written.write(batch)
                batch = []
        written.write(batch)
    return written.rows


def metadata_of(file: Path) -> dict[str, str]:
    """Return the metadata of a file; empty if it is not there, or not Parquet."""
    try:
        found = pq.read_schema(file).metadata or {}
    except (OSError, pa.ArrowException):
        return {}
    return {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in found.items()}
