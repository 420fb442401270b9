"""Adopt the records of another gateway's spool in the same folder, after a change of the id or of the edge box."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from gateway.codecs.base import Undecodable
from gateway.common.file_locks import is_locked
from gateway.common.seq_ranges import SeqRanges
from gateway.model.part import gateway_of
from gateway.settings.sections import WhenFull
from gateway.spool.batch import Batch
from gateway.spool.database import SpoolDatabase
from gateway.spool.files import Spooled, SpoolFiles
from gateway.spool.inspect import NotReadable, inspect
from gateway.spool.limits import cost_of
from gateway.spool.renumber import renumber

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.codecs.base import Codec
    from gateway.common.seq_ranges import SeqRange
    from gateway.settings.sections import SpoolSection

AT_ONCE = 100
"""Records that are adopted in one commit."""


class OtherSpool(NamedTuple):
    """A spool of another gateway id that has pending records."""

    gateway: str
    records: int
    readings: int


class Adopted(NamedTuple):
    """Counts of adopted records and readings, and of records that remain: `undecodable`, or without room for them."""

    records: int
    readings: int
    undecodable: int
    no_room: int


def other_spools(folder: Path, gateway: str) -> list[OtherSpool]:
    """Return the spools of other gateway ids in a folder that have records and no running gateway. Read-only."""
    return [spool for other in _other_ids(folder, gateway) if (spool := _waiting_in(SpoolFiles(folder, other)))]


def _other_ids(folder: Path, gateway: str) -> list[str]:
    suffixes = (".spool.ledger", ".spool.db")
    ids = {file.name.removesuffix(suffix) for suffix in suffixes for file in folder.glob(f"*{suffix}")}
    return sorted(name for name in ids if gateway_of(name) != gateway_of(gateway))


def _waiting_in(files: SpoolFiles) -> OtherSpool | None:
    try:
        if is_locked(files.lock):
            return None
        state = inspect(files).state
    except (NotReadable, OSError):
        return None
    return OtherSpool(files.gateway, state.records, state.readings) if state.records else None


def adopt(
    settings: SpoolSection,
    gateway: str,
    other: str,
    codec: Codec,
    prepare: Callable[[], None] = lambda: None,
    report: Callable[[int, int], None] = lambda _done, _all: None,
) -> Adopted:
    """Move the records of the spool of gateway `other` into the spool of `gateway`, encoded again under its name.

    A record is durable in the target before it is removed from the source, and the same commit notes its origin. A
    run that is killed at any moment can be repeated: no record is lost, and no record is adopted twice. Both ledgers
    stay balanced: the source counts the readings as dropped with the reason `adopted`, the target as acquired.

    `prepare` is called before the first record moves, when no gateway uses either spool, and `report` with the counts
    of processed and all records.

    Raises `BlockingIOError` if a gateway uses one of the spools, `NotReadable` if the other spool does not exist, and
    `OSError` or `sqlite3.Error` if the disk refuses.
    """
    files = SpoolFiles(settings.folder, other)
    if not (files.db.exists() or files.slots.exists()):
        raise NotReadable(f"{files.db} is not there: gateway {other} has no spool in this folder")
    source = SpoolDatabase(files, settings.max_size, WhenFull.REFUSE_NEWEST, settings.sync)
    source.open()
    try:
        own = SpoolFiles(settings.folder, gateway)
        target = SpoolDatabase(own, settings.max_size, WhenFull.REFUSE_NEWEST, settings.sync)
        target.open()
        try:
            prepare()
            return _Move(source, target, gateway, codec).run(report)
        finally:
            target.close()
    finally:
        source.close()


class _Move:
    """Move records from one spool into another."""

    def __init__(self, source: SpoolDatabase, target: SpoolDatabase, gateway: str, codec: Codec) -> None:
        self._source = source
        self._target = target
        self._gateway = gateway
        self._codec = codec

    def run(self, report: Callable[[int, int], None]) -> Adopted:
        name = self._source.state.spool
        self._remove(self._target.adopted(name))  # of a run that was killed between the two commits
        records = readings = undecodable = no_room = 0
        waiting = self._source.state.records
        for batch in self._batches():
            report(records + undecodable + no_room, waiting)
            pairs = self._encoded_anew(batch)
            undecodable += len(batch) - len(pairs)
            fitting = self._fitting(pairs)
            no_room += len(pairs) - len(fitting)
            if fitting:
                old = list(SeqRanges((record.seq, record.seq) for record, _ in fitting))
                self._add([record for _, record in fitting], (name, old))
                self._remove(old)
                records += len(fitting)
                readings += sum(record.readings for record, _ in fitting)
        self._remove([])  # set aside and count the damaged records
        return Adopted(records, readings, undecodable, no_room)

    def _batches(self) -> Iterator[list[Spooled]]:
        """Yield the records of the source in lists of at most `AT_ONCE`, oldest first."""
        waiting = self._source.pending.copy()
        while ranges := waiting.pop_ranges(AT_ONCE):
            found, rest = self._source.read(ranges, AT_ONCE)
            for span in rest:
                waiting.add(*span)
            yield found

    def _encoded_anew(self, records: list[Spooled]) -> list[tuple[Spooled, Spooled]]:
        """Return pairs of a record and its replacement, without the records that can't be decoded."""
        spool, seq = self._target.state.spool, self._target.state.next
        pairs: list[tuple[Spooled, Spooled]] = []
        for record in records:
            with suppress(Undecodable):
                payload = renumber(self._codec, self._gateway, record.payload, spool, seq)
                pairs.append((record, Spooled(seq, record.topic, payload, record.readings)))
                seq += 1
        return pairs

    def _fitting(self, pairs: list[tuple[Spooled, Spooled]]) -> list[tuple[Spooled, Spooled]]:
        """Return the first pairs, as many as the target has room for."""
        room = self._target.room()
        for number, (_, record) in enumerate(pairs):
            room -= cost_of(record)
            if room < 0:
                return pairs[:number]
        return pairs

    def _add(self, records: list[Spooled], adopted: tuple[str, list[SeqRange]]) -> None:
        state = self._target.state
        counts = state.counts.copy()
        counts["acquired"] += sum(record.readings for record in records)
        batch = Batch(records, [], {}, [], counts, records[-1].seq + 1, adopted=adopted)
        if not self._target.write(batch).complete:
            raise OSError(errno.ENOSPC, "the disk is full")

    def _remove(self, ranges: list[SeqRange]) -> None:
        state = self._source.state
        self._source.write(Batch([], [], {}, [], state.counts.copy(), state.next, handed_over=ranges))
