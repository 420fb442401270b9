"""Addresses and tables of Modbus as manuals of devices write them."""

from __future__ import annotations

import re
from typing import NamedTuple

MODICON = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
"""Tables by the first digit of Modicon notation."""

FUNCTIONS = {"1": "coil", "2": "discrete", "3": "holding", "4": "input"}
"""Tables by the function code that reads them."""

WORDS = {
    "holding": "holding", "halteregister": "holding", "保持": "holding", "coil": "coil", "spule": "coil",
    "线圈": "coil", "discrete": "discrete", "diskret": "discrete", "input status": "discrete",
    "status input": "discrete", "离散": "discrete", "input": "input", "eingangsregister": "input", "输入": "input",
}  # fmt: skip
"""Words for tables, in any place of a cell; the first that is found counts."""

SHORT = {
    "4x": "holding", "3x": "input", "1x": "discrete", "0x": "coil", "hr": "holding", "ir": "input", "di": "discrete",
    "do": "coil", "ao": "holding", "ai": "input",
}  # fmt: skip
"""Short forms of tables: a whole cell, or before an entry."""

_SCHNEIDER = {"%mw": "holding", "%iw": "input", "%m": "coil", "%i": "discrete"}
"""Memory of Schneider controllers, whose Modbus entry is the same number, from 0."""

_LAST = 65535
_HEX = re.compile(r"(?:0x|&h|\$)(?P<after>[0-9a-f]{1,4})|(?P<before>[0-9a-f]{1,5})\s*h(?:ex)?", re.IGNORECASE)
_MODICON = re.compile(r"(?P<table>[0134])(?:[xX:-]\s*|\s)(?P<entry>\d{1,5})")
_WORD = re.compile(
    r"(?P<word>%?[a-z]+|4x|3x|1x)(?:\s*register)?[\s_:.-]*(?P<entry>\d{1,5}|0x[0-9a-f]{1,4})", re.IGNORECASE
)
_PLAIN = re.compile(r"\d{1,6}")
_BIT = re.compile(r"(?P<rest>.*\dh?)\s*(?:[.:/]|\bbit\s*)\s*(?P<bit>\d{1,2})", re.IGNORECASE)
_RANGE = re.compile(
    r"(?P<low>[^~\-\u2013\u2014\u2026]*?\dh?)\s*(?:[~\-\u2013\u2014\u2026]|\.\.+|\bto\b|\bbis\b|至|到)\s*(?P<high>\S.*)",
    re.IGNORECASE,
)


class Entry(NamedTuple):
    """An address as it is written. `number` counts from 0 if `certain`, otherwise from the base of the list.

    `table` is empty where the address does not name it. `registers` is the size of a range, or 0.
    """

    table: str
    number: int
    certain: bool
    bit: int | None = None
    registers: int = 0


def parse_address(written: str) -> Entry:
    """Return an address: `40001`, `4x0001`, `HR 12`, `0x0064`, `64h`, `%MW100`, `100.3`, `40001-40002`.

    A plain number is not certain: it may be in Modicon notation, or count from 0 or 1. Raises `ValueError`.
    """
    text = written.strip()
    entry = _single(text)
    if entry is None and (match := _RANGE.fullmatch(text)):
        low, high = _single(match["low"].strip()), _single(match["high"].strip())
        if low and high and low[:1] == high[:1] and low.number < high.number:
            entry = low._replace(registers=high.number - low.number + 1)
    if entry is None and (match := _BIT.fullmatch(text)) and (rest := _single(match["rest"].strip())):
        entry = rest._replace(bit=int(match["bit"]))
    if entry is None:
        raise ValueError(f"{written[:40]!r} is not an address such as 40001, 4x0001, 100, 0x64 or 100.3")
    if not 0 <= entry.number <= _LAST and entry.certain:
        place = "before the first entry, 1" if entry.number < 0 else f"beyond the last entry, {_LAST}"
        raise ValueError(f"{written[:40]!r} is {place}")
    return entry


def _single(text: str) -> Entry | None:
    """Return an address without a range and a bit, None for another text."""
    if match := _HEX.fullmatch(text):
        return Entry("", int(match["after"] or match["before"], 16), certain=True)
    if match := _MODICON.fullmatch(text):
        return Entry(MODICON[match["table"]], int(match["entry"]) - 1, certain=True)
    if match := _WORD.fullmatch(text):
        return _named(match["word"].lower(), match["entry"].lower())
    if not _PLAIN.fullmatch(text):
        return None
    if text[0] == "0" and len(text) in {5, 6}:  # 00001 is the first coil
        return Entry("coil", int(text) - 1, certain=True)
    return Entry("", int(text), certain=False)


def _named(word: str, entry: str) -> Entry | None:
    """Return an address of a table by its word, None for another word."""
    number = int(entry, 16 if entry.startswith("0x") else 10)
    if word in _SCHNEIDER:
        return Entry(_SCHNEIDER[word], number, certain=True)
    table = SHORT.get(word) or WORDS.get(word)
    return Entry(table, number, certain=entry.startswith("0x")) if table else None


def is_modicon(number: int) -> bool:
    """Return whether a number can be in Modicon notation of five or six digits, as 40001 and 400001."""
    text = str(number)
    return len(text) in {5, 6} and text[0] in "134" and 1 <= int(text[1:]) <= _LAST + 1


def of_modicon(number: int) -> tuple[str, int]:
    """Return table and entry, from 0, of a number in Modicon notation."""
    text = str(number)
    return MODICON[text[0]], int(text[1:]) - 1


def named_table(text: str) -> str:
    """Return the table that a text names by a word, nothing where it names none."""
    small = text.lower()
    return next((table for word, table in WORDS.items() if word in small), "")


def parse_table(written: str, *, by_function: bool) -> str:
    """Return the table that a cell names by a word or a number, nothing for an empty cell. Raises `ValueError`.

    A number alone is a function code where `by_function` is set, else the digit of Modicon notation.
    """
    text = written.strip().lower()
    if not text:
        return ""
    if text in SHORT:
        return SHORT[text]
    if match := re.match(r"(?P<word>f[a-z]*)?[\s.:]*(?:0x)?0*(?P<number>[0-4])(?![\dx])", text):
        numbers = FUNCTIONS if by_function or match["word"] else MODICON
        if table := numbers.get(match["number"]):
            return table
    if table := named_table(text):
        return table
    raise ValueError(f"{written[:40]!r} is not a table of Modbus, or a function code that reads one")
