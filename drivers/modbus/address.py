"""Parse addresses: of entries in the four tables of a Modbus device (clause 4.3), and of data with own functions."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

LAST = 0xFFFF
"""The last entry of a table: they are numbered 0 to 65535 on the wire (clause 4.4)."""


class Table(StrEnum):
    """The four tables of the Modbus data model (clause 4.3)."""

    COIL = "coil"
    DISCRETE = "discrete"
    HOLDING = "holding"
    INPUT = "input"

    @property
    def bits(self) -> bool:
        """Whether an entry of the table is one bit; else it is a register of 16."""
        return self in {Table.COIL, Table.DISCRETE}

    @property
    def writable(self) -> bool:
        """Whether the protocol has functions to write to the table."""
        return self in {Table.COIL, Table.HOLDING}


_TABLES = {
    Table.HOLDING: "hr h hold holding holdingregister holdingregisters mw register registers reg 4x",
    Table.INPUT: "ir i input inputregister inputregisters 3x",
    Table.COIL: "c co coil coils m 0x",
    Table.DISCRETE: "di discrete discreteinput discreteinputs discreteregister x 1x",
}

_TABLE_OF = {name: table for table, names in _TABLES.items() for name in names.split()}
"""The names of a table in other gateways, in small letters -> the table."""


class FunctionData(StrEnum):
    """Data outside of the tables, which a function of its own reads: 20, 24, 17 and 43 (clauses 6.14 to 6.21)."""

    FILE = "file"
    FIFO = "fifo"
    SERVER_ID = "server_id"
    IDENTIFICATION = "identification"

    @property
    def bits(self) -> bool:
        """Whether an entry is one bit."""
        return False

    @property
    def writable(self) -> bool:
        """Whether it can be written."""
        return False

    @property
    def registers(self) -> bool:
        """Whether it consists of registers; else of bytes."""
        return self in {FunctionData.FILE, FunctionData.FIFO}


ENTRIES = 0x10000
"""Entries of a table, and of a file or queue: an offset is `number * ENTRIES + register`."""

OBJECTS = (
    "vendor_name",
    "product_code",
    "revision",
    "vendor_url",
    "product_name",
    "model_name",
    "application_name",
)
"""The names of the first objects of a device identification (clause 6.21)."""

MOST_RECORDS, MOST_QUEUED = 10_000, 31
"""Registers of a file (clause 6.14), and of a queue (clause 6.18)."""


class Address(NamedTuple):
    """An entry of a table, counted from 0 as on the wire; or of data outside of the tables.

    The offset of a register in a file is `file * ENTRIES + record`; in a queue `pointer * ENTRIES + register`, of
    which register 0 is the count; in a server id the number of a byte; in an identification that of an object.
    """

    table: Table | FunctionData
    offset: int

    def __str__(self) -> str:
        number, entry = divmod(self.offset, ENTRIES)
        match self.table:
            case FunctionData.FILE:
                return f"file {number} record {entry}"
            case FunctionData.FIFO:
                return f"fifo {number} count" if entry == 0 else f"fifo {number} item {entry - 1}"
            case FunctionData.SERVER_ID:
                return f"server_id {entry}"
            case FunctionData.IDENTIFICATION if entry < len(OBJECTS):
                return f"identification {OBJECTS[entry]}"
            case _:
                return f"{self.table} {self.offset}"

    def moved(self, entries: int) -> Address:
        """Return the address that is `entries` entries later."""
        return Address(self.table, self.offset + entries)


_MODICON = {"0": Table.COIL, "1": Table.DISCRETE, "3": Table.INPUT, "4": Table.HOLDING}
_HEX = r"0[xX][0-9a-fA-F]+"
_SHORTEST = 5  # digits of Modicon notation: a table, and an entry of four or five digits


def parse_address(written: object, base: int = 0) -> object:
    """Turn `holding 10`, `holding 0x0A`, `40011` or `400011` into an `Address`.

    `base` is the number of the first entry where the table is named. Modicon notation counts from 1. A value that is
    neither text nor a number is returned unchanged.
    """
    if isinstance(written, bool) or not isinstance(written, str | int | float):
        return written
    text = str(written).strip()
    if match := re.fullmatch(rf"(coil|discrete|holding|input)\s+({_HEX}|\d+)", text):
        number = int(match[2], 16 if match[2][:2] in {"0x", "0X"} else 10)
        return _counted(Table(match[1]), number, base)
    if re.fullmatch(r"\d+", text):
        return _modicon(text)
    if (outside := _outside(text)) is not None:
        return outside
    if re.fullmatch(_HEX, text):
        raise ValueError(f"{text} names no table; write it as in 'holding {text}'")
    if match := re.fullmatch(r"(.*\d)\.(\d|1[0-5])", text):
        raise ValueError(
            f"{text!r} is not a Modbus address; for one bit of a register write bit: {match[2]} beside it"
        )
    if (likely := _likely(text)) is not None:
        raise ValueError(f"{text!r} is not a Modbus address; did you mean {likely!r}, counted from 0?")
    raise ValueError(
        f"{text!r} is not a Modbus address; write a table and an entry counted from 0, as in "
        "'holding 10' (tables: coil, discrete, holding, input), or Modicon notation, as in 40011"
    )


def _likely(text: str) -> str | None:
    """Return the address that a text likely means, None if that is not certain: `hr 3` is `holding 3`."""
    match = re.fullmatch(r"%?(\dx|[A-Za-z][A-Za-z _-]*?)[\s:.#_\[-]*(\d{1,5})\]?", text)
    table = None if match is None else _TABLE_OF.get(re.sub(r"[^a-z0-9]", "", match[1].lower()))
    return None if match is None or table is None else f"{table} {int(match[2])}"


def table_of(written: object) -> Table | FunctionData | None:
    """Return the table that an address names, None if it names none. Never raises."""
    try:
        found = written if isinstance(written, Address) else parse_address(written)
    except ValueError:
        first, _, _ = str(written).strip().partition(" ")
        return Table(first) if first in Table.__members__.values() else None
    return found.table if isinstance(found, Address) else None


_NUMBER = rf"{_HEX}|\d+"
_OUTSIDE = re.compile(
    rf"(?P<file>file)\s+(?P<number>{_NUMBER})\s+record\s+(?P<record>{_NUMBER})"
    rf"|(?P<fifo>fifo)\s+(?P<pointer>{_NUMBER})(?:\s+(?P<count>count)|\s+item\s+(?P<item>{_NUMBER}))?"
    rf"|(?P<server>server[_ ]id)(?:\s+(?P<byte>{_NUMBER}))?"
    rf"|(?P<identification>identification)\s+(?:(?P<object>{_NUMBER})|(?P<name>[a-z_]+))"
)


def _outside(text: str) -> Address | None:
    """Return an address outside of the tables; None if the text is not such an address. Raises `ValueError`."""
    match = _OUTSIDE.fullmatch(text)
    if match is None:
        first, _, _ = text.partition(" ")
        forms = {
            "file": "write a file and a register in it, as in 'file 4 record 0'",
            "fifo": "write the address of the queue, as in 'fifo 1246', 'fifo 1246 item 3' or 'fifo 1246 count'",
            "server": "write 'server_id', or the number of a byte in it, as in 'server_id 1'",
            "identification": f"write the number of an object, or {', '.join(OBJECTS)}",
        }
        kind = first.removesuffix("_id")
        if kind in forms:
            raise ValueError(f"{text!r} is not a Modbus address; {forms[kind]}")
        return None
    number = {key: int(one, 0 if one[:2] in {"0x", "0X"} else 10) for key, one in match.groupdict().items()
              if one is not None and key in {"number", "record", "pointer", "item", "byte", "object"}}  # fmt: skip
    if match["file"]:
        _inside(number["number"], LAST, "file")
        _inside(number["record"], MOST_RECORDS - 1, "record of a file")
        return Address(FunctionData.FILE, number["number"] * ENTRIES + number["record"])
    if match["fifo"]:
        _inside(number["pointer"], LAST, "entry")
        _inside(number.get("item", 0), MOST_QUEUED - 1, "item of a queue")
        item = 0 if match["count"] else number.get("item", 0) + 1
        return Address(FunctionData.FIFO, number["pointer"] * ENTRIES + item)
    if match["server"]:
        _inside(number.get("byte", 0), 250, "byte of a server id")
        return Address(FunctionData.SERVER_ID, number.get("byte", 0))
    if match["name"] and match["name"] not in OBJECTS:
        raise ValueError(f"{match['name']!r} is not an object of an identification; write {', '.join(OBJECTS)}")
    entry = OBJECTS.index(match["name"]) if match["name"] else number["object"]
    _inside(entry, 0xFF, "object of an identification")
    return Address(FunctionData.IDENTIFICATION, entry)


def _inside(number: int, last: int, what: str) -> None:
    if number > last:
        raise ValueError(f"{number} is beyond the last {what}, {last}")


def _counted(table: Table, number: int, base: int) -> Address:
    if number < base:
        raise ValueError(f"with base: {base} entries are counted from {base}, so there is no {table} {number}")
    if number - base > LAST:
        raise ValueError(f"entry {number} is beyond the last of a table, {LAST + base}")
    return Address(table, number - base)


def _modicon(text: str) -> Address:
    if not _SHORTEST <= len(text) <= _SHORTEST + 1:
        raise ValueError(
            f"{text} names no table; write it as in 'holding {int(text)}', counted from 0, or in Modicon notation "
            "with all of its 5 or 6 digits, as in 40011 (a coil in quotes, as in '00011', to keep its zeros)"
        )
    table, entry = _MODICON.get(text[0]), int(text[1:])
    if table is None:
        raise ValueError(
            f"{text} is not Modicon notation: it begins with 0 for a coil, 1 for a discrete input, 3 for an input "
            "register, 4 for a holding register"
        )
    if entry == 0:
        raise ValueError(f"Modicon notation counts from 1: the first of table {table} is {text[:-1]}1, not {text}")
    if entry > LAST + 1:
        raise ValueError(f"{text} is beyond the last of its table, {text[0]}{LAST + 1}")
    return Address(table, entry - 1)
