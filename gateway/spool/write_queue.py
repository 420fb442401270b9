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


MOST_STATES = 32
"""States that wait for their commit, at most: while a disk refuses, two neighbours become one."""


class WriteQueue:
    """Records to store, and changes to stored records. `size` is in bytes of payload."""

    def __init__(self) -> None:
        self.puts: list[Spooled] = []
        self.size = 0
        self._confirms = SeqRanges()
        self._set_aside: dict[int, int] = {}
        self._replacements: list[Replacement] = []
        self._states: list[tuple[int, dict[str, bytes]]] = []

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

    def note_states(self, next_seq: int, states: dict[str, bytes]) -> None:
        """Queue states of calculations that belong to the records before a number, to be stored with the last."""
        if self._states and self._states[-1][0] == next_seq:
            self._states[-1][1].update(states)
        else:
            self._states.append((next_seq, states))
        if len(self._states) > MOST_STATES:
            pairs = zip(self._states[::2], self._states[1::2], strict=False)
            whole = [(seq, before | after) for (_, before), (seq, after) in pairs]
            self._states = whole + self._states[2 * len(whole) :]

    def renumber_states(self, next_seq: int) -> None:
        """Let all queued states belong to the records before a number."""
        if states := self._states_before(None):
            self._states.append((next_seq, states))

    def _states_before(self, seq: int | None) -> dict[str, bytes]:
        """Remove and return the newest states that belong to no record from a number on; None for all."""
        found: dict[str, bytes] = {}
        while self._states and (seq is None or self._states[0][0] <= seq):
            found |= self._states.pop(0)[1]
        return found

    def _whole(self, number: int) -> int:
        """Return at most so many puts that the states of the last of them are known, if that leaves any."""
        if not self._states or number == len(self.puts):
            return number
        bounds = [seq for seq, _ in self._states]
        fitting = [n for n in range(1, number + 1) if self.puts[n].seq in bounds]
        return fitting[-1] if fitting else number

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
        number = self._whole(number)
        puts, self.puts = self.puts[:number], self.puts[number:]
        states = self._states_before(self.puts[0].seq if self.puts else None)
        self.size -= sum(len(record.payload) for record in puts)
        confirms, self._confirms = list(self._confirms), SeqRanges()
        set_aside, self._set_aside = self._set_aside, {}
        replacements, self._replacements = self._replacements, []
        return Batch(puts, confirms, set_aside, replacements, counts, next_seq, self.readings, states)

    def give_back(self, batch: Batch, *, confirms: bool) -> None:
        """Put an uncommitted batch back at the front; leave out its confirmations if these were committed."""
        self.puts[:0] = batch.puts
        self.size += sum(len(record.payload) for record in batch.puts)
        self._replacements[:0] = batch.replacements
        if batch.states:
            first = self.puts[len(batch.puts)].seq if len(self.puts) > len(batch.puts) else batch.next_seq
            self._states.insert(0, (first, batch.states))
        if confirms:
            newer = self._set_aside
            self._set_aside = {}
            self.confirm(batch.confirms, batch.set_aside | newer)
