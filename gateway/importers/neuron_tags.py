"""Tags of EMQX Neuron: addresses such as `1!400001#BB` of its Modbus drivers, and `2!Drum.Speed` of OPC UA."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from gateway.importers.found import without_defaults
from gateway.importers.scaling import finite, rounded

MODBUS = frozenset(
    {"modbus tcp", "modbus rtu", "modbus tcp qh", "modbus tcp community", "modbus plus tcp", "modbus rtu community"}
)
"""Plugins whose tags have addresses of Modbus, in small letters."""

OPCUA = "opc ua"

TYPES = {
    1: "INT8", 2: "UINT8", 3: "INT16", 4: "UINT16", 5: "INT32", 6: "UINT32", 7: "INT64", 8: "UINT64", 9: "FLOAT",
    10: "DOUBLE", 11: "BIT", 12: "BOOL", 13: "STRING", 14: "BYTES", 16: "WORD", 17: "DWORD", 18: "LWORD",
}  # fmt: skip
"""Data types by their numbers in the API."""

RAW = {
    "INT16": "int16", "UINT16": "uint16", "WORD": "uint16", "INT32": "int32", "UINT32": "uint32", "DWORD": "uint32",
    "INT64": "int64", "UINT64": "uint64", "LWORD": "uint64", "FLOAT": "float32", "DOUBLE": "float64", "BIT": "bool",
    "STRING": "string", "BYTES": "bytes",
}  # fmt: skip
"""Data types of Modbus, and ours."""

OPCUA_TYPES = {"FLOAT": "float", "DOUBLE": "float", "BIT": "bool", "BOOL": "bool", "STRING": "string"}
"""Data types of OPC UA, and ours; all others are whole numbers."""

ORDERS = {"LL": "ABCD", "L": "ABCD", "LB": "BADC", "BL": "CDAB", "BB": "DCBA", "B": "DCBA", "WS": "CDABGHEF",
          "WR": "EFGHABCD"}  # fmt: skip
"""Orders in an address; of 16 bits `B` swaps the bytes."""

NODE_ORDERS = {1: "ABCD", 2: "BADC", 3: "DCBA", 4: "CDAB"}
NODE_ORDERS_64 = {1: "ABCD", 2: "BADC", 3: "DCBA", 4: "CDAB", 5: "CDABGHEF", 6: "EFGHABCD"}
"""Orders of a node, for tags that have none in their address."""

READ, WRITE, SUBSCRIBE, STATIC = 1, 2, 4, 8

ATTRIBUTES = {"read": READ, "write": WRITE, "subscribe": SUBSCRIBE, "static": STATIC}

_TABLES = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_ADDRESS = re.compile(
    r"(?P<unit>\d{1,3})!(?P<table>[0134])(?P<entry>\d{4,5})(?:\.(?P<part>\d{1,3})(?P<packing>[HLDE])?)?"
    r"(?:#(?P<order>[A-Z]{1,2}))?"
)
_NODE = re.compile(r"(?P<namespace>\d{1,5})!(?P<id>.+)", re.DOTALL)
_LAST_BIT = 15


class Node(NamedTuple):
    """The settings of a driver node that change how its tags are read."""

    opcua: bool
    order: str = "ABCD"
    order64: str = "ABCD"
    base: int = 1
    poll: bool = True


class Tag(NamedTuple):
    """A tag as the API, an export or a workbook has it."""

    name: str
    address: str
    type: str
    attribute: int = READ
    description: str = ""
    decimal: object = 0
    bias: object = 0


def point(tag: Tag, node: Node) -> tuple[int | None, dict[str, Any]]:
    """Return the unit id, None of OPC UA, and the keys of a tag. Raises `ValueError` without an equivalent."""
    if tag.attribute & STATIC:
        raise ValueError("its value is written in Neuron")
    if not tag.attribute & (READ | SUBSCRIBE):
        raise ValueError("it is only written to")
    if tag.type.startswith("ARRAY") or tag.type not in TYPES.values():
        raise ValueError(f"the data type {tag.type[:40]!r} has none like it here")
    unit, keys = _node(tag, node) if node.opcua else _register(tag, node)
    if tag.description:
        keys["description"] = tag.description
    if tag.attribute & SUBSCRIBE:
        keys["on_change"] = True
    scale, offset = finite(tag.decimal) or 1.0, finite(tag.bias) or 0.0
    if tag.type not in {"BIT", "BOOL", "STRING", "BYTES"}:
        keys |= without_defaults({"scale": rounded(scale), "offset": rounded(offset)}, scale=1, offset=0)
    return unit, keys


def _node(tag: Tag, node: Node) -> tuple[None, dict[str, Any]]:
    match = _NODE.fullmatch(tag.address)
    if not match:
        raise ValueError(f"the address {tag.address[:80]!r} is not a namespace and an id, as in 2!Drum.Speed")
    identifier = f"{'i' if match['id'].isdecimal() else 's'}={match['id']}"
    keys: dict[str, Any] = {"node": f"ns={match['namespace']};{identifier}", "type": OPCUA_TYPES.get(tag.type, "int")}
    return None, keys | ({"mode": "poll"} if node.poll else {})


def _register(tag: Tag, node: Node) -> tuple[int, dict[str, Any]]:
    match = _ADDRESS.fullmatch(tag.address.replace(" ", ""))
    if not match or (match["order"] and match["order"] not in ORDERS):
        raise ValueError(
            f"the address {tag.address[:80]!r} is not an address such as 1!400001, 1!400001.3 or 1!400001#BB"
        )
    entry = int(match["entry"]) - node.base
    if entry < 0:
        raise ValueError(f"the address {tag.address!r} is before the first, which is {node.base}")
    keys: dict[str, Any] = {"address": f"{_TABLES[match['table']]} {entry}"}
    if match["table"] in "01":
        return int(match["unit"]), keys
    raw = RAW.get(tag.type)
    if raw is None:
        raise ValueError(f"the data type {tag.type} has none like it in registers")
    if raw == "bool":
        bit = int(match["part"] or _LAST_BIT + 1)
        if bit > _LAST_BIT:
            raise ValueError("a bit of a register is written as in 1!400010.3, from 0 to 15")
        return int(match["unit"]), keys | {"bit": bit}
    if raw in {"string", "bytes"}:
        return int(match["unit"]), keys | _text(match, raw)
    keys |= without_defaults({"raw": raw}, raw="uint16")
    if raw.endswith("16"):
        order = ORDERS.get(match["order"] or "L", "ABCD")
    else:
        order = ORDERS.get(match["order"] or "", node.order64 if raw.endswith("64") else node.order)
    return int(match["unit"]), keys | without_defaults({"order": order}, order="ABCD")


def _text(match: re.Match[str], raw: str) -> dict[str, Any]:
    """Return the keys of a string: two bytes in a register, high or low first, or one, in the low or high byte."""
    if not match["part"]:
        raise ValueError("a string needs its length in bytes, as in 1!400001.10H")
    size, packing = int(match["part"]), match["packing"] or "H"
    one_each = packing in "DE"
    keys: dict[str, Any] = {"raw": raw, "length": size if one_each else (size + 1) // 2}
    if raw == "string":
        keys["encoding"] = "utf-8"
    if one_each:
        keys["packing"] = "byte_per_register"
    if packing in "LE":
        keys["order"] = "BADC"
    return keys
