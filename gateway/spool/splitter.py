"""Records cut smaller: brokers bound the size of a message."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from gateway.codecs.base import Undecodable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.codecs.base import Codec
    from gateway.common.dead_letters import DeadLetters
    from gateway.model.reading import NamedScan
    from gateway.model.record import Record
    from gateway.spool.files import Spooled
    from gateway.spool.spool import Spool

log = structlog.get_logger()

T = TypeVar("T")

LETTERS_SIZE = 64 * 2**20
"""Bytes that records which no broker takes may have on disk."""

SEQ = 10**18
"""A number as long as any: a record does not grow when it gets its own."""


class Splitter:
    """Puts smaller records into the spool in place of one that a broker does not take.

    They have numbers of their own: a part that shared its number with another would be confirmed with it. A reading
    that is too large by itself is set aside, and counted.
    """

    def __init__(self, spool: Spool, codec: Codec, letters: DeadLetters) -> None:
        self._spool = spool
        self._codec = codec
        self._letters = letters

    def __call__(self, record: Spooled, limit: int) -> None:
        """Put records of `limit` bytes at the most in place of this one."""
        try:
            whole = self._codec.decode(record.payload)
        except Undecodable as error:
            log.error("record.not_readable", seq=record.seq, error=str(error))  # noqa: TRY400 - told, not traced
            self._letters.add(record.topic, f"larger than {limit} bytes, and {error}", record.payload)
            self._spool.replace(record.seq, record.topic, [], record.readings)
            return
        pieces: list[Record] = []
        for scans in self._fitting(whole, whole.scans, limit):
            piece = replace(whole, scans=scans)
            payload = self._encoded(SEQ, piece)
            if len(payload) <= limit:
                pieces.append(piece)
            else:
                self._letters.add(record.topic, f"larger than {limit} bytes", payload)
        set_aside = record.readings - sum(map(len, pieces))
        log.warning(
            "record.too_large", topic=record.topic, seq=record.seq, bytes=len(record.payload), limit=limit,
            records=len(pieces), set_aside=set_aside, hint="gateway.max_record bounds what is made from now on",
        )  # fmt: skip
        made = [(partial(self._encoded, piece=piece), len(piece)) for piece in pieces]
        self._spool.replace(record.seq, record.topic, made, set_aside)

    def _encoded(self, seq: int, piece: Record) -> bytes:
        return self._codec.encode(replace(piece, seq=seq))

    def _fitting(self, whole: Record, scans: list[NamedScan], limit: int) -> Iterator[list[NamedScan]]:
        """Yield scans in groups that fit, or are of a single reading."""
        if len(self._encoded(SEQ, replace(whole, scans=scans))) <= limit:
            yield scans
        elif len(scans) > 1:
            for half in (scans[: len(scans) // 2], scans[len(scans) // 2 :]):
                yield from self._fitting(whole, half, limit)
        elif (halves := halve(scans[0])) is not None:
            for half_scan, _ in halves:
                yield from self._fitting(whole, [half_scan], limit)
        else:
            yield scans


def halve(scan: NamedScan) -> tuple[tuple[NamedScan, int], tuple[NamedScan, int]] | None:
    """Return two scans of the same time with one half of the readings each, and how many these are.

    None where there is but one reading. Together they say what the whole scan says.
    """
    names = [*scan.values, *scan.bad]
    if len(names) < 2:  # noqa: PLR2004 - two halves
        return None
    middle = len(names) // 2
    first, second = _only(scan, names[:middle]), _only(scan, names[middle:])
    return (first, len(first)), (second, len(second))


def _only(scan: NamedScan, names: Sequence[str]) -> NamedScan:
    return replace(
        scan,
        values=_some(scan.values, names),
        bad=_some(scan.bad, names),
        uncertain=_some(scan.uncertain, names),
        codes=_some(scan.codes, names),
        times=_some(scan.times, names),
    )


def _some(part: Mapping[str, T], names: Iterable[str]) -> dict[str, T]:
    return {name: part[name] for name in names if name in part} if part else {}
