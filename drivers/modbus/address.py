"""Parse addresses of entries in the four tables of a Modbus device (clause 4.3)."""

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


class Address(NamedTuple):
    """An entry of a table, counted from 0 as on the wire."""

    table: Table
    offset: int

    def __str__(self) -> str:
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
    if re.fullmatch(_HEX, text):
        raise ValueError(f"{text} names no table; write it as in 'holding {text}'")
    if match := re.fullmatch(r"(.*\d)\.(\d|1[0-5])", text):
        raise ValueError(
            f"{text!r} is not a Modbus address; for one bit of a register write bit: {match[2]} beside it"
        )
    raise ValueError(
        f"{text!r} is not a Modbus address; write a table and an entry counted from 0, as in "
        "'holding 10' (tables: coil, discrete, holding, input), or Modicon notation, as in 40011"
    )


def table_of(written: object) -> Table | None:
    """Return the table that an address names, None if it names none. Never raises."""
    try:
        found = parse_address(written)
    except ValueError:
        first, _, _ = str(written).strip().partition(" ")
        return Table(first) if first in Table.__members__.values() else None
    return found.table if isinstance(found, Address) else None


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
