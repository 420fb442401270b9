"""Tags of SIMATIC controllers as nodes of their OPC UA server: `ns=3;s="DB"."tag"`.

The memory of an S7 is not Modbus. An S7-1500, or an S7-1200 from firmware 4.4, has an OPC UA server whose node ids
are the names of tags in quotes (SIMATIC S7-1500 communication manual, "Accessing OPC UA server data").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.importers.found import Found, Import, Row, free_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.importers.found import Options, Where

TYPES = {
    "bool": "bool", "byte": "int", "word": "int", "dword": "int", "lword": "int", "sint": "int", "usint": "int",
    "int": "int", "uint": "int", "dint": "int", "udint": "int", "lint": "int", "ulint": "int", "char": "int",
    "wchar": "int", "real": "float", "lreal": "float", "string": "string", "wstring": "string", "time": "int",
    "ltime": "int", "s5time": "int", "date": "int", "time_of_day": "int", "tod": "int", "ltod": "int",
    "date_and_time": "string", "dt": "string", "ldt": "string",
}  # fmt: skip
"""Data types of IEC 61131-3 and S7, in small letters, and ours."""

UNITS = {"time": "ms", "ltime": "ns", "time_of_day": "ms", "tod": "ms", "ltod": "ns", "date": "d"}
"""Units of the types that are a count of time."""

_ARRAY = re.compile(
    r"array\s*\[\s*(?P<low>-?\d{1,6})\s*\.\.\s*(?P<high>-?\d{1,6})\s*\]\s*of\s+(?P<type>.+)", re.DOTALL
)
_SIZED = re.compile(r"(w?string)\s*\[.*\]")


class Tag(NamedTuple):
    """A tag: its names from the data block on, its data type, and whether other programs may read it."""

    where: Where
    names: tuple[str, ...]
    type: str
    comment: str = ""
    accessible: bool = True
    address: str = ""


def read_tags(tags: Iterable[Tag], options: Options) -> Import:
    """Return the machine of a controller. Raises `ValueError` without the address of its OPC UA server."""
    if not options.connection.startswith("opc.tcp"):
        raise ValueError(
            "the memory of an S7 is not Modbus; its tags are read over OPC UA: say --connection, as in "
            "opc.tcp://10.20.2.21:4840"
        )
    found = Import()
    name = options.machine or "machine"
    machine = Found(name, free_name(name), "opcua", options.connection, options.area, options.line)
    for tag in tags:
        shown = ".".join(tag.names) or "a tag"
        try:
            keys = _point(tag)
        except ValueError as error:
            found.note(tag.where, shown, f"is left out: {error}")
            continue
        found.add(machine, shown, Row(tag.where, keys))
    if machine.points:
        found.note(1, name, "is read from the controller's OPC UA server: turn it on in the device configuration")
    found.machines.append(machine)
    return found


def _point(tag: Tag) -> dict[str, Any]:
    if not tag.names or not all(tag.names):
        raise ValueError("it has no name")
    if not tag.accessible:
        raise ValueError("it is not accessible from HMI, OPC UA and Web API")
    written = tag.type.strip().strip('"').lower()
    count = {}
    if match := _ARRAY.fullmatch(written):
        size = int(match["high"]) - int(match["low"]) + 1
        if size < 1:
            raise ValueError(f"the data type {tag.type[:40]!r} has no elements")
        count, written = {"count": size}, match["type"].strip().strip('"')
    written = _SIZED.sub(r"\1", written)
    if written not in TYPES:
        raise ValueError(f"the data type {tag.type[:40]!r} is a structure, or has none like it here")
    keys: dict[str, Any] = {"node": "ns=3;s=" + ".".join(f'"{name}"' for name in tag.names), "type": TYPES[written]}
    if written in UNITS:
        keys["unit"] = UNITS[written]
    if comment := " ".join(part for part in (tag.comment.strip(), tag.address.strip()) if part):
        keys["description"] = comment
    return keys | count
