"""Queries to the stores of all factories at once, each within a time, with all that was found until then.

A store in the order of time reads all readings of a span to find those of a few points. Queries go backwards through
the time, in slices that take a fraction of a second: when their time is over they return the readings so far, and
how far back they were read.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from gateway.dashboard.trends.errors import NoStore, TrendError
from gateway.dashboard.trends.readers import Readers
from gateway.dashboard.trends.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.dashboard.texts.text import Text
    from gateway.dashboard.trends.readers import OpenStore
    from gateway.model.path import MachinePath
    from gateway.model.reading import Reading
    from gateway.settings.factory import Factory
    from gateway.stores.base import Store
    from gateway.stores.series import Series

T = TypeVar("T")

FIRST_SLICE, LONGEST_SLICE = 60 * 1_000_000, 6 * 3600 * 1_000_000
"""Microseconds of the first slice, and of the longest."""

QUICK, SLOW = 0.1, 0.5
"""Seconds of a slice after which the next is twice as long, or half."""

RESERVE = 0.25
"""The part of the time of a query that is kept for the work on the readings."""


class Source(NamedTuple):
    """An open store, with the factory that it belongs to, and the time that a query has in it."""

    factory: Factory
    store: OpenStore
    stop: Stop
    owns: Callable[[MachinePath], bool]
    """Whether a machine is looked up in this store."""

    def series(self, takes: Callable[[Series], bool]) -> list[Series]:
        """Return the series of machines of this store that a condition takes. Raises `StoreError`."""
        return [one for one in self.store.store.series() if self.owns(one.id.path) and takes(one)]


class Slice(NamedTuple):
    """The readings from `since` to before `until`, in the order of their times."""

    since: int
    until: int
    readings: list[Reading]


def backwards(store: Store, series: Sequence[Series], since: int, until: int, stop: Stop) -> Iterator[Slice]:
    """Yield the readings of series in slices, the newest first, until all are read or the time is nearly over.

    Raises `StoreError`, and `Cancelled` if nobody waits. A slice that can't be read in time is left out.
    """
    known = [one.first for one in series if one.first is not None]
    oldest = max(since, min(known)) if len(known) == len(series) and series else since
    reserve, width, end = stop.seconds * RESERVE, FIRST_SLICE, until
    while end > oldest:
        stop.check()
        began, begin = time.monotonic(), max(oldest, end - width)
        readings = []
        for reading in store.range(series, begin, end):
            readings.append(reading)
            if len(readings) % 1_000 == 0 and stop.left < reserve:
                return
        if stop.left < reserve:
            return
        yield Slice(begin if begin > oldest else since, end, readings)
        took = time.monotonic() - began
        width = (
            min(width * 2, LONGEST_SLICE) if took < QUICK else max(width // 2, 1_000_000) if took > SLOW else width
        )
        end = begin
    if end == until:
        yield Slice(since, until, [])


class Stored:
    """The stores of some factories."""

    def __init__(self, factories: Sequence[Factory]) -> None:
        self._readers = [Readers(factory) for factory in factories if factory.stores]
        self._places = {
            machine.path: number
            for number, readers in enumerate(self._readers)
            for machine in readers.factory.machines
        }
        self._sites = {
            (readers.factory.factory.enterprise, readers.factory.factory.site): number
            for number, readers in reversed(list(enumerate(self._readers)))
        }

    async def close(self) -> None:
        """Close the connections to the stores, and end their threads."""
        await asyncio.gather(*(readers.close() for readers in self._readers))

    async def each(
        self, function: Callable[[Source], T], seconds: float, below: tuple[str, ...] = ()
    ) -> tuple[list[T], list[Text]]:
        """Run a function with each store of machines below a path; return the results, and why some are missing.

        Raises `NoStore` where there is no store to ask.
        """
        chosen = [
            (number, readers) for number, readers in enumerate(self._readers)
            if (readers.factory.factory.enterprise, readers.factory.factory.site)[: len(below)] == below[:2]
        ]  # fmt: skip
        if not chosen:
            raise NoStore
        results = await asyncio.gather(
            *(self._one(*one, function, seconds) for one in chosen), return_exceptions=True
        )
        found: list[T] = []
        problems: list[Text] = []
        for result in results:
            if isinstance(result, TrendError):
                problems.append(result.text)
            elif isinstance(result, BaseException):
                raise result
            else:
                found.append(result)
        return found, problems

    async def _one(self, number: int, readers: Readers, function: Callable[[Source], T], seconds: float) -> T:
        stop = Stop(seconds)

        def owns(path: MachinePath) -> bool:
            return self._places.get(path, self._sites.get(path[:2])) == number

        return await readers.call(lambda store: function(Source(readers.factory, store, stop, owns)), stop)
