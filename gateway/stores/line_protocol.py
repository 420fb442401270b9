"""Scans as lines of InfluxDB's line protocol. Pure; `influxdb.py` sends them.

`LineWriter.body` writes a batch from compiled layouts: all of a machine's line but the digits is prepared once.
`LineWriter.lines` writes the same lines one by one, for a batch of which the server refuses some.

A machine's readings become one line per scan and unit: the measurement is the template, the points are fields,
the place in the factory and the unit are tags. The declared type decides between `16i` and `16.0`, since a
field keeps the type of its first value. Readings that are not good, or were read after an outage, have a line in the
measurement `quality`.

    curing-press,area=curing,…,machine=press-01,…,unit=bar bladder_pressure_left=16.02,steam=14.0 1764000000123456
    quality,area=curing,…,machine=press-01,…,unit=Cel,point=mould level=2i,quality="bad",reason="refused" 1764…

The rows of tables of their own (`tables.py`) have a measurement of the name of the table.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from itertools import count
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from drivers.base import Quality
from gateway.stores.base import Refusal
from gateway.stores.tables import table_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from drivers.base import Value
    from gateway.model.path import MachinePath
    from gateway.stores.base import MachineScan

_ESCAPED_KEY = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})
_ESCAPED_LABEL = _ESCAPED_KEY | {ord("\\"): r"\\"} | {10: r"\ ", 13: r"\ "}
_NOT_A_KEY = re.compile(r"[\x00-\x1f\x7f\\]")
"""Characters that end a line, or that InfluxDB 1 can't escape in a key (influxdb#9954)."""

MAX_CACHED = 20_000
"""Cached keys, and tags of machines; beyond that all are built again."""

MAX_LAYOUT_BYTES = 128 * 2**20
"""Bytes of memory of cached layouts, some 50 a point; beyond that all are compiled again."""

MAX_LAYOUTS = 16
"""Cached layouts of one machine: an event or a change has a set of points of its own."""

_LAYOUT_OVERHEAD, _LAYOUT_POINT = 600, 24
"""Bytes of memory of a layout beside its template, and of each of its points."""

_ESCAPED_TEXT = str.maketrans({'"': r"\"", "\\": r"\\"})
_LEVEL = {Quality.GOOD: 0, Quality.UNCERTAIN: 1, Quality.BAD: 2}
_INT64 = range(-(2**63), 2**63)


UNFIT = "is empty, or contains a backslash or a control character, which no line can hold"
NOT_WRITABLE = "not_writable"


MAX_LABEL = 4096
"""Bytes of a label value that every release of VictoriaMetrics stores; it cuts longer values without an error."""

SHOWN = 100
"""Characters of a long text in a refusal."""

TOO_LONG = f"is a text of more than {MAX_LABEL} bytes, which VictoriaMetrics may cut; store it in SQLite or InfluxDB"


class Line(NamedTuple):
    """One line, the record that its readings came in, and their number."""

    head: str
    fields: tuple[str, ...]
    time: int
    record: int
    readings: int

    def __str__(self) -> str:
        return f"{self.head} {','.join(self.fields)} {self.time}"

    def only(self, fields: Sequence[str]) -> Line:
        """Return the line with these of its fields."""
        return self._replace(fields=tuple(fields), readings=min(self.readings, len(fields)))


class _Layout(NamedTuple):
    """The lines of the values of a scan, compiled for its points and the types of their values.

    `template` has a `%b` for each value and each time; `order` puts the digits of all values, and the time behind
    them, into the order of the template. `integers` returns the integers, which have to fit into 64 bits. `texts` are
    the positions of strings: they have a place in the template, or with `labels` lines of their own.
    """

    template: bytes
    order: Callable[[Sequence[bytes]], tuple[bytes, ...]]
    integers: Callable[[Sequence[Any]], tuple[int, ...]] | None
    texts: tuple[tuple[int, str], ...]


_Layouts = dict[tuple[tuple[str, ...], tuple[type, ...]], "_Layout | None"]
"""Names and types of values -> their layout; None where a line can't hold all of them."""


class LineWriter:
    """Writes the lines of scans.

    With `labels` a string becomes the tag `value` beside a 1, for a server that stores numbers only.
    """

    def __init__(self, *, labels: bool) -> None:
        self._labels = labels
        self.counts: Counter[str] = Counter()
        """Readings without a row, as in `Store.counts`."""
        self._tags: dict[tuple[MachinePath, str], str] = {}
        self._keys: dict[str, str] = {}
        self._machines: dict[tuple[MachinePath, str], _Layouts] = {}
        self._layout_bytes = 0

    @property
    def layouts(self) -> int:
        """Return the number of compiled layouts."""
        return sum(map(len, self._machines.values()))

    def body(self, batch: Iterable[MachineScan], refusals: list[Refusal]) -> bytes:
        """Return the lines of a batch: those of `lines`, in the same order."""
        parts: list[bytes] = []
        for entry in batch:
            scan = entry.scan
            if scan.times or scan.uncertain or scan.late or not self._add_values(entry, parts):
                parts += [encode(line) for line in self.lines(entry, refusals)]
                continue
            if scan.bad:
                parts += [encode(line) for line in self._qualities(entry, refusals)]
            if entry.meta.contents:
                parts += [encode(line) for line in self._table_lines(entry)]
        return b"\n".join(parts)

    def _add_values(self, entry: MachineScan, parts: list[bytes]) -> bool:
        """Add the lines of the values of a scan; return False, and add nothing, if no layout can write them."""
        listed, column = entry.scan.columns
        if not listed:
            return not self._unfit(entry)
        layout, values = self._find(entry, tuple(listed), column)
        if layout is None or not _fits_64_bits(layout, values):
            return False
        time, texts = entry.scan.time, layout.texts
        # a text may contain a comma: a number has its place until the digits are separated
        numbers = [0 if type(value) is str else value for value in values] if texts else values
        digits = orjson.dumps([*numbers, time])[1:-1].split(b",")
        if b"null" in digits:  # not a number, or infinite
            return False
        if texts and self._labels:
            if any(_is_too_long(values[at]) for at, _ in texts):
                return False
            parts += [encode(self._labelled(entry, name, values[at], time)) for at, name in texts]
        for at, _ in () if self._labels else texts:
            digits[at] = _text(values[at]).encode("utf-8", "replace")
        if layout.template:
            parts.append(layout.template % layout.order(digits))
        return True

    def _find(
        self, entry: MachineScan, names: tuple[str, ...], column: Sequence[Value]
    ) -> tuple[_Layout | None, Sequence[Any]]:  # fmt: skip
        """Return the layout of a scan, and its values as their declared types."""
        layouts = self._layouts(entry)
        layout = layouts.get((names, tuple(map(type, column))))
        if layout is not None:
            return layout, column
        values: list[Any] = list(column)
        kinds = entry.meta.types
        for at, name in enumerate(names):
            if type(values[at]) is int and kinds.get(name) == "float":
                values[at] = float(values[at])
        key = names, tuple(map(type, values))
        if key not in layouts:
            if self._layout_bytes > MAX_LAYOUT_BYTES:
                self._drop_layouts()
            if len(layouts) >= MAX_LAYOUTS:
                layouts.clear()
            layouts[key] = self._compile(entry, values)
        return layouts[key], values

    def _layouts(self, entry: MachineScan) -> _Layouts:
        """Return the layouts of a machine under its metadata."""
        key = entry.path, entry.meta.id
        layouts = self._machines.get(key)
        if layouts is None:
            if len(self._machines) >= MAX_CACHED:
                self._drop_layouts()
            layouts = self._machines[key] = {}
        return layouts

    def _drop_layouts(self) -> None:
        self._machines.clear()
        self._layout_bytes = 0

    def _compile(self, entry: MachineScan, values: Sequence[Value]) -> _Layout | None:
        """Return the layout of a scan; None where only `lines` can write it."""
        path, meta, scan, _ = entry
        if self._unfit(entry):
            return None
        fields: dict[str, list[tuple[int, str]]] = defaultdict(list)
        integers, texts = [], []
        for at, name, value in zip(count(), scan.values, values, strict=False):
            unit, kind = meta.units.get(name, ""), type(value)
            if not self._fits(name) or not self._fits_unit(unit) or kind not in _SUFFIXES:
                return None
            if kind is int:
                integers.append(at)
            if kind is str:
                texts.append((at, name))
            if kind is not str or not self._labels:
                fields[unit].append((at, f"{self._field_key(name)}=".replace("%", "%%") + f"%b{_SUFFIXES[kind]}"))
        measurement = self._key(meta.template)
        heads = [f"{measurement},{self._tag(path, unit)} ".replace("%", "%%") for unit in fields]
        lines = [
            f"{head}{','.join(field for _, field in part)} %b"
            for head, part in zip(heads, fields.values(), strict=True)
        ]
        order = [at for part in fields.values() for at in (*(at for at, _ in part), len(values))]
        template = "\n".join(lines).encode("utf-8", "replace")
        self._layout_bytes += len(template) + _LAYOUT_OVERHEAD + _LAYOUT_POINT * len(order)
        return _Layout(template, _picker(order), _picker(integers) if integers else None, tuple(texts))

    def lines(self, entry: MachineScan, refusals: list[Refusal]) -> Iterator[Line]:
        """Yield the lines of a scan; names and values that no line can hold go into `refusals`."""
        path, meta, scan, record = entry
        units, types, times = meta.units, meta.types, scan.times
        problem = self._unfit(entry)
        if problem:
            refusals.append(Refusal(record, len(scan), f"{path} {scan.time}", problem, NOT_WRITABLE))
            return
        measurement = self._key(meta.template)
        fields: dict[tuple[str, int], list[str]] = defaultdict(list)
        for name, value in scan.values.items():
            unit, time = units.get(name, ""), times.get(name, scan.time)
            if not self._fits(name) or not self._fits_unit(unit):
                refusals.append(Refusal(record, 1, f"{path}/{name} {value} {time}", UNFIT, NOT_WRITABLE))
            elif isinstance(value, str) and self._labels and _is_too_long(value):
                row = f"{path}/{name} {value:.{SHOWN}} {time}"
                refusals.append(Refusal(record, 1, row, TOO_LONG, NOT_WRITABLE))
            elif isinstance(value, str) and self._labels:
                yield self._labelled(entry, name, value, time)
            elif type(value) is int and value not in _INT64:
                # refused here: VictoriaMetrics would drop the whole line without an error
                message = "is beyond a 64-bit integer"
                refusals.append(Refusal(record, 1, f"{path}/{name} {value} {time}", message, NOT_WRITABLE))
            else:
                fields[unit, time].append(f"{self._field_key(name)}={_field(value, types.get(name))}")
        for (unit, time), written in fields.items():
            yield Line(f"{measurement},{self._tag(path, unit)}", tuple(written), time, record, len(written))
        yield from self._qualities(entry, refusals)
        if meta.contents:
            yield from self._table_lines(entry)

    def _table_lines(self, entry: MachineScan) -> Iterator[Line]:
        """Yield the rows of tables of their own: a measurement each, if the server stores text."""
        for row in () if self._labels or self._unfit(entry) else table_rows([entry], self.counts):
            tags, fields = {"point": row.point}, []
            for column, cell in zip(row.table.columns, row.cells, strict=True):
                tag = column.tag or column.name in row.table.key
                if tag and isinstance(cell, str) and cell and self._fits(cell):
                    tags[column.name] = cell
                elif cell is not None and not (tag and cell == ""):
                    kind = "float" if column.kind == "real" else None
                    fields.append(f"{self._field_key(column.name)}={_field(cell, kind)}")
            if fields and self._fits(row.point):
                own = ",".join(f"{key}={self._key(value)}" for key, value in tags.items())
                head = f"{self._key(row.table.name)},{self._tag(row.path, '')},{own}"
                yield Line(head, tuple(fields), row.time, entry.record, 0)  # the reading is counted where it is

    def _labelled(self, entry: MachineScan, name: str, value: str, time: int) -> Line:
        """Return the line of a string as a tag."""
        path, meta, _, record = entry
        tags = self._tag(path, meta.units.get(name, "")) + (f",value={_label(value)}" if value else "")
        return Line(f"{self._key(meta.template)},{tags}", (f"{self._field_key(name)}=1i",), time, record, 1)

    def _qualities(self, entry: MachineScan, refusals: list[Refusal]) -> Iterator[Line]:
        path, meta, scan, record = entry
        for quality, reasons in ((Quality.UNCERTAIN, scan.uncertain), (Quality.BAD, scan.bad)):
            for name, reason in reasons.items():
                if self._fits(name) and self._fits_unit(meta.units.get(name, "")):
                    yield self._quality(entry, name, quality, reason)
                elif quality is Quality.BAD:  # with a value it has been refused already
                    refusals.append(Refusal(record, 1, f"{path}/{name} {reason}", UNFIT, NOT_WRITABLE))
        if scan.late:
            for name in scan.values.keys() - scan.uncertain:
                if self._fits(name) and self._fits_unit(meta.units.get(name, "")):
                    yield self._quality(entry, name, Quality.GOOD, "")

    def _unfit(self, entry: MachineScan) -> str:
        """Return why no line can hold any reading of a scan; empty where lines can."""
        if not all(map(self._fits, entry.path)):
            return f"a level of the path {UNFIT}"
        if not self._fits(entry.meta.template) or entry.meta.template.startswith("#"):
            return f"the template {UNFIT}, or begins with #, which makes a comment of the line"
        return ""

    def _fits(self, name: str) -> bool:
        return bool(self._key(name))

    def _fits_unit(self, unit: str) -> bool:
        return not unit or self._fits(unit)

    def _quality(self, entry: MachineScan, name: str, quality: Quality, reason: str) -> Line:
        path, meta, scan, record = entry
        tags = f"{self._tag(path, meta.units.get(name, ''))},point={self._key(name)}"
        fields = f"level={_LEVEL[quality]}i"
        if self._labels:
            # without the code: it may contain a value, and each would become a series of its own
            tags += f",quality={quality.value}" + (f",reason={_label(reason)}" if reason else "")
            tags += ",late=true" if scan.late else ""
        else:
            fields += f",quality={_text(quality.value)}" + (f",reason={_text(reason)}" if reason else "")
            fields += ",late=true" if scan.late else ""
            if code := scan.codes.get(name):
                fields += f",code={_text(code)}"
        # a reading with a value is counted where that is
        readings = 1 if quality is Quality.BAD else 0
        return Line(f"quality,{tags}", (fields,), scan.times.get(name, scan.time), record, readings)

    def _tag(self, path: MachinePath, unit: str) -> str:
        known = self._tags.get((path, unit))
        if known is None:
            tags = dict(zip(path._fields, path, strict=True)) | ({"unit": unit} if unit else {})
            known = ",".join(f"{key}={self._key(value)}" for key, value in sorted(tags.items()))
            if len(self._tags) >= MAX_CACHED:
                self._tags.clear()
            self._tags[path, unit] = known
        return known

    def _key(self, text: str) -> str:
        """Return a measurement, tag value or field key in line protocol; empty if a line can't contain it."""
        known = self._keys.get(text)
        if known is None:
            known = "" if _NOT_A_KEY.search(text) else escape(text)
            if len(self._keys) >= MAX_CACHED:
                self._keys.clear()
            self._keys[text] = known
        return known

    def _field_key(self, name: str) -> str:
        # InfluxDB drops a field of this name without an error
        return "time_" if name == "time" else self._key(name)


_SUFFIXES = {bool: "", int: "i", float: "", str: ""}
"""The suffix of a field, by the type of its value."""


def encode(line: Line) -> bytes:
    """Return a line as it is sent."""
    return str(line).encode("utf-8", "replace")


def _picker(positions: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Return a function that returns the items at these positions."""
    if len(positions) < 2:  # noqa: PLR2004 - `itemgetter` returns a tuple for two or more
        return lambda items: tuple(items[position] for position in positions)
    return itemgetter(*positions)


def _fits_64_bits(layout: _Layout, values: Sequence[Any]) -> bool:
    if layout.integers is None:
        return True
    integers = layout.integers(values)
    return min(integers) >= _INT64.start and max(integers) < _INT64.stop


def escape(key: str) -> str:
    """Return a key in line protocol."""
    return key.translate(_ESCAPED_KEY)


def _label(text: str) -> str:
    """Return a text as a tag value, for a server that unescapes backslashes, as VictoriaMetrics does."""
    return text.translate(_ESCAPED_LABEL)


def _is_too_long(text: str) -> bool:
    """Return whether a server that stores texts as label values may cut a text."""
    return len(text) > MAX_LABEL // 4 and len(text.encode("utf-8", "surrogatepass")) > MAX_LABEL


def _field(value: Value, kind: str | None) -> str:
    """Write a value as its declared type: a float point is a float field even where its value is whole."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if kind == "float" or isinstance(value, float):
        number = float(value)
        return orjson.dumps(number).decode() if math.isfinite(number) else repr(number)
    return f"{value}i"


def _text(text: str) -> str:
    return f'"{text.translate(_ESCAPED_TEXT)}"'
