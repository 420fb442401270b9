"""The Modbus driver: requests sent as planned, faults told apart, and what is learned of the device kept.

A block that the device refuses is split until the points that are to blame are found. They leave the plan and
are tried again at a slow interval; all others stay good, in the same scan.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from drivers.base import Driver, Fault, Misconfigured, NotConnected, Reason, Scan, WriteFailed, bad
from drivers.modbus.circuit_breaker import CircuitBreaker
from drivers.modbus.client import ModbusClient
from drivers.modbus.codec import fallible, split_faults
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.isolation import SPLIT, Found, fault_of, isolate
from drivers.modbus.pdu import BadAnswer, Refused, Silence, read_answer
from drivers.modbus.plan import arranged, limits_of, plan, request
from drivers.modbus.source import ModbusSource
from drivers.modbus.writer import write_requests

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import Value
    from drivers.modbus.plan import Request
    from drivers.modbus.source import ModbusGroup

SILENT = bad(Reason.NO_RESPONSE)

RETRIES = 10
"""Refused points that are tried again after one scan, at the most."""


class GroupState:
    """What is known of one group: its plan, and the points that the device refuses."""

    def __init__(self, group: ModbusGroup) -> None:
        """Plan the group's requests. Raises `ValueError` where a point can't be read."""
        self.settings = group.connection
        self.points = group.sources
        self.limits = limits_of(self.settings)
        self.plan = plan(self.points, self.limits)
        self.fallible = fallible(self.points)
        self.refused: dict[int, Fault] = {}  # position -> why; they are not in the plan
        self.hopeless: set[bytes] = set()  # requests that were refused down to their last point
        self.retry_at = 0.0
        self.discard = 0

    def learn(self, requests: list[Request], refused: dict[int, Fault]) -> None:
        """Ask from now on for these parts, and no more for these points."""
        self.refused |= refused
        self.plan = arranged(tuple(requests), len(self.points))

    def pardon(self, position: int) -> None:
        """Ask for a point again, by itself, since the device answers it now."""
        del self.refused[position]
        again = request(self.points, (position,), self.limits)
        self.plan = arranged((*self.plan.requests, again), len(self.points))


class ScanInProgress:
    """One scan under way: the values and faults of the requests so far, and what was learned."""

    def __init__(self) -> None:
        self.values: list[Value | None] = []
        self.faults: dict[int, Fault] = {}
        self.time = 0
        self.given_up: Fault | None = None
        self.requests: list[Request] = []
        self.refused: dict[int, Fault] = {}
        self.learned = False

    def good(self, planned: Request, values: list[Value]) -> None:
        """Note an answer."""
        self.values += values
        self.requests.append(planned)

    def fail(self, planned: Request, fault: Fault) -> None:
        """Note that all points of a request have one fault."""
        self.values += [None] * len(planned.positions)
        self.faults |= dict.fromkeys(planned.positions, fault)
        self.requests.append(planned)

    def split(self, planned: Request, found: Found, rest: Fault) -> None:
        """Note what splitting a block has shown; points that it did not come to have the fault `rest`."""
        self.values += [found.values.get(position) for position in planned.positions]
        for position in planned.positions:
            if position not in found.values:
                self.faults[position] = found.faults.get(position, rest)


class ModbusDriver(Driver[ModbusConnection, ModbusSource]):
    """One connection, shared by the units behind it."""

    def __init__(self, connection: ModbusConnection, groups: Sequence[ModbusGroup], clock: Callable[[], int]) -> None:
        super().__init__(connection, groups, clock)
        self._settings = connection
        self._breakers: dict[int, CircuitBreaker] = {}
        self._client = ModbusClient(self._settings, self._breakers.keys())
        self._books: dict[ModbusGroup, GroupState] = {}
        self._wrong = ""
        self._open_books()

    def _open_books(self) -> None:
        """Know each group, and each unit; what is known of them already is kept."""
        books = self._books
        self._books, self._wrong = {}, ""
        for group in self.groups:
            try:
                self._books[group] = books.get(group) or GroupState(group)
            except ValueError as error:
                self._wrong = f"{group.machine}: {error}"
        units = {group.connection.unit for group in self.groups}
        for unit in self._breakers.keys() - units:
            del self._breakers[unit]
        for unit in units - self._breakers.keys():
            self._breakers[unit] = CircuitBreaker()

    async def regroup(self, groups: Sequence[ModbusGroup]) -> bool:
        self.groups = tuple(groups)
        self._open_books()
        if self._wrong:
            raise Misconfigured(self._wrong)
        return True

    async def connect(self) -> None:
        if self._wrong:
            raise Misconfigured(self._wrong)
        await self._client.connect()
        for book in self._books.values():
            book.discard = book.settings.discard_after_connect

    async def read(self, group: ModbusGroup) -> Scan:
        """Read every point of the group; see the contract.

        A refused request costs the points that are to blame. Silence costs the rest of this unit's scan, and
        then the unit is left alone for a while, since asking on would make the others behind this connection
        wait. What was read before is kept.
        """
        book = self._books[group]
        loop = asyncio.get_running_loop()
        if self._breakers[book.settings.unit].open(loop.time()):
            return Scan.failed(group, self.clock(), SILENT)
        if self._settings.close_after_scan:
            await self._client.connect()
        while book.discard:
            # some devices answer at first with zeros, or with what was there before the connection was lost
            book.discard -= 1
            await self._take(book)
        take = await self._take(book)
        scan = self._scan(group, book, take)
        if take.learned:
            book.learn(take.requests, take.refused)
            book.retry_at = loop.time() + book.settings.retry_refused
        elif book.refused and take.given_up is None and loop.time() >= book.retry_at:
            await self._try_refused(book)
        if self._settings.close_after_scan:
            self._client.close()
        return scan

    def _scan(self, group: ModbusGroup, book: GroupState, take: ScanInProgress) -> Scan:
        prepared, values, faults = book.plan, take.values, take.faults
        if prepared.left_out:
            values += [None] * len(prepared.left_out)
            faults |= book.refused
        if prepared.arrange is not None:
            values = list(prepared.arrange(values))
        if book.fallible:
            faults |= split_faults(values, book.fallible)
        return Scan(group, take.time or self.clock(), values, faults)

    async def _take(self, book: GroupState) -> ScanInProgress:
        take = ScanInProgress()
        requests = book.plan.requests
        ahead: Sequence[bytes | BaseException | None] = [None] * len(requests)
        if self._settings.in_flight > 1 and len(requests) > 1:
            ahead = await self._client.request_all(book.settings.unit, [planned.pdu for planned in requests])
        for planned, answer in zip(requests, ahead, strict=True):
            if take.given_up is not None:
                take.fail(planned, take.given_up)
            else:
                await self._one(book, planned, answer, take)
        return take

    async def _one(
        self, book: GroupState, planned: Request, answer: bytes | BaseException | None, take: ScanInProgress
    ) -> None:
        """Put one request's answer into the scan; `answer` is there already where it was asked ahead."""
        breaker = self._breakers[book.settings.unit]
        try:
            if isinstance(answer, BaseException):
                raise answer
            values = await self._ask(book, planned, answer)
        except Refused as error:
            fault = fault_of(error)
            if fault.reason is Reason.NO_RESPONSE:
                self._give_up(breaker, take, fault)
            elif error.code in SPLIT and planned.pdu not in book.hopeless:
                await self._split(book, planned, fault, take)
                return
            take.fail(planned, fault)
        except Silence:
            self._give_up(breaker, take, SILENT)
            take.fail(planned, SILENT)
        except BadAnswer as error:
            take.fail(planned, bad(Reason.BAD_ANSWER, str(error)))
        except NotConnected as error:
            if not take.time:
                raise
            take.given_up = error.fault
            take.fail(planned, error.fault)
        else:
            take.time = take.time or self.clock()
            breaker.answered()
            book.hopeless.discard(planned.pdu)
            take.good(planned, values)

    def _give_up(self, breaker: CircuitBreaker, take: ScanInProgress, fault: Fault) -> None:
        breaker.silent(asyncio.get_running_loop().time())
        take.given_up = fault

    async def _split(self, book: GroupState, planned: Request, fault: Fault, take: ScanInProgress) -> None:
        """Find the points of a refused block that are to blame, and read the others."""
        found = Found()
        try:
            if len(planned.positions) > 1:
                ask = partial(self._ask, book)
                await isolate(ask, book.points, book.limits, planned.positions, found)
        except (Silence, BadAnswer):
            take.given_up = fault = SILENT
        except NotConnected as error:
            take.given_up = fault = error.fault
        take.time = take.time or self.clock()
        take.split(planned, found, fault)
        if take.given_up is not None:
            take.requests.append(planned)  # unfinished: the next scan begins it anew
        elif not found.values:
            # nothing of it is answered: that is no matter of single points, so the block is asked for as it is
            book.hopeless.add(planned.pdu)
            take.requests.append(planned)
        else:
            take.learned = True
            take.refused |= found.faults
            take.requests += found.requests

    async def _try_refused(self, book: GroupState) -> None:
        """Ask again, slowly, for points that the device refused."""
        book.retry_at = asyncio.get_running_loop().time() + book.settings.retry_refused
        for position in list(book.refused)[:RETRIES]:
            fault = book.refused.pop(position)
            book.refused[position] = fault  # the last in line next time
            try:
                await self._ask(book, request(book.points, (position,), book.limits))
            except Refused:
                continue
            except (Silence, BadAnswer, NotConnected):
                return
            book.pardon(position)

    async def _ask(self, book: GroupState, planned: Request, answer: bytes | None = None) -> list[Value]:
        if answer is None:
            answer = await self._client.request(book.settings.unit, planned.pdu)
        return planned.decode(read_answer(answer, planned.size))

    async def write(self, group: ModbusGroup, position: int, value: Value) -> None:
        book = self._books[group]
        point = book.points[position]
        if not book.settings.writable:
            raise Misconfigured(f"{group.machine}: its connection is not writable")
        if not point.address.table.writable:
            raise Misconfigured(f"{point.address}: only coils and holding registers can be written")
        try:
            for message in write_requests(point, value):
                await self._client.request(book.settings.unit, message)
        except ValueError as error:
            raise WriteFailed(f"{point.address}: {error}", bad(Reason.TYPE_MISMATCH, str(error))) from error
        except Refused as error:
            raise WriteFailed(f"{point.address}: {error}", fault_of(error)) from error
        except BadAnswer as error:
            raise WriteFailed(f"{point.address}: {error}", bad(Reason.BAD_ANSWER, str(error))) from error
        except Silence as error:
            raise WriteFailed(f"{point.address}: {error}", SILENT) from error

    def counts(self) -> dict[str, int]:
        client = self._client
        return {
            "requests": client.requests,
            "timeouts": client.timeouts,
            "refused": client.refused,
            "discarded_answers": client.discarded,
            "discarded_bytes": client.noise,
        }

    async def close(self) -> None:
        self._client.end()
