"""One commit of the spool: what it does to the records, and what that means for the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.settings.sections import WhenFull
from gateway.spool.checkpoint import encode_checkpoint
from gateway.spool.files import PAGE, Damaged, head_of
from gateway.spool.limits import cost_of
from gateway.spool.rows import row_of

if TYPE_CHECKING:
    import sqlite3

    from gateway.common.seq_ranges import SeqRange, SeqRanges
    from gateway.spool.checkpoint import Checkpoint
    from gateway.spool.files import Replaced, Spooled
    from gateway.spool.limits import Limits

_OWN_PAGES = 8
"""Pages that the database needs beside records, at the most."""

_REMOVED = " returning seq, readings, spool, topic, head, length(payload)"


@dataclass(slots=True)
class Outcome:
    """What one commit did; `confirmed` to `damaged` are numbers of readings.

    `took` is whether the puts were taken; else they are to be given again. `dropped_to` is the last record that had
    to make room, 0 where none had to. `again` are records thought damaged that can be sent after all. `readings` and
    `size` are what now waits, `size` in bytes of payload.
    """

    stored: list[Spooled] = field(default_factory=list)
    confirmed: int = 0
    set_aside: int = 0
    overflow: int = 0
    damaged: int = 0
    too_large: int = 0
    took: bool = True
    dropped_to: int = 0
    again: list[SeqRange] = field(default_factory=list)
    readings: int = 0
    size: int = 0


class Commit:
    """The changes of one transaction. `state` and `pending` keep step with it, and hold if it succeeds."""

    def __init__(self, db: sqlite3.Connection, limits: Limits, state: Checkpoint, pending: SeqRanges) -> None:
        self.outcome = Outcome()
        self.pending = pending
        self._db = db
        self._limits = limits
        self._state = state

    def _remove(self, first: int, last: int) -> list[tuple[int, int]]:
        """Remove records that are still there; returns number and readings of each. Raises `Damaged`."""
        expected = self.pending.count(first, last)
        if not expected:
            return []
        rows = self._db.execute(f"delete from records where seq between ? and ?{_REMOVED}", (first, last)).fetchall()  # noqa: S608 - constant
        if len(rows) != expected:
            raise Damaged(f"of the records {first} to {last} some are missing")
        for seq, readings, spool, topic, head, size in rows:
            if head_of(seq, readings, spool, topic) != head:
                raise Damaged(f"the head of record {seq} is not what was written")
            self._count(-1, -readings, -size)
        self.pending.remove(first, last)
        return [row[:2] for row in rows]

    def _count(self, records: int, readings: int, size: int) -> None:
        self._state.records += records
        self._state.readings += readings
        self._state.size += size

    def confirm(self, span: SeqRange, set_aside: dict[int, int]) -> None:
        """Remove records that a store holds; `set_aside` tells how many readings of a record it has refused."""
        for seq, readings in self._remove(*span):
            refused = min(set_aside.get(seq, 0), readings)
            self.outcome.set_aside += refused
            self.outcome.confirmed += readings - refused

    def drop_damaged(self, seq: int) -> None:
        """Remove a record whose payload is damaged; it is set aside already."""
        self.outcome.damaged += sum(readings for _, readings in self._remove(seq, seq))

    def lost(self, readings: int) -> None:
        """Count readings that were lost with a part of the file."""
        self.outcome.damaged += readings

    def put(self, records: list[Spooled], when_full: WhenFull) -> None:
        """Add records; where there is no room for all, do what is said for that."""
        if not records:
            return
        costs = {record.seq: cost_of(record) for record in records}
        most = self._limits.max_size - _OWN_PAGES * PAGE
        fitting = [record for record in records if costs[record.seq] <= most]  # the others must not cost the rest
        room = self._limits.max_size - used(self._db)
        if when_full is WhenFull.DROP_OLDEST:
            room = self._make_room(sum(costs[record.seq] for record in fitting), room)
            fitting.reverse()
        kept = []
        for record in fitting:
            if costs[record.seq] <= room:
                room -= costs[record.seq]
                kept.append(record)
        kept.sort()
        self.outcome.overflow += sum(record.readings for record in records) - sum(record.readings for record in kept)
        self._insert(kept)

    def _insert(self, records: list[Spooled]) -> None:
        self._db.executemany(
            "insert into records values (?, ?, ?, ?, ?, ?, ?)",
            [row_of(record, self._state.spool) for record in records],
        )
        for record in records:
            self.pending.add(record.seq)
            self._count(1, record.readings, len(record.payload))
        self.outcome.stored = [*self.outcome.stored, *records]

    def replace(self, one: Replaced) -> None:
        """Put smaller records in place of one, if that is still there."""
        if self._remove(one.seq, one.seq):
            self.outcome.too_large += one.too_large
            self._insert(one.pieces)

    def _make_room(self, needed: int, room: int) -> int:
        """Drop the oldest records until so many bytes are free, or none are left; returns the room that there is."""
        while needed > room:
            share = max(1, used(self._db) // max(1, self._state.records))
            oldest = self.pending.lowest(max(1, (needed - room) // share))
            if oldest is None:
                break
            self.outcome.overflow += sum(readings for _, readings in self._remove(*oldest))
            self.outcome.dropped_to = oldest[1]
            room = self._limits.max_size - used(self._db)
        return room

    def finish(self) -> bytes:
        """Write the state, and return it as it is to be written a second time."""
        state, outcome = self._state, self.outcome
        state.counts["confirmed"] += outcome.confirmed
        for reason, readings in (
            ("rejected_by_store", outcome.set_aside), ("spool_full", outcome.overflow), ("damaged", outcome.damaged),
            ("too_large", outcome.too_large),
        ):  # fmt: skip
            state.counts[f"dropped:{reason}"] += readings
        state.commit += 1
        outcome.readings, outcome.size = state.readings, state.size
        data = encode_checkpoint(state, self.pending)
        self._db.execute("update state set state = ? where id = 1", (data,))
        return data


def used(db: sqlite3.Connection) -> int:
    """Return the bytes of the pages that are in use."""
    free: int = db.execute("pragma freelist_count").fetchone()[0]
    return whole(db) - free * PAGE


def whole(db: sqlite3.Connection) -> int:
    """Return the bytes of all pages, those that wait to be used again among them."""
    pages: int = db.execute("pragma page_count").fetchone()[0]
    return pages * PAGE
