"""The items of a data change notification (Part 4, 7.25.2) -> columns.

asyncua makes four objects of every change. Here a change of a plain value is one `struct` call, and what follows is
done for whole columns. Values that are rare go through `drivers.opcua.variant`, one by one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from asyncua import ua

from drivers.opcua.binary import (
    NUMBERS,
    SERVER_TIME,
    SOURCE_TIME,
    STATUS,
    UINT32,
    VALUE,
    behind_value,
    count,
    date_time,
    mask_of,
    text,
)
from drivers.opcua.variant import variant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Layout = tuple[Callable[[bytes, int], tuple[Any, ...]], Callable[[tuple[Any, ...]], Any], int]
    """What takes the numbers out of the message, what puts them in order with a 0 behind them, and their bytes."""

Row = tuple[int, Any, int, int, int]
"""One change: client handle, value, status, source and server time in ticks, 0 where there is none."""

_EPOCH = ua.uatypes.EPOCH_AS_FILETIME // 10
_LAST = ua.uatypes.MAX_OPC_FILETIME
"""9999-12-31 23:59:59, which stands for all times from there on (Part 6, 5.2.2.5)."""

_HANDLE = 4
_HANDLE_AND_MASK = 5

_NULL, _STRING, _DATE_TIME = (
    int(kind) for kind in (ua.VariantType.Null, ua.VariantType.String, ua.VariantType.DateTime)
)


@dataclass(slots=True)
class Changes:
    """The data changes of one message, in the order they were sent, as columns of one length.

    `handles`       the client's handle of the monitored item
    `values`        bool, int, float, str, datetime, None for null, else as asyncua has it: `Variant.Value`
    `statuses`      status codes; 0, good, where none was sent
    `source_times`  microseconds since the epoch, UTC; None where none, or the null of 1601, was sent
    `server_times`  likewise
    `variants`      by position, the whole variant of a value of any other type: its type and dimensions
    """

    handles: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    source_times: list[int | None] = field(default_factory=list)
    server_times: list[int | None] = field(default_factory=list)
    variants: dict[int, ua.Variant] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Sequence[Row], variants: dict[int, ua.Variant]) -> Changes:
        """Turn rows into columns."""
        if not rows:
            return cls()
        handles, values, statuses, sources, servers = zip(*rows, strict=True)
        return cls(
            list(handles), list(values), list(statuses), microseconds(sources), microseconds(servers), variants
        )

    def extend(self, more: Changes) -> None:
        """Add the rows of another answer behind these."""
        self.variants |= {len(self.values) + place: variant for place, variant in more.variants.items()}
        for name in ("handles", "values", "statuses", "source_times", "server_times"):
            getattr(self, name).extend(getattr(more, name))

    def chosen(self, places: Sequence[int]) -> Changes:
        """Return those at some places."""
        return Changes(
            [self.handles[place] for place in places],
            [self.values[place] for place in places],
            [self.statuses[place] for place in places],
            [self.source_times[place] for place in places],
            [self.server_times[place] for place in places],
            {new: self.variants[place] for new, place in enumerate(places) if place in self.variants},
        )


def microseconds(ticks: Iterable[int]) -> list[int | None]:
    """Return times in microseconds since 1970, of those in 100 ns since 1601; up to 0 they are null."""
    return [(tick // 10 - _EPOCH if tick < _LAST else _LAST // 10 - _EPOCH) if tick > 0 else None for tick in ticks]


def read_changes(data: bytes, at: int, rows: list[Row], variants: dict[int, ua.Variant]) -> int:
    """Read the monitored items of a data change notification into `rows`; return where they end.

    Beyond the notification's end there may be more of the message: the caller checks that no item reached there.
    """
    size, at = count(data, at, _HANDLE_AND_MASK)
    layout_of, add = _WHOLE.get, rows.append
    for _ in range(size):
        layout = layout_of(data[at + 4 : at + 6])
        if layout is None:
            at = _other_change(data, at, rows, variants)
        else:
            unpack, arrange, length = layout
            add(arrange((*unpack(data, at), 0)))
            at += length
    return at


def read_values(data: bytes, at: int, rows: list[Row], variants: dict[int, ua.Variant]) -> int:
    """Read an array of data values into `rows`; return where it ends.

    A data value is a monitored item without its handle: the four bytes before it, whatever they are, stand for that.
    """
    size, at = count(data, at, 1)
    layout_of, add = _WHOLE.get, rows.append
    for _ in range(size):
        layout = layout_of(data[at : at + 2])
        if layout is None:
            at = _other_change(data, at - _HANDLE, rows, variants)
        else:
            unpack, arrange, length = layout
            add(arrange((*unpack(data, at - _HANDLE), 0)))
            at += length - _HANDLE
    return at


def _forms() -> Iterator[tuple[int, str, list[int]]]:
    """Yield what can stand behind a value: its mask, its format, and where in it status and both times stand.

    What is not sent stands at the end, where a 0 is added: a good status, no time.
    """
    parts = {STATUS: "I", SOURCE_TIME: "q", SERVER_TIME: "q"}
    for bits in range(1 << len(parts)):
        sent = [part for i, part in enumerate(parts) if bits >> i & 1]
        places = [sent.index(part) if part in sent else len(sent) for part in parts]
        yield sum(sent), "".join(parts[part] for part in sent), places


def _layout(form: str, places: Iterable[int]) -> Layout:
    compiled = struct.Struct("<" + form)
    return compiled.unpack_from, itemgetter(*places), compiled.size


_BEHIND = {mask: _layout(form, places) for mask, form, places in _forms()}
"""How to read what is behind a value, by its mask."""

_WHOLE = {
    bytes([VALUE | mask, kind]): _layout(f"I2x{number}{form}", [0, 1, *(2 + place for place in places)])
    for mask, form, places in _forms()
    for kind, number in NUMBERS.items()
}
"""How to read a change of a number or truth value, by the mask of its data value and its type."""


def _other_change(data: bytes, at: int, rows: list[Row], variants: dict[int, ua.Variant]) -> int:
    """Read one monitored item of any form into `rows`; return where it ends."""
    handle = UINT32(data, at)[0]
    mask = data[at + 4]
    layout = _BEHIND.get(mask & ~VALUE)
    if layout is None:  # with picoseconds, or no mask at all
        mask_of(data, at + 4, 0x3F, "a data value")
    at += _HANDLE_AND_MASK
    value = whole = None
    if mask & VALUE:
        value, whole, at = read_value(data, at)
        if whole is not None:
            variants[len(rows)] = whole
    if layout is None:
        there, at = behind_value(data, at, mask)
        rows.append((handle, value, there.get(STATUS, 0), there.get(SOURCE_TIME, 0), there.get(SERVER_TIME, 0)))
        return at
    unpack, arrange, size = layout
    rows.append((handle, value, *arrange((*unpack(data, at), 0))))
    return at + size


def read_value(data: bytes, at: int) -> tuple[Any, ua.Variant | None, int]:
    """Read one value; return it, its whole variant where its type is rare, and where it ends."""
    kind = data[at]
    if kind == _STRING:
        value, at = text(data, at + 1)
        return value, None, at
    if kind == _DATE_TIME:
        time, at = date_time(data, at + 1)
        return time, None, at
    if kind == _NULL:
        return None, None, at + 1
    found, at = variant(data, at)
    return found.Value, (None if kind in NUMBERS else found), at
