"""Tag lists of KEPServerEX, as its CSV export writes them: the tags of one device of its Modbus, or OPC UA, driver.

A tag list names no device, so the person who imports it gives the connection. The word order is not in it
either: it is a setting of the device there ("first word low", which is its default).
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

COLUMNS = frozenset({"Tag Name", "Address"})
"""The columns by which a table is known as one of these."""

RAW = {
    "default": "uint16", "word": "uint16", "short": "int16", "dword": "uint32", "long": "int32", "float": "float32",
    "double": "float64", "bcd": "bcd16", "lbcd": "bcd32", "qword": "uint64", "llong": "int64", "byte": "uint8",
    "char": "int8", "boolean": "bool", "string": "string",
}  # fmt: skip
"""Data types of its Modbus driver, and ours."""

TYPES = {"boolean": "bool", "string": "string", "float": "float", "double": "float", "default": "float"}
"""Data types of its OPC UA client driver, and ours; all others are whole numbers."""

_TABLES = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_ADDRESS = re.compile(
    r"(?P<table>[0134])(?P<entry>\d{4,5})(?:\.(?P<part>\d{1,3})(?P<order>[HL])?)?(?:\s*\[(?P<size>\d+)\])?",
    re.IGNORECASE,
)


def read(content: Content, options: Options) -> Import:
    """Return the machine of a tag list. Raises `ValueError` without its connection."""
    table = content.table
    if not options.connection:
        raise ValueError("a tag list names no device; say --connection, as in modbus+tcp://10.20.1.11:502?unit=1")
    found = Import()
    opcua = options.connection.startswith("opc.tcp")
    name = options.machine or "machine"
    machine = Found(
        name, free_name(name), "opcua" if opcua else "modbus", options.connection, options.area, options.line
    )
    wide = False
    for line in table.lines:
        tag = line.get("Tag Name")
        try:
            where = _node(line) if opcua else _register(line, options.order)
            keys = where | _rest(line, tag, found)
        except ValueError as error:
            found.note(line.line, tag or "a tag", f"is left out: {error}")
            continue
        wide = wide or "order" in keys
        found.add(machine, tag, Row(line.line, keys))
    if wide:
        found.note(
            1, "order", f"values of 32 and 64 bits are read as {options.order}; say --order where it is another"
        )
    found.machines.append(machine)
    return found


def _register(line: Line, order: str) -> dict[str, Any]:
    """Return address and raw type of a tag of the Modbus driver."""
    if line.get("Client Access").upper() == "WO":
        raise ValueError("it is only written to")
    address = line.get("Address")
    match = _ADDRESS.fullmatch(address.removeprefix("H").removeprefix("h") if address[:1] in "Hh" else address)
    if not match or address[:1] in "Hh":
        raise ValueError(f"the address {address!r} is not a holding or input register, a coil or a discrete input")
    kind = line.get("Data Type").lower() or "default"
    array = kind.endswith(" array")
    raw = RAW.get(kind.removesuffix(" array"))
    place = f"{_TABLES[match['table']]} {int(match['entry']) - 1}"
    if int(match["entry"]) == 0:
        raise ValueError(f"the address {address!r} is before the first, which is 1")
    if match["table"] in "01":
        return {"address": place} | _count(match["size"])
    if raw is None:
        raise ValueError(f"the data type {line.get('Data Type')!r} has none like it here")
    if raw == "string":
        if not match["part"]:
            raise ValueError("a string needs its length, as in 400010.20H")
        swapped = {"order": "BADC"} if (match["order"] or "H").upper() == "L" else {}
        return {"address": place, "raw": raw, "length": (int(match["part"]) + 1) // 2} | swapped
    if raw == "bool":
        if not match["part"] or int(match["part"]) > 15:  # noqa: PLR2004 - bits of a register
            raise ValueError("a bit of a register is written as in 400010.3, from 0 to 15")
        return {"address": place, "bit": int(match["part"])}
    wide = {"order": order} if raw[-2:] in {"32", "64"} and order != "ABCD" else {}
    count = _count(match["size"]) if array or match["size"] else {}
    return {"address": place} | without_defaults({"raw": raw}, raw="uint16") | wide | count


def _count(size: str | None) -> dict[str, int]:
    return {"count": int(size)} if size else {}


def _node(line: Line) -> dict[str, Any]:
    kind = line.get("Data Type").lower() or "default"
    return {"node": line.get("Address"), "type": TYPES.get(kind, "int")}


def _rest(line: Line, tag: str, found: Import) -> dict[str, Any]:
    """Return the keys about the values of a tag. Raises `ValueError` for scaling that is not linear."""
    keys: dict[str, Any] = found.unit(line.line, tag, line.get("Eng Units"))
    if rate := number(line.get("Scan Rate")):
        keys |= without_defaults({"every": f"{rate:g}ms" if rate % 1000 else f"{rate / 1000:g}s"}, every="1s")
    if description := line.get("Description"):
        keys["description"] = description
    scaling = line.get("Scaling").lower()
    if scaling not in {"", "none", "linear"}:
        raise ValueError(f"{line.get('Scaling')} scaling is not linear")
    negate = line.get("Negate Value") in {"1", "Yes", "yes", "True", "true"}
    if scaling == "linear":
        raw, scaled = [[number(line.get(f"{kind} {end}")) for end in ("Low", "High")] for kind in ("Raw", "Scaled")]
        keys |= linear(raw, scaled)
        if any(line.get(f"Clamp {end}") in {"1", "Yes", "yes"} for end in ("Low", "High")) and None not in scaled:
            keys["range"] = sorted(-(value or 0.0) if negate else value or 0.0 for value in scaled)
            found.note(line.line, tag, "is not clamped: a value outside its range is sent as uncertain")
    if negate:
        keys["scale"] = -keys.get("scale", 1)
        keys |= {"offset": -keys["offset"]} if "offset" in keys else {}
    return keys


def _recognise(content: Content) -> bool:
    return COLUMNS.issubset(content.table.columns)


FORMAT = Format("kepware", "tag list of Kepware (CSV)", _recognise, read)
