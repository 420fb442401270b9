"""The node buffer-parser of Node-RED (node-red-contrib-buffer-parser): values at offsets of a buffer of registers.

Each value keeps the bytes that the node reads: after its swaps, from the byte `offset` on, most or least significant
first. A value whose bytes are not whole registers in a known order is left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from gateway.importers.foreign import Foreign, Part
from gateway.importers.modbus_keys import Keys, scaled
from gateway.importers.nodered_flow import EDITOR

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from gateway.importers.found import Import

NUMBERS = {
    "int": ("int8", 1), "int8": ("int8", 1), "uint": ("uint8", 1), "uint8": ("uint8", 1), "byte": ("uint8", 1),
    "8bit": ("uint8", 1), "int16": ("int16", 2), "uint16": ("uint16", 2), "16bit": ("uint16", 2), "bcd": ("bcd16", 2),
    "int32": ("int32", 4), "uint32": ("uint32", 4), "bigint64": ("int64", 8), "biguint64": ("uint64", 8),
    "float": ("float32", 4), "double": ("float64", 8),
}  # fmt: skip
"""Types without `le` or `be`: the raw type, and the bytes."""

TEXTS = {
    "string": {}, "ascii": {}, "latin1": {}, "binary": {}, "utf8": {"encoding": "utf-8"},
    "utf16le": {"encoding": "utf-16-le"}, "ucs2": {"encoding": "utf-16-le"},
}  # fmt: skip

ORDERS = {
    "AB": "ABCD", "BA": "BADC", "ABCD": "ABCD", "CDAB": "CDAB", "BADC": "BADC", "DCBA": "DCBA", "ABCDEFGH": "ABCD",
    "GHEFCDAB": "CDAB", "BADCFEHG": "BADC", "HGFEDCBA": "DCBA", "CDABGHEF": "CDABGHEF", "DCBAHGFE": "DCBAHGFE",
    "EFGHABCD": "EFGHABCD", "FEHGBADC": "FEHGBADC",
}  # fmt: skip
"""Bytes on the wire by their significance, and the orders here."""

SWAPS = {"swap": 2, "swap16": 2, "swap32": 4, "swap64": 8}
"""Bytes of a group that a swap reverses."""

MOST_VALUES = 2000
"""Values of one item."""

_MASK = re.compile(r"0[xX][0-9a-fA-F]{1,16}|0[bB][01]{1,64}|0[oO][0-7]{1,22}|\d{1,20}")
_SCALE = re.compile(r"\s*(>>>|>>|<<|[*/+-])\s*(0[xX][0-9a-fA-F]{1,8}|\d{1,12}(?:\.\d{1,12})?)\s*")


class Parser(Foreign):
    """The node."""

    model_config = ConfigDict(alias_generator=to_camel)
    apart: ClassVar[Container[str]] = EDITOR | {
        "items", "swap1", "swap2", "swap3", "swap1Type", "swap2Type", "swap3Type", "msgProperty", "msgPropertyType",
        "resultType", "resultTypeType", "multipleResult", "fanOutMultipleResult", "setTopic", "name",
    }  # fmt: skip

    data: str = "payload"
    data_type: str = "msg"
    specification: object = ""
    specification_type: str = "ui"

    @property
    def gets_registers(self) -> bool:
        """Whether it parses the registers that a Modbus node sends."""
        return self.data_type == "msg" and self.data in {"payload", "responseBuffer.buffer", ""}


class Item(Foreign):
    """One value."""

    apart: ClassVar[Container[str]] = {"id"}

    name: str = ""
    type: str
    offset: Annotated[int, Field(ge=0, le=4000)] = 0
    offsetbit: Annotated[int, Field(ge=0, le=32_000)] = 0
    length: Annotated[int | None, Field(ge=-1, le=4000)] = None
    mask: Annotated[str, Field(max_length=70)] = ""
    scale: Annotated[str, Field(max_length=40)] = ""


class Window(NamedTuple):
    """The registers that were read, and the position in them of each byte of the parser's buffer."""

    table: str
    first: int
    bytes: Sequence[int]


def parsed(
    node: Part, table: str, address: int, quantity: int, title: str, found: Import
) -> list[tuple[Part, str, Keys]]:
    """Return the points of a parser behind a request for registers, each with its part of the file."""
    given = {
        key: node.data[key] for key in ("data", "dataType", "specification", "specificationType") if key in node.data
    }
    parser = Part(given, node.path).read(Parser, found, title)
    if parser is None:
        return []
    if not parser.gets_registers:
        found.note(node.where, title, f"is left out: it parses {parser.data[:60]!r}, not the registers")
        return []
    specification = _specification(parser, node, title, found)
    if specification is None:
        return []
    items, swaps = specification
    points: list[tuple[Part, str, Keys]] = []
    try:
        window = Window(table, address, _swapped(2 * quantity, swaps))
    except ValueError as error:
        found.note(node.where, title, f"is left out: {error}")
        return []
    for number, part in enumerate(items, 1):
        item = part.read(Item, found, title)
        if item is None:
            continue
        name = (item.name or f"item{number}").replace("=>", ".")
        try:
            points += [(part, named, keys) for named, keys in _values(item, name, window)]
        except ValueError as error:
            found.note(part.where, f"{title}/{name[:100]}", f"is left out: {error}")
    return points


def _specification(parser: Parser, node: Part, title: str, found: Import) -> tuple[list[Part], list[str]] | None:
    """Return the items and swaps of a parser."""
    if parser.specification_type == "ui":
        swaps = [node.at(f"swap{number}").data for number in (1, 2, 3)]
        kinds = {str(node.at(f"swap{number}Type").data or "swap") for number in (1, 2, 3) if swaps[number - 1]}
        if kinds - {"swap"}:
            found.note(node.where, title, "is left out: its swaps are not constants")
            return None
        return node.find("items", found, title), [str(swap) for swap in swaps if swap]
    if parser.specification_type != "json":
        found.note(node.where, title, f"is left out: its specification is in {parser.specification_type[:20]}")
        return None
    written = node.at("specification")
    whole = written.inner_json(written.data, found, title)
    if whole is None:
        return None
    swap = whole.at("options", "byteSwap").data
    swaps = swap if isinstance(swap, list) else ["swap16"] if swap else []
    return whole.find("items", found, title), [str(one) for one in swaps]


def _swapped(size: int, swaps: Sequence[str]) -> list[int]:
    """Return the position before all swaps of each byte after them. Raises `ValueError`."""
    places = list(range(size))
    for swap in swaps:
        group = SWAPS.get(swap.lower())
        if group is None or size % group:
            raise ValueError(f"{swap[:20]!r} is not possible for {size} bytes")
        places = [place for start in range(0, size, group) for place in reversed(places[start : start + group])]
    return places


def _values(item: Item, name: str, window: Window) -> Iterator[tuple[str, Keys]]:
    """Yield the points of an item. Raises `ValueError`."""
    kind = item.type.lower()
    if kind in {"bool", "boolean"}:
        yield from _bits(item, name, window)
    elif kind in TEXTS or kind in {"hex", "buffer"}:
        yield name, _text(item, kind, window)
    else:
        least_first = kind.endswith("le")
        known = NUMBERS.get(kind if kind in NUMBERS else kind.removesuffix("le").removesuffix("be"))
        if known is None:
            raise ValueError(f"the type {item.type[:40]!r} is not known")
        raw, size = known
        count = (len(window.bytes) - item.offset) // size if item.length == -1 else item.length or 1
        if not 1 <= count <= MOST_VALUES:
            raise ValueError(f"a length of {count} is not possible")
        for number in range(count):
            places = _places(window, item.offset + number * size, size)
            keys = _number(window, raw, places[::-1] if least_first else places)
            yield (name if count == 1 else f"{name}_{number}"), _changed(keys, item)


def _places(window: Window, offset: int, size: int) -> Sequence[int]:
    places = window.bytes[offset : offset + size]
    if len(places) < size:
        raise ValueError(f"byte {offset + size - 1} is behind the {len(window.bytes)} bytes that are read")
    return places


def _number(window: Window, raw: str, places: Sequence[int]) -> Keys:
    """Return the keys of a number with its bytes at these places, the most significant first. Raises `ValueError`."""
    first = min(places)
    address = {"address": f"{window.table} {window.first + first // 2}"}
    if len(places) == 1:
        return address | {"raw": raw} | ({"byte": "high"} if first % 2 == 0 else {})
    letters = "".join(
        "ABCDEFGH"[places.index(place)] if place in places else "?" for place in range(first, first + len(places))
    )
    if first % 2 or letters not in ORDERS:
        raise ValueError("its bytes are not in whole registers in an order that can be read")
    order = ORDERS[letters]
    return address | ({} if raw == "uint16" else {"raw": raw}) | ({} if order == "ABCD" else {"order": order})


def _bits(item: Item, name: str, window: Window) -> Iterator[tuple[str, Keys]]:
    if item.mask:
        raise ValueError("a mask of a bool is not translated")
    last = (len(window.bytes) - item.offset) * 8
    count = last - item.offsetbit if item.length == -1 else item.length or 1
    if not 1 <= count <= MOST_VALUES:
        raise ValueError(f"a length of {count} is not possible")
    for number in range(count):
        bit = item.offsetbit + number
        [place] = _places(window, item.offset + bit // 8, 1)
        keys = {
            "address": f"{window.table} {window.first + place // 2}",
            "bit": bit % 8 + (8 if place % 2 == 0 else 0),
        }
        yield (name if count == 1 else f"{name}_{number}"), keys


def _text(item: Item, kind: str, window: Window) -> Keys:
    size = len(window.bytes) - item.offset if item.length == -1 else item.length or 1
    if size % 2:
        raise ValueError(f"a text of {size} bytes is not in whole registers")
    places = list(_places(window, item.offset, size))
    first = min(places)
    whole = list(range(first, first + size))
    swapped = [place ^ 1 for place in whole]
    if first % 2 or places not in (whole, swapped):
        raise ValueError("its bytes are not in whole registers in an order that can be read")
    keys: Keys = {"address": f"{window.table} {window.first + first // 2}", "length": size // 2}
    keys |= {"raw": "bytes"} if kind in {"hex", "buffer"} else {"raw": "string"} | TEXTS[kind]
    return keys | ({"order": "BADC"} if places == swapped else {})


def _changed(keys: Keys, item: Item) -> Keys:
    """Return the keys of a number with its mask and its scale. Raises `ValueError` if they can't be translated."""
    sign, operand = _operation(item.scale)
    mask = _mask(item.mask)
    if mask is None and sign not in {">>", ">>>"}:
        return keys | _arithmetic(sign, operand)
    raw: str = keys.get("raw", "uint16")
    if raw.startswith(("float", "bcd")):
        raise ValueError(f"a mask or shift of {raw} is not translated")
    width = int(raw.lstrip("uint"))
    shift = int(operand) if sign in {">>", ">>>"} else 0
    if mask is None:
        if raw.startswith("int"):
            raise ValueError(f"a shift of {raw}, which has a sign, is not translated")
        mask = ((1 << width) - 1) >> shift << shift
    low, high = (mask & -mask).bit_length() - 1, mask.bit_length() - 1
    if mask != (1 << high + 1) - (1 << low) or high >= width or (width == 32 and high == 31 and sign != ">>>"):  # noqa: PLR2004
        raise ValueError(f"the mask or shift {item.mask or item.scale!r} of {raw} is not translated")
    low = max(low, shift)
    factor = 2 ** (low - shift)
    found: Keys = {key: value for key, value in keys.items() if key not in {"raw", "byte"}}
    if width == 8:  # noqa: PLR2004 - a byte of a register
        low, high = (low + 8, high + 8) if keys.get("byte") == "high" else (low, high)
        width = 16
    found |= ({} if width == 16 else {"raw": f"uint{width}"}) | {"bits": [low, high]}  # noqa: PLR2004 - the default
    rest = {} if sign in {">>", ">>>"} else _arithmetic(sign, operand)
    scale = rest.pop("scale", 1) * factor
    return found | scaled(scale, rest.get("offset", 0))


def _operation(written: str) -> tuple[str, float]:
    """Return the sign and the number of a scale: a factor, or an operation such as `/10`. Raises `ValueError`."""
    text = written.strip()
    if text in {"", "0", "1"}:
        return "*", 1.0
    try:
        return "*", float(text)
    except ValueError:
        match = _SCALE.fullmatch(text)
    if not match:
        raise ValueError(f"the scale {written!r} is not translated")
    operand = float(int(match[2], 16)) if match[2][:2].lower() == "0x" else float(match[2])
    if (match[1] == "/" and operand == 0) or (match[1] in {">>", ">>>", "<<"} and not 0 <= operand <= 31):  # noqa: PLR2004
        raise ValueError(f"the scale {written!r} is not possible")
    return match[1], operand


def _arithmetic(sign: str, operand: float) -> dict[str, Any]:
    match sign:
        case "*":
            return scaled(operand)
        case "/":
            return scaled(1 / operand)
        case "<<":
            return scaled(2.0 ** int(operand))
        case _:
            return scaled(1, operand if sign == "+" else -operand)


def _mask(written: str) -> int | None:
    """Return a mask, None without one. Raises `ValueError`."""
    text = written.strip()
    if not text:
        return None
    if not _MASK.fullmatch(text):
        raise ValueError(f"the mask {written!r} is not a number")
    mask = int(text, 0) if text[:2].lower() in {"0x", "0b", "0o"} else int(text)
    return mask or None
