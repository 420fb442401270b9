"""Layouts of data changes: a server sends the same items, in the same form, again and again.

A message that has the layout of an earlier one is decoded by one comparison of its handles, masks and types, and by
one `struct` call. The next steps know such a message by its layout, and look nothing up for its items.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from drivers.opcua.codec.binary import NUMBERS, SERVER_TIME, SOURCE_TIME, STATUS, VALUE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.opcua.codec.data_changes import DataChanges

FEW = 16
"""Minimum number of items of a layout; a message with fewer costs little."""

MAX_LAYOUTS = 16
"""Layouts of a session that are remembered: one for each subscription, and for each part of its changes."""

RETRY = 64
"""Messages of other layouts after which a layout is compiled again for their number of items."""

_HANDLE, _HEAD = 4, 6
"""Bytes of an item's handle, and of all before its value: handle, mask and type."""

_WITH_SERVER_TIME = 3
"""Numbers of an item: value, source and server time."""

Key = tuple[int, bytes]
"""The number of a message's items, and the bytes of the first handle."""


class _Form(NamedTuple):
    """One item: its format for `struct`, its numbers, and the bits of it that belong to the layout."""

    layout: str
    width: int
    mask: bytes


def _form(number: str, *, status: bool, server: bool) -> _Form:
    value = struct.calcsize("<" + number)
    layout = f"{_HEAD}x{number}{'4x' * status}q{'q' * server}"
    mask = b"\xff" * _HEAD + bytes(value) + b"\xff" * 4 * status + bytes(8 + 8 * server)
    return _Form(layout, 2 + server, mask)


_FORMS = {
    bytes([VALUE | SOURCE_TIME | STATUS * status | SERVER_TIME * server, kind]): _form(
        number, status=status, server=server
    )
    for (kind, number), status, server in product(NUMBERS.items(), (False, True), (False, True))
}
"""The forms of items that a layout may have, by mask and type: numbers and Booleans with a source time."""


class ChangeLayout:
    """The items of a message: good numbers and Booleans of known handles, all with a source time.

    `handles` are those of the items in their order, and `nothing` is a 0 for each of them. All messages of the layout
    share these columns: `DataChanges.leave_layout` copies them before a change. Layouts are compared by identity.
    """

    __slots__ = ("_heads", "_mask", "_unpack", "_width", "handles", "nothing")

    def __init__(self, items: bytes, forms: Sequence[_Form], handles: list[int]) -> None:
        """Compile the layout of items that have these forms and handles."""
        self.handles, self.nothing = handles, [0] * len(handles)
        self._mask = int.from_bytes(b"".join(form.mask for form in forms), "little")
        self._heads = int.from_bytes(items, "little") & self._mask
        self._unpack = struct.Struct("<" + "".join(form.layout for form in forms))
        self._width = forms[0].width

    def read(self, data: bytes, at: int, changes: DataChanges) -> int | None:
        """Read the items at `at` into empty columns, and return their end; None if they have another layout."""
        end = at + self._unpack.size
        items = data[at:end]
        if len(items) != self._unpack.size or int.from_bytes(items, "little") & self._mask != self._heads:
            return None
        numbers: tuple[Any, ...] = self._unpack.unpack(items)
        width = self._width
        changes.layout, changes.handles, changes.statuses = self, self.handles, self.nothing
        changes.values, changes.source_ticks = list(numbers[::width]), list(numbers[1::width])
        changes.server_ticks = list(numbers[2::width]) if width == _WITH_SERVER_TIME else self.nothing
        return end


@dataclass(slots=True)
class _Known:
    """The layout of messages with one key, the handles of the last message of another layout, and the pause."""

    handles: list[int]
    layout: ChangeLayout | None = None
    wait: int = 0


class ChangeLayouts:
    """The layouts of a session's messages. A layout is compiled once two messages have had the same handles."""

    def __init__(self) -> None:
        self._known: dict[Key, _Known] = {}

    def read(self, data: bytes, at: int, size: int, changes: DataChanges) -> int | None:
        """Read items of a known layout into empty columns, and return their end; None for all others."""
        known = self._known.get((size, data[at : at + _HANDLE]))
        return None if known is None or known.layout is None else known.layout.read(data, at, changes)

    def learn(self, data: bytes, at: int, end: int, changes: DataChanges) -> None:
        """Learn from a message of no known layout; `changes` are those of its items between `at` and `end`."""
        size = len(changes.handles)
        if size < FEW:
            return
        key = size, data[at : at + _HANDLE]
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MAX_LAYOUTS:
                self._forget_one()
            self._known[key] = _Known(changes.handles.copy())
        elif known.wait:
            known.wait -= 1
        elif known.handles == changes.handles:
            known.wait = RETRY
            known.layout = _compiled(data[at:end], changes)
        else:
            known.handles = changes.handles.copy()

    def _forget_one(self) -> None:
        """Forget the oldest key without a layout; the changes of a few items of many have a new key each time."""
        unused = next((key for key, known in self._known.items() if known.layout is None), None)
        del self._known[next(iter(self._known)) if unused is None else unused]


def _compiled(items: bytes, changes: DataChanges) -> ChangeLayout | None:
    """Return the layout of items, None if one of them has a form or a status that a layout can't have."""
    if any(changes.statuses):
        return None
    forms: list[_Form] = []
    at = 0
    for _ in changes.handles:
        form = _FORMS.get(items[at + _HANDLE : at + _HEAD])
        if form is None or form.width != (forms[0] if forms else form).width:
            return None
        forms.append(form)
        at += len(form.mask)
    return ChangeLayout(items, forms, changes.handles.copy())
