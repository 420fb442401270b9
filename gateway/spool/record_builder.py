"""Collect the scans of one topic and encode them as records, none larger than a broker accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from gateway.spool.files import Spooled

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MAX_RECORD = 64 * 2**10
"""Largest record in bytes, unless configured otherwise."""

RECORD_READINGS = 5000
"""Readings that make a record large enough to be closed before the next commit."""

FILL = 0.9
"""Part of its limit that a record is meant to fill; a record over the limit is encoded again, in halves."""

Halves = tuple[tuple[T, int], tuple[T, int]]
"""Two parts of an item, each with its number of readings."""


class RecordBuilder(Generic[T]):
    """Collect the scans of one topic between two commits, and make records of them, as few as their size allows.

    `encode` returns the payload for a sequence number and items; `halve` cuts an item in two, or returns None if it
    has only one reading. An item that can't be cut becomes a separate record of any size. An item that can't be
    encoded is left out: `failed_readings` and `error` describe those of the last `close`.

    Add scans with `Spool.put`, which counts them.
    """

    __slots__ = (
        "_encode",
        "_halve",
        "_items",
        "_max_record",
        "_most_readings",
        "_sizes",
        "error",
        "failed_readings",
        "readings",
        "topic",
    )

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
        self._items: list[T] = []
        self._sizes: list[int] = []  # the readings of each

    def add(self, item: T, readings: int) -> bool:
        """Add a scan with this number of readings.

        Return True if the scans fill a record now, estimated from the size of the last record.
        """
        self._items.append(item)
        self._sizes.append(readings)
        self.readings += readings
        return self.readings >= self._most_readings

    def close(self, seq: int) -> list[Spooled]:
        """Return records of all scans, numbered from `seq`, and start empty."""
        items, sizes, readings = self._items, self._sizes, self.readings
        self._items, self._sizes, self.readings = [], [], 0
        self.failed_readings, self.error = 0, None
        records: list[Spooled] = []
        self._make(items, sizes, readings, seq, records)
        if len(records) == 1:
            size, readings = len(records[0].payload), records[0].readings
        else:
            size = sum(len(record.payload) for record in records)
            readings = sum(record.readings for record in records)
        self._most_readings = min(RECORD_READINGS, int(readings * self._max_record * FILL / max(1, size)))
        return records

    def _make(self, items: list[T], sizes: list[int], readings: int, seq: int, records: list[Spooled]) -> None:
        # probably too large, by the size of the last record: don't encode it in vain
        halves = self._halves(items, sizes) if readings * FILL > self._most_readings else []
        payload: bytes | None = None
        if not halves:
            try:
                payload = self._encode(seq + len(records), items)
            except Exception as error:  # noqa: BLE001 - a scan that the codec refuses must not cost the others
                self.error = error
            if payload is None or len(payload) > self._max_record:
                halves = self._halves(items, sizes)
        if halves:
            for half, of_half in halves:
                self._make(half, of_half, sum(of_half), seq, records)
        elif payload is None:
            self.failed_readings += readings
        else:
            records.append(Spooled(seq + len(records), self.topic, payload, readings))

    def _halves(self, items: list[T], sizes: list[int]) -> list[tuple[list[T], list[int]]]:
        """Return two parts, or an empty list if there is only one reading."""
        if len(items) > 1:
            middle = len(items) // 2
            return [(items[:middle], sizes[:middle]), (items[middle:], sizes[middle:])]
        halves = self._halve(items[0]) if self._halve is not None else None
        return [] if halves is None else [([item], [readings]) for item, readings in halves]
