"""Types of registers, factors and access as manuals of devices write them."""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.importers.scaling import number, rounded


class RawType(NamedTuple):
    """A type of registers; `length` is the size in brackets, as of a string, `order` the byte order, if written."""

    raw: str
    length: int = 0
    order: str = ""


_KINDS = (
    ("bool", r"bool|^bit$|^1[\s-]*bit$|布尔|^位$"),
    ("string", r"string|ascii|^te?xt|^str\b|^str\d|char\s*[\[(]|字符"),
    ("bcd", r"bcd"),
    ("float", r"float|real|double(?!\s*word)|single|ieee|gleitkomma|浮点|单精度|双精度|^f(?:16|32|64)\b"),
    (
        "uint",
        r"^u(?!tc)|unsigned|word|byte|vorzeichenlos|无符号|enum|bit\s*(?:field|map|mask)|^acc|^双?字$|int\d*u|^\d+[\s-]*bits?$",
    ),
    ("int", r"^[si]\d|int|short|long|signed|vorzeichen|ganzzahl|有符号|整"),
)
"""Kinds of values, and the words that name them; the first that matches counts."""

_SIZES = (
    (64, r"qword|lword|lint|lreal|long\s*long|double(?!\s*word)|双精度"),
    (32, r"dword|double\s*word|dint|long|双字|^acc"),
    (16, r"word|short|^字$"),
    (8, r"byte|char|^u?sint$"),
)
"""Bits of a value by words, where no number says them."""


def parse_type(written: str, registers: int = 0) -> RawType:
    """Return the raw type of `U16`, `S32`, `FLOAT`, `REAL`, `STRING(16)`, `unsigned 32 bit`.

    `registers` is the size that the list gives, or 0: it counts where the type has none. Raises `ValueError`.
    """
    text = re.sub(r"ieee[\s-]*754", "ieee", written.strip().lower())
    kind = next((name for name, words in _KINDS if re.search(words, text)), None)
    if kind is None:
        raise ValueError(f"{written[:40]!r} is not a type such as uint16, S32, FLOAT or STRING(16)")
    order = match[0].upper() if (match := re.search(r"abcd|badc|cdab|dcba", text)) else ""
    if kind == "bool":
        return RawType("bool")
    if kind == "string":
        size = re.search(r"\d{1,3}", text)
        return RawType("string", int(size[0]) if size else 0)
    bits = int(match[0]) if (match := re.search(r"(?<!\d)(?:8|16|32|64)(?!\d)", text)) else 0
    bits = bits or next((size for size, words in _SIZES if re.search(words, text)), 0)
    if not bits and registers in {1, 2, 4}:
        bits = 16 * registers
    if kind == "float":
        bits = bits if bits in {16, 64} else 32
    elif kind == "bcd":
        bits = bits if bits in {8, 32, 64} else 16
    return RawType(f"{kind}{bits or 16}", order=order)


SIZES = {"8": 1, "16": 1, "24": 2, "32": 2, "48": 3, "64": 4}


def size_of(raw: str) -> int:
    """Return the registers of a raw type, 0 for a string."""
    return 1 if raw == "bool" else SIZES.get(re.sub(r"\D", "", raw), 0)


_FACTOR = re.compile(
    r"[x*\u00d7\u00b7]?\s*(?P<factor>[-+]?[\d.,]+(?:e[-+]?\d+)?)(?:\s*[^\d\s/:^\u00f7-].*)?", re.IGNORECASE
)
_DIVIDED = re.compile(r"(?P<one>[-+]?[\d.,]*)\s*[/:\u00f7]\s*(?P<divisor>[\d.,]+)(?:\s*[^\d].*)?")
_POWER = re.compile(r"[x*\u00d7]?\s*10\s*(?:\^|\*\*|e)\s*(?P<power>[-+]?\d{1,2})(?:\s*[^\d].*)?", re.IGNORECASE)


def parse_factor(written: str) -> int | float:
    """Return the factor of `0.1`, `0,1`, `x0.1`, `1/100`, `/10`, `10^-1`, `0.1 bar`. Raises `ValueError`."""
    text = written.strip()
    if match := _POWER.fullmatch(text):
        return rounded(10.0 ** int(match["power"]))
    if match := _DIVIDED.fullmatch(text):
        one, divisor = number(match["one"]) or 1.0, number(match["divisor"])
        if divisor:
            return rounded(one / divisor)
    elif (match := _FACTOR.fullmatch(text)) and (factor := number(match["factor"])):
        return rounded(factor)
    raise ValueError(f"{written[:40]!r} is not a factor such as 0.1, x0.1, 1/100 or 10^-1")


_WRITTEN_ONLY = re.compile(r"w|wo|write(?:[\s-]*only)?|schreiben|nur schreiben|只写|写")


def is_written_only(access: str) -> bool:
    """Return whether a cell about access says that a register can't be read."""
    return bool(_WRITTEN_ONLY.fullmatch(access.strip().lower()))
