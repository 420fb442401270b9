"""`structure` of Home Assistant: a format of Python's `struct`, whose values are in consecutive registers."""

from __future__ import annotations

import re
import struct
from typing import Any

NUMBERS = {
    "h": "int16", "H": "uint16", "i": "int32", "I": "uint32", "l": "int32", "L": "uint32", "q": "int64",
    "Q": "uint64", "e": "float16", "f": "float32", "d": "float64", "b": "int8", "B": "uint8",
}  # fmt: skip
"""Letters, and raw types."""

MOST_VALUES = 125
"""Values of one structure: as many as one request has registers."""

_ITEM = re.compile(r"\s*(\d{0,3})([a-zA-Z?])")


def values_of(structure: str, registers: int | None) -> list[tuple[int, dict[str, Any]]]:
    """Return the values of a structure: the register of each, from 0, and its keys.

    Raises `ValueError` for a structure that is not valid, that has another size than `registers`, or that has a value
    across the border of a register.
    """
    order, items = _parts(structure)
    prefix = "<" if order == "<" else ">"
    swapped = {"order": "DCBA"} if order == "<" else {}
    found: list[tuple[int, dict[str, Any]]] = []
    offset = 0
    for count, letter in items:
        if letter == "s":
            found.append(
                (_register(offset, letter), {"raw": "string", "length": (count + 1) // 2, "encoding": "utf-8"})
            )
            offset += count
            continue
        size = struct.calcsize(f"{prefix}{letter}")
        for _ in range(count):
            if letter in {"b", "B"}:
                half = {"byte": "high"} if offset % 2 == 0 else {}
                found.append((offset // 2, {"raw": NUMBERS[letter]} | half))
            elif letter == "?":
                found.append((offset // 2, {"bit": 8 if offset % 2 == 0 else 0}))
            elif letter != "x":
                raw = {} if letter == "H" else {"raw": NUMBERS[letter]}
                found.append((_register(offset, letter), raw | swapped))
            offset += size
        if len(found) > MOST_VALUES:
            raise ValueError(f"the structure {structure[:40]!r} has more than {MOST_VALUES} values")
    if registers is not None and offset != 2 * registers:
        raise ValueError(
            f"the structure {structure[:40]!r} has {offset} bytes, and count: {registers} has {2 * registers}"
        )
    if not found:
        raise ValueError(f"the structure {structure[:40]!r} has no value")
    return found


def _parts(structure: str) -> tuple[str, list[tuple[int, str]]]:
    """Return the sign for the order of bytes, and the items as count and letter. Raises `ValueError`."""
    text = structure.strip()
    order = text[:1] if text[:1] in {">", "!", "<"} else ""
    rest = text[len(order) :]
    items = _ITEM.findall(rest)
    known = NUMBERS.keys() | {"s", "x", "?"}
    if not order or "".join(re.split(r"\s+", _ITEM.sub("", rest))) or any(letter not in known for _, letter in items):
        raise ValueError(f"the structure {structure[:40]!r} is not one such as >2hf: the order > or <, and types")
    return order, [(int(count or 1), letter) for count, letter in items]


def _register(offset: int, letter: str) -> int:
    if offset % 2:
        raise ValueError(f"a value {letter} begins in the middle of a register")
    return offset // 2
