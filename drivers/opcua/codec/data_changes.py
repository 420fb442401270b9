"""Decodes the items of a data change notification (Part 4, 7.25.2) into columns.

asyncua makes four objects of every change. Here one `struct` call decodes many consecutive changes of plain values in
one form, and the next steps process whole columns. `drivers.opcua.codec.variant` decodes rare values one by one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from asyncua import ua

from drivers.opcua.codec.binary import (
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
from drivers.opcua.codec.variant import variant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from drivers.opcua.codec.change_layouts import ChangeLayout, ChangeLayouts

    Unpack = Callable[[bytes, int], tuple[Any, ...]]

Row = tuple[int, Any, int, int, int]
"""One change: client handle, value, status, source and server time in ticks, 0 if a time is missing."""

_EPOCH = ua.uatypes.EPOCH_AS_FILETIME // 10
_LAST = ua.uatypes.MAX_OPC_FILETIME
"""9999-12-31 23:59:59, the value of all later times (Part 6, 5.2.2.5)."""

_HANDLE = 4
_HANDLE_AND_MASK = 5

_FEW, _BLOCK = 8, 64
"""Minimum and maximum number of changes of one form that are decoded together."""

_NULL, _STRING, _DATE_TIME = (
    int(kind) for kind in (ua.VariantType.Null, ua.VariantType.String, ua.VariantType.DateTime)
)


@dataclass(slots=True)
class DataChanges:
    """The data changes of one message, in the order they were sent, as columns of one length.

    `handles`       the client's handle of the monitored item
    `values`        bool, int, float, str, datetime, None for null, else `Variant.Value` of asyncua
    `statuses`      status codes; 0, good, if none was sent
    `source_ticks`  100 ns since 1601, UTC; 0 or less if none was sent
    `server_ticks`  the same for the server time
    `variants`      by position, the whole variant of a value of any other type: its type and dimensions
    `layout`        the layout that all changes have; None if it is not known
    """

    handles: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    source_ticks: list[int] = field(default_factory=list)
    server_ticks: list[int] = field(default_factory=list)
    variants: dict[int, ua.Variant] = field(default_factory=dict)
    layout: ChangeLayout | None = None

    @property
    def source_times(self) -> list[int | None]:
        """Microseconds since the epoch, UTC; None if no time, or the null of 1601, was sent. A new list each time."""
        return microseconds(self.source_ticks)

    @property
    def server_times(self) -> list[int | None]:
        """The server times, in the same form as the source times."""
        return microseconds(self.server_ticks)

    def extend(self, more: DataChanges) -> None:
        """Append the rows of another response."""
        self.leave_layout()
        self.variants |= {len(self.values) + place: variant for place, variant in more.variants.items()}
        for name in ("handles", "values", "statuses", "source_ticks", "server_ticks"):
            getattr(self, name).extend(getattr(more, name))

    def leave_layout(self) -> None:
        """Prepare for further rows: they have no common layout, and the columns of a layout belong to it."""
        if self.layout is not None:
            self.layout = None
            self.handles, self.statuses = self.handles.copy(), self.statuses.copy()
            self.server_ticks = self.server_ticks.copy()

    def chosen(self, places: Sequence[int]) -> DataChanges:
        """Return the changes at the given places."""
        return DataChanges(
            [self.handles[place] for place in places],
            [self.values[place] for place in places],
            [self.statuses[place] for place in places],
            [self.source_ticks[place] for place in places],
            [self.server_ticks[place] for place in places],
            {new: self.variants[place] for new, place in enumerate(places) if place in self.variants},
        )

    def add_rows(self, rows: list[Row]) -> None:
        """Add decoded rows, and empty the list."""
        if rows:
            for column, part in zip(self._columns(), zip(*rows, strict=True), strict=True):
                column.extend(part)
            rows.clear()

    def add_block(self, numbers: tuple[Any, ...], form: Form) -> None:
        """Add the numbers of changes of one form that were decoded together."""
        width = form.width
        for column, place in zip(self._columns(), form.places, strict=True):
            column.extend(numbers[place::width] if place < width else [0] * (len(numbers) // width))

    def _columns(self) -> tuple[list[Any], ...]:
        return self.handles, self.values, self.statuses, self.source_ticks, self.server_ticks


def microseconds(ticks: Sequence[int]) -> list[int | None]:
    """Convert ticks of 100 ns since 1601 to microseconds since 1970; None for 0 or less."""
    if ticks and min(ticks) > 0 and max(ticks) < _LAST:
        return [tick // 10 - _EPOCH for tick in ticks]
    return [(tick // 10 - _EPOCH if tick < _LAST else _LAST // 10 - _EPOCH) if tick > 0 else None for tick in ticks]


class Form(NamedTuple):
    """The layout of a change of a number or Boolean in a message.

    `layout` is a format of `struct`, `size` is in bytes and `width` in numbers. `places` are the indexes of handle,
    value, status and both times in these numbers; a part that was not sent has the index `width`. `unpack` reads one
    change. `arrange` puts it in order with a 0 behind it, which means a good status or no time.
    """

    layout: str
    size: int
    width: int
    places: tuple[int, ...]
    unpack: Unpack
    arrange: Callable[[tuple[Any, ...]], Any]

    @classmethod
    def of(cls, layout: str, places: tuple[int, ...]) -> Form:
        """Compile a form."""
        one = struct.Struct("<" + layout)
        width = len(one.unpack(bytes(one.size)))
        return cls(layout, one.size, width, places, one.unpack_from, itemgetter(*places))


@lru_cache(maxsize=1024)
def _block(layout: str, number: int) -> Unpack:
    return struct.Struct("<" + layout * number).unpack_from


def read_changes(data: bytes, at: int, changes: DataChanges, layouts: ChangeLayouts | None = None) -> int:
    """Read the monitored items of a data change notification; return where they end.

    The message may continue behind the notification: the caller checks that no item crosses that end. `layouts` are
    those of earlier messages of the session.
    """
    size, at = count(data, at, _HANDLE_AND_MASK)
    if layouts is None or changes.handles:  # a further notification of the message
        changes.leave_layout()
        return _read(data, at, size, changes, _WITH_HANDLE, _HANDLE)
    end = layouts.read(data, at, size, changes)
    if end is None:
        end = _read(data, at, size, changes, _WITH_HANDLE, _HANDLE)
        layouts.learn(data, at, end, changes)
    return end


def read_values(data: bytes, at: int, changes: DataChanges) -> int:
    """Read an array of data values; return its end. A data value is a monitored item without its handle."""
    size, at = count(data, at, 1)
    return _read(data, at, size, changes, _WITHOUT_HANDLE, 0)


def _read(data: bytes, at: int, size: int, changes: DataChanges, forms: Mapping[bytes, Form], skip: int) -> int:
    """Read items with `skip` bytes before their masks."""
    rows: list[Row] = []
    form_of, add = forms.get, rows.append
    before = None
    while size > 0:
        form = form_of(data[at + skip : at + skip + 2])
        if form is None:
            at = _other_change(data, at - _HANDLE + skip, rows, changes)
            size -= 1
        elif form is not before:
            _, length, _, _, unpack, arrange = form
            add(arrange((*unpack(data, at), 0)))
            at += length
            size -= 1
        else:
            alike = _alike(data, at + skip, form.size, min(size, _BLOCK))
            if alike < _FEW:
                rows += [form.arrange((*form.unpack(data, at + i * form.size), 0)) for i in range(alike)]
            else:
                changes.add_rows(rows)
                changes.add_block(_block(form.layout, alike)(data, at), form)
            at += alike * form.size
            size -= alike
        before = form
    changes.add_rows(rows)
    return at


def _alike(data: bytes, at: int, size: int, most: int) -> int:
    """Return the number of consecutive items of one form, from the item with its mask at `at`; `size` in bytes."""
    end = at + size * most
    masks, kinds = data[at:end:size], data[at + 1 : end : size]
    return min(len(column) - len(column.lstrip(column[:1])) for column in (masks, kinds))


def _behind() -> Iterator[tuple[int, str, tuple[int, ...]]]:
    """Yield the possible parts after a value: mask, layout, and the places of status and both times in it.

    The place of a part that is not sent is behind the end.
    """
    parts = {STATUS: "I", SOURCE_TIME: "q", SERVER_TIME: "q"}
    for bits in range(1 << len(parts)):
        sent = [part for i, part in enumerate(parts) if bits >> i & 1]
        places = [sent.index(part) if part in sent else len(sent) for part in parts]
        yield sum(sent), "".join(parts[part] for part in sent), tuple(places)


_BEHIND = {mask: Form.of(layout, places) for mask, layout, places in _behind()}
"""Layouts of the parts after a value, by mask."""

_WITH_HANDLE = {
    bytes([VALUE | mask, kind]): Form.of(f"I2x{number}{layout}", (0, 1, *(2 + place for place in places)))
    for mask, layout, places in _behind()
    for kind, number in NUMBERS.items()
}
"""The form of a change of a number or Boolean, by the mask of its data value and its type."""

_WITHOUT_HANDLE = {
    bytes([VALUE | mask, kind]): Form.of(
        f"2x{number}{layout}", (1 + len(layout), 0, *(1 + place for place in places))
    )
    for mask, layout, places in _behind()
    for kind, number in NUMBERS.items()
}
"""The same forms for a data value alone, with handle 0."""


def _other_change(data: bytes, at: int, rows: list[Row], changes: DataChanges) -> int:
    """Read one monitored item of any form into `rows`; return where it ends.

    For an item without a handle, the four bytes before it are used as the handle.
    """
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
            changes.variants[len(changes.values) + len(rows)] = whole
    if layout is None:
        there, at = behind_value(data, at, mask)
        rows.append((handle, value, there.get(STATUS, 0), there.get(SOURCE_TIME, 0), there.get(SERVER_TIME, 0)))
        return at
    rows.append((handle, value, *layout.arrange((*layout.unpack(data, at), 0))))
    return at + layout.size


def read_value(data: bytes, at: int) -> tuple[Any, ua.Variant | None, int]:
    """Read one value; return it, its whole variant if its type is rare, and its end."""
    kind = data[at]
    if kind == _STRING:
        value, at = text(data, at + 1)
        return value or "", None, at  # a null string is an empty string (Part 6, 5.1.11)
    if kind == _DATE_TIME:
        time, at = date_time(data, at + 1)
        return time, None, at
    if kind == _NULL:
        return None, None, at + 1
    found, at = variant(data, at)
    return found.Value, (None if kind in NUMBERS else found), at
