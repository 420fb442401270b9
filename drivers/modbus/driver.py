"""The Modbus driver: sends the planned requests, and keeps the plan that the device was found to answer.

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
from drivers.modbus.isolation import SPLITTABLE, Isolated, fault_of, isolate
from drivers.modbus.pdu import ExceptionResponse, InvalidResponse, ResponseTimeout, read_answer
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
    """The request plan of one group, and the points that the device refuses."""

    def __init__(self, group: ModbusGroup) -> None:
        """Plan the requests of the group. Raises `ValueError` if a point can't be read within the limits."""
        self.settings = group.connection
        self.points = group.sources
        self.limits = limits_of(self.settings)
        self.plan = plan(self.points, self.limits)
        self.fallible = fallible(self.points)
        self.refused: dict[int, Fault] = {}  # position -> why; they are not in the plan
        self.refused_entirely: set[bytes] = set()  # requests that were refused down to their last point
        self.retry_at = 0.0
        self.discard = 0

    def learn(self, requests: list[Request], refused: dict[int, Fault]) -> None:
        """Replace the plan by these requests; points in `refused` leave it."""
        self.refused |= refused
        self.plan = arranged(tuple(requests), len(self.points))

    def readmit(self, position: int) -> None:
        """Put a refused point back into the plan, in a request of its own."""
        del self.refused[position]
        again = request(self.points, (position,), self.limits)
        self.plan = arranged((*self.plan.requests, again), len(self.points))


class ScanInProgress:
    """The values and faults of one scan so far, and the requests that its split blocks became."""

    def __init__(self) -> None:
        self.values: list[Value | None] = []
        self.faults: dict[int, Fault] = {}
        self.time = 0
        self.given_up: Fault | None = None
        self.requests: list[Request] = []
        self.refused: dict[int, Fault] = {}
        self.learned = False

    def good(self, planned: Request, values: list[Value]) -> None:
        """Add the values of a response."""
        self.values += values
        self.requests.append(planned)

    def fail(self, planned: Request, fault: Fault) -> None:
        """Give all points of a request one fault."""
        self.values += [None] * len(planned.positions)
        self.faults |= dict.fromkeys(planned.positions, fault)
        self.requests.append(planned)

    def split(self, planned: Request, found: Isolated, rest: Fault) -> None:
        """Add the results of a split block; points that were not reached get the fault `rest`."""
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
        self._states: dict[ModbusGroup, GroupState] = {}
        self._wrong = ""
        self._update_states()

    def _update_states(self) -> None:
        """Create states for new groups and units, and drop those of removed ones."""
        states = self._states
        self._states, self._wrong = {}, ""
        for group in self.groups:
            try:
                self._states[group] = states.get(group) or GroupState(group)
            except ValueError as error:
                self._wrong = f"{group.machine}: {error}"
        units = {group.connection.unit for group in self.groups}
        for unit in self._breakers.keys() - units:
            del self._breakers[unit]
        for unit in units - self._breakers.keys():
            self._breakers[unit] = CircuitBreaker()

    async def regroup(self, groups: Sequence[ModbusGroup]) -> bool:
        self.groups = tuple(groups)
        self._update_states()
        if self._wrong:
            raise Misconfigured(self._wrong)
        return True

    async def connect(self) -> None:
        if self._wrong:
            raise Misconfigured(self._wrong)
        await self._client.connect()
        for state in self._states.values():
            state.discard = state.settings.discard_after_connect

    async def read(self, group: ModbusGroup) -> Scan:
        """Read every point of the group; see the contract.

        A refused request costs the points that are to blame. Silence costs the rest of this unit's scan, and
        then the unit is left alone for a while, since asking on would make the others behind this connection
        wait. What was read before is kept.
        """
        state = self._states[group]
        loop = asyncio.get_running_loop()
        if self._breakers[state.settings.unit].open(loop.time()):
            return Scan.failed(group, self.clock(), SILENT)
        if self._settings.close_after_scan:
            await self._client.connect()
        while state.discard:
            # some devices answer at first with zeros, or with what was there before the connection was lost
            state.discard -= 1
            await self._read_plan(state)
        progress = await self._read_plan(state)
        scan = self._scan(group, state, progress)
        if progress.learned:
            state.learn(progress.requests, progress.refused)
            state.retry_at = loop.time() + state.settings.retry_refused
        elif state.refused and progress.given_up is None and loop.time() >= state.retry_at:
            await self._try_refused(state)
        if self._settings.close_after_scan:
            self._client.close()
        return scan

    def _scan(self, group: ModbusGroup, state: GroupState, progress: ScanInProgress) -> Scan:
        prepared, values, faults = state.plan, progress.values, progress.faults
        if prepared.left_out:
            values += [None] * len(prepared.left_out)
            faults |= state.refused
        if prepared.arrange is not None:
            values = list(prepared.arrange(values))
        if state.fallible:
            faults |= split_faults(values, state.fallible)
        return Scan(group, progress.time or self.clock(), values, faults)

    async def _read_plan(self, state: GroupState) -> ScanInProgress:
        progress = ScanInProgress()
        requests = state.plan.requests
        ahead: Sequence[bytes | BaseException | None] = [None] * len(requests)
        if self._settings.in_flight > 1 and len(requests) > 1:
            ahead = await self._client.request_all(state.settings.unit, [planned.pdu for planned in requests])
        for planned, answer in zip(requests, ahead, strict=True):
            if progress.given_up is not None:
                progress.fail(planned, progress.given_up)
            else:
                await self._read_request(state, planned, answer, progress)
        return progress

    async def _read_request(
        self, state: GroupState, planned: Request, answer: bytes | BaseException | None, progress: ScanInProgress
    ) -> None:
        """Add the result of one request to the scan; `answer` is set if the request was sent ahead."""
        breaker = self._breakers[state.settings.unit]
        try:
            if isinstance(answer, BaseException):
                raise answer
            values = await self._ask(state, planned, answer)
        except ExceptionResponse as error:
            fault = fault_of(error)
            if fault.reason is Reason.NO_RESPONSE:
                self._give_up(breaker, progress, fault)
            elif error.code in SPLITTABLE and planned.pdu not in state.refused_entirely:
                await self._split(state, planned, fault, progress)
                return
            progress.fail(planned, fault)
        except ResponseTimeout:
            self._give_up(breaker, progress, SILENT)
            progress.fail(planned, SILENT)
        except InvalidResponse as error:
            progress.fail(planned, bad(Reason.BAD_ANSWER, str(error)))
        except NotConnected as error:
            if not progress.time:
                raise
            progress.given_up = error.fault
            progress.fail(planned, error.fault)
        else:
            progress.time = progress.time or self.clock()
            breaker.answered()
            state.refused_entirely.discard(planned.pdu)
            progress.good(planned, values)

    def _give_up(self, breaker: CircuitBreaker, progress: ScanInProgress, fault: Fault) -> None:
        breaker.timed_out(asyncio.get_running_loop().time())
        progress.given_up = fault

    async def _split(self, state: GroupState, planned: Request, fault: Fault, progress: ScanInProgress) -> None:
        """Split a refused block until the refused points are isolated; read the others."""
        found = Isolated()
        try:
            if len(planned.positions) > 1:
                ask = partial(self._ask, state)
                await isolate(ask, state.points, state.limits, planned.positions, found)
        except (ResponseTimeout, InvalidResponse):
            progress.given_up = fault = SILENT
        except NotConnected as error:
            progress.given_up = fault = error.fault
        progress.time = progress.time or self.clock()
        progress.split(planned, found, fault)
        if progress.given_up is not None:
            progress.requests.append(planned)  # unfinished: the next scan begins it anew
        elif not found.values:
            # nothing of it is answered: that is no matter of single points, so the block is asked for as it is
            state.refused_entirely.add(planned.pdu)
            progress.requests.append(planned)
        else:
            progress.learned = True
            progress.refused |= found.faults
            progress.requests += found.requests

    async def _try_refused(self, state: GroupState) -> None:
        """Read some refused points again, each in a request of its own."""
        state.retry_at = asyncio.get_running_loop().time() + state.settings.retry_refused
        for position in list(state.refused)[:RETRIES]:
            fault = state.refused.pop(position)
            state.refused[position] = fault  # the last in line next time
            try:
                await self._ask(state, request(state.points, (position,), state.limits))
            except ExceptionResponse:
                continue
            except (ResponseTimeout, InvalidResponse, NotConnected):
                return
            state.readmit(position)

    async def _ask(self, state: GroupState, planned: Request, answer: bytes | None = None) -> list[Value]:
        if answer is None:
            answer = await self._client.request(state.settings.unit, planned.pdu)
        return planned.decode(read_answer(answer, planned.size))

    async def write(self, group: ModbusGroup, position: int, value: Value) -> None:
        state = self._states[group]
        point = state.points[position]
        if not state.settings.writable:
            raise Misconfigured(f"{group.machine}: its connection is not writable")
        if not point.address.table.writable:
            raise Misconfigured(f"{point.address}: only coils and holding registers can be written")
        try:
            for message in write_requests(point, value):
                await self._client.request(state.settings.unit, message)
        except ValueError as error:
            raise WriteFailed(f"{point.address}: {error}", bad(Reason.TYPE_MISMATCH, str(error))) from error
        except ExceptionResponse as error:
            raise WriteFailed(f"{point.address}: {error}", fault_of(error)) from error
        except InvalidResponse as error:
            raise WriteFailed(f"{point.address}: {error}", bad(Reason.BAD_ANSWER, str(error))) from error
        except ResponseTimeout as error:
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
