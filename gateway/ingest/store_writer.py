"""The stores as ingest writes to them: opened when they can be, tried for as long as it takes, told of once."""

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
    """One store, with a thread of its own: a slow one holds up its own readings, and none of another store's way.

    `life` is of the store's process as it was seen last, None where that was not known. `still` is awaited before
    each further attempt, to raise where nobody needs it any more.
    """

    def __init__(self, name: str, store: Store) -> None:
        self.name = name
        self.life: str | None = ""
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"store {name}")
        self._one_at_a_time = asyncio.Lock()
        self._open = self._down = False

    @property
    def durable_after(self) -> float:
        """Seconds in which what was written may still be lost; known once the store has been opened."""
        return self._store.durable_after

    async def open(self) -> None:
        """Try once, so that what is wrong is told at the start and not with the first reading."""
        try:
            async with self._one_at_a_time:
                await self._opened()
        except Unavailable as error:
            self._tell_down(error)

    async def write(self, scans: Sequence[MachineScan], still: Callable[[], Awaitable[None]]) -> tuple[Refusal, ...]:
        """Write scans, and return what the store refuses for ever."""
        try:
            await self._insist(still, self._store.write, scans)
        except Rejected as error:
            self._tell_up()
            return error.refusals
        return ()

    async def look(self, still: Callable[[], Awaitable[None]]) -> bool:
        """Return whether the store's process lives on that lived when this was asked last, as far as can be told."""
        life = await self._insist(still, self._store.life)
        if life is None:
            return False
        if life == self.life:
            return True
        if self.life is not None:
            log.warning("store.restarted", store=self.name)
        await self._insist(still, self._store.check)  # it may have been started with other settings
        self.life = life
        return False

    async def close(self) -> None:
        """Close the store where it is open."""
        if self._open:
            await self._call(self._store.close)
        self._thread.shutdown()

    async def _insist(
        self, still: Callable[[], Awaitable[None]], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        backoff = Backoff(RETRY_FIRST, RETRY_MAX)
        while True:
            try:
                async with self._one_at_a_time:
                    await self._opened()
                    result = await self._call(function, *args, **kwargs)
            except Unavailable as error:
                self._tell_down(error)
            else:
                self._tell_up()
                return result
            await still()
            await backoff.wait()

    async def _opened(self) -> None:
        if not self._open:
            self.life = await self._call(self._prepare)
            self._open = True

    def _prepare(self) -> str | None:
        self._store.open()
        try:
            self._store.check()
            return self._store.life() if self._store.durable_after else ""
        except Unavailable:
            self._store.close()
            raise

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))

    def _tell_down(self, error: Unavailable) -> None:
        if not self._down:
            log.warning("store.unavailable", store=self.name, error=str(error))
        self._down = True

    def _tell_up(self) -> None:
        if self._down:
            log.info("store.available_again", store=self.name)
        self._down = False
