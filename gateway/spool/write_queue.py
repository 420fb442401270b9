"""Queue records and confirmations in memory for the spool's next commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.common.seq_ranges import SeqRanges
from gateway.spool.batch import Batch

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable

    from gateway.common.seq_ranges import SeqRange
    from gateway.spool.files import Replacement, Spooled


class WriteQueue:
    """Records to store, and changes to stored records. `size` is in bytes of payload."""

    def __init__(self) -> None:
        self.puts: list[Spooled] = []
        self.size = 0
        self._confirms = SeqRanges()
        self._set_aside: dict[int, int] = {}
        self._replacements: list[Replacement] = []

    @property
    def readings(self) -> int:
        """Number of readings in the queued records."""
        return sum(record.readings for record in self.puts)

    def put(self, records: list[Spooled]) -> None:
        """Queue records to be stored."""
        self.puts += records
        self.size += sum(len(record.payload) for record in records)

    def confirm(self, ranges: Iterable[SeqRange], set_aside: dict[int, int]) -> None:
        """Queue confirmations; `set_aside` maps a record to the number of its readings that the store refused."""
        for first, last in ranges:
            self._confirms.add(first, last)
        self._set_aside |= set_aside

    def replace(self, replacement: Replacement) -> None:
        """Queue smaller records that replace a record."""
        self._replacements.append(replacement)

    def take_puts(self) -> list[Spooled]:
        """Remove and return all queued records."""
        puts, self.puts, self.size = self.puts, [], 0
        return puts

    def drop_to(self, size: int) -> int:
        """Drop the newest records until at most `size` bytes are left; return the number of dropped readings."""
        dropped = 0
        while self.size > size:
            record = self.puts.pop()
            self.size -= len(record.payload)
            dropped += record.readings
        return dropped

    def next_batch(self, counts: Counter[str], next_seq: int, most: int) -> Batch:
        """Return the next batch: all changes, and at most `most` bytes of records, but at least one record.

        `counts` are those of the ledger, `next_seq` is the next sequence number.
        """
        number = size = 0
        for record in self.puts:
            size += len(record.payload)
            if number and size > most:
                break
            number += 1
        puts, self.puts = self.puts[:number], self.puts[number:]
        self.size -= sum(len(record.payload) for record in puts)
        confirms, self._confirms = list(self._confirms), SeqRanges()
        set_aside, self._set_aside = self._set_aside, {}
        replacements, self._replacements = self._replacements, []
        return Batch(puts, confirms, set_aside, replacements, counts, next_seq, self.readings)

    def give_back(self, batch: Batch, *, confirms: bool) -> None:
        """Put an uncommitted batch back at the front; leave out its confirmations if these were committed."""
        self.puts[:0] = batch.puts
        self.size += sum(len(record.payload) for record in batch.puts)
        self._replacements[:0] = batch.replacements
        if confirms:
            newer = self._set_aside
            self._set_aside = {}
            self.confirm(batch.confirms, batch.set_aside | newer)
