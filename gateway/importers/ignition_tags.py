"""Tags of Ignition as machines and points: those of its Modbus driver (`[Device]HRF10`) and of OPC UA servers.

A tag belongs to the device that its item path names, or to the instance of a UDT that it is part of. Entries of
Modbus are counted from 1, and the low word comes first, as its driver does where nobody has set it otherwise.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from drivers.base import parse_duration
from gateway.importers.found import Found, Import, Row, free_name, with_unit, without_defaults
from gateway.importers.scaling import linear, number, rounded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.importers.found import Options
    from gateway.importers.table import Line

ORDER = "CDAB"
"""The order of 32 bits of its Modbus driver by default."""

RAW = {
    "": "int16", "US": "uint16", "I": "int32", "UI": "uint32", "F": "float32", "D": "float64", "I_64": "int64",
    "UI_64": "uint64", "BCD": "bcd16", "BCD_32": "bcd32", "S": "string",
}  # fmt: skip
"""Type suffixes of HR and IR, and the raw types here."""

TYPES = {
    "0": "int", "1": "int", "2": "int", "3": "int", "4": "float", "5": "float", "6": "bool", "7": "string",
    "int1": "int", "int2": "int", "int4": "int", "int8": "int", "float4": "float", "float8": "float",
    "boolean": "bool", "string": "string", "short": "int", "integer": "int", "long": "int", "float": "float",
    "double": "float", "8": "string", "datetime": "string",
}  # fmt: skip
"""Data types, as numbers or names, and ours."""

SOURCES = {
    "memory": "its value is written in Ignition", "expr": "its value is an expression of Ignition",
    "expression": "its value is an expression of Ignition", "db": "its value comes from a database",
    "query": "its value comes from a database", "reference": "it refers to another tag",
    "derived": "it is derived from another tag", "1": "its value is written or calculated in Ignition",
}  # fmt: skip
"""Sources of values that are not a device, and what is said of them."""

_MODBUS = re.compile(
    r"(?:(?P<unit>\d{1,3})\.)?(?P<table>HR|IR|DI|C)(?P<kind>BCD_32|BCD|UI_64|I_64|UI|US|I|F|D|S)?(?P<entry>\d{1,6})"
    r"(?:\.(?P<bit>\d{1,2})|:(?P<length>\d{1,3}))?"
)
_ITEM = re.compile(r"(?:(?:ns=\d+|nsu=[^;]+);s=)?\[(?P<device>[^\]]+)\](?P<item>.+)", re.DOTALL)
_NODE = re.compile(r"(nsu=[^;]+;|ns=\d+;)?[sigb]=.+", re.DOTALL)
_NO_LIMITS = frozenset({"", "0", "none", "nolimits"})
_TABLES = {"HR": "holding", "IR": "input", "DI": "discrete", "C": "coil"}


class Tag(NamedTuple):
    """A tag: its path, its properties by their names in small letters, and the UDT instance that it is part of.

    `instance` and `type` are empty for a tag outside of instances; `path` then begins at the root of the tags.
    """

    path: str
    line: Line
    instance: str = ""
    type: str = ""


class _Place(NamedTuple):
    """Where a tag is read: the device or server, its unit id, and the keys of a source."""

    device: str
    unit: str
    keys: dict[str, Any]


def read_tags(tags: Iterable[Tag], options: Options) -> Import:
    """Return the machines of tags. Raises `ValueError` for rates that are not `GROUP=PERIOD`."""
    found = Import()
    rates = _rates(options)
    machines: dict[tuple[str, str, str, bool], Found] = {}
    wide, order = False, options.order or ORDER
    for tag in tags:
        try:
            place = _place(tag.line, order, options)
            keys = place.keys | _rest(tag, found)
        except ValueError as error:
            found.note(tag.line.line, _shown(tag), f"is left out: {error}")
            continue
        if tag.line.get("enabled").lower() == "false":
            keys["enabled"] = False
        keys |= _rate(tag, rates, found)
        wide = wide or "order" in keys
        opcua = "node" in keys
        key = (tag.instance, place.device, place.unit, opcua)
        if key not in machines:
            machines[key] = _machine(tag, place, options, found, opcua=opcua)
        found.add(machines[key], tag.path.replace("/", "."), Row(tag.line.line, keys))
    if wide:
        found.note(1, "order", f"values of 32 and 64 bits are read as {order}; say --order where it is another")
    found.machines = list(machines.values())
    return found


def _shown(tag: Tag) -> str:
    return "/".join(part for part in (tag.instance, tag.path) if part) or "a tag"


def _rates(options: Options) -> dict[str, str]:
    """Return the periods of tag groups. Raises `ValueError`."""
    rates = {}
    for written in options.rates:
        group, separator, period = written.rpartition("=")
        if not separator or not group:
            raise ValueError(f"--rate {written!r}: write a group and its period, as in Fast=250ms")
        parse_duration(period)
        rates[group.strip()] = period.strip()
    return rates


def _rate(tag: Tag, rates: dict[str, str], found: Import) -> dict[str, str]:
    group = tag.line.get("taggroup") or tag.line.get("scanclass")
    if not group:
        return {}
    if group in rates:
        return without_defaults({"every": rates[group]}, every="1s")
    if group != "Default":
        found.note(1, f"group {group}", f"its rate is not in the file: 1s; say --rate '{group}=500ms' for another")
    return {}


def _machine(tag: Tag, place: _Place, options: Options, found: Import, *, opcua: bool) -> Found:
    of_type = tag.type.rpartition("/")[2]
    device = place.device or "machine"
    name = free_name(tag.instance.rpartition("/")[2] if tag.instance else options.machine or device)
    name += f"-{place.unit}" if place.unit else ""
    scheme = "opc.tcp" if opcua else "modbus"
    connection = options.connection if options.connection.startswith(scheme) else ""
    if not connection:
        connection = "opc.tcp://localhost:4840?security=none" if opcua else "modbus+tcp://localhost:502"
        whose = f" of {place.device}" if place.device else ""
        found.note(tag.line.line, name, f"the address{whose} is not in the file: write it in place of {connection}")
    if place.unit:
        connection = with_unit(connection, place.unit)
    template = free_name(of_type or options.machine or device)
    return Found(
        name, template, "opcua" if opcua else "modbus", connection, options.area, options.line, tag.line.line
    )


def _place(line: Line, order: str, options: Options) -> _Place:
    """Return where a tag is read. Raises `ValueError` for one that no device of Modbus or OPC UA has."""
    path, source = line.get("opcitempath"), line.get("valuesource").lower() or line.get("tagtype").lower()
    if reason := SOURCES.get(source):
        raise ValueError(reason)
    if not path:
        raise ValueError("it has no item of a device")
    match = _ITEM.fullmatch(path)
    if match and (modbus := _MODBUS.fullmatch(match["item"])):
        return _Place(match["device"], modbus["unit"] or "", _register(modbus, order))
    kind = line.get("datatype").lower()
    server = line.get("opcserver")
    if match and options.connection.startswith("opc.tcp"):  # Ignition's own server has the items of all its drivers
        node = path if _NODE.fullmatch(path) else f"ns=1;s={path}"
        return _Place(match["device"], "", {"node": node, "type": _type(kind)})
    if not match and _NODE.fullmatch(path):
        return _Place(
            "" if server.lower().startswith("ignition") else server, "", {"node": path, "type": _type(kind)}
        )
    hint = "; with --connection opc.tcp://HOST:62541 it is read from Ignition's own server" if match else ""
    raise ValueError(f"the item {path[:80]!r} is not an item of a Modbus device or a node of an OPC UA server{hint}")


def _type(kind: str) -> str:
    if kind not in TYPES:
        raise ValueError(f"the data type {kind[:40]!r} has none like it here")
    return TYPES[kind]


def _register(item: re.Match[str], order: str) -> dict[str, Any]:
    entry = int(item["entry"])
    if entry == 0:
        raise ValueError(
            "its entries are counted from 0; in that device's settings, and not in this file, it is said"
        )
    place = f"{_TABLES[item['table']]} {entry - 1}"
    if item["table"] in {"DI", "C"}:
        return {"address": place}
    raw = RAW[item["kind"] or ""]
    if item["bit"]:
        return {"address": place, "bit": int(item["bit"])}
    if raw == "string":
        return {"address": place, "raw": raw, "length": (int(item["length"] or 0) + 1) // 2}
    wide = {"order": order} if raw[-2:] in {"32", "64"} and order != "ABCD" else {}
    return {"address": place} | without_defaults({"raw": raw}, raw="uint16") | wide


def _rest(tag: Tag, found: Import) -> dict[str, Any]:
    """Return the keys about the values of a tag. Raises `ValueError` for scaling that is not linear."""
    line = tag.line
    keys: dict[str, Any] = found.unit(line.line, _shown(tag), line.get("engunit"))
    if description := line.get("documentation") or line.get("tooltip"):
        keys["description"] = description
    scaling = line.get("scalemode").lower()
    scaled: list[float | None] = []
    if scaling in {"1", "linear"}:
        raw, scaled = [[number(line.get(f"{kind}{end}")) for end in ("low", "high")] for kind in ("raw", "scaled")]
        keys |= linear(raw, scaled)
    elif scaling not in {"", "0", "off"}:
        raise ValueError("its scaling is not linear")
    low, high = number(line.get("englow")), number(line.get("enghigh"))
    if low is not None and high is not None and low < high and line.get("englimitmode").lower() not in _NO_LIMITS:
        keys["range"] = [rounded(low), rounded(high)]
    elif line.get("clampmode").lower() in {"clamp_both", "3"} and None not in scaled:
        keys["range"] = sorted(rounded(value or 0) for value in scaled)
        found.note(line.line, _shown(tag), "is not clamped: a value outside its range is sent as uncertain")
    if deadband := number(line.get("deadband")):
        mode = line.get("deadbandmode").lower()
        if mode in {"", "0", "absolute"}:
            keys["deadband"] = deadband
        elif mode in {"1", "percent"} and "range" in keys:
            keys["deadband"] = f"{deadband:g}%"
    return keys
