"""What waits in memory for the spool's next commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.common.seq_ranges import SeqRanges
from gateway.spool.database import Batch

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable

    from gateway.common.seq_ranges import SeqRange
    from gateway.spool.files import Replaced, Spooled


class WriteQueue:
    """Records to be stored, and what is to happen to those that are. `size` is in bytes of payload."""

    def __init__(self) -> None:
        self.puts: list[Spooled] = []
        self.size = 0
        self._confirms = SeqRanges()
        self._set_aside: dict[int, int] = {}
        self._replaced: list[Replaced] = []

    @property
    def readings(self) -> int:
        """How many readings wait to be stored."""
        return sum(record.readings for record in self.puts)

    def put(self, records: list[Spooled]) -> None:
        """Let records wait."""
        self.puts += records
        self.size += sum(len(record.payload) for record in records)

    def confirm(self, ranges: Iterable[SeqRange], set_aside: dict[int, int]) -> None:
        """Let confirmations wait; `set_aside` says how many of a record's readings the store refused."""
        for first, last in ranges:
            self._confirms.add(first, last)
        self._set_aside |= set_aside

    def replace(self, one: Replaced) -> None:
        """Let smaller records wait that are to stand in place of one."""
        self._replaced.append(one)

    def drop_to(self, size: int) -> int:
        """Drop the newest records until so many bytes are left; returns the number of readings dropped."""
        dropped = 0
        while self.size > size:
            record = self.puts.pop()
            self.size -= len(record.payload)
            dropped += record.readings
        return dropped

    def take(self, counts: Counter[str], following: int, most: int) -> Batch:
        """Return what the next commit does: everything, but of the records `most` bytes, and at least one.

        `counts` are the ledger's, `following` is the next sequence number.
        """
        count = size = 0
        for record in self.puts:
            size += len(record.payload)
            if count and size > most:
                break
            count += 1
        puts, self.puts = self.puts[:count], self.puts[count:]
        self.size -= sum(len(record.payload) for record in puts)
        confirms, self._confirms = list(self._confirms), SeqRanges()
        set_aside, self._set_aside = self._set_aside, {}
        replaced, self._replaced = self._replaced, []
        return Batch(puts, confirms, set_aside, replaced, counts, following, self.readings)

    def give_back(self, batch: Batch, *, confirms: bool) -> None:
        """Let what was not committed wait again, in its place: the records, and perhaps the confirmations too."""
        self.puts[:0] = batch.puts
        self.size += sum(len(record.payload) for record in batch.puts)
        self._replaced[:0] = batch.replaced
        if confirms:
            newer = self._set_aside
            self._set_aside = {}
            self.confirm(batch.confirms, batch.set_aside | newer)
