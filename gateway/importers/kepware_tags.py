"""Tags of KEPServerEX: those of its Modbus drivers, and of its OPC UA client driver.

A tag is a row with the columns of its CSV export, whether it comes from there or from a project.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.importers.found import Import, without_defaults
from gateway.importers.scaling import linear, number, rounded

if TYPE_CHECKING:
    from gateway.importers.table import Line

ORDER = "CDAB"
"""The order of 32 bits where a device is set to "first word low", which is the default."""

RAW = {
    "default": "uint16", "word": "uint16", "short": "int16", "dword": "uint32", "long": "int32", "float": "float32",
    "double": "float64", "bcd": "bcd16", "lbcd": "bcd32", "qword": "uint64", "llong": "int64", "byte": "uint8",
    "char": "int8", "boolean": "bool", "string": "string",
}  # fmt: skip
"""Data types of its Modbus drivers, and ours."""

TYPES = {"boolean": "bool", "string": "string", "float": "float", "double": "float", "default": "float",
         "date": "string"}  # fmt: skip
"""Data types of its OPC UA client driver, and ours; all others are whole numbers."""

_TABLES = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_ADDRESS = re.compile(
    r"(?P<table>[0134])(?P<entry>\d{4,5})(?:\.(?P<part>\d{1,3})(?P<order>[HL])?)?"
    r"(?:\s*\[(?P<rows>\d{1,5})\](?:\s*\[(?P<columns>\d{1,5})\])?)?",
    re.IGNORECASE,
)
_YES = frozenset({"1", "yes", "true"})
_LAST_BIT = 15


class Device(NamedTuple):
    """The settings of a device that change how its tags are read.

    `order` is that of 32 bits, `order64` that of 64 bits; `first` is the number of the first entry of a table,
    `first_bit` that of the lowest bit; `modicon_bits` counts bits from the highest; `decimal_longs` reads 32 bits as
    two registers of four decimal digits.
    """

    opcua: bool = False
    order: str = ORDER
    order64: str = ORDER
    first: int = 1
    first_bit: int = 0
    modicon_bits: bool = False
    decimal_longs: bool = False
    poll: bool = False


def point(line: Line, tag: str, device: Device, found: Import) -> dict[str, Any]:
    """Return the keys of a tag. Raises `ValueError` for one without an equivalent."""
    if line.get("Client Access").upper() == "WO":
        raise ValueError("it is only written to")
    where = _node(line, device) if device.opcua else _register(line, tag, device, found)
    return where | _rest(line, tag, found)


def _node(line: Line, device: Device) -> dict[str, Any]:
    kind = (line.get("Data Type").lower() or "default").removesuffix(" array")
    return {"node": line.get("Address"), "type": TYPES.get(kind, "int")} | ({"mode": "poll"} if device.poll else {})


def _register(line: Line, tag: str, device: Device, found: Import) -> dict[str, Any]:
    """Return address and raw type of a tag of a Modbus driver."""
    address = line.get("Address")
    match = _ADDRESS.fullmatch(address)
    if not match:
        raise ValueError(
            f"the address {address[:40]!r} is not a holding or input register, a coil or a discrete input"
        )
    entry = int(match["entry"]) - device.first
    if entry < 0:
        raise ValueError(f"the address {address!r} is before the first, which is {device.first}")
    keys: dict[str, Any] = {"address": f"{_TABLES[match['table']]} {entry}"}
    if match["table"] in "01":
        return keys | _count(match, line, tag, found)
    kind = (line.get("Data Type").lower() or "default").removesuffix(" array")
    raw = RAW.get(kind)
    if raw is None:
        raise ValueError(f"the data type {line.get('Data Type')!r} has none like it here")
    if raw == "string":
        return keys | _string(match)
    if raw == "bool":
        return keys | _bit(match, device)
    if device.decimal_longs and raw in {"int32", "uint32"}:
        raw = "mod10k32"
    keys |= without_defaults({"raw": raw}, raw="uint16")
    if raw[-2:] in {"32", "64"}:
        keys |= without_defaults({"order": device.order64 if raw.endswith("64") else device.order}, order="ABCD")
    return keys | _count(match, line, tag, found)


def _string(match: re.Match[str]) -> dict[str, Any]:
    if not match["part"]:
        raise ValueError("a string needs its length, as in 400010.20H")
    swapped = {"order": "BADC"} if (match["order"] or "H").upper() == "L" else {}
    return {"raw": "string", "length": (int(match["part"]) + 1) // 2} | swapped


def _bit(match: re.Match[str], device: Device) -> dict[str, Any]:
    bit = int(match["part"]) - device.first_bit if match["part"] else -1
    if not 0 <= bit <= _LAST_BIT:
        raise ValueError("a bit of a register is written as in 400010.3, from 0 to 15")
    return {"bit": _LAST_BIT - bit if device.modicon_bits else bit}


def _count(match: re.Match[str], line: Line, tag: str, found: Import) -> dict[str, int]:
    """Return the number of points of an array; one of two dimensions becomes one of all its values, row by row."""
    if not match["rows"]:
        return {}
    if match["columns"]:
        found.note(
            line.line, tag, f"has two dimensions: its values {match['rows']} x {match['columns']} are in a row"
        )
    return {"count": int(match["rows"]) * int(match["columns"] or 1)}


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
    negate = line.get("Negate Value").lower() in _YES
    if scaling == "linear":
        raw, scaled = [[number(line.get(f"{kind} {end}")) for end in ("Low", "High")] for kind in ("Raw", "Scaled")]
        keys |= linear(raw, scaled)
        if any(line.get(f"Clamp {end}").lower() in _YES for end in ("Low", "High")) and None not in scaled:
            keys["range"] = sorted(rounded(-(value or 0.0) if negate else value or 0.0) for value in scaled)
            found.note(line.line, tag, "is not clamped: a value outside its range is sent as uncertain")
    if negate:
        keys["scale"] = -keys.get("scale", 1)
        keys |= {"offset": -keys["offset"]} if "offset" in keys else {}
    return keys
