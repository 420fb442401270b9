"""Records as JSON; `docs/schema.md` describes the format for users."""

from __future__ import annotations

import json
from reprlib import repr as short
from typing import TYPE_CHECKING, Any

import orjson

from gateway.codecs.base import Undecodable
from gateway.model.reading import NamedScan
from gateway.model.record import Record
from gateway.model.text import check_text

if TYPE_CHECKING:
    from drivers.base import Value

VERSION = 1

MAX_BYTES = 8 * 2**20
"""The largest payload that is parsed: records of a gateway are a hundredth of it."""

_WHOLE = range(-(2**63), 2**63)
"""The integers that every store can hold."""

_LOWEST, _TOO_HIGH = -(2**63), 2**63

_KINDS = frozenset((bool, int, float, str))

_TIMES = range(253_402_300_800_000_000)
"""Microseconds since the epoch, until the end of the year 9999."""

_PLAIN = 2
"""Keys of a scan that is good as a whole: its time and its values."""

MAX_NAME = 256
"""Characters of the name of a gateway, a spool or a point."""

_WILDCARDS = frozenset("/+#")
"""Characters that a topic level must not contain (MQTT 5, 4.7.1): a gateway has topics with its name."""

MAX_CHECKED = 20_000
"""Valid point names that are cached; beyond that all are checked again."""

_UNPROVABLE = (b'\\\\":', b'" ', b"\n", b"\t")
"""Parts of a payload whose keys can't be counted without parsing it."""

_checked: set[str] = set()


class JsonCodec:
    """`{"v":1,"gateway":…,"spool":…,"seq":…,"scans":[{"t":…,"values":{…},…}]}`."""

    def encode(self, record: Record) -> bytes:
        """Return JSON without empty parts."""
        written = {"v": VERSION, "gateway": record.gateway, "spool": record.spool, "seq": record.seq}
        if record.meta:
            written["meta"] = record.meta
        written["scans"] = [_scan(scan) for scan in record.scans]
        return orjson.dumps(written)

    def decode(self, payload: bytes) -> Record:
        """Read JSON, checking everything that later steps rely on."""
        if len(payload) > MAX_BYTES:
            raise Undecodable(f"is of {len(payload)} bytes, where {MAX_BYTES} are the most")
        try:
            data = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise Undecodable(f"is not JSON: {error}") from error
        if not isinstance(data, dict) or type(data.get("v")) is not int or data["v"] != VERSION:
            raise Undecodable(f"is not a record of version {VERSION}")
        record = _record(data)
        _look_closer(payload, data, record)
        return record


def _scan(scan: NamedScan) -> dict[str, Any]:
    written: dict[str, Any] = {"t": scan.time, "values": scan.values}
    if scan.bad:
        written["bad"] = scan.bad
    if scan.uncertain:
        written["uncertain"] = scan.uncertain
    if scan.codes:
        written["codes"] = scan.codes
    if scan.times:
        written["times"] = scan.times
    if scan.late:
        written["late"] = True
    return written


def _record(data: dict[str, Any]) -> Record:
    gateway, spool = _need(data, "gateway", str), _need(data, "spool", str)
    for key, name in (("gateway", gateway), ("spool", spool)):
        if not name or not _WILDCARDS.isdisjoint(name):
            raise Undecodable(f"{key} is {short(name)}, which can't be a level of a topic")
        _check_text(name, key)
    meta = data.get("meta", "")
    if type(meta) is not str:
        raise Undecodable(f"meta is {short(meta)}, where a str belongs")
    seq = _need(data, "seq", int)
    if not 0 < seq < _TOO_HIGH:
        raise Undecodable(f"seq is {seq}, where a number from 1 to {_TOO_HIGH - 1} belongs")
    return Record(gateway, spool, seq, [_read(scan) for scan in _need(data, "scans", list)], meta)


def _need(data: dict[str, Any], key: str, kind: type) -> Any:  # noqa: ANN401 - of that kind
    value = data.get(key)
    if type(value) is not kind:
        raise Undecodable(f"{key} is {short(value)}, where a {kind.__name__} belongs")
    return value


def _read(data: Any) -> NamedScan:  # noqa: ANN401 - what came over the wire
    if not isinstance(data, dict):
        raise Undecodable(f"a scan is {short(data)}")
    values: dict[str, Value] = _need(data, "values", dict)
    if not _KINDS.issuperset(map(type, values.values())):
        name, value = next((name, value) for name, value in values.items() if type(value) not in _KINDS)
        raise Undecodable(f"the value of {short(name)} is {short(value)}")
    time, times = _need(data, "t", int), _named(data, "times", int)
    for stamp in (time, *times.values()):
        if stamp not in _TIMES:
            raise Undecodable(f"a time is {stamp}")
    bad = _named(data, "bad", str)
    if bad and not bad.keys().isdisjoint(values):
        raise Undecodable(f"{short(min(bad.keys() & values))} is bad, and has a value")
    late = data.get("late", False)
    if type(late) is not bool:
        raise Undecodable(f"late is {short(late)}, where true or false belongs")
    return NamedScan(time, values, bad, _named(data, "uncertain", str), _named(data, "codes", str), times, late)


def _named(data: dict[str, Any], key: str, kind: type) -> dict[str, Any]:
    if key not in data:
        return {}
    part: dict[str, Any] = data[key]
    if not isinstance(part, dict) or not all(type(value) is kind for value in part.values()):
        raise Undecodable(f"{key} is {short(part)}, where names and {kind.__name__} belong")
    return part


# -- checks beyond those of the parser --


def _look_closer(payload: bytes, data: dict[str, Any], record: Record) -> None:
    """Refuse names and numbers that stores can't represent, and duplicate keys.

    Counting shows that most records, those of gateways, are right; only others are parsed again, slowly.
    """
    keys = len(data)
    large = False
    for scan, written in zip(record.scans, data["scans"], strict=True):
        keys += len(written) + len(scan.values)
        parts = (scan.bad, scan.uncertain, scan.codes, scan.times)
        if len(written) > _PLAIN:
            keys += sum([len(part) for part in parts])
            for part in parts:
                _check_names(part)
        _check_names(scan.values)
        large = large or _large(scan.values)
    # a quote inside a text, as of JSON, has a backslash before it
    found = payload.count(b'":') - payload.count(b'\\":')
    # a key may end with a backslash, and a blank may follow a key: then counting proves nothing
    if large or found != keys or any(part in payload for part in _UNPROVABLE):
        _parse_slowly(payload)


def _check_names(named: dict[str, Any]) -> None:
    """Refuse names that would break out of their place in a store's protocol, or be another point's there."""
    if _checked.issuperset(named):
        return
    for name in named:
        if not name:
            raise Undecodable("the name of a point is empty")
        _check_text(name, "the name of a point")
    if len(_checked) > MAX_CHECKED:
        _checked.clear()
    _checked.update(named)


def _check_text(text: str, field: str) -> None:
    try:
        check_text(text, MAX_NAME)
    except ValueError as error:
        raise Undecodable(f"{field} {error}") from error


def _large(values: dict[str, Value]) -> bool:
    """Return whether a number is beyond 64 bits: such integers arrive as floats, with digits lost."""
    numbers: Any = values.values()
    try:
        if not numbers or (min(numbers) > _LOWEST and max(numbers) < _TOO_HIGH):
            return False
    except TypeError:  # there is text among them
        numbers = [value for value in numbers if type(value) is not str]
        if not numbers or (min(numbers) > _LOWEST and max(numbers) < _TOO_HIGH):
            return False
    for name, value in values.items():
        if type(value) is int and value not in _WHOLE:
            raise Undecodable(f"the value of {short(name)} is {value}, which is beyond a 64-bit integer")
    return True


def _parse_slowly(payload: bytes) -> None:
    try:
        json.loads(payload, object_pairs_hook=_once_each, parse_int=_whole)
    except (RecursionError, ValueError) as error:
        raise Undecodable(f"is not JSON: {error}") from error


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise Undecodable(f"{next(name for name in names if names.count(name) > 1)!r:.60} is there twice")
    return found


def _whole(digits: str) -> int:
    # a number with more digits than Python converts is far too large
    if len(digits) > 20 or (number := int(digits)) not in _WHOLE:  # noqa: PLR2004 - a sign and 19 digits
        raise Undecodable(f"{digits:.40} is beyond a 64-bit integer")
    return number
