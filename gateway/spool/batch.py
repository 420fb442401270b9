"""Define the order and the result of one commit, exchanged by the event loop and the worker thread."""

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
    batch. `next_seq` is the next sequence number to assign. `not_included` is the number of readings in `counts` that
    are neither in this batch nor on disk. `states` are the states of calculations by their names, as they were when
    the last of the puts was made.

    The last two fields are for the adoption of records. `handed_over` are records that another spool has adopted.
    `adopted` names the spool and the records that the puts were made from.
    """

    puts: list[Spooled]
    confirms: list[SeqRange]
    set_aside: dict[int, int]
    replacements: list[Replacement]
    counts: Counter[str]
    next_seq: int
    not_included: int = 0
    states: dict[str, bytes] = field(default_factory=dict)
    handed_over: list[SeqRange] = field(default_factory=list)
    adopted: tuple[str, list[SeqRange]] | None = None


@dataclass(slots=True)
class CommitResult:
    """The effect of one commit; `confirmed` to `handed_over` are numbers of readings.

    `complete` is False if the disk had no room for the puts and replacements: they have to be tried again.
    `dropped_to` is the newest record that was dropped to make room, 0 if none was. `readable_again` are records that
    were marked as damaged and proved readable. `records`, `readings` and `size` (bytes of payload) are the totals of
    the pending records, `oldest` is the first of them, None if there are none. `used` are the bytes of the database
    that are in use: the limit of the spool applies to them.
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
    records: int = 0
    readings: int = 0
    size: int = 0
    used: int = 0
    oldest: int | None = None
