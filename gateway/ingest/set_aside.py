"""Messages and rows that can't be stored, written to the dead-letter file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from gateway.common.dead_letters import DeadLetters
    from gateway.ingest.status import IngestStatus

log = structlog.get_logger()


class SetAside:
    """The dead-letter file as ingest writes to it: a failing write is logged, and ends nothing."""

    def __init__(self, dead_letters: DeadLetters, status: IngestStatus) -> None:
        self._dead_letters = dead_letters
        self._status = status

    def add(self, topic: str, reason: str, payload: bytes | bytearray) -> bool:
        """Set a payload aside; return whether it was written."""
        file = str(self._dead_letters.file)
        log.warning("message.set_aside", topic=topic, reason=reason, file=file)
        self._status.dead_letters += 1
        try:
            self._dead_letters.add(topic, reason, bytes(payload))
        except OSError as error:
            log.error("dead_letters.not_written", file=file, error=str(error))  # noqa: TRY400 - no trace
            return False
        return True
