"""Records as JSON; `docs/schema.md` describes the format for users."""

from __future__ import annotations

import json
import re
from reprlib import repr as short
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from gateway.codecs.base import Undecodable
from gateway.codecs.checks import (
    TIMES,
    check_bad_without_value,
    check_point_names,
    check_sender,
    check_size,
    machine_path,
    shared_names,
)
from gateway.model.reading import NamedScan
from gateway.model.receipt import TAG_BYTES
from gateway.model.record import GatewayRecord, PlacedScan, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Value
    from gateway.model.path import MachinePath
    from gateway.model.record import AnyRecord

T = TypeVar("T")

VERSION = 1

_WHOLE = range(-(2**63), 2**63)
"""The integers that every store can hold."""

_LOWEST, _TOO_HIGH = -(2**63), 2**63

_KINDS = frozenset((bool, int, float, str))

_TAG = re.compile(f"([0-9a-f]{{{2 * TAG_BYTES}}})?")

_PLAIN, _PLACED = 2, 4
"""Keys of a scan that is good as a whole: its time and its values; of a gateway also its machine and names."""

_UNPROVABLE = (b'\\\\":', b'" ', b"\n", b"\t")
"""Parts of a payload whose keys can't be counted without parsing it."""


class JsonCodec:
    """Records of one machine and of a gateway.

    A record of a machine is `{"v":1,"gateway":…,"spool":…,"seq":…,"tag":…,"scans":[{"t":…,"values":{…},…}]}`. A
    record of a gateway has its machines with their metadata ids, and the lists of names of its scans; a scan
    has their positions and its values:
    `"machines":[["a/b/c/d/e","5d0c"]],"names":[["p","q"]],"scans":[{"m":0,"n":0,"t":…,"v":[1,2]}]`.
    """

    first_bytes = b"{ \t\r\n"

    def encode(self, record: AnyRecord) -> bytes:
        """Return JSON without empty parts."""
        written: dict[str, Any] = {
            "v": VERSION, "gateway": record.gateway, "spool": record.spool, "seq": record.seq,
        }  # fmt: skip
        if record.tag:
            written["tag"] = record.tag
        if isinstance(record, GatewayRecord):
            return orjson.dumps(written | _placed_scans(record.scans))
        if record.meta:
            written["meta"] = record.meta
        written["scans"] = [
            {"t": scan.time, "values": scan.values}
            if scan.is_good
            else {"t": scan.time, "values": scan.values, **_exceptions(scan)}
            for scan in record.scans
        ]
        return orjson.dumps(written)

    def decode(self, payload: bytes) -> AnyRecord:
        """Read JSON, checking everything that later steps rely on."""
        check_size(payload)
        try:
            data = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise Undecodable(f"is not JSON: {error}") from error
        if not isinstance(data, dict) or type(data.get("v")) is not int or data["v"] != VERSION:
            raise Undecodable(f"is not a record of version {VERSION}")
        record = _record(data)
        _look_closer(payload, data, record)
        return record

    def missing_extra(self) -> str:
        return ""


def _exceptions(scan: NamedScan) -> dict[str, Any]:
    """Return the parts of a scan that most scans lack."""
    written: dict[str, Any] = {}
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


def _placed_scans(scans: Sequence[PlacedScan]) -> dict[str, Any]:
    """Return the machines, names and scans of a record of a gateway."""
    machines: dict[tuple[MachinePath, str], int] = {}
    names: dict[tuple[str, ...], int] = {}
    known: dict[int, int] = {}  # the position of a list of names, by its identity
    kept = []  # while they are known by their identity
    written = []
    for placed in scans:
        scan = placed.scan
        listed, values = scan.columns
        position = known.get(id(listed))
        if position is None:
            kept.append(listed)
            position = known[id(listed)] = names.setdefault(tuple(listed), len(names))
        machine = machines.setdefault((placed.path, placed.meta), len(machines))
        entry = {"m": machine, "n": position, "t": scan.time, "v": values}
        written.append(entry if scan.is_good else entry | _exceptions(scan))
    return {
        "machines": [[str(path), meta] for path, meta in machines],
        "names": [list(one) for one in names],
        "scans": written,
    }


def _record(data: dict[str, Any]) -> AnyRecord:
    gateway, spool = _need(data, "gateway", str), _need(data, "spool", str)
    seq = _need(data, "seq", int)
    check_sender(gateway, spool, seq)
    scans = _need(data, "scans", list)
    tag = _read_tag(data)
    if "machines" in data:
        return GatewayRecord(gateway, spool, seq, _read_placed(data, scans), tag)
    meta = data.get("meta", "")
    if type(meta) is not str:
        raise Undecodable(f"meta is {short(meta)}, where a str belongs")
    return Record(gateway, spool, seq, [_read(scan) for scan in scans], meta, tag)


def _read_tag(data: dict[str, Any]) -> str:
    """Return the tag; records of earlier versions have none."""
    written = data.get("tag", "")
    if type(written) is not str or not _TAG.fullmatch(written):
        raise Undecodable(f"tag is {short(written)}, where {TAG_BYTES} bytes in hexadecimal belong")
    return written


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
    scan = NamedScan(_time(data), values)
    if len(data) > _PLAIN:
        _read_exceptions(data, scan)
    return scan


def _time(data: dict[str, Any]) -> int:
    time: int = _need(data, "t", int)
    if time not in TIMES:
        raise Undecodable(f"a time is {time}")
    return time


def _read_exceptions(data: dict[str, Any], scan: NamedScan) -> None:
    """Read the parts of a scan that most scans lack."""
    scan.times = _named(data, "times", int)
    for stamp in scan.times.values():
        if stamp not in TIMES:
            raise Undecodable(f"a time is {stamp}")
    scan.bad = bad = _named(data, "bad", str)
    if bad:
        check_bad_without_value(bad, scan.columns[0])
    scan.uncertain, scan.codes = _named(data, "uncertain", str), _named(data, "codes", str)
    late = data.get("late", False)
    if type(late) is not bool:
        raise Undecodable(f"late is {short(late)}, where true or false belongs")
    scan.late = late


# -- records of a gateway --


def _read_placed(data: dict[str, Any], scans: list[Any]) -> list[PlacedScan]:
    machines = [_read_machine(one) for one in _need(data, "machines", list)]
    names = [_read_names(one) for one in _need(data, "names", list)]
    placed = []
    for written in scans:
        if not isinstance(written, dict):
            raise Undecodable(f"a scan is {short(written)}")
        path, meta = _chosen(written, "m", machines)
        listed = _chosen(written, "n", names)
        values: list[Value] = _need(written, "v", list)
        if len(values) != len(listed):
            raise Undecodable(f"a scan has {len(values)} values for {len(listed)} names")
        if not _KINDS.issuperset(map(type, values)):
            name, value = next((n, v) for n, v in zip(listed, values, strict=True) if type(v) not in _KINDS)
            raise Undecodable(f"the value of {short(name)} is {short(value)}")
        scan = NamedScan.of_columns(_time(written), listed, values)
        if len(written) > _PLACED:
            _read_exceptions(written, scan)
        placed.append(PlacedScan(path, meta, scan))
    return placed


def _chosen(written: dict[str, Any], key: str, known: list[T]) -> T:
    position: int = _need(written, key, int)
    if not 0 <= position < len(known):
        raise Undecodable(f"{key} is {position}, where a position in a list of {len(known)} belongs")
    return known[position]


def _read_machine(written: Any) -> tuple[MachinePath, str]:  # noqa: ANN401 - what came over the wire
    if not isinstance(written, list) or [type(one) for one in written] != [str, str]:
        raise Undecodable(f"a machine is {short(written)}, where its path and its metadata id belong")
    return machine_path(written[0]), written[1]


def _read_names(written: Any) -> tuple[str, ...]:  # noqa: ANN401 - what came over the wire
    if not isinstance(written, list) or not all(type(name) is str for name in written):
        raise Undecodable(f"names are {short(written)}, where a list of names belongs")
    return shared_names(tuple(written))


def _named(data: dict[str, Any], key: str, kind: type) -> dict[str, Any]:
    if key not in data:
        return {}
    part: dict[str, Any] = data[key]
    if not isinstance(part, dict) or not all(type(value) is kind for value in part.values()):
        raise Undecodable(f"{key} is {short(part)}, where names and {kind.__name__} belong")
    return part


# -- checks beyond those of the parser --


def _look_closer(payload: bytes, data: dict[str, Any], record: AnyRecord) -> None:
    """Refuse names and numbers that stores can't represent, and duplicate keys.

    Counting shows that most records, those of gateways, are right; only others are parsed again, slowly.
    """
    keys = len(data)
    large = False
    scans: Sequence[NamedScan | PlacedScan] = record.scans
    for one, written in zip(scans, data["scans"], strict=True):
        keys += len(written)
        scan: NamedScan = one.scan if isinstance(one, PlacedScan) else one
        plain = _PLACED if isinstance(one, PlacedScan) else _PLAIN
        if len(written) > plain:
            parts = (scan.bad, scan.uncertain, scan.codes, scan.times)
            keys += sum([len(part) for part in parts])
            for part in parts:
                check_point_names(part)
        names, values = scan.columns
        if plain == _PLAIN:
            keys += len(names)
            check_point_names(names)
        large = large or _large(names, values)
    # a quote inside a text, as of JSON, has a backslash before it
    found = payload.count(b'":') - payload.count(b'\\":')
    # a key may end with a backslash, and a blank may follow a key: then counting proves nothing
    if large or found != keys or any(part in payload for part in _UNPROVABLE):
        _parse_slowly(payload)


def _large(names: Sequence[str], values: Sequence[Any]) -> bool:
    """Return whether a number is beyond 64 bits: such integers arrive as floats, with digits lost."""
    numbers: Any = values
    try:
        if not numbers or (min(numbers) > _LOWEST and max(numbers) < _TOO_HIGH):
            return False
    except TypeError:  # there is text among them
        numbers = [value for value in numbers if type(value) is not str]
        if not numbers or (min(numbers) > _LOWEST and max(numbers) < _TOO_HIGH):
            return False
    for name, value in zip(names, values, strict=True):
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
