"""A commit of the spool as the event loop and the worker thread exchange it: the order, and the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter

    from gateway.common.seq_ranges import SeqRange
    from gateway.spool.files import Replacement, Spooled


@dataclass(slots=True)
class Batch:
    """The work of one commit, and the ledger's counts at the time it was gathered.

    `set_aside` maps a record to the number of its readings that a store refused; the record is confirmed in this
    batch. `next_seq` is the next sequence number to be given. `not_included` is the number of readings in `counts`
    that are neither in this batch nor on disk.

    The last two are for a spool that takes over another one's records: `handed_over` are records that the other spool
    has now, `adopted` names a spool and those of its records that the puts are made of.
    """

    puts: list[Spooled]
    confirms: list[SeqRange]
    set_aside: dict[int, int]
    replacements: list[Replacement]
    counts: Counter[str]
    next_seq: int
    not_included: int = 0
    handed_over: list[SeqRange] = field(default_factory=list)
    adopted: tuple[str, list[SeqRange]] | None = None


@dataclass(slots=True)
class CommitResult:
    """The effect of one commit; `confirmed` to `handed_over` are numbers of readings.

    `complete` is False if the disk had no room for the puts and replacements: they have to be tried again.
    `dropped_to` is the newest record that had to make room, 0 if none had to. `readable_again` are records that were
    taken for damaged and can be sent after all. `readings` and `size` (bytes of payload) are the totals of the
    records that wait now, `oldest` is the first of them, None if none waits.
    """

    stored: list[Spooled] = field(default_factory=list)
    confirmed: int = 0
    set_aside: int = 0
    overflow: int = 0
    damaged: int = 0
    too_large: int = 0
    handed_over: int = 0
    complete: bool = True
    dropped_to: int = 0
    readable_again: list[SeqRange] = field(default_factory=list)
    readings: int = 0
    size: int = 0
    oldest: int | None = None
