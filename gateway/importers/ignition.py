"""Tags as Ignition writes them into CSV: those of its Modbus driver (`[Device]HRF10`) and of OPC UA servers.

Devices become machines: a tag belongs to the device that its item path names. Entries of Modbus are counted from 1,
and the low word comes first, as its driver does where nobody has set it otherwise.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gateway.importers.base import Format
from gateway.importers.found import Found, Import, Options, Row, free_name, without_defaults
from gateway.importers.scaling import linear, number

if TYPE_CHECKING:
    from gateway.importers.content import Content
    from gateway.importers.table import Line

COLUMN = "opcitempath"
"""The column by which a table is known as one of these, in small letters."""

RAW = {
    "": "int16", "US": "uint16", "I": "int32", "UI": "uint32", "F": "float32", "D": "float64", "I_64": "int64",
    "UI_64": "uint64", "BCD": "bcd16", "BCD_32": "bcd32", "S": "string",
}  # fmt: skip
"""Type suffixes of HR and IR, and the raw types here."""

TYPES = {
    "0": "int", "1": "int", "2": "int", "3": "int", "4": "float", "5": "float", "6": "bool", "7": "string",
    "int1": "int", "int2": "int", "int4": "int", "int8": "int", "float4": "float", "float8": "float",
    "boolean": "bool", "string": "string", "short": "int", "integer": "int", "long": "int", "float": "float",
    "double": "float",
}  # fmt: skip
"""Data types, as numbers or names, and ours."""

_FOLDER = {"6", "folder"}
_MODBUS = re.compile(
    r"(?:(?P<unit>\d+)\.)?(?P<table>HR|IR|DI|C)(?P<kind>BCD_32|BCD|UI_64|I_64|UI|US|I|F|D|S)?(?P<entry>\d+)"
    r"(?:\.(?P<bit>\d+)|:(?P<length>\d+))?"
)
_TABLES = {"HR": "holding", "IR": "input", "DI": "discrete", "C": "coil"}


def read(content: Content, options: Options) -> Import:
    """Return the machines of a table of tags."""
    table = content.table
    found = Import()
    machines: dict[tuple[str, str], Found] = {}
    wide = False
    for written in table.lines:
        line = written._replace(cells={key.lower(): cell for key, cell in written.cells.items()})
        tag = "/".join(part for part in (line.get("path").strip("/"), line.get("name")) if part)
        if line.get("tagtype").lower() in _FOLDER:
            continue
        try:
            device, unit, where = _where(line.get(COLUMN), line.get("datatype").lower(), options.order)
            keys = where | _rest(line, tag, found)
        except ValueError as error:
            found.note(line.line, tag or "a tag", f"is left out: {error}")
            continue
        if line.get("enabled").lower() == "false":
            keys["enabled"] = False
        wide = wide or "order" in keys
        if (device, unit) not in machines:
            machines[device, unit] = _machine(device, unit, line.line, options, found, opcua="node" in keys)
        found.add(machines[device, unit], tag.replace("/", "."), Row(line.line, keys))
    if wide:
        found.note(
            1, "order", f"values of 32 and 64 bits are read as {options.order}; say --order where it is another"
        )
    found.machines = list(machines.values())
    return found


def _machine(device: str, unit: str, line: int, options: Options, found: Import, *, opcua: bool) -> Found:
    name = free_name(options.machine or device or "machine") + (f"-{unit}" if unit else "")
    scheme = "opc.tcp" if opcua else "modbus"
    connection = options.connection if options.connection.startswith(scheme) else ""
    if not connection:
        connection = "opc.tcp://localhost:4840?security=none" if opcua else "modbus+tcp://localhost:502"
        found.note(line, name, f"where it is is not in the file: write the address in place of {connection}")
    if unit:
        connection += f"{'&' if '?' in connection else '?'}unit={unit}"
    template = free_name(options.machine or device or "machine")
    return Found(name, template, "opcua" if opcua else "modbus", connection, options.area, options.line, line)


def _where(path: str, kind: str, order: str) -> tuple[str, str, dict[str, Any]]:
    """Return device, unit id and source of an item path. Raises `ValueError` for one of another driver."""
    match = re.fullmatch(r"(?:ns=\d+;s=)?\[(?P<device>[^\]]+)\](?P<item>.+)", path)
    if match and (modbus := _MODBUS.fullmatch(match["item"])):
        return match["device"], modbus["unit"] or "", _register(modbus, order)
    if not match and re.fullmatch(r"(nsu=[^;]+;|ns=\d+;)?[sigb]=.+", path):
        if kind not in TYPES:
            raise ValueError(f"the data type {kind!r} has none like it here")
        return "", "", {"node": path, "type": TYPES[kind]}
    raise ValueError(f"the item {path!r} is not an item of a Modbus device or a node of an OPC UA server")


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


def _rest(line: Line, tag: str, found: Import) -> dict[str, Any]:
    keys: dict[str, Any] = found.unit(line.line, tag, line.get("engunit"))
    if description := line.get("documentation") or line.get("tooltip"):
        keys["description"] = description
    scaling = line.get("scalemode").lower()
    if scaling in {"1", "linear"}:
        raw, scaled = [[number(line.get(f"{kind}{end}")) for end in ("low", "high")] for kind in ("raw", "scaled")]
        keys |= linear(raw, scaled)
    elif scaling not in {"", "0", "off"}:
        raise ValueError("its scaling is not linear")
    if (deadband := number(line.get("deadband"))) and line.get("deadbandmode").lower() in {"", "0", "absolute"}:
        keys["deadband"] = deadband
    low, high = number(line.get("englow")), number(line.get("enghigh"))
    if low is not None and high is not None and low < high and line.get("englimitmode") not in {"", "0"}:
        keys["range"] = [low, high]
    return keys


def _recognise(content: Content) -> bool:
    return COLUMN in {column.lower() for column in content.table.columns}


FORMAT = Format("ignition", "tags of Ignition (CSV)", _recognise, read)
