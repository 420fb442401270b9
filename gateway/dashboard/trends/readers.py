"""Threads that read the stores of a factory, each with a connection of its own."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.common.worker_thread import WorkerThread
from gateway.dashboard.trends.errors import Busy, NoStore, StoreDown, TimedOut
from gateway.stores.base import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from gateway.dashboard.trends.selection import PointName
    from gateway.dashboard.trends.stop import Stop
    from gateway.settings.factory import Factory
    from gateway.stores.base import Store
    from gateway.stores.series import Series

T = TypeVar("T")

THREADS = 2
"""Queries of one factory at a time."""

MAX_WAITING = 16
"""Queries that wait for a thread."""

_KEEP_SECONDS = 30.0
"""How long a connection is kept: a file may be replaced, and a server may move."""

_SERIES_SECONDS, _UNKNOWN_SECONDS = 60.0, 2.0
"""The age at which the list of series is read again; the age if a point is not in it."""


_CLOSE_SECONDS = 1.0


class OpenStore:
    """A store that is open for queries, and the list of its series. Used in one thread."""

    def __init__(self, name: str, store: Store) -> None:
        self.name = name
        self.store = store
        self.opened = time.monotonic()
        self._series: dict[tuple[object, str], list[Series]] = {}
        self._listed = float("-inf")

    def find(self, points: Iterable[PointName]) -> list[Series]:
        """Return the series of points, in their order; a point whose unit was changed has two.

        Raises `StoreError`.
        """
        points = list(points)
        age = time.monotonic() - self._listed
        if age > _SERIES_SECONDS or (age > _UNKNOWN_SECONDS and any(one not in self._series for one in points)):
            self._series = {}
            for series in self.store.series():
                self._series.setdefault((series.id.path, series.id.point), []).append(series)
            self._listed = time.monotonic()
        return [series for one in points for series in self._series.get(one, ())]


class Reader:
    """One thread with its connection to the first store that can be read."""

    def __init__(self, factory: Factory, name: str) -> None:
        self._factory = factory
        self._thread = WorkerThread(name)
        self._open: OpenStore | None = None
        self._call: asyncio.Future[Any] | None = None

    async def call(self, function: Callable[[OpenStore], T], stop: Stop) -> T:
        """Run a function in the thread. Raises `TrendError`, also `TimedOut` when the time is over.

        If the caller is cancelled, or the time is over, the function ends at its next check.
        """
        call = asyncio.ensure_future(self._thread.run(self._run, function, stop))
        self._call = call
        try:
            await asyncio.wait({call}, timeout=stop.left)
        finally:
            if not call.done():
                stop.cancel()
                call.add_done_callback(_ignore)
        if not call.done():
            raise TimedOut(stop.seconds)
        return call.result()

    async def clean(self, function: Callable[[], None]) -> None:
        """Run a function in the thread, after all that it does."""
        call = asyncio.ensure_future(self._thread.run(function))
        self._call = call
        await call

    def when_idle(self, then: Callable[[], None]) -> None:
        """Call a function as soon as the thread has nothing to do."""
        if self._call is None or self._call.done():
            then()
        else:
            self._call.add_done_callback(lambda _: then())

    async def close(self) -> None:
        """Close the connection and end the thread, which is a daemon: a call that hangs is not waited for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.clean(self._close)
        self._thread.stop()

    # -- in the thread --

    def _run(self, function: Callable[[OpenStore], T], stop: Stop) -> T:
        stop.check()
        store = self._opened()
        try:
            return function(store)
        except StoreError as error:
            self._close()
            raise StoreDown(store.name, error) from error

    def _opened(self) -> OpenStore:
        if self._open is not None and time.monotonic() - self._open.opened > _KEEP_SECONDS:
            self._close()
        if self._open is None:
            self._open = self._first()
        return self._open

    def _first(self) -> OpenStore:
        """Open the first store that can be read. Raises `NoStore` or `StoreDown`."""
        templates = {machine.template for machine in self._factory.machines}
        problem: StoreDown | None = None
        for name, entry in zip(self._factory.store_names, self._factory.stores, strict=True):
            store = entry.kind.make(entry.settings)
            try:
                store.open_for_query(templates)
            except StoreError as error:
                problem = problem or StoreDown(name, error)
                continue
            return OpenStore(name, store)
        raise problem or NoStore

    def _close(self) -> None:
        if self._open is not None:
            self._open.store.close()
            self._open = None


class Readers:
    """The readers of a factory, leased to one query at a time."""

    def __init__(self, factory: Factory, threads: int = THREADS) -> None:
        self.factory = factory
        self._all: Sequence[Reader] = [
            Reader(factory, f"trends-{factory.factory.site}-{number}") for number in range(threads)
        ]
        self._idle: asyncio.Queue[Reader] = asyncio.Queue()
        for reader in self._all:
            self._idle.put_nowait(reader)
        self._waiting = 0

    @asynccontextmanager
    async def lease(self, stop: Stop) -> AsyncIterator[Reader]:
        """Lease a reader for a block. Raises `Busy` if too many wait, or if none is free in time."""
        if self._waiting >= MAX_WAITING:
            raise Busy
        self._waiting += 1
        try:
            async with asyncio.timeout(stop.left):
                reader = await self._idle.get()
        except TimeoutError:
            raise Busy from None
        finally:
            self._waiting -= 1
        try:
            yield reader
        finally:
            reader.when_idle(lambda: self._idle.put_nowait(reader))

    async def call(self, function: Callable[[OpenStore], T], stop: Stop) -> T:
        """Run a function with an open store, in a thread. Raises `TrendError`."""
        async with self.lease(stop) as reader:
            return await reader.call(function, stop)

    async def close(self) -> None:
        """Close all connections and end the threads."""
        await asyncio.gather(*(reader.close() for reader in self._all))


def _ignore(call: asyncio.Future[Any]) -> None:
    """Take the result of a call that nobody waits for."""
    if not call.cancelled():
        call.exception()
