"""Write messages and rows that can't be stored to the dead-letter file.

A file that can't be written does not stop other readings: the letters wait in memory, and only their records stay
unconfirmed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from gateway.common.dead_letters import DeadLetter
from gateway.common.state_log import RepeatLog, StateLog
from gateway.common.worker_thread import WorkerThread
from gateway.ingest.batch import Settlement

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.common.dead_letters import DeadLetters
    from gateway.ingest.batch import Batch, Confirmation
    from gateway.ingest.status import IngestStatus

log = structlog.get_logger(__name__)

MAX_PENDING_BYTES = 32 * 2**20
"""Bytes of letters that wait for the file. Further letters are dropped, and the gateways send their records again."""

LETTER_OVERHEAD = 500
"""Bytes of memory of a letter beside its texts and payload."""

WRITE_TIMEOUT = 1.0
"""Seconds that a batch waits for its letters; a slower disk is treated as not writable."""

RETRY_INTERVAL = 2.0
"""Seconds between two attempts to write a file that can't be written."""


@dataclass(slots=True)
class _Entry:
    """The letters of one record, or one letter of another message."""

    letters: list[DeadLetter]
    settlement: Settlement | None
    size: int


class SetAside:
    """The dead-letter file of ingest, and the letters that wait for it.

    `on_written` is called with the confirmations of records whose letters were written late.
    """

    def __init__(
        self, dead_letters: DeadLetters, status: IngestStatus, on_written: Callable[[list[Confirmation]], None]
    ) -> None:
        self._dead_letters = dead_letters
        self._status = status
        self._on_written = on_written
        self._thread = WorkerThread("dead letters")
        self._queue: deque[_Entry] = deque()
        self._by_record: dict[bytes, _Entry] = {}  # by receipt
        self._bytes = 0
        self._added, self._flushed = asyncio.Event(), asyncio.Event()
        self._repeats = RepeatLog(log)
        self._state = StateLog(log, "dead_letters.unstable", file=str(dead_letters.file))
        self._failing = False

    @property
    def waiting(self) -> int:
        """The number of letters that are not on the disk yet."""
        return sum(len(entry.letters) for entry in self._queue)

    async def write(self, batch: Batch) -> None:
        """Write the letters of a batch; a record whose letters are not on disk in time gets a settlement."""
        if not batch.letters and not batch.other_letters:
            return
        self._log(batch)
        for letter in batch.other_letters:
            self._add([letter], None)
        for position, letters in batch.letters.items():
            record = batch.records[position]
            settlement = Settlement(record, batch.refused.get(position, record.readings))
            batch.settlements[position] = settlement
            self._add(letters, settlement)
        self._added.set()
        if not self._failing:
            self._flushed.clear()
            try:
                async with asyncio.timeout(WRITE_TIMEOUT):
                    await self._flushed.wait()
            except TimeoutError:
                self._failing = True
                self._state.enter("dead_letters.not_written", level="error", error="the disk is too slow")
        for position in [at for at, settlement in batch.settlements.items() if settlement.written]:
            del batch.settlements[position]

    def _log(self, batch: Batch) -> None:
        """Log letters that are set aside: at most one line for each reason in a minute."""
        file = str(self._dead_letters.file)
        for letter in (*batch.other_letters, *(one for letters in batch.letters.values() for one in letters)):
            self._status.dead_letters += 1
            kind = letter.reason[:40]
            self._repeats.warning(
                "message.set_aside", key=f"{letter.topic} {kind}", topic=letter.topic, reason=letter.reason, file=file
            )

    def _add(self, letters: list[DeadLetter], settlement: Settlement | None) -> None:
        size = sum(LETTER_OVERHEAD + len(one.payload) + len(one.reason) + len(one.topic) for one in letters)
        entry = _Entry(letters, settlement, size)
        if settlement is not None:
            key = settlement.record.receipt
            if (known := self._by_record.get(key)) is not None:
                # the gateway has sent the record again meanwhile: its letters are the same
                self._bytes += size - known.size
                known.letters, known.settlement, known.size = letters, settlement, size
                return
        if self._bytes + size > MAX_PENDING_BYTES:
            self._status.letters_dropped += len(letters)
            self._repeats.error(
                "dead_letters.dropped", file=str(self._dead_letters.file), bytes=self._bytes,
                hint="make room on the disk of ingest.folder; records come again from the spools, other messages not",
            )  # fmt: skip
            return
        if settlement is not None:
            self._by_record[settlement.record.receipt] = entry
        self._queue.append(entry)
        self._bytes += size

    async def run(self) -> None:
        """Write queued letters until cancelled."""
        while True:
            await self._added.wait()
            self._added.clear()
            while self._queue:
                entries = list(self._queue)
                try:
                    await self._thread.run(self._write_entries, entries)
                except OSError as error:
                    self._failing = True
                    self._state.enter("dead_letters.not_written", level="error", error=str(error))
                    self._flushed.set()
                    await asyncio.sleep(RETRY_INTERVAL)
                    continue
                self._failing = False
                if self._state.state:
                    self._state.enter("dead_letters.written", healthy=True)
                self._settle(entries)
                self._flushed.set()

    def _write_entries(self, entries: list[_Entry]) -> None:
        """Write letters in the thread, without their texts if these can't be encoded. Raises `OSError`."""
        letters = [letter for entry in entries for letter in entry.letters]
        try:
            self._dead_letters.write(letters)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - one letter must not delay all others
            reason = f"could not be written: {error!r:.200}".encode("ascii", "replace").decode()
            for letter in letters:
                try:
                    self._dead_letters.write([letter])
                except OSError:
                    raise
                except Exception:  # noqa: BLE001 - as above
                    self._dead_letters.write([DeadLetter("", reason, letter.payload)])

    def _settle(self, entries: list[_Entry]) -> None:
        confirmations = []
        for entry in entries:
            self._queue.popleft()
            self._bytes -= entry.size
            settlement = entry.settlement
            if settlement is None:
                continue
            del self._by_record[settlement.record.receipt]
            settlement.written = True
            if settlement.durable:
                confirmations.append(settlement.confirmation())
        if confirmations:
            self._on_written(confirmations)

    async def close(self) -> None:
        """Wait for a write in progress, at most `WRITE_TIMEOUT`, and end the thread."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WRITE_TIMEOUT):
                await self._thread.run(bool)  # runs after the write
        self._thread.stop()
