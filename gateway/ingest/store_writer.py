"""Write to a store: open it when it can be reached, retry without limit, and log an outage once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

import structlog

from drivers.extras import MissingExtra
from gateway.common.backoff import Backoff
from gateway.common.histogram import Histogram
from gateway.common.setting_types import MissingSecret
from gateway.common.state_log import RepeatLog, StateLog
from gateway.common.worker_thread import WorkerThread
from gateway.model.text import MAX_TEXT, clean_text
from gateway.stores.base import Refusal, Rejected, StoreError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.stores.base import MachineScan, Store

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

CLOSE_TIMEOUT = 1.5
"""Seconds that a store has to end its last call and to close."""

MAX_FAILURES = 10
"""Failed attempts to write scans, all with an unexpected error, after which the scans are set aside."""

RETRY_FIRST, RETRY_MAX = 0.2, 2.0
"""Seconds between two attempts to reach a store: the first, and the longest."""


class StoreWriter:
    """One store with its own thread, so that a slow store does not delay other stores.

    `instance` is the server process of the store at the last check, None if it was unknown. `before_retry` is awaited
    before each further attempt; it raises if the write is no longer needed.

    `on_change` is called after each change of `state`.

    `failures` counts the attempts that failed, `writes` has the seconds that each write took.
    """

    def __init__(self, name: str, store: Store) -> None:
        self.name = name
        self.instance: str | None = ""
        self.failures = 0
        self.writes = Histogram()
        self._seconds = 0.0  # of the last write
        self._store = store
        self._thread = WorkerThread(f"store {name}")
        self._state = StateLog(log, "store.unstable", store=name)
        self._lock = asyncio.Lock()
        self._open = False
        self._failures = 0
        self._error: Exception | None = None
        self._repeats = RepeatLog(log)
        self._called = False
        self._since = time.time_ns() // 1000
        self._outage = ""
        self.on_change: Callable[[], None] = lambda: None

    def report(self) -> dict[str, Any]:
        """Return whether the store can be written to, since when (microseconds since the epoch), and the error."""
        return {"store": self.name, "state": self.state, "since": self._since, "error": self._outage}

    @property
    def state(self) -> Literal["opening", "available", "unavailable"]:
        """Return whether the store can be written to: `opening` before the first call has ended."""
        return "unavailable" if self._outage else "available" if self._open else "opening"

    @property
    def durable_after(self) -> float:
        """Return the seconds for which a write may still be lost; known once the store has been opened."""
        return self._store.durable_after

    @property
    def counts(self) -> dict[str, int]:
        """Return the counts of values that the store had to change."""
        return dict(self._store.counts)

    async def open(self) -> None:
        """Try once to open, so that a wrong setting is logged at the start and not with the first reading."""
        try:
            async with self._lock:
                await self._ensure_open()
        except StoreError as error:
            self._log_outage(error)

    async def write(
        self, scans: Sequence[MachineScan], before_retry: Callable[[], Awaitable[None]]
    ) -> tuple[Refusal, ...]:
        """Write scans, and return the refusals of the store."""
        refusals = await self._retry(before_retry, self._write, scans)
        self.writes.add(self._seconds)
        if self._error is not None:
            self._repeats.error("store.failed", store=self.name, exc_info=self._error)
            self._error = None
        return tuple(refusals)

    def _write(self, scans: Sequence[MachineScan]) -> list[Refusal]:
        """Write scans in the thread. Refuse scans that make the store fail with an unexpected error.

        Raises `Unavailable`, also if all of several scans fail with such an error, up to `MAX_FAILURES` times.
        """
        failed: list[Refusal] = []
        began = time.monotonic()
        refusals = self._write_parts(scans, failed)
        self._seconds = time.monotonic() - began
        if failed and len(failed) == len(scans):
            self._failures += 1
            if self._failures < MAX_FAILURES:
                raise Unavailable(f"unexpected {failed[0].message}")
        self._failures = 0
        return refusals + failed

    def _write_parts(self, scans: Sequence[MachineScan], failed: list[Refusal]) -> list[Refusal]:
        try:
            self._store.write(scans)
        except Rejected as error:
            return list(error.refusals)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a defect of a store must not end ingest; it is logged by `write`
            self._error = error
            if len(scans) > 1:
                half = len(scans) // 2
                return self._write_parts(scans[:half], failed) + self._write_parts(scans[half:], failed)
            [scan] = scans
            row = f"{scan.path} {scan.scan.time} {', '.join((*scan.scan.values, *scan.scan.bad))}"
            failed.append(Refusal(scan.record, len(scan.scan), row, repr(error)[:500], "store_error"))
        return []

    async def check_instance(self, before_retry: Callable[[], Awaitable[None]]) -> bool:
        """Return True if the server of the store is known to be the process of the last check."""
        instance = await self._retry(before_retry, self._store.instance)
        if instance is None:
            return False
        if instance == self.instance:
            return True
        if self.instance is not None:
            log.warning("store.restarted", store=self.name)
        await self._retry(before_retry, self._store.check)  # it may have been started with other settings
        self.instance = instance
        return False

    async def close(self) -> None:
        """Close the store if it is open; abandon a call that hangs after `CLOSE_TIMEOUT`.

        The batch of such a call is not confirmed, so its records are sent again.
        """
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._thread.run(self._store.close if self._open else bool)
        except TimeoutError:
            log.warning("store.not_closed", store=self.name, hint="the store does not answer; its batch comes again")
        except Exception as error:  # noqa: BLE001 - it ends anyway
            log.warning("store.not_closed", store=self.name, error=repr(error))
        self._thread.stop()

    async def _retry(
        self, before_retry: Callable[[], Awaitable[None]], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        backoff = Backoff(RETRY_FIRST, RETRY_MAX)
        while True:
            try:
                async with self._lock:
                    await self._ensure_open()
                    result = await self._call(function, *args, **kwargs)
            except StoreError as error:
                self._log_outage(error)
            else:
                self._log_recovery()
                return result
            await before_retry()
            await backoff.wait()

    async def _ensure_open(self) -> None:
        if not self._open:
            self.instance = await self._call(self._prepare)
            self._open = True
            if not self._outage:
                self._note_change()

    def _prepare(self) -> str | None:
        self._store.open()
        try:
            self._store.check()
            return self._store.instance() if self._store.durable_after else ""
        except BaseException:
            self._store.close()
            raise

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the store in its thread. Raises `Unavailable`, also for an unexpected error.

        At the first attempt a missing secret or library ends the service and is named: the configuration asks for it.
        """
        try:
            return await self._thread.run(function, *args, **kwargs)
        except StoreError:
            raise
        except Exception as error:
            if isinstance(error, (MissingExtra, MissingSecret)) and not self._called:
                raise
            self._repeats.error("store.failed", store=self.name, exc_info=error)
            raise Unavailable(f"unexpected {error!r:.500}") from error
        finally:
            self._called = True

    def _note_change(self) -> None:
        self._since = time.time_ns() // 1000
        self.on_change()

    def _log_outage(self, error: StoreError) -> None:
        self.failures += 1
        began = not self._outage
        self._outage = clean_text(str(error) or type(error).__name__, MAX_TEXT)
        if began:
            self._note_change()
        self._state.enter("store.unavailable", error=str(error))

    def _log_recovery(self) -> None:
        if self._outage:
            self._outage = ""
            self._note_change()
        if self._state.state:
            self._state.enter("store.available_again", healthy=True)
