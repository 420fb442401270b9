"""Scans as lines of InfluxDB's line protocol. Pure; `influxdb.py` sends them.

A machine's readings become one line per scan and unit: the measurement is the template, the points are fields,
the place in the factory and the unit are tags. The declared type decides between `16i` and `16.0`, since a
field keeps the type of its first value. Readings that are not good, or were read after an outage, have a line in the
measurement `quality`.

    curing-press,area=curing,…,machine=press-01,…,unit=bar bladder_pressure_left=16.02,steam=14.0 1764000000123456
    quality,area=curing,…,machine=press-01,…,unit=Cel,point=mould level=2i,quality="bad",reason="refused" 1764…
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from drivers.base import Quality
from gateway.stores.base import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drivers.base import Value
    from gateway.model.path import MachinePath
    from gateway.stores.base import MachineScan

_ESCAPED_KEY = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})
_ESCAPED_LABEL = _ESCAPED_KEY | {ord("\\"): r"\\"} | {10: r"\ ", 13: r"\ "}
_NOT_A_KEY = re.compile(r"[\x00-\x1f\x7f\\]")
"""Characters that end a line, or that InfluxDB 1 can't escape in a key (influxdb#9954)."""

MAX_CACHED = 20_000
"""Cached keys, and tags of machines; beyond that all are built again."""

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


class LineWriter:
    """Writes the lines of scans.

    With `labels` a string becomes the tag `value` beside a 1, for a server that stores numbers only.
    """

    def __init__(self, *, labels: bool) -> None:
        self._labels = labels
        self._tags: dict[tuple[MachinePath, str], str] = {}
        self._keys: dict[str, str] = {}

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
                tags = self._tag(path, unit) + (f",value={_label(value)}" if value else "")
                yield Line(f"{measurement},{tags}", (f"{self._field_key(name)}=1i",), time, record, 1)
            elif type(value) is int and value not in _INT64:
                # refused here: VictoriaMetrics would drop the whole line without an error
                message = "is beyond a 64-bit integer"
                refusals.append(Refusal(record, 1, f"{path}/{name} {value} {time}", message, NOT_WRITABLE))
            else:
                fields[unit, time].append(f"{self._field_key(name)}={_field(value, types.get(name))}")
        for (unit, time), written in fields.items():
            yield Line(f"{measurement},{self._tag(path, unit)}", tuple(written), time, record, len(written))
        yield from self._qualities(entry, refusals)

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
        return repr(float(value))
    return f"{value}i"


def _text(text: str) -> str:
    return f'"{text.translate(_ESCAPED_TEXT)}"'
