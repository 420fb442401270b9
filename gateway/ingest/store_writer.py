"""A store as ingest writes to it: opened once it can be, retried without end, an outage logged once."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import structlog

from gateway.common.backoff import Backoff
from gateway.stores.base import Rejected, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.stores.base import MachineScan, Refusal, Store

log = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")

RETRY_FIRST, RETRY_MAX = 0.2, 2.0
"""Seconds between two attempts at a store that can't be reached."""


class StoreWriter:
    """One store, with a thread of its own: a slow store delays no other.

    `instance` is the store's server process as it was last seen, None where it was not known. `before_retry` is
    awaited before each further attempt; it raises where the write is no longer needed.
    """

    def __init__(self, name: str, store: Store) -> None:
        self.name = name
        self.instance: str | None = ""
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"store {name}")
        self._lock = asyncio.Lock()
        self._open = self._down = False

    @property
    def durable_after(self) -> float:
        """Return the seconds after a write in which it may be lost; known once the store has been opened."""
        return self._store.durable_after

    async def open(self) -> None:
        """Try to open once, so that a wrong setting is logged at the start and not with the first reading."""
        try:
            async with self._lock:
                await self._ensure_open()
        except Unavailable as error:
            self._log_outage(error)

    async def write(
        self, scans: Sequence[MachineScan], before_retry: Callable[[], Awaitable[None]]
    ) -> tuple[Refusal, ...]:
        """Write scans, and return what the store refuses."""
        try:
            await self._retry(before_retry, self._store.write, scans)
        except Rejected as error:
            self._log_recovery()
            return error.refusals
        return ()

    async def check_instance(self, before_retry: Callable[[], Awaitable[None]]) -> bool:
        """Return whether the store's server is known to be the process of the last check."""
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
        """Close the store where it is open."""
        if self._open:
            await self._call(self._store.close)
        self._thread.shutdown()

    async def _retry(
        self, before_retry: Callable[[], Awaitable[None]], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        backoff = Backoff(RETRY_FIRST, RETRY_MAX)
        while True:
            try:
                async with self._lock:
                    await self._ensure_open()
                    result = await self._call(function, *args, **kwargs)
            except Unavailable as error:
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

    def _prepare(self) -> str | None:
        self._store.open()
        try:
            self._store.check()
            return self._store.instance() if self._store.durable_after else ""
        except Unavailable:
            self._store.close()
            raise

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))

    def _log_outage(self, error: Unavailable) -> None:
        if not self._down:
            log.warning("store.unavailable", store=self.name, error=str(error))
        self._down = True

    def _log_recovery(self) -> None:
        if self._down:
            log.info("store.available_again", store=self.name)
        self._down = False
