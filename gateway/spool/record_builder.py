"""Scans of one topic gather here until they become records, none larger than a broker takes."""

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

FILL = 0.9
"""Part of its bound that a record aims to fill: a record that comes out larger is encoded again, in halves."""

Halves = tuple[tuple[T, int], tuple[T, int]]
"""Two parts of an item, each with its number of readings."""


class RecordBuilder(Generic[T]):
    """Collects the scans of one topic between two commits, and makes one record of them: several where they are many.

    `encode` makes the payload from a sequence number and items; `halve` cuts an item in two, or returns None where
    it has only one reading. An item that can't be cut makes a record of its own, however large. An item that can't be
    encoded is left out: `failed_readings` and `error` describe those of the last `close`.

    Put scans in with `Spool.put`, which counts them.
    """

    def __init__(
        self,
        topic: str,
        encode: Callable[[int, list[T]], bytes],
        halve: Callable[[T], Halves[T] | None] | None = None,
        max_record: int = MAX_RECORD,
    ) -> None:
        self.topic = topic
        self.readings = 0
        self.failed_readings = 0
        self.error: Exception | None = None
        self._encode = encode
        self._halve = halve
        self._max_record = max_record
        self._most_readings = RECORD_READINGS
        self._items: list[tuple[T, int]] = []

    def add(self, item: T, readings: int) -> None:
        """Add a scan with so many readings."""
        self._items.append((item, readings))
        self.readings += readings

    @property
    def is_large(self) -> bool:
        """Whether there is enough for a record, judged by the size of the last one."""
        return self.readings >= self._most_readings

    def close(self, seq: int) -> list[Spooled]:
        """Return records of all scans, numbered from `seq` on, and start empty."""
        items, self._items, self.readings = self._items, [], 0
        self.failed_readings, self.error = 0, None
        records: list[Spooled] = []
        self._make(items, seq, records)
        size = sum(len(record.payload) for record in records)
        readings = sum(record.readings for record in records)
        self._most_readings = min(RECORD_READINGS, int(readings * self._max_record * FILL / max(1, size)))
        return records

    def _make(self, items: Sequence[tuple[T, int]], seq: int, records: list[Spooled]) -> None:
        readings = sum(readings for _, readings in items)
        # too large, judged by the last record: don't encode it in vain
        halves = self._halves(items) if readings * FILL > self._most_readings else []
        payload: bytes | None = None
        if not halves:
            try:
                payload = self._encode(seq + len(records), [item for item, _ in items])
            except Exception as error:  # noqa: BLE001 - one scan that no codec takes must not cost the others
                self.error = error
            if payload is None or len(payload) > self._max_record:
                halves = self._halves(items)
        if halves:
            for half in halves:
                self._make(half, seq, records)
        elif payload is None:
            self.failed_readings += readings
        else:
            records.append(Spooled(seq + len(records), self.topic, payload, readings))

    def _halves(self, items: Sequence[tuple[T, int]]) -> list[Sequence[tuple[T, int]]]:
        """Return two parts, or an empty list where there is only one reading."""
        if len(items) > 1:
            middle = len(items) // 2
            return [items[:middle], items[middle:]]
        halves = self._halve(items[0][0]) if self._halve is not None else None
        return [] if halves is None else [[half] for half in halves]
