"""Make one commit of the spool: change the records, and count the changes for the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from gateway.common.seq_ranges import ranges_of
from gateway.settings.sections import WhenFull
from gateway.spool.batch import CommitResult
from gateway.spool.calculations import encode_state
from gateway.spool.checkpoint import encode_checkpoint, seal
from gateway.spool.errors import Damaged
from gateway.spool.files import ADOPTED_ROW, PAGE, head_checksum, row_of
from gateway.spool.limits import cost_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

    from gateway.common.seq_ranges import SeqRange, SeqRanges
    from gateway.spool.checkpoint import Checkpoint
    from gateway.spool.files import Replacement, Spooled
    from gateway.spool.limits import Limits

_OWN_PAGES = 8
"""Pages that the database needs beside records, at most."""

_RANGE = " from records where seq between ? and ?"
_HEADS = f"select seq, readings, spool, topic, head, length(payload){_RANGE}"
_DELETE = f"delete{_RANGE}"


class Commit:
    """The changes of one transaction.

    `state` and `pending` are changed along with the database. If the transaction fails, discard `state` and call
    `undo`, which restores `pending`: a copy of it for each commit would cost more with each gap.
    """

    def __init__(self, db: sqlite3.Connection, limits: Limits, state: Checkpoint, pending: SeqRanges) -> None:
        self.result = CommitResult()
        self._db = db
        self._limits = limits
        self._state = state
        self._pending = pending
        self._journal: list[tuple[Callable[[int, int], object], SeqRange]] = []

    def undo(self) -> None:
        """Restore `pending` as it was before this commit."""
        while self._journal:
            inverse, span = self._journal.pop()
            inverse(*span)

    def _remove(self, first: int, last: int) -> list[tuple[int, int]]:
        """Remove the records of a range; return number and readings of each. Raises `Damaged` if any is missing."""
        expected = self._pending.count(first, last)
        if not expected:
            return []
        rows = self._db.execute(_HEADS, (first, last)).fetchall()
        if len(rows) != expected:
            raise Damaged(f"of the records {first} to {last} some are missing")
        for seq, readings, spool, topic, head, _ in rows:
            if head_checksum(seq, readings, spool, topic) != head:
                raise Damaged(f"the head of record {seq} differs from its checksum")
        self._db.execute(_DELETE, (first, last))  # with `returning` the two in one take twice the time
        self._count(-len(rows), -sum(row[1] for row in rows), -sum(row[5] for row in rows))
        self._journal += [(self._pending.add, span) for span in self._pending.remove(first, last)]
        return [row[:2] for row in rows]

    def _count(self, records: int, readings: int, size: int) -> None:
        self._state.records += records
        self._state.readings += readings
        self._state.size += size

    def confirm(self, span: SeqRange, set_aside: dict[int, int]) -> None:
        """Remove records that a store has; `set_aside` maps a record to the number of readings that it refused."""
        for seq, readings in self._remove(*span):
            refused = max(0, min(set_aside.get(seq, 0), readings))
            self.result.set_aside += refused
            self.result.confirmed += readings - refused

    def drop_damaged(self, seq: int) -> None:
        """Remove a record whose payload is damaged; it has been set aside before."""
        self.result.damaged += sum(readings for _, readings in self._remove(seq, seq))

    def hand_over(self, span: SeqRange) -> None:
        """Remove records that another spool has adopted."""
        self.result.handed_over += sum(readings for _, readings in self._remove(*span))

    def note_adopted(self, spool: str, ranges: list[SeqRange]) -> None:
        """Store the numbers of the records of another spool that the puts of this commit were made from."""
        data = seal(orjson.dumps({"spool": spool, "ranges": ranges}))
        self._db.execute("insert or replace into state values (?, ?)", (ADOPTED_ROW, data))

    def save_states(self, states: Mapping[str, bytes], rows: Mapping[str, int]) -> None:
        """Store the states of calculations by their names, in the rows of these names."""
        if not states:
            return
        self._db.executemany(
            "insert or replace into state values (?, ?)",
            [(rows[name], encode_state(name, state)) for name, state in states.items()],
        )

    def count_lost(self, readings: int) -> None:
        """Count readings that were lost with a part of the file."""
        self.result.damaged += readings

    def put(self, records: list[Spooled], when_full: WhenFull) -> None:
        """Add records; if there is no room for all, drop the records that `when_full` selects."""
        if not records:
            return
        costs = {record.seq: cost_of(record) for record in records}
        most = self._limits.max_size - _OWN_PAGES * PAGE
        fitting = [record for record in records if costs[record.seq] <= most]  # the others must not cost the rest
        room = self._limits.max_size - used(self._db)
        if len(fitting) == len(records) and sum(costs.values()) <= room:
            self._insert(records)
            return
        if when_full is WhenFull.DROP_OLDEST:
            room = self._make_room(sum(costs[record.seq] for record in fitting), room)
            fitting.reverse()
        kept = []
        for record in fitting:
            if costs[record.seq] <= room:
                room -= costs[record.seq]
                kept.append(record)
        kept.sort()
        self.result.overflow += sum(record.readings for record in records) - sum(record.readings for record in kept)
        self._insert(kept)

    def _insert(self, records: list[Spooled]) -> None:
        self._db.executemany(
            "insert into records values (?, ?, ?, ?, ?, ?, ?)",
            [row_of(record, self._state.spool) for record in records],
        )
        for span in ranges_of(record.seq for record in records):
            self._pending.add(*span)
            self._journal.append((self._pending.remove, span))
        self._count(
            len(records), sum(record.readings for record in records), sum(len(record.payload) for record in records)
        )
        self.result.stored = [*self.result.stored, *records]

    def replace(self, replacement: Replacement) -> None:
        """Replace a record by smaller records, if it is still stored."""
        if self._remove(replacement.seq, replacement.seq):
            self.result.too_large += replacement.too_large
            self._insert(replacement.pieces)

    def _make_room(self, needed: int, room: int) -> int:
        """Drop the oldest records until `needed` bytes are free or no record is left; return the free bytes."""
        while needed > room:
            average = max(1, used(self._db) // max(1, self._state.records))
            oldest = self._pending.lowest(max(1, (needed - room) // average))
            if oldest is None:
                break
            self.result.overflow += sum(readings for _, readings in self._remove(*oldest))
            self.result.dropped_to = oldest[1]
            room = self._limits.max_size - used(self._db)
        return room

    def finish(self) -> bytes:
        """Write the checkpoint, and return it encoded for the checkpoint file."""
        state, result = self._state, self.result
        state.counts["confirmed"] += result.confirmed
        for reason, readings in (
            ("rejected_by_store", result.set_aside), ("spool_full", result.overflow), ("damaged", result.damaged),
            ("too_large", result.too_large), ("adopted", result.handed_over),
        ):  # fmt: skip
            state.counts[f"dropped:{reason}"] += readings
        state.commit += 1
        result.records, result.readings, result.size = state.records, state.readings, state.size
        result.oldest, result.used = self._pending.first, used(self._db)
        data = encode_checkpoint(state, self._pending)
        self._db.execute("update state set state = ? where id = 1", (data,))
        return data


def room_for_records(db: sqlite3.Connection, limits: Limits) -> int:
    """Return the bytes of pages that are available for records."""
    return limits.max_size - _OWN_PAGES * PAGE - used(db)


def used(db: sqlite3.Connection) -> int:
    """Return the bytes of the pages that are in use."""
    free: int = db.execute("pragma freelist_count").fetchone()[0]
    return allocated(db) - free * PAGE


def allocated(db: sqlite3.Connection) -> int:
    """Return the bytes of all pages, including free pages."""
    pages: int = db.execute("pragma page_count").fetchone()[0]
    return pages * PAGE
