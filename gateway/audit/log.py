"""The audit log for others: `record` returns at once, a thread commits all entries since its last commit.

    with AuditLog(section) as audit:
        audit.record("user-added", who="root", object="anna", after={"role": "operator"})

An entry that can't be written waits, in a bounded queue, for a disk that works again. Entries beyond, and those of a
full log, are counted: the action itself goes on (IEC 62443-4-2, CR 2.10).
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import structlog

from gateway.audit.entry import Action, clean_action
from gateway.audit.keys import UnusableKey
from gateway.audit.syslog import SyslogFollower
from gateway.audit.writer import ChainWriter, Full
from gateway.common.state_log import StateLog
from gateway.settings.audit_section import AuditFull

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.settings.audit_section import AuditSection

log = structlog.get_logger(__name__)

MOST_WAITING = 10_000
"""Entries that wait to be written."""

MOST_TOGETHER = 100
"""Entries of one commit."""

RETRY_AFTER = 1.0
"""Seconds until a failed commit is tried again."""

CLOSE_SECONDS = 5.0
"""Seconds that entries have to be written when the log is closed."""


class NotRecorded(Exception):
    """An entry was not written; the text says why."""


class _Waiting(NamedTuple):
    action: Action
    durable: Future[int]


class AuditLog:
    """The audit log of a folder. `record` may be called from any thread."""

    def __init__(self, section: AuditSection) -> None:
        """Prepare; no I/O before it is entered."""
        self.recorded = 0
        """Entries that are on disk."""
        self.lost = 0
        """Entries that were not written: the log is full, or too many wait."""
        remove = section.when_full is AuditFull.REMOVE_OLDEST
        self._writer = ChainWriter(
            section.folder, section.max_size, remove_oldest=remove, renew_key=section.renew_key
        )
        self._warns_from = math.inf if remove else section.nearly_full
        self._syslog = None if section.syslog is None else SyslogFollower(section.syslog, section.syslog_files)
        self._waiting: deque[_Waiting] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._state = StateLog(log, "audit.unstable", folder=str(section.folder))

    def __enter__(self) -> Self:
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="audit log", daemon=True)
        self._thread.start()
        if self._syslog is not None:
            self._syslog.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)
        self._drop("the log is closed")
        if self._syslog is not None:
            self._syslog.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.__exit__)

    @property
    def filled(self) -> float:
        """The part of its greatest size that the log has, 0 to 1; 0 before the first entry."""
        return self._writer.size / self._writer.max_size

    @property
    def syslog_dropped(self) -> int:
        """Entries that the syslog server did not get."""
        return 0 if self._syslog is None else self._syslog.dropped

    def record(
        self, action: str, *, who: str, address: str = "", object: str = "",  # noqa: A002 - the name in the entry
        before: Any = None, after: Any = None, outcome: str = "done",  # noqa: ANN401 - any data
    ) -> Future[int]:  # fmt: skip
        """Record an action; returns at once.

        The future has the number of the entry when it is on disk, or raises `NotRecorded`. `before` and `after` are
        plain data of the object; texts are cleaned and bounded, and secrets are removed.
        """
        made = clean_action(time.time_ns() // 1000, action, who, address, object, before, after, outcome)
        durable: Future[int] = Future()
        with self._wake:
            if len(self._waiting) < MOST_WAITING and not self._closing and self._thread is not None:
                self._waiting.append(_Waiting(made, durable))
                self._wake.notify()
                return durable
        self._lose([durable], "too many entries wait, or the log is closed")
        return durable

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._closing)
                batch = [self._waiting[at] for at in range(min(len(self._waiting), MOST_TOGETHER))]
                if not batch:
                    return
            if not self._commit(batch):
                with self._wake:
                    if self._closing:
                        return
                    self._wake.wait(RETRY_AFTER)
                continue
            with self._wake:
                for _ in batch:
                    self._waiting.popleft()

    def _commit(self, batch: Sequence[_Waiting]) -> bool:
        """Write entries; returns whether they are done with."""
        try:
            entries = self._writer.commit([one.action for one in batch])
        except Full as error:
            self._state.enter("audit.full", level="error", error=str(error))
            self._lose([one.durable for one in batch], str(error))
            return True
        except (OSError, UnusableKey) as error:
            self._state.enter("audit.unwritable", level="error", error=str(error))
            return False
        if self.filled >= self._warns_from:
            hint = "raise max_size of the audit log, or write when_full: remove_oldest"
            self._state.enter("audit.nearly_full", filled=round(self.filled, 2), hint=hint)
        else:
            self._state.enter("audit.recording", healthy=True)
        self.recorded += len(batch)
        if self._syslog is not None:
            for entry in entries:
                self._syslog.send(entry)
        for one, entry in zip(batch, entries[-len(batch) :], strict=True):
            one.durable.set_result(entry["n"])
        return True

    def _drop(self, reason: str) -> None:
        """Give up the entries that wait."""
        with self._wake:
            rest = [one.durable for one in self._waiting]
            self._waiting.clear()
        self._lose(rest, reason)

    def _lose(self, those: Sequence[Future[int]], reason: str) -> None:
        self.lost += len(those)
        for durable in those:
            if not durable.done():
                durable.set_exception(NotRecorded(reason))
