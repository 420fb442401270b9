"""Split a record that is too large for a broker into smaller records."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import structlog

from gateway.codecs import Undecodable, decode
from gateway.model.receipt import new_tag
from gateway.model.record import PlacedScan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.codecs.base import Codec
    from gateway.common.dead_letters import DeadLetters
    from gateway.model.reading import NamedScan
    from gateway.model.record import AnyRecord
    from gateway.spool.files import Spooled

log = structlog.get_logger(__name__)

ScanT = TypeVar("ScanT", "NamedScan", PlacedScan)

LONGEST_SEQ = 10**18
"""A sequence number with the most digits, so that a record does not grow when it gets its final number."""


class RecordStore(Protocol):
    """The part of the spool that the splitter needs."""

    def replace(
        self, seq: int, topic: str, pieces: Iterable[tuple[Callable[[int], bytes], int]], too_large: int
    ) -> None:
        """Replace a record by smaller records, see `Spool.replace`."""
        ...


class Splitter:
    """Replace a record that is too large for the broker by smaller records in the spool.

    Each has its own sequence number: parts with the same number would be confirmed together. A single reading that is
    too large is set aside and counted. If the file of set-aside records can't be written, the reading is still
    counted, but its value is lost: it must not delay the others.
    """

    def __init__(self, spool: RecordStore, codec: Codec, letters: DeadLetters) -> None:
        self._spool = spool
        self._codec = codec
        self._letters = letters
        self._failing = False

    def __call__(self, record: Spooled, limit: int) -> None:
        """Replace this record by records of at most `limit` bytes."""
        try:
            whole = decode(record.payload)
        except Undecodable as error:
            log.error("record.not_readable", seq=record.seq, error=str(error))  # noqa: TRY400 - no trace
            self._set_aside(record.topic, f"larger than {limit} bytes, and {error}", record.payload)
            self._spool.replace(record.seq, record.topic, [], record.readings)
            return
        pieces: list[AnyRecord] = []
        for scans in self._fitting(whole, whole.scans, limit):
            piece = whole.with_scans(scans)
            payload = self._encoded(LONGEST_SEQ, piece)
            if len(payload) <= limit:
                pieces.append(piece)
            else:
                self._set_aside(record.topic, f"larger than {limit} bytes", payload)
        set_aside = record.readings - sum(map(len, pieces))
        log.warning(
            "record.too_large", topic=record.topic, seq=record.seq, bytes=len(record.payload), limit=limit,
            records=len(pieces), set_aside=set_aside, hint="set gateway.max_record below the broker's limit",
        )  # fmt: skip
        made = [(partial(self._encoded, piece=piece), len(piece)) for piece in pieces]
        self._spool.replace(record.seq, record.topic, made, set_aside)

    def _set_aside(self, topic: str, reason: str, payload: bytes) -> None:
        """Write a payload into the file of set-aside records; log a failure once until a write succeeds."""
        try:
            self._letters.add(topic, reason, payload)
        except OSError as error:
            if not self._failing:
                log.error("record.not_set_aside", topic=topic, file=str(self._letters.file), error=str(error))  # noqa: TRY400 - no trace
            self._failing = True
        else:
            self._failing = False

    def _encoded(self, seq: int, piece: AnyRecord) -> bytes:
        return self._codec.encode(replace(piece, seq=seq, tag=new_tag()))

    def _fitting(self, whole: AnyRecord, scans: list[Any], limit: int) -> Iterator[list[Any]]:
        """Yield groups of scans that fit into `limit` bytes, or have a single reading."""
        if len(self._encoded(LONGEST_SEQ, whole.with_scans(scans))) <= limit:
            yield scans
        elif len(scans) > 1:
            for half in (scans[: len(scans) // 2], scans[len(scans) // 2 :]):
                yield from self._fitting(whole, half, limit)
        elif (halves := halve(scans[0])) is not None:
            for half_scan, _ in halves:
                yield from self._fitting(whole, [half_scan], limit)
        else:
            yield scans


def halve(scan: ScanT) -> tuple[tuple[ScanT, int], tuple[ScanT, int]] | None:
    """Return two scans of the same time with one half of the readings each, and their numbers of readings.

    Return None if there is only one reading. Together the halves have all readings of the scan.
    """
    if isinstance(scan, PlacedScan):
        halves = halve(scan.scan)
        if halves is None:
            return None
        (first, first_size), (second, second_size) = halves
        return (replace(scan, scan=first), first_size), (replace(scan, scan=second), second_size)
    names = [*scan.values, *scan.bad]
    if len(names) < 2:  # noqa: PLR2004 - two halves
        return None
    middle = len(names) // 2
    first, second = scan.select(names[:middle]), scan.select(names[middle:])
    return (first, len(first)), (second, len(second))
