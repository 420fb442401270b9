"""Records as JSON; `docs/schema.md` is its description for users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from gateway.codecs.base import Undecodable
from gateway.model import NamedScan, Record

if TYPE_CHECKING:
    from drivers.base import Value

VERSION = 1

_WHOLE = range(-(2**63), 2**63)
"""The whole numbers that every store can hold."""

_FREE = frozenset((bool, float, str))
"""What a value may be without bounds."""

_TIMES = range(253_402_300_800_000_000)
"""Microseconds since the epoch, until the end of the year 9999."""


class JsonCodec:
    """`{"v":1,"gateway":…,"spool":…,"seq":…,"scans":[{"t":…,"values":{…},…}]}`."""

    def encode(self, record: Record) -> bytes:
        """Return JSON; parts of a scan that are empty are left out."""
        return orjson.dumps(
            {
                "v": VERSION,
                "gateway": record.gateway,
                "spool": record.spool,
                "seq": record.seq,
                "scans": [_scan(scan) for scan in record.scans],
            }
        )

    def decode(self, payload: bytes) -> Record:
        """Read JSON, checking everything that later steps rely on."""
        try:
            data = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise Undecodable(f"is no JSON: {error}") from error
        if not isinstance(data, dict) or type(data.get("v")) is not int or data["v"] != VERSION:
            raise Undecodable(f"is no record of version {VERSION}")
        seq = _need(data, "seq", int)
        if seq not in _WHOLE:
            raise Undecodable(f"seq is {seq}")
        scans = [_read(scan) for scan in _need(data, "scans", list)]
        return Record(_need(data, "gateway", str), _need(data, "spool", str), seq, scans)


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
    return written


def _need(data: dict[str, Any], key: str, kind: type) -> Any:  # noqa: ANN401 - of that kind
    value = data.get(key)
    if type(value) is not kind:
        raise Undecodable(f"{key} is {value!r:.60}, where a {kind.__name__} belongs")
    return value


def _read(data: Any) -> NamedScan:  # noqa: ANN401 - what came over the wire
    if not isinstance(data, dict):
        raise Undecodable(f"a scan is {data!r:.60}")
    values: dict[str, Value] = _need(data, "values", dict)
    for name, value in values.items():
        kind = type(value)
        if kind not in _FREE and (kind is not int or value not in _WHOLE):
            raise Undecodable(f"the value of {name:.60} is {value!r:.60}")
    time, times = _need(data, "t", int), _named(data, "times", int)
    for told in (time, *times.values()):
        if told not in _TIMES:
            raise Undecodable(f"a time is {told}")
    return NamedScan(time, values, _texts(data, "bad"), _texts(data, "uncertain"), _texts(data, "codes"), times)


def _texts(data: dict[str, Any], key: str) -> dict[str, str]:
    return _named(data, key, str)


def _named(data: dict[str, Any], key: str, kind: type) -> dict[str, Any]:
    part: dict[str, Any] = data.get(key, {})
    if not isinstance(part, dict) or not all(type(value) is kind for value in part.values()):
        raise Undecodable(f"{key} is {part!r:.60}, where names and {kind.__name__} belong")
    return part
