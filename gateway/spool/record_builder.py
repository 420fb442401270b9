"""Where scans of one topic gather until they become records, none larger than a broker takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from gateway.spool.files import Spooled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

MAX_RECORD = 64 * 2**10
"""Bytes of a record, unless the configuration says otherwise."""

RECORD_READINGS = 5000
"""Readings that make a record large enough to be closed before the next commit."""

AIM = 0.9
"""Of its bound a record is to fill so much: what comes out larger has to be encoded again, in halves."""

Halves = tuple[tuple[T, int], tuple[T, int]]
"""Two parts of an item, each with its number of readings."""


class RecordBuilder(Generic[T]):
    """Where scans of one topic gather until the next commit, to become one record: many, when they come fast.

    `encode` makes the payload of a sequence number and items; `halve` cuts an item in two, or returns None where
    it has only one reading. An item that can't be cut makes a record of its own, however large.
    """

    def __init__(
        self,
        topic: str,
        encode: Callable[[int, list[T]], bytes],
        note: Callable[[RecordBuilder[T], int], None],
        halve: Callable[[T], Halves[T] | None] | None = None,
        max_record: int = MAX_RECORD,
    ) -> None:
        self.topic = topic
        self.encode = encode
        self.readings = 0
        self._note = note
        self._halve = halve
        self._max_record = max_record
        self._most = RECORD_READINGS
        self._items: list[tuple[T, int]] = []

    def put(self, item: T, readings: int) -> None:
        """Take a scan. It counts as pending from now on; await the spool's `room` now and then."""
        self._items.append((item, readings))
        self.readings += readings
        self._note(self, readings)

    @property
    def large(self) -> bool:
        """Whether there is enough for a record, by what the last one came to."""
        return self.readings >= self._most

    def close(self, seq: int) -> list[Spooled]:
        """Make records of what is in, numbered from `seq` on, and begin anew."""
        items, self._items, self.readings = self._items, [], 0
        records: list[Spooled] = []
        self._make(items, seq, records)
        size = sum(len(record.payload) for record in records)
        readings = sum(record.readings for record in records)
        self._most = min(RECORD_READINGS, int(readings * self._max_record * AIM / max(1, size)))
        return records

    def _make(self, items: Sequence[tuple[T, int]], seq: int, records: list[Spooled]) -> None:
        readings = sum(readings for _, readings in items)
        # what is too large by what the last one came to is not encoded in vain
        halves = self._halves(items) if readings * AIM > self._most else []
        payload = b"" if halves else self.encode(seq + len(records), [item for item, _ in items])
        if len(payload) > self._max_record:
            halves = self._halves(items)
        if halves:
            for half in halves:
                self._make(half, seq, records)
            return
        records.append(Spooled(seq + len(records), self.topic, payload, readings))

    def _halves(self, items: Sequence[tuple[T, int]]) -> list[Sequence[tuple[T, int]]]:
        """Return two parts, or none where there is but one reading."""
        if len(items) > 1:
            middle = len(items) // 2
            return [items[:middle], items[middle:]]
        halves = self._halve(items[0][0]) if self._halve is not None else None
        return [] if halves is None else [[half] for half in halves]
