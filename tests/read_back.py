"""The readings in each store, read with the interface of the store, in the form in which they were written.

Stores keep different parts of a reading; `as_held` returns a reading as a store keeps it.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from abc import ABC, abstractmethod
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from drivers.base import Quality
from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan, Reading
from gateway.stores import store_kind
from gateway.stores.base import MachineScan
from gateway.stores.tables import all_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from servers import Influxd, VictoriaMetrics

    from gateway.stores.base import Store

_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")

Key = tuple[MachinePath, str, int]


class Exactly(NamedTuple):
    """A reading and its value's type: 16, 16.0 and True are three things here."""

    reading: Reading
    type: type


def exactly(readings: Iterable[Reading]) -> list[Exactly]:
    """Return readings in one order, to be compared."""
    exact = [Exactly(reading, type(reading.value)) for reading in readings]
    return sorted(exact, key=lambda one: (str(one.reading.path), one.reading.point, one.reading.time))


SETTLE_SECONDS = 30.0
"""Seconds until a server must show what was written."""


class Target(ABC):
    """A kind of store, and one place to write to. `entry` is its section under `stores`."""

    entry: dict[str, Any]

    def store(self) -> Store:
        """Return the store that the configuration would make of the entry; it is not open."""
        [(name, settings)] = self.entry.items()
        kind = store_kind(name)
        return kind.make(kind.settings.model_validate(settings))

    @contextmanager
    def reading(self) -> Iterator[Store]:
        """Open the store to read it, with everything that was written so far."""
        store = self.store()
        store.open_for_query({"curing-press"})
        with closing(store):
            yield store

    def settle(self) -> None:  # noqa: B027 - most stores show at once what they have written
        """Wait until the store shows everything that was written."""

    @abstractmethod
    def readings(self) -> Iterable[Reading]:
        """Return everything that is stored."""

    def as_held(self, reading: Reading) -> Reading:
        """Return a reading as this store keeps it."""
        return reading

    def held(self) -> list[Exactly]:
        """Return everything that is stored, to be compared with `expected`."""
        return exactly(self.readings())

    def expected(self, readings: Iterable[Reading]) -> list[Exactly]:
        """Return the expected result of `held` after these readings were written."""
        return exactly(map(self.as_held, readings))


class SqliteTarget(Target):
    """An SQLite file, read through its view by a connection of its own."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.entry = {"sqlite": {"path": str(file)}}

    def readings(self) -> Iterator[Reading]:
        db = sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)
        db.row_factory = sqlite3.Row
        try:
            rows = db.execute("select * from readings").fetchall()
        finally:
            db.close()
        for row in rows:
            is_bool = row["type"] == "bool" and row["value"] is not None
            # the view is for people: true and false are words in it
            value = {"true": True, "false": False}[row["value"]] if is_bool else row["value"]
            time = (datetime.fromisoformat(row["time"]) - _EPOCH) // timedelta(microseconds=1)
            fault = Quality(row["quality"]), row["reason"] or "", row["code"] or "", bool(row["late"])
            yield Reading(_path(row), row["point"], time, value, row["unit"], *fault)


class InfluxTarget(Target):
    """A database of InfluxDB 1.x, read with InfluxQL."""

    def __init__(self, server: Influxd, database: str) -> None:
        self._server = server
        self._database = database
        self.entry = server.store(database)

    def readings(self) -> Iterator[Reading]:
        types = {
            (row["measurement"], row["fieldKey"]): row["fieldType"]
            for row in self._server.query(self._database, "show field keys")
        }
        faults, units, values = {}, {}, {}
        # one by one: a field has one type in a query, also where two measurements have it with two
        tables = {table.name for table in all_tables()}  # their rows repeat readings
        measurements = sorted({measurement for measurement, _ in types} - tables)
        queries = [f'select * from "{measurement}" group by *' for measurement in measurements]  # noqa: S608 - a test's
        for row in (row for query in queries for row in self._server.query(self._database, query)):
            unit = row.get("unit", "")
            if row["measurement"] == "quality":
                key = _path(row), row["point"], row["time"]
                words = Quality(row["quality"]), row.get("reason") or "", row.get("code") or "", bool(row.get("late"))
                faults[key], units[key] = words, unit
                continue
            for name, value in row.items():
                kind = types.get((row["measurement"], name))
                if kind is not None and value is not None:
                    key = _path(row), name, row["time"]
                    values[key], units[key] = float(value) if kind == "float" else value, unit
        yield from _joined(values, faults, units)


class VictoriaMetricsTarget(Target):
    """The series of one enterprise in VictoriaMetrics, which has numbers, labels and milliseconds."""

    def __init__(self, server: VictoriaMetrics, enterprise: str, *templates: str) -> None:
        self.server = server
        self._enterprise = enterprise
        self._templates = templates
        self.entry = server.store()

    @contextmanager
    def reading(self) -> Iterator[Store]:
        self.server.request("GET", "/internal/force_flush")  # it shows rows a second after they were written
        with super().reading() as store:
            yield store

    def settle(self) -> None:
        """Wait until the server shows everything that was written, in each answer.

        It keeps the series that a selector matched for up to 10 s, unless a flush on request writes new series. So
        write machines of another enterprise until the list of series, which each test asks for, has the last of them.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        listed, shown = False, -1
        while time.monotonic() < deadline:
            listed = listed or self._lists_a_new_machine()
            samples = self.server.export(f'{{enterprise="{self._enterprise}"}}')
            before, shown = shown, sum(len(series["values"]) for series in samples)
            if listed and shown == before > 0:
                return
        pytest.fail(f"VictoriaMetrics did not show everything within {SETTLE_SECONDS:g} s")

    def _lists_a_new_machine(self) -> bool:
        path = MachinePath(f"settled-{uuid.uuid4().hex}", "site", "area", "line", "machine")
        now = NamedScan(time.time_ns() // 1000, {"settled": 1.0})
        with self.store() as store:
            store.write([MachineScan(path, MachineMeta("settled", {"settled": "float"}), now, 0)])
        with self.reading() as store:
            return any(one.id.path == path for one in store.series("*"))

    def readings(self) -> Iterator[Reading]:
        faults, units, values = {}, {}, {}
        for series in self.server.export(f'{{enterprise="{self._enterprise}"}}'):
            labels, name = series["metric"], series["metric"]["__name__"]
            for value, stamp in zip(series["values"], series["timestamps"], strict=True):
                if name == "quality_level":
                    key = _path(labels), labels["point"], stamp * 1000
                    faults[key] = Quality(labels["quality"]), labels.get("reason", ""), "", "late" in labels
                else:
                    [point] = (name[len(t) + 1 :] for t in self._templates if name.startswith(f"{t}_"))
                    key = _path(labels), point, stamp * 1000
                    assert key not in values, f"{key} twice"
                    values[key] = labels["value"] if "value" in labels else float(value)
                units[key] = labels.get("unit", "")
        yield from _joined(values, faults, units)

    def as_held(self, reading: Reading) -> Reading:
        value = reading.value
        held = _one_line(value) if isinstance(value, str) else None if value is None else float(value)
        if held == "":
            held = 1.0  # an empty label is not stored
        return replace(reading, value=held, time=reading.time // 1000 * 1000, code="")

    def expected(self, readings: Iterable[Reading]) -> list[Exactly]:
        # it packs numbers as decimal numbers of twelve digits or more
        return [
            Exactly(replace(one.reading, value=pytest.approx(one.reading.value, rel=1e-11, abs=0)), float)
            if one.type is float
            else one
            for one in super().expected(readings)
        ]


def _joined(
    values: dict[Key, Any], faults: dict[Key, tuple[Quality, str, str, bool]], units: dict[Key, str]
) -> Iterator[Reading]:
    """Yield a reading for each value, with its fault where it has one, and for each fault without a value."""
    for key in values.keys() | faults.keys():
        yield Reading(*key, values.get(key), units[key], *faults.get(key, (Quality.GOOD, "", "", False)))


def _path(row: Any) -> MachinePath:
    return MachinePath(*(row[name] for name in MachinePath._fields))


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\r", " ")
