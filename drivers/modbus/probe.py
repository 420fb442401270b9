"""Explore a Modbus device without documentation, with a limited rate of read requests.

Modbus has no description of a device. The probe finds the units that answer, their identification, the readable
entries of each table, the largest request, and the possible values of registers.
"""

from __future__ import annotations

import asyncio
import math
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from drivers.base import NotConnected
from drivers.modbus import pdu
from drivers.modbus.address import LAST, Address, Table
from drivers.modbus.client import ModbusClient
from drivers.modbus.connection import Transport
from drivers.modbus.pdu import ExceptionResponse, InvalidResponse, ResponseTimeout
from drivers.modbus.raw_types import Order, Raw, byte_order

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from drivers.modbus.connection import ModbusConnection

BLOCK = 64
"""Entries of one request in the search for readable ranges."""

SAMPLE_EVERY = 4
"""Distance of the entries that are read alone in a block that can't be read as a whole."""

QUESTIONS = (Address(Table.HOLDING, 0), Address(Table.INPUT, 0))
"""Entries that are read to find the units; a meter may have input registers alone, and stay silent at others."""

MORE_QUESTIONS = (
    Address(Table.HOLDING, 40000), Address(Table.HOLDING, 1), Address(Table.INPUT, 1), Address(Table.DISCRETE, 0),
    Address(Table.COIL, 0), Address(Table.HOLDING, 100),
)  # fmt: skip
"""The same, if no unit answered."""

SUNSPEC_BASES = (40000, 50000, 0)
"""Holding registers at which a SunSpec device begins (SunSpec Device Information Model, clause 6.3)."""

SUNSPEC_MARK = b"SunS"
_SUNSPEC_MODELS = 100

ADAPTED_MIN, ADAPTED_FACTOR = 0.2, 20.0
"""Time-out of further requests, once a unit has answered: seconds at least, and so many times its response time."""

MOST = {table: pdu.MAX_BITS if table.bits else 125 for table in Table}

_OBJECTS = ("vendor", "product code", "revision", "vendor url", "product", "model", "application")
"""The objects of device identification, by their numbers (clause 6.21)."""


class Span(NamedTuple):
    """Entries that can be read, `first` to `last`."""

    first: int
    last: int


class SunSpecModel(NamedTuple):
    """One model of a SunSpec device: its id, and its registers without the header."""

    number: int
    first: int
    length: int

    @property
    def last(self) -> int:
        """The last register."""
        return self.first + self.length - 1


class Area(NamedTuple):
    """Entries to explore."""

    table: Table
    first: int
    last: int


class Meaning(NamedTuple):
    """One interpretation of registers; `plausible` is True if a plant could have the value."""

    raw: str
    order: str
    value: float
    plausible: bool


@dataclass(slots=True)
class Unit:
    """The properties of one unit."""

    number: int
    identification: dict[str, str] = field(default_factory=dict)
    spans: dict[Table, list[Span]] = field(default_factory=dict)
    largest: dict[Table, int] = field(default_factory=dict)
    sunspec: list[SunSpecModel] = field(default_factory=list)

    @property
    def counts_from_one(self) -> bool:
        """Whether the device seems to count from 1: entry 0 can't be read, and entry 1 can."""
        found = [spans for spans in self.spans.values() if spans]
        return bool(found) and all(spans[0].first == 1 for spans in found)


class Probe:
    """The exploration of one device over one connection."""

    def __init__(self, connection: ModbusConnection, per_second: float, report: Callable[[str], None]) -> None:
        """Prepare; `per_second` limits the requests, `report` is called with progress messages."""
        self._connection = connection
        self._client = ModbusClient(connection)
        self._gap = 1.0 / per_second
        self._next = 0.0
        self._asked_at = 0.0
        self._adapted = False
        self._report = report

    async def look(
        self, units: Sequence[int], areas: Sequence[Area], questions: Sequence[Address] = ()
    ) -> list[Unit]:
        """Return the units that answer one of the questions, with the readable ranges of the areas.

        Without questions of one's own, these are `QUESTIONS`, and `MORE_QUESTIONS` if no unit answers.
        """
        await self._client.connect()
        try:
            answering = [number for number in units if await self._answers(number, questions or QUESTIONS)]
            if not answering and not questions:
                answering = [number for number in units if await self._answers(number, MORE_QUESTIONS)]
            return [await self._explored(number, areas) for number in answering]
        finally:
            self._client.end()

    async def _explored(self, number: int, areas: Sequence[Area]) -> Unit:
        unit = Unit(number, await self._identify(number))
        unit.sunspec = await self._sunspec(number)
        areas = [*areas, *(Area(Table.HOLDING, model.first - 2, model.last) for model in unit.sunspec)]
        for table in Table:
            spans: set[Span] = set()
            for area in areas:
                if area.table is table:
                    self._report(f"unit {number}: {table} {area.first}..{area.last}")
                    spans.update([span async for span in self._spans(number, *area)])
            unit.spans[table] = list(_joined(sorted(spans)))
            if unit.spans[table]:
                unit.largest[table] = await self._largest(number, table, unit.spans[table])
        return unit

    async def _sunspec(self, number: int) -> list[SunSpecModel]:
        """Return the models of a SunSpec device, empty if it is another device."""
        for base in SUNSPEC_BASES:
            if await self._read(number, Table.HOLDING, base, 2) != SUNSPEC_MARK:
                continue
            models: list[SunSpecModel] = []
            at = base + 2
            while len(models) < _SUNSPEC_MODELS and at < LAST:
                header = await self._read(number, Table.HOLDING, at, 2)
                if header is None or header[:2] == b"\xff\xff":
                    break
                model = SunSpecModel(int.from_bytes(header[:2], "big"), at + 2, int.from_bytes(header[2:], "big"))
                models.append(model)
                at += 2 + model.length
            return models
        return []

    async def meanings(self, unit: int, table: Table, entry: int) -> list[Meaning]:
        """Return the interpretations of the registers from `entry` on, in every type and order."""
        await self._client.connect()
        try:
            for count in (4, 2, 1):
                data = await self._read(unit, table, entry, count)
                if data is not None:
                    return list(meanings(data))
        finally:
            self._client.end()
        return []

    async def _ask(self, unit: int, message: bytes) -> bytes:
        """Send a request when the rate allows it; reconnect once if the connection is lost."""
        loop = asyncio.get_running_loop()
        wait = self._next - loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        self._asked_at = loop.time()
        self._next = self._asked_at + self._gap
        try:
            return await self._client.request(unit, message)
        except NotConnected:
            await self._client.connect()
            return await self._client.request(unit, message)

    async def _answers(self, unit: int, questions: Sequence[Address]) -> bool:
        """Return True if a unit answers one of the questions; an exception of the unit itself is an answer."""
        self._report(f"unit {unit}")
        loop = asyncio.get_running_loop()
        for question in questions:
            try:
                await self._ask(unit, pdu.read(Table(question.table), question.offset, 1))
            except ExceptionResponse as error:
                if error.code in {pdu.PATH_UNAVAILABLE, pdu.TARGET_SILENT}:
                    return False  # a gateway answers for it
            except InvalidResponse:
                pass
            except (ResponseTimeout, NotConnected):
                continue
            await self._adapt(loop.time() - self._asked_at)
            return True
        return False

    async def _adapt(self, took: float) -> None:
        """Shorten the time-out to that of a device which answers so fast: many requests get no answer."""
        timeout = min(self._connection.timeout, max(ADAPTED_MIN, ADAPTED_FACTOR * took))
        if self._adapted or timeout >= self._connection.timeout or self._connection.transport is Transport.LISTEN:
            return
        self._adapted = True
        self._client.end()
        self._client = ModbusClient(self._connection.model_copy(update={"timeout": timeout}))
        await self._client.connect()

    async def _identify(self, unit: int) -> dict[str, str]:
        found: dict[int, str] = {}
        following: int | None = 0
        try:
            while following is not None and len(found) < len(_OBJECTS):
                objects, following = pdu.identification(await self._ask(unit, pdu.identify(following)))
                found |= objects
        except (ExceptionResponse, ResponseTimeout, InvalidResponse, NotConnected):
            pass  # few devices have it
        return {_OBJECTS[key]: value for key, value in sorted(found.items()) if key < len(_OBJECTS)}

    async def _read(self, unit: int, table: Table, first: int, count: int) -> bytes | None:
        size = (count + 7) // 8 if table.bits else 2 * count
        try:
            return pdu.read_answer(await self._ask(unit, pdu.read(table, first, count)), size)
        except (ExceptionResponse, ResponseTimeout, InvalidResponse, NotConnected):
            return None

    async def _spans(self, unit: int, table: Table, first: int, last: int) -> AsyncIterator[Span]:
        """Yield the readable ranges: a block if it can be read, else its halves, down to single entries.

        A block is assumed to be empty if none of the sampled entries can be read.
        """
        for start in range(first, last + 1, BLOCK):
            end = min(start + BLOCK - 1, last)
            if await self._read(unit, table, start, end - start + 1) is not None:
                yield Span(start, end)
                continue
            for entry in dict.fromkeys((start, start + 1, end, *range(start, end, SAMPLE_EVERY))):
                if await self._read(unit, table, entry, 1) is not None:
                    async for span in self._halves(unit, table, start, end):
                        yield span
                    break

    async def _halves(self, unit: int, table: Table, first: int, last: int) -> AsyncIterator[Span]:
        if first == last:
            return
        middle = (first + last) // 2
        for start, end in ((first, middle), (middle + 1, last)):
            if await self._read(unit, table, start, end - start + 1) is not None:
                yield Span(start, end)
            else:
                async for span in self._halves(unit, table, start, end):
                    yield span

    async def _largest(self, unit: int, table: Table, spans: list[Span]) -> int:
        """Return the largest number of entries per request, at most the length of the longest span."""
        longest = max(spans, key=lambda span: span.last - span.first)
        good, most = 1, min(longest.last - longest.first + 1, MOST[table])
        while good < most:
            count = (good + most + 1) // 2
            if await self._read(unit, table, longest.first, count) is not None:
                good = count
            else:
                most = count - 1
        return good


def _joined(spans: Iterable[Span]) -> Iterator[Span]:
    """Yield the spans, with adjacent spans merged."""
    open_: Span | None = None
    for span in spans:
        if open_ is not None and span.first == open_.last + 1:
            open_ = Span(open_.first, span.last)
            continue
        if open_ is not None:
            yield open_
        open_ = span
    if open_ is not None:
        yield open_


_FORMATS = {Raw.INT16: "h", Raw.UINT16: "H", Raw.INT32: "i", Raw.UINT32: "I", Raw.FLOAT32: "f", Raw.FLOAT64: "d"}


def meanings(data: bytes) -> Iterator[Meaning]:
    """Yield the interpretations of registers, in every type that fits and every order."""
    for raw, letter in _FORMATS.items():
        size = struct.calcsize(">" + letter)
        orders = [Order.ABCD, Order.BADC] if size == 2 else [Order.ABCD, Order.CDAB, Order.BADC, Order.DCBA]  # noqa: PLR2004 - a register
        if size > len(data):
            continue
        for order in orders:
            wire = bytes(data[place] for place in byte_order(raw, order, size // 2))
            [value] = struct.unpack(">" + letter, wire)
            yield Meaning(raw.value, order.value, value, _plausible(raw, value))


def _plausible(raw: Raw, value: float) -> bool:
    """Return True if a sensor could show the value: neither zero nor larger than quantities in a plant."""
    if raw in {Raw.FLOAT32, Raw.FLOAT64}:
        return math.isfinite(value) and 1e-3 <= abs(value) <= 1e6  # noqa: PLR2004 - the range of quantities in plants
    return 0 < abs(value) < (30_000 if raw in {Raw.INT16, Raw.UINT16} else 10_000_000)
