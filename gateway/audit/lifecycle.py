"""Starts and ends of a service in the audit log (IEC 62443-4-2, CR 2.8).

A service that was killed writes nothing. The next start finds that in the file of its state (`life_file.py`), and
records it: since when the service ran, its last sign of life, and the reason as far as it is known.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from gateway.audit.apart import NICE, Entry, log_exists
from gateway.audit.life_file import FailedStarts, LifeFile, LifeState, now_text
from gateway.audit.trust_files import TrustPlaces, TrustWatch
from gateway.common.tasks import BestEffort, cancel_and_wait, supervise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.audit.apart import ServiceLog
    from gateway.common.stop_event import StopEvent

log = structlog.get_logger(__name__)

STARTED, STOPPED = "service-started", "service-stopped"
INTERRUPTED, FAILED, CHANGED = "service-interrupted", "service-failed", "configuration-changed"
"""The actions."""

SETTLE = 3.0
"""Seconds after the start of a service in which its start is not written: the first readings go first."""

LAST = 3.5
"""Seconds after the stop of a service for which its end waits for the entry: a gateway is killed after 4.7."""

LAST_UNBOUNDED = 8.0
"""The same of ingest and page: a service manager and containers kill them after 10."""

LEAST = 0.1
"""Seconds for which an end waits in any case."""

RESTART_AFTER = 60.0
"""Seconds after which the watch of files is started again if it fails."""

ALIVE_EVERY = 10.0
"""Seconds between two signs of life."""

SAME_FAILURE = 3600.0
"""Seconds in which starts that fail with one error make one entry: a service is started again and again."""


@asynccontextmanager
async def recorded_life(
    audit: ServiceLog, config: str, stop: StopEvent, trusted: TrustPlaces | None = None, last: float | None = None
) -> AsyncIterator[None]:
    """Record the start and the end of a service that runs meanwhile, where there is an audit log at its start.

    `config` is the digest of its configuration. Changes of the files `trusted` are recorded as long. Best effort: an
    entry that can't be written is logged and counted, the next start has the count, and the end waits for its entry
    no longer than `last` seconds after the stop, `LAST` without it.
    """
    if not await asyncio.to_thread(log_exists, audit.section):
        yield
        return
    life = _Life(audit, config, stop, LAST if last is None else last)
    await life.begin()
    watch = TrustWatch(audit, trusted or TrustPlaces())
    watching = supervise(watch.run, BestEffort("watch of trust files"), RESTART_AFTER)
    helper = asyncio.create_task(watching, name="watch of trust files")
    try:
        yield
    except BaseException as error:
        life.fail(error)
        raise
    finally:
        helper.cancel()
        await life.end()
        await cancel_and_wait(helper)


class _Life:
    """The life of one service."""

    def __init__(self, audit: ServiceLog, config: str, stop: StopEvent, last: float) -> None:
        self._audit = audit
        self._config = config
        self._stop = stop
        self._last = last
        self._file = LifeFile(audit.section.folder, audit.service, audit.who)
        self._state: LifeState | None = None  # None while another process has the file, or it can't be used
        self._began = now_text()
        self._settled = False  # the start is being written, or is written
        self._ended = 0.0  # the monotonic time of an end that nobody has asked for
        self._using = BestEffort("state of the service", file=str(self._file.file))
        self._turn = asyncio.Lock()

    async def begin(self) -> None:
        """Read the state that the last run has left, and begin to record."""
        with self._using:
            self._state = await asyncio.to_thread(self._file.begin)
        self._starting = asyncio.create_task(self._record_start(), name="audit of the start")
        self._ending = asyncio.create_task(self._record_stop(), name="audit of the stop")
        self._living = asyncio.create_task(self._show_life(), name="sign of life for the audit log")

    def fail(self, error: BaseException) -> None:
        """Record an error that ends the service, unless it was asked to stop before."""
        if self._stop.is_set():
            return
        self._ended = time.monotonic()
        self._ending.cancel()
        if isinstance(error, Exception):
            text = error_text(error)
            work = self._record_end({"reason": "error", "error": text}, "failed") if self._settled else None
            self._ending = asyncio.create_task(work or self._record_failed_start(text), name="audit of the failure")

    async def end(self) -> None:
        """Wait for the last entry, as long as the end of the service may take."""
        if not self._ended and not self._stop.is_set():
            self._ended = time.monotonic()
            self._ending.cancel()
            self._ending = asyncio.create_task(self._record_end({"reason": "ended"}, "done"), name="audit of the end")
        rest = (self._ended or self._stop.asked) + self._last - time.monotonic()
        await asyncio.wait({self._ending}, timeout=max(LEAST, rest))
        late = not self._ending.done()
        await cancel_and_wait(self._starting, self._ending, self._living)
        if late:
            log.warning("audit.not_recorded", action=STOPPED, error=f"not written within {self._last:g} s of the end")
            counting = asyncio.create_task(self._count(1), name="count of lost entries")
            await asyncio.wait({counting}, timeout=LEAST)
        await asyncio.to_thread(self._file.close)

    # -- entries --

    async def _record_start(self) -> None:
        await asyncio.sleep(SETTLE)
        self._settled = True
        if await self._written(self._opening(), NICE):
            await self._change(**self._opened())

    async def _record_stop(self) -> None:
        await self._stop.wait()
        await self._change(stopping=self._stop.reason or "asked")
        await self._record_end({"reason": self._stop.reason}, "done")

    async def _record_end(self, about: dict[str, Any], outcome: str) -> None:
        entries, changes = [Entry(action=STOPPED, after=about, outcome=outcome)], {}
        if self._settled:
            await asyncio.wait({self._starting})
        else:
            self._starting.cancel()
            entries, changes = [*self._opening(), *entries], self._opened()
        if await self._written(entries, 0):
            await self._change(ended=True, **changes)

    async def _record_failed_start(self, text: str) -> None:
        """Record a service that fails before it has settled; the next starts with this error are counted."""
        self._starting.cancel()
        if self._state is None:
            return  # another process of this name runs, or nothing can be counted
        now, last = time.time(), self._state.failed
        starts = 1 if last is None else last.starts + 1
        if last is not None and last.error == text and 0 <= now - last.recorded < SAME_FAILURE:
            await self._change(ended=True, failed=last.model_copy(update={"starts": starts}))
            return
        about = {"reason": "error", "error": text, "time": self._began, "starts": starts}
        if await self._written([*self._interrupted(), Entry(action=FAILED, after=about, outcome="failed")], 0):
            failed = FailedStarts(error=text, starts=0, recorded=now)
            await self._change(ended=True, interrupted=None, failed=failed)

    def _interrupted(self) -> list[Entry]:
        """Return the entry of earlier runs that have ended without one."""
        if self._state is None or self._state.interrupted is None:
            return []
        return [Entry(action=INTERRUPTED, after=self._state.interrupted.model_dump(), outcome="failed")]

    def _opening(self) -> list[Entry]:
        """Return the entries of a start."""
        about: dict[str, Any] = {"config": self._config, "time": self._began}
        entries = self._interrupted()
        if (state := self._state) is not None:
            if state.failed is not None and state.failed.starts:
                about |= {"failed_starts": state.failed.starts, "error": state.failed.error}
            if state.not_recorded:
                about["not_recorded"] = state.not_recorded
            if state.recorded_config not in {"", self._config}:
                before, after = {"config": state.recorded_config}, {"config": self._config}
                entries.append(Entry(action=CHANGED, before=before, after=after))
        return [*entries, Entry(action=STARTED, after=about)]

    def _opened(self) -> dict[str, Any]:
        """Return the changes of the state when the entries of a start are written."""
        return {"recorded_config": self._config, "interrupted": None, "failed": None, "not_recorded": 0}

    async def _written(self, entries: list[Entry], nice: int) -> bool:
        """Write entries; returns whether they are on disk. Those that are not are logged and counted."""
        error = await self._audit.write(entries, nice)
        if error:
            log.warning("audit.not_recorded", action=entries[-1].action, error=error)
            await self._count(len(entries))
        return not error

    # -- state --

    async def _count(self, entries: int) -> None:
        if self._state is not None:
            await self._change(not_recorded=self._state.not_recorded + entries)

    async def _change(self, **changes: Any) -> None:  # noqa: ANN401 - parts of the state
        if self._state is not None:
            self._state = self._state.model_copy(update=changes)
            await self._use(partial(self._file.save, self._state))

    async def _show_life(self) -> None:
        while True:
            await asyncio.sleep(ALIVE_EVERY)
            await self._use(self._file.touch)

    async def _use(self, work: Callable[[], None]) -> None:
        """Work with the file in a thread, one after the other; an error is logged once."""
        async with self._turn:
            with self._using:
                await asyncio.to_thread(work)


def error_text(error: BaseException) -> str:
    """Return an error in one line; of a group that of its first error."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
