"""Lists of registers, as CSV or Excel, from the manual of a device, a supplier or a colleague.

The columns are known by their names in English, German and Chinese, by their content, or by `--column`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.importers.base import Format
from gateway.importers.found import Found, Import, Options, Row, free_name, with_unit, without_defaults
from gateway.importers.register_address import Entry, is_modicon, named_table, of_modicon, parse_address, parse_table
from gateway.importers.register_columns import FIELDS, Columns, find_columns, plain
from gateway.importers.register_type import RawType, is_written_only, parse_factor, parse_type, size_of
from gateway.importers.scaling import number, rounded
from gateway.settings.problems import unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.importers.content import Content
    from gateway.importers.found import Where
    from gateway.importers.table import Cells

ORDER = "ABCD"
"""The order of 32 bits in most manuals: the high word first."""

_NOTHING = frozenset({"", "-", "--", "/", "n/a", "na", "none", "keine", "无", "—"})
_RESERVED = frozenset({"reserved", "reserve", "reserviert", "spare", "unused", "not used", "保留", "备用", "预留"})
_ORDERS = {
    "abcd": "ABCD", "1234": "ABCD", "bigendian": "ABCD", "highwordfirst": "ABCD", "mswfirst": "ABCD",
    "msbfirst": "ABCD", "cdab": "CDAB", "3412": "CDAB", "lowwordfirst": "CDAB", "lswfirst": "CDAB",
    "wordswap": "CDAB", "swapped": "CDAB", "badc": "BADC", "2143": "BADC", "byteswap": "BADC", "dcba": "DCBA",
    "4321": "DCBA", "littleendian": "DCBA",
}  # fmt: skip
_LABEL = re.compile(r"\s*(\d{1,5})\s*[:=\u2013-]\s*([^,;\n]+?)\s*")
_BITS = re.compile(r"(\d{1,2})\s*(?:-|\.\.|\u2013|~|:)\s*(\d{1,2})")
_MOST_BITS = 16


@dataclass(slots=True)
class _List:
    """One list and all that is the same for its rows."""

    columns: Columns
    table: str
    base: int
    order: str
    ordered: bool = False
    modicon: bool = False
    length_in_bytes: bool = False
    by_function: bool = False
    wide: bool = False
    multiplied: list[str] = field(default_factory=list)
    untyped: int = 0
    ranges: int = 0

    def cell(self, row: Cells, name: str) -> str:
        """Return the cell of a field, empty where the list has none."""
        position = self.columns.by_field.get(name, -1)
        text = row.cells[position].strip() if 0 <= position < len(row.cells) else ""
        return "" if text.lower() in _NOTHING else text


def read(content: Content, options: Options) -> Import:
    """Return the machines of a list. Raises `ValueError` without its connection or its columns."""
    if not options.connection.startswith("modbus"):
        raise ValueError(
            "a list of registers names no device; say --connection, as in modbus+tcp://10.20.1.11:502?unit=1"
        )
    found = Import()
    given = [_given(one) for one in options.columns]
    machines: dict[tuple[str, str], Found] = {}
    sheets = {name: rows for name, rows in content.sheets.items() if not options.sheet or name == options.sheet}
    if not sheets:
        raise ValueError(unknown("sheet", options.sheet, content.sheets))
    lists = {name: columns for name, rows in sheets.items() if (columns := find_columns(rows, given))}
    if not lists:
        raise ValueError(
            "no column has addresses, or none has names; say which, as in --column address=Register --column name=Tag"
        )
    for name, rows in sheets.items():
        if name in lists:
            _read_list(name, rows, lists[name], options, machines, found)
        else:
            found.note(rows[0].line, f"sheet {name}", "is left out: it has no column of addresses")
    found.machines = list(machines.values())
    return found


def _given(written: str) -> tuple[str, str]:
    """Return field and column of `address=Register`. Raises `ValueError`."""
    name, separator, column = written.partition("=")
    if not separator or not column.strip():
        raise ValueError(f"--column {written!r}: write a field and its column, as in address=Register")
    if name.strip() not in FIELDS:
        raise ValueError(f"--column {written!r}: {unknown('field', name.strip(), FIELDS)}")
    return name.strip(), column


def _read_list(
    sheet: str, rows: Sequence[Cells], columns: Columns, options: Options, machines: dict[tuple[str, str], Found],
    found: Import,
) -> None:  # fmt: skip
    head = rows[max(columns.head, 0)]
    found.note(head.line, "columns", f"{columns.shown()}; --column FIELD=COLUMN says another")
    body = [row for row in rows[columns.head + 1 :] if columns.head < 0 or row.cells != head.cells]
    one = _list_of(sheet, body, columns, options)
    if not options.base and not one.modicon and (plain_rows := _counted(body, one)) and 0 not in plain_rows.values():
        found.note(next(iter(plain_rows)), "addresses", "are counted from 0; say --base 1 if the first register is 1")
    for row in body:
        filled = [cell for cell in row.cells if cell.strip()]
        name = one.cell(row, "name") or one.cell(row, "description")
        if len(filled) < 2 and not one.cell(row, "address"):  # noqa: PLR2004 - a heading is alone in its row
            continue
        try:
            keys = _point(row, name, one, found)
        except ValueError as error:
            found.note(row.line, name or "a row", f"is left out: {error}")
            continue
        machine = _machine(row, one, options, machines)
        found.add(machine, name, Row(row.line, keys))
    _note_all(head.line, one, found)


def _note_all(where: Where, one: _List, found: Import) -> None:
    """Note what concerns many rows, once."""
    if one.wide:
        found.note(where, "order", f"values of 32 and 64 bits are read as {one.order}; say --order for another")
    if one.multiplied:
        scale = one.columns.names[one.columns.by_field["scale"]]
        found.note(
            where, "scale",
            f"values are multiplied by {', '.join(sorted(set(one.multiplied))[:3])}; say --column 'divisor={scale}' "
            "to divide",
        )  # fmt: skip
    if one.untyped:
        found.note(where, "type", f"{one.untyped} registers have no type in the list: they are read as uint16")
    if one.ranges:
        found.note(where, "range", f"of {one.ranges} points is not translated: it may be of raw or of scaled values")


def _list_of(sheet: str, body: Sequence[Cells], columns: Columns, options: Options) -> _List:
    table = named_table(sheet) or options.table
    one = _List(columns, table, int(options.base or 0), options.order or ORDER, bool(options.order))
    numbers = _counted(body, one)
    one.modicon = not options.base and bool(numbers) and all(map(is_modicon, numbers.values()))
    digits = {text for row in body if (text := one.cell(row, "table")).isdecimal()}
    one.by_function = "0" not in digits and "2" in digits
    sized = [(size_of(raw), size) for raw, size in (_declared(row, one) for row in body) if raw and size]
    one.length_in_bytes = bool(sized) and all(length == 2 * size for size, length in sized)
    return one


def _counted(body: Iterable[Cells], one: _List) -> dict[Where, int]:
    """Return the numbers of addresses that count from the list's base, by their rows."""
    numbers = {}
    for row in body:
        try:
            entry = parse_address(one.cell(row, "address"))
        except ValueError:
            continue
        if not entry.certain:
            numbers[row.line] = entry.number
    return numbers


def _declared(row: Cells, one: _List) -> tuple[str, int]:
    """Return a raw type that says its size, and the length of the row; nothing where one of both is missing."""
    written, length = one.cell(row, "type"), one.cell(row, "length")
    try:
        small, large = parse_type(written, 1).raw, parse_type(written, 4).raw
    except ValueError:
        return "", 0
    is_sized = small == large and small not in {"string", "bool"} and length.isdecimal() and len(length) < 5  # noqa: PLR2004
    return (small, int(length)) if is_sized else ("", 0)


def _point(row: Cells, name: str, one: _List, found: Import) -> dict[str, Any]:
    """Return the keys of a row. Raises `ValueError` where it is not a register that can be read."""
    if not one.cell(row, "address"):
        raise ValueError("it has no address")
    if not name:
        raise ValueError("it has no name")
    if name.lower() in _RESERVED:
        raise ValueError("it is reserved")
    if is_written_only(one.cell(row, "access")):
        raise ValueError("it is only written to")
    table, entry, place = _place(row, one)
    keys: dict[str, Any] = {"address": f"{table} {place}"}
    if table in {"holding", "input"}:
        keys |= _raw(row, name, entry, one, found)
    keys |= _value(row, name, keys, one, found)
    return keys


def _place(row: Cells, one: _List) -> tuple[str, Entry, int]:
    """Return the table of a row, its address as written, and its entry from 0."""
    entry = parse_address(one.cell(row, "address"))
    said = parse_table(one.cell(row, "function"), by_function=True) or parse_table(
        one.cell(row, "table"), by_function=one.by_function
    )
    if not entry.certain and one.modicon:
        table, place = of_modicon(entry.number)
        return table, entry, place
    place = entry.number - (0 if entry.certain else one.base)
    if place < 0:
        raise ValueError(f"the address {one.cell(row, 'address')!r} is before the first, which is {one.base}")
    return entry.table or said or one.table, entry, place


def _raw(row: Cells, name: str, entry: Entry, one: _List, found: Import) -> dict[str, Any]:
    """Return the keys about the type of a register's value."""
    registers = entry.registers
    if (length := one.cell(row, "length")).isdecimal() and len(length) < 5:  # noqa: PLR2004 - registers of a device
        registers = (int(length) + 1) // 2 if one.length_in_bytes else int(length)
    written = one.cell(row, "type")
    kind = parse_type(written, registers) if written else RawType({2: "uint32", 4: "uint64"}.get(registers, "uint16"))
    one.untyped += not written
    bit = one.cell(row, "bit")
    if match := _BITS.fullmatch(bit):
        return without_defaults({"raw": kind.raw}, raw="uint16") | {"bits": sorted(map(int, match.groups()))}
    if bit.isdecimal() or entry.bit is not None:
        number_of_bit = int(bit) if bit.isdecimal() else entry.bit or 0
        return ({"raw": kind.raw} if number_of_bit >= _MOST_BITS else {}) | {"bit": number_of_bit}
    if kind.raw == "bool":
        found.note(row.line, name, "is a bit, and the list does not say which of its register: bit 0 is read")
        return {"bit": 0}
    if kind.raw == "string":
        return {"raw": "string", "length": registers or (kind.length + 1) // 2 or None}
    keys: dict[str, Any] = without_defaults({"raw": kind.raw}, raw="uint16")
    size = size_of(kind.raw)
    if size > 1:
        order = kind.order or _order(row, name, one, found)
        one.wide = one.wide or not (kind.order or one.cell(row, "order") or one.ordered)
        keys |= without_defaults({"order": order}, order="ABCD")
    if registers > size and registers % size == 0 and kind.raw[-1] != "8":
        found.note(row.line, name, f"has {registers} registers of {kind.raw}: it becomes {registers // size} points")
        keys["count"] = registers // size
    elif registers and registers != size:
        found.note(row.line, name, f"has {registers} registers in the list, and {kind.raw} has {size}")
    return keys


def _order(row: Cells, name: str, one: _List, found: Import) -> str:
    written = one.cell(row, "order")
    if not written:
        return one.order
    order = _ORDERS.get(plain(written))
    if order is None:
        found.note(row.line, name, f"the order {written!r} is not known; it is read as {one.order}")
    return order or one.order


def _value(row: Cells, name: str, keys: dict[str, Any], one: _List, found: Import) -> dict[str, Any]:
    """Return the keys about the meaning of the value."""
    value: dict[str, Any] = found.unit(row.line, name, one.cell(row, "unit"))
    if (description := one.cell(row, "description")) and description != name:
        value["description"] = description
    is_number = keys.get("raw", "uint16") != "string" and not {"bit"} & keys.keys() and "coil" not in keys["address"]
    if is_number and "discrete" not in keys["address"]:
        try:
            value |= _scaling(row, one)
        except ValueError as error:
            found.note(row.line, name, f"is not scaled: {error}")
        value |= _range(row, value, one)
    if every := _every(one.cell(row, "every"), one):
        value["every"] = every
    if written := one.cell(row, "labels"):
        labels = [match for match in map(_LABEL.fullmatch, re.split(r"[,;\n]", written)) if match]
        if labels and "scale" not in value:
            value["labels"] = {int(match[1]): match[2] for match in labels}
        else:
            found.note(row.line, name, f"its values {written[:40]!r} are not translated; write labels by hand")
    return value


def _scaling(row: Cells, one: _List) -> dict[str, Any]:
    factor: float = 1
    if written := one.cell(row, "scale"):
        factor = parse_factor(written)
        if factor > 1:
            one.multiplied.append(written)
    elif written := one.cell(row, "divisor"):
        factor = rounded(1 / parse_factor(written.lstrip("/\u00f7")))
    elif written := one.cell(row, "decimals"):
        factor = rounded(10.0 ** -(number(written) or 0))
    offset = number(one.cell(row, "offset")) or 0
    return without_defaults({"scale": factor, "offset": rounded(offset)}, scale=1, offset=0)


def _range(row: Cells, value: dict[str, Any], one: _List) -> dict[str, Any]:
    try:
        low, high = number(one.cell(row, "low")), number(one.cell(row, "high"))
    except ValueError:
        one.ranges += 1
        return {}
    if low is None or high is None or low >= high:
        return {}
    if "scale" in value or "offset" in value:
        one.ranges += 1
        return {}
    return {"range": [rounded(low), rounded(high)]}


def _every(written: str, one: _List) -> str:
    """Return a period; a number alone is in milliseconds, unless the name of its column says seconds."""
    match = re.fullmatch(r"(\d{1,7}(?:\.\d{1,3})?)\s*(ms|s|min|m|h)?", written.lower())
    if not match:
        return ""
    seconds = re.search(r"\(s\)|\bsec|\[s\]|秒", one.columns.names[one.columns.by_field["every"]].lower())
    unit = (match[2] or ("s" if seconds else "ms")).replace("min", "m")
    amount, unit = (
        (float(match[1]) / 1000, "s") if unit == "ms" and float(match[1]) % 1000 == 0 else (float(match[1]), unit)
    )
    return "" if (amount, unit) in {(1.0, "s"), (0.0, "s")} else f"{amount:g}{unit}"


def _machine(row: Cells, one: _List, options: Options, machines: dict[tuple[str, str], Found]) -> Found:
    """Return the machine of a row: its device, and its unit id, if the list has columns for them."""
    name, unit = one.cell(row, "machine") or options.machine or "machine", one.cell(row, "unit_id")
    if (name, unit) not in machines:
        connection = with_unit(options.connection, unit) if unit.isdecimal() else options.connection
        several = any(one == name for one, _ in machines)
        free = free_name(f"{name}-{unit}" if several else name)
        machines[name, unit] = Found(
            free, free_name(name), "modbus", connection, options.area, options.line, row.line
        )
    return machines[name, unit]


def _recognise(content: Content) -> bool:
    return any(find_columns(rows) for rows in content.sheets.values())


FORMAT = Format("registers", "list of registers (CSV, xlsx)", _recognise, read)
