"""Read a damaged spool page by page, without SQLite.

A damaged inner page of a b-tree hides all pages below it from SQLite. The records are in leaf pages, and their
checksums prove that they are undamaged. So every page that looks like a leaf, in the database and in its write-ahead
log, is searched for pending records. The format: https://www.sqlite.org/fileformat2.html,
1.6 (b-tree pages), 2.1 (records), 4.1 (the log).
"""

from __future__ import annotations

import os
import struct
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Self

from drivers.own_files import open_own
from gateway.spool.checkpoint import Checkpoint, decode_checkpoint
from gateway.spool.files import PAGE, Row, decode_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

_LOG_HEAD, _FRAME_HEAD = 32, 24
_LEAF = 0x0D
_FILE_HEAD = 100  # bytes before the first page's own head
_MOST_LOCAL = PAGE - 35
_LEAST_LOCAL = (PAGE - 12) * 32 // 255 - 23
_OVERFLOW = PAGE - 4
_FIRST_BLOB, _FIRST_TEXT = 12, 13
_SIZES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
"""Bytes of an integer by its serial type."""

_NUMBER = 4  # bytes of a page's number
_NO_FILE = -1

Value = int | bytes | None
"""The value of a column; text is not decoded."""


class Place(NamedTuple):
    """The position of a page: the open file, and the offset in bytes."""

    descriptor: int
    at: int


class Cell(NamedTuple):
    """An entry of a leaf page: its key, the size of its contents, and the part of them that is in the page."""

    place: Place
    key: int
    size: int
    local: bytes
    overflow: int


class Pages:
    """The pages of a database and of its log on disk, without unreadable parts.

    With `log_only` only the log is searched for entries.
    """

    def __init__(self, db: Path, wal: Path, *, log_only: bool = False) -> None:
        self._db, self._log = _open(db), _open(wal)
        self._log_only = log_only
        self._longest = _size(self._db) + _size(self._log)
        self._versions: dict[int, list[Place]] = defaultdict(list)
        for place in self._frames():
            number = _read(self._log, place.at - _FRAME_HEAD, _NUMBER)
            if len(number) == _NUMBER:
                self._versions[int.from_bytes(number)].append(place)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in (self._db, self._log):
            if descriptor != _NO_FILE:
                os.close(descriptor)

    def _frames(self) -> Iterator[Place]:
        for at in range(_LOG_HEAD + _FRAME_HEAD, _size(self._log), _FRAME_HEAD + PAGE):
            yield Place(self._log, at)

    def _places(self) -> Iterator[Place]:
        yield from self._frames()
        if not self._log_only:
            for at in range(0, _size(self._db), PAGE):
                yield Place(self._db, at)

    def cells(self) -> Iterator[Cell]:
        """Yield the entries of every page that looks like a leaf of a table, including free pages."""
        for place in self._places():
            yield from _cells(place, _read(*place, PAGE), self._longest)

    def contents(self, cell: Cell) -> Iterator[bytes]:
        """Yield the possible contents of an entry: its overflow pages may be in the log or in the database."""
        if not cell.overflow:
            yield cell.local
            return
        for choose in (_closest, _newest, _in_database):
            yield self._follow(cell, choose)

    def _follow(self, cell: Cell, choose: Callable[[list[Place], Cell, Place], Place]) -> bytes:
        found, size, number = [cell.local], len(cell.local), cell.overflow
        seen: set[int] = set()
        while number and size < cell.size and number not in seen:
            seen.add(number)
            in_database = Place(self._db, (number - 1) * PAGE)
            page = _read(*choose(self._versions.get(number, []), cell, in_database), PAGE)
            part = page[_NUMBER : _NUMBER + min(_OVERFLOW, cell.size - size)]
            if not part:
                break
            found.append(part)
            size += len(part)
            number = int.from_bytes(page[:_NUMBER])
        return b"".join(found)


def _closest(versions: list[Place], cell: Cell, in_database: Place) -> Place:
    """Return the version written closest to the entry, most likely in the same commit."""
    if cell.place.descriptor == in_database.descriptor:
        return in_database
    return min(versions, key=lambda version: abs(version.at - cell.place.at), default=in_database)


def _newest(versions: list[Place], _: Cell, in_database: Place) -> Place:
    return versions[-1] if versions else in_database


def _in_database(_: list[Place], __: Cell, in_database: Place) -> Place:
    return in_database


def _open(file: Path) -> int:
    try:
        return open_own(file)
    except FileNotFoundError:
        return _NO_FILE


def _read(descriptor: int, at: int, size: int) -> bytes:
    try:
        return b"" if descriptor == _NO_FILE else os.pread(descriptor, size, at)
    except OSError:  # a bad part of the disk
        return b""


def _size(descriptor: int) -> int:
    return 0 if descriptor == _NO_FILE else os.fstat(descriptor).st_size


def _cells(place: Place, page: bytes, longest: int) -> Iterator[Cell]:
    """Yield the entries of a page if it looks like a leaf of a table; none is larger than `longest` bytes."""
    head = _FILE_HEAD if page.startswith(b"SQLite") else 0
    if len(page) < head + 8 or page[head] != _LEAF:
        return
    (count,) = struct.unpack_from(">H", page, head + 3)
    for index in range(min(count, (len(page) - head - 8) // 2)):
        (at,) = struct.unpack_from(">H", page, head + 8 + 2 * index)
        with suppress(IndexError, struct.error):  # a cell that points out of its page
            size, at = _varint(page, at)
            key, at = _varint(page, at)
            if not 0 <= size <= longest:
                continue
            if size <= _MOST_LOCAL:
                yield Cell(place, key, size, page[at : at + size], 0)
                continue
            local = _LEAST_LOCAL + (size - _LEAST_LOCAL) % _OVERFLOW
            local = local if local <= _MOST_LOCAL else _LEAST_LOCAL
            (overflow,) = struct.unpack_from(">I", page, at + local)
            yield Cell(place, key, size, page[at : at + local], overflow)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return an integer of one to nine bytes, and the position after it."""
    number = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        number = number << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004 - the bit that marks that more bytes follow
            return number, at
    number = number << 8 | data[at]
    return number - 2**64 if number >= 2**63 else number, at + 1


def _columns(data: bytes) -> list[Value]:
    """Return the values of an SQLite record; the last may be truncated. Raises `IndexError` for other bytes."""
    end, at = _varint(data, 0)
    kinds = []
    while at < end:
        kind, at = _varint(data, at)
        kinds.append(kind)
    values: list[Value] = []
    for kind in kinds:
        if kind in {8, 9}:
            values.append(kind - 8)
            continue
        length = _SIZES.get(kind, (kind - _FIRST_BLOB) // 2 if kind >= _FIRST_BLOB else 0)
        raw = data[at : at + length]
        at += length
        values.append(int.from_bytes(raw, signed=True) if kind in _SIZES else raw if kind >= _FIRST_BLOB else None)
    return values


def checkpoints(pages: Pages) -> Iterator[Checkpoint]:
    """Yield every undamaged checkpoint of the spool. Raises `NewerSpool`."""
    for cell in pages.cells():
        if cell.key != 1:
            continue
        for data in pages.contents(cell):
            with suppress(IndexError):
                columns = _columns(data)
                if len(columns) == 2 and isinstance(columns[1], bytes):  # noqa: PLR2004 - columns of the table `state`
                    state = decode_checkpoint(columns[1])
                    if state is not None:
                        yield state


def right_rows(pages: Pages, wanted: Callable[[int], bool]) -> Iterator[Row]:
    """Yield undamaged records; `wanted` decides for each number, and should accept none twice."""
    for cell in pages.cells():
        if wanted(cell.key):
            found = filter(None, (_row(cell.key, data) for data in pages.contents(cell)))
            right = next((row for row in found if row.is_right), None)
            if right is not None:
                yield right


def damaged_rows(pages: Pages, wanted: Callable[[int], bool]) -> Iterator[Row]:
    """Yield records with an undamaged head and a damaged payload; `wanted` as in `right_rows`."""
    for cell in pages.cells():
        if wanted(cell.key):
            row = _row(cell.key, next(pages.contents(cell)))
            if row is not None and row.head_is_right:
                yield row


def _row(key: int, data: bytes) -> Row | None:
    """Return the record in these bytes, None if the columns are not those of a record."""
    try:
        _, readings, spool, topic, head, body, payload = _columns(data)
    except (IndexError, ValueError):
        return None
    if not (isinstance(readings, int) and isinstance(head, int) and isinstance(body, int)):
        return None
    if not (isinstance(spool, bytes) and isinstance(topic, bytes) and isinstance(payload, bytes)):
        return None
    return Row(key, readings, decode_text(spool), decode_text(topic), head, body, payload)
