"""Readings out of InfluxDB with InfluxQL, which InfluxDB 1, 2 and 3 answer at `/query`.

InfluxDB 2 and 3 map a bucket to the database of the same name. The measurement `quality` has the readings that are
not good; values of the same series and time are joined to them. Numbers are reduced by the server, and other values
here.
"""

from __future__ import annotations

from collections import defaultdict
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from drivers.base import Quality
from gateway.model.path import MachinePath
from gateway.model.reading import Reading
from gateway.stores.base import StoreError
from gateway.stores.buckets import Bucket, reduce_readings, start_of
from gateway.stores.series import Series, SeriesId, matching, positions
from gateway.stores.tables import all_tables
from gateway.stores.windows import LAST_TIME, MAX_WINDOW, TooLarge, WindowedReader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from drivers.base import Value

MAX_SERIES = 64 * 2**20
"""Bytes of an answer with series."""

MAX_PATHS = 50
"""Machines that are named in a query; of more, all are asked for."""

MAX_FIELDS = 200
"""Fields that are named in a query."""

_FIELDS_OF_SUMS = 20
"""Fields whose sums are computed by one query."""

MAX_BUCKETS = 10_000
"""Buckets of all series that are computed by one request."""

QUALITY = "quality"

_TYPES = {"float": "float", "integer": "int", "unsigned": "int", "string": "string", "boolean": "bool"}
_LEVELS = {1: Quality.UNCERTAIN, 2: Quality.BAD}

_TIME_FIELD = "time_"
"""The field of a point that is named `time`, see `line_protocol.py`."""

_SUMS = ("count", "sum", "min", "max", "first", "last")

_Cell = bool | int | float | str | None


class _Rows(BaseModel):
    """The rows of one series of an answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = ""
    tags: dict[str, str] = {}
    columns: list[str]
    values: list[list[_Cell]] = []
    partial: bool = False

    def dicts(self) -> Iterator[dict[str, Any]]:
        """Yield each row by the names of its columns."""
        for row in self.values:
            yield dict(zip(self.columns, row, strict=True))


class _Statement(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    series: list[_Rows] = []
    error: str = ""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    results: list[_Statement] = []
    error: str = ""


_ANSWER = TypeAdapter(_Answer)


class _Field(NamedTuple):
    """A field that has the values of a series."""

    measurement: str
    name: str
    type: str


class InfluxqlReader(WindowedReader):
    """Reads one database. `ask` returns the answer to a query, of so many bytes at most; it raises `TooLarge`."""

    def __init__(self, ask: Callable[[str, int], bytes]) -> None:
        self._ask = ask

    def _rows(
        self, query: str, most: int, columns: Iterable[str] = (), numbers: Iterable[str] = ()
    ) -> tuple[list[_Rows], int]:  # fmt: skip
        """Return the rows of an answer, and its bytes. Raises `TooLarge` and `StoreError`.

        All rows have these columns, and finite numbers or nothing in those of `numbers`; `time` is a whole number.
        """
        body = self._ask(query, most)
        try:
            answer = _ANSWER.validate_json(body)
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(map(str, problem["loc"]))
            raise StoreError(f"the server's answer is not one of InfluxDB: {place}: {problem['msg']}") from None
        for error_ in (answer.error, *(statement.error for statement in answer.results)):
            if error_:
                raise StoreError(f"the server refuses the query: {error_[:300]}")
        rows = [one for statement in answer.results for one in statement.series]
        if any(one.partial or any(len(row) != len(one.columns) for row in one.values) for one in rows):
            raise TooLarge
        needed, numeric = {*columns, *numbers}, set(numbers)
        for one in rows:
            if missing := needed.difference(one.columns):
                raise StoreError(f"the server's answer is not one of InfluxDB: it has no column {min(missing)}")
            for position, column in enumerate(one.columns):
                if column in numeric and not all(_is_number(row[position], column) for row in one.values):
                    raise StoreError(f"the server's answer is not one of InfluxDB: {column} is not a number")
        return rows, len(body)

    # -- series --

    def series(self, pattern: str) -> list[Series]:
        """Return the series that match a glob. Raises `StoreError`."""
        return matching(self._series(), pattern)

    def _series(self) -> Iterator[Series]:
        types: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        rows, _ = self._rows("SHOW FIELD KEYS", MAX_SERIES, ("fieldKey", "fieldType"))
        for one in rows:
            for row in one.dicts():
                types[one.name][str(row.get("fieldKey"))].add(_TYPES.get(str(row.get("fieldType")), ""))
        found: dict[SeriesId, list[_Field]] = defaultdict(list)
        tables = {table.name for table in all_tables()}
        for measurement, fields in types.items():
            if measurement != QUALITY and measurement not in tables:
                for name, field in self._filled_fields(measurement, fields):
                    found[name].append(field)
        for name in self._faulted() if QUALITY in types else ():
            found.setdefault(name, [])
        for name, filled in found.items():
            kinds = {field.type for field in filled}
            yield Series(name, kinds.pop() if len(kinds) == 1 else "", key=tuple(filled))

    def _filled_fields(self, measurement: str, fields: dict[str, set[str]]) -> Iterator[tuple[SeriesId, _Field]]:
        """Yield the series of a measurement, and the field of each: a machine has some of the fields."""
        names = sorted(fields)
        columns = ", ".join(f"last({_name(field)}) AS last{n}" for n, field in enumerate(names))
        query = f"SELECT {columns} FROM {_name(measurement)} GROUP BY *"  # noqa: S608 - quoted
        rows, _ = self._rows(query, MAX_SERIES, [f"last{n}" for n in range(len(names))])
        for one in rows:
            path = _path(one.tags)
            if path is None:
                continue
            for row in one.dicts():
                for n, field in enumerate(names):
                    if row[f"last{n}"] is not None:
                        kind = next(iter(fields[field])) if len(fields[field]) == 1 else ""
                        name = SeriesId(path, _point(field), one.tags.get("unit", ""))
                        yield name, _Field(measurement, field, kind)

    def _faulted(self) -> Iterator[SeriesId]:
        """Yield the series that have readings that are not good."""
        rows, _ = self._rows(f"SELECT last(level) FROM {_name(QUALITY)} GROUP BY *", MAX_SERIES)  # noqa: S608 - quoted
        for one in rows:
            name = _faulted(one.tags)
            if name is not None:
                yield name

    # -- readings --

    def fetch(self, series: Sequence[Series], since: int, until: int) -> tuple[list[Reading], int]:
        """Return the readings of a window; see the contract."""
        places = positions(series)
        span = f"time >= {since}u AND time < {until}u"
        values: dict[tuple[SeriesId, int], Value | None] = {}
        faults: dict[tuple[SeriesId, int], tuple[Quality, str, str, bool]] = {}
        size = 0
        for measurement, fields in _by_measurement(series):
            for start in range(0, len(fields), MAX_FIELDS):
                some = fields[start : start + MAX_FIELDS]
                query = (
                    f"SELECT {', '.join(_name(field.name) for field in some)} FROM {_name(measurement)} "  # noqa: S608 - quoted
                    f"WHERE {span}{_where(series)} GROUP BY *"
                )
                rows, read = self._rows(query, MAX_WINDOW - size, [field.name for field in some], ["time"])
                size += read
                for name, time, field, cell in _cells(rows, some):
                    if name in places:
                        values[name, time] = _as(cell, field.type)
        query = (
            f"SELECT level, quality, reason, code, late FROM {_name(QUALITY)} "  # noqa: S608 - quoted
            f"WHERE {span}{_where(series)} GROUP BY *"
        )
        rows, read = self._rows(query, MAX_WINDOW - size, numbers=["time", "level"])
        for one in rows:
            faulted = _faulted(one.tags)
            if faulted is None or faulted not in places:
                continue
            for row in one.dicts():
                quality = _LEVELS.get(row["level"], Quality.GOOD)
                words = str(row.get("reason") or ""), str(row.get("code") or "")
                faults[faulted, int(row["time"])] = (quality, *words, bool(row.get("late")))
        readings = []
        for (name, time), value in values.items():
            fault = faults.pop((name, time), (Quality.GOOD, "", "", False))
            readings.append(Reading(name.path, name.point, time, value, name.unit, *fault))
        readings += [
            Reading(name.path, name.point, time, None, name.unit, *fault)
            for (name, time), fault in faults.items()
            if fault[0] is Quality.BAD
        ]
        return readings, size + read

    # -- buckets --

    def reduced(
        self, series: Sequence[Series], since: int, until: int, width: int, *, good: bool
    ) -> Iterator[Bucket]:
        """Yield the buckets of a range; see the contract."""
        if not series:
            return
        since, until = self._filled(series, max(since, 0), min(until, LAST_TIME))
        # a point of two measurements had its template renamed: rare, and the server can't put them in order
        numbers = [one for one in series if one.type in {"float", "int"} and len(_fields(one)) == 1 and not good]
        others = [one for one in series if one not in set(numbers)]
        if not numbers:
            readings = self.range(series, since, until, newest_first=False)
            yield from reduce_readings(readings, series, width, good=good)
            return
        order = positions(series)
        step = max(1, MAX_BUCKETS // len(series)) * width
        while since < until:
            end = min(until, start_of(since, width) + step)
            buckets = self._numbers(numbers, since, end, width)
            buckets += reduce_readings(self.range(others, since, end, newest_first=False), others, width)
            yield from sorted(buckets, key=lambda one: (one.start, order[one.series.id]))
            since = end

    def _filled(self, series: Sequence[Series], since: int, until: int) -> tuple[int, int]:
        """Return the part of a range that has values or faults: the first and last time of any series."""
        times = []
        names = [*{name for name, _ in _by_measurement(series)}, QUALITY]
        for order in ("ASC", "DESC"):
            for measurement in names:
                query = (
                    f"SELECT * FROM {_name(measurement)} WHERE time >= {since}u AND time < {until}u"  # noqa: S608 - quoted
                    f"{_where(series)} ORDER BY time {order} LIMIT 1"
                )
                rows, _ = self._rows(query, MAX_WINDOW, numbers=["time"])
                times += [int(row["time"]) for one in rows for row in one.dicts()]
        return (min(times), max(times) + 1) if times else (since, since)

    def _numbers(self, series: Sequence[Series], since: int, until: int, width: int) -> list[Bucket]:
        """Return buckets of numbers, in any order, which the server computes."""
        named = {one.id: one for one in series}
        span = f"time >= {since}u AND time < {until}u"
        tail = f"GROUP BY time({width}u), * FILL(none)"
        buckets: dict[tuple[SeriesId, int], Bucket] = {}
        faults = {level: self._faults(named, span + _where(series), tail, level) for level in _LEVELS}
        for measurement, fields in _by_measurement(series):
            for start in range(0, len(fields), _FIELDS_OF_SUMS):
                some = fields[start : start + _FIELDS_OF_SUMS]
                columns = ", ".join(
                    f"{sum_}({_name(field.name)}) AS {sum_}{n}" for n, field in enumerate(some) for sum_ in _SUMS
                )
                query = f"SELECT {columns} FROM {_name(measurement)} WHERE {span}{_where(series)} {tail}"  # noqa: S608 - quoted
                sums = [f"{sum_}{n}" for n in range(len(some)) for sum_ in _SUMS]
                rows, _ = self._rows(query, MAX_SERIES, numbers=["time", *sums])
                for name, at, row, n in _of_series(rows, some, named):
                    if not row[f"count{n}"]:
                        continue
                    low, high, first, last = (_as(row[f"{sum_}{n}"], some[n].type) for sum_ in _SUMS[2:])
                    uncertain, bad = (faults[level].pop((name, at), 0) for level in _LEVELS)
                    count, total = row[f"count{n}"], float(row[f"sum{n}"])
                    buckets[name, at] = Bucket(
                        named[name], at, count, total, low, high, first, last, uncertain, bad
                    )  # fmt: skip
        for name, at in faults[1].keys() | faults[2].keys():
            counts = (faults[level].get((name, at), 0) for level in _LEVELS)
            buckets[name, at] = Bucket(named[name], at, 0, None, None, None, None, None, *counts)
        return list(buckets.values())

    def _faults(
        self, named: dict[SeriesId, Series], where: str, tail: str, level: int
    ) -> dict[tuple[SeriesId, int], int]:  # fmt: skip
        """Return the number of readings of a level of quality in each bucket."""
        query = f"SELECT count(level) AS faults FROM {_name(QUALITY)} WHERE {where} AND level = {level} {tail}"  # noqa: S608 - quoted
        rows, _ = self._rows(query, MAX_SERIES, numbers=["time", "faults"])
        found = {}
        for one in rows:
            name = _faulted(one.tags)
            if name is None or name not in named:
                continue
            for row in one.dicts():
                if row["faults"]:
                    found[name, int(row["time"])] = int(row["faults"])
        return found


def _of_series(
    rows: Iterable[_Rows], fields: Sequence[_Field], named: Collection[SeriesId]
) -> Iterator[tuple[SeriesId, int, dict[str, Any], int]]:
    """Yield each row for each field of a series, with its time, and the position of the field."""
    for one in rows:
        path = _path(one.tags)
        if path is None:
            continue
        names = [SeriesId(path, _point(field.name), one.tags.get("unit", "")) for field in fields]
        for row in one.dicts():
            for position, name in enumerate(names):
                if name in named:
                    yield name, int(row["time"]), row, position


def _fields(series: Series) -> Sequence[_Field]:
    """Return the fields that have values of a series."""
    fields: tuple[_Field, ...] = series.key
    return fields


def _is_number(cell: _Cell, column: str) -> bool:
    if column == "time":
        return type(cell) is int
    return cell is None or (type(cell) in {int, float} and isfinite(cell))  # type: ignore[arg-type] # a number


def _as(value: Any, kind: str) -> Value | None:  # noqa: ANN401 - a cell
    return float(value) if kind == "float" and value is not None else value


def _by_measurement(series: Iterable[Series]) -> Iterator[tuple[str, list[_Field]]]:
    """Yield each measurement with its fields that have values of the series."""
    found: dict[str, dict[str, _Field]] = defaultdict(dict)
    for one in series:
        for field in _fields(one):
            found[field.measurement][field.name] = field
    for measurement, fields in found.items():
        yield measurement, list(fields.values())


def _cells(rows: Iterable[_Rows], fields: Sequence[_Field]) -> Iterator[tuple[SeriesId, int, _Field, Value]]:
    """Yield every value with its series, time and field."""
    by_name = {field.name: field for field in fields}
    for one in rows:
        path = _path(one.tags)
        if path is None:
            continue
        unit = one.tags.get("unit", "")
        for row in one.dicts():
            for name, value in row.items():
                if name in by_name and value is not None:
                    yield SeriesId(path, _point(name), unit), int(row["time"]), by_name[name], value


def _point(field: str) -> str:
    return "time" if field == _TIME_FIELD else field


def _path(tags: dict[str, str]) -> MachinePath | None:
    """Return the machine of a series; None if another program wrote it."""
    levels = [tags.get(name, "") for name in MachinePath._fields]
    return MachinePath(*levels) if all(levels) else None


def _faulted(tags: dict[str, str]) -> SeriesId | None:
    """Return the series of a line in the measurement `quality`."""
    path, point = _path(tags), tags.get("point", "")
    return SeriesId(path, point, tags.get("unit", "")) if path is not None and point else None


def _where(series: Iterable[Series]) -> str:
    """Return the condition on machines; empty for many machines, whose rows are sorted out here."""
    paths = {one.id.path for one in series}
    if len(paths) > MAX_PATHS:
        return ""
    machines = (
        "(" + " AND ".join(f"{_name(key)} = {_text(value)}" for key, value in path._asdict().items()) + ")"
        for path in sorted(paths)
    )
    return f" AND ({' OR '.join(machines)})"


def _name(name: str) -> str:
    """Return an identifier of InfluxQL."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _text(text: str) -> str:
    """Return a string of InfluxQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
