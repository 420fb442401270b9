"""The Modbus driver: send the planned requests, repeat temporary failures, and split blocks that a device refuses.

A refused block is split until the refused points are isolated; all others stay good, in the same scan. A time-out, a
closed connection and a malformed response are failures of a request, not of its unit: the other requests are still
sent. Requests to a unit that answers nothing are paused, so that other units on the connection keep their period.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, cast

from drivers.base import DeviceWarning, Driver, Fault, Misconfigured, NotConnected, Reason, Scan, WriteFailed, bad
from drivers.modbus.circuit_breaker import FIRST, CircuitBreaker
from drivers.modbus.circuit_breaker import MOST as LONGEST_PAUSE
from drivers.modbus.client import ModbusClient, PreparedRequest
from drivers.modbus.codec import split_faults
from drivers.modbus.connection import ModbusConnection, Transport
from drivers.modbus.group_state import EAGER, FEWEST, MOST, SPLIT_AFTER, GroupState
from drivers.modbus.isolation import PASSING, SPLITTABLE, fault_of, isolate
from drivers.modbus.observed_client import ObservedModbusClient, WireTrace
from drivers.modbus.pdu import (
    PATH_UNAVAILABLE,
    TARGET_SILENT,
    ExceptionResponse,
    InvalidResponse,
    ResponseTimeout,
    read_answer,
    read_surplus_answer,
)
from drivers.modbus.plan import is_wide, request
from drivers.modbus.source import ModbusSource
from drivers.modbus.writer import write_requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from drivers.base import Value
    from drivers.modbus.observed_client import WireObserver
    from drivers.modbus.plan import Request
    from drivers.modbus.source import ModbusGroup
    from drivers.trace import Tracer

SILENT = bad(Reason.NO_RESPONSE)
CLOSES = bad(Reason.NO_RESPONSE, "the device closes the connection at this request")

RETRIED_POINTS = 10
"""The most refused points of a block that are read again after a scan."""

EAGER_POINTS = 2
"""The same while the block is tried at short intervals."""

TRIED_BLOCKS = 20
"""The most blocks that are tried as a whole again after a scan; the first without a response ends the attempts."""

EAGER_TIMEOUTS = 10.0
"""Time-outs between two requests to a silent unit beside others, in the first minutes of its silence."""

REOPENED = 4
"""The most times that a connection is opened again within a scan."""

REOPEN_PAUSES = (0.0, 0.1, 0.3)
"""Seconds before each attempt to open a connection again: a device with one connection needs a moment to free it."""

MOST_NAMED = 10
"""Units that a warning names."""

_UNREACHABLE = {PATH_UNAVAILABLE, TARGET_SILENT}
_FAILURES = (ExceptionResponse, InvalidResponse, ResponseTimeout, NotConnected)

GAP = (
    "the device does not answer requests that include other registers: its points are read apart, which costs more "
    "requests; write max_gap: 0, or forbidden with the registers between"
)
SHORT = "the device sends fewer entries than were requested: its points are read in smaller parts; write {}: {}"
HELD = (
    "unit {unit} does not answer, and its gateway serves no other unit for {seconds:.1f} s (the timeout here is "
    "{timeout:g} s): requests to {others} wait up to {delay:.1f} s; shorten the time-out of the gateway, or write "
    "timeout: {write:g}s"
)
APART = "the device does not answer these as a whole: they are read apart, and tried together again from time to time"


class ScanInProgress:
    """The results of one scan so far.

    `values` by request, `faults` by position; `time` is that of the first answer. `abandoned` is the fault of all
    further requests once the unit is given up. `silent` counts requests without a response since the last response.
    """

    def __init__(self, deadline: float) -> None:
        """Start; no retry begins that may end after the `deadline`, by the event loop's clock."""
        self.deadline = deadline
        self.values: dict[bytes, list[Value | None]] = {}
        self.faults: dict[int, Fault] = {}
        self.time = 0
        self.abandoned: Fault | None = None
        self.answered = False
        self.silent = 0
        self.losses = self.reopened = 0
        self.lost = False
        self.postponed: list[Request] = []

    def good(self, planned: Request, values: list[Value]) -> None:
        """Add the values of a response."""
        self.values[planned.pdu] = cast("list[Value | None]", values)

    def fail(self, planned: Request, fault: Fault) -> None:
        """Set the same fault for all points of a request."""
        self.values[planned.pdu] = [None] * len(planned.positions)
        self.faults |= dict.fromkeys(planned.positions, fault)

    def split(self, planned: Request, values: dict[int, Value], faults: dict[int, Fault], rest: Fault) -> None:
        """Add the results of a split block; points without a result get the fault `rest`."""
        self.values[planned.pdu] = [values.get(position) for position in planned.positions]
        for position in planned.positions:
            if position not in values:
                self.faults[position] = faults.get(position, rest)


class _TasklessReader:
    """Reads a group whose requests are all answered. At the first failure `read` goes on with the answers so far."""

    __slots__ = (
        "_answers",
        "_before",
        "_breaker",
        "_clock",
        "_done",
        "_driver",
        "_group",
        "_payloads",
        "_prepared",
        "_requests",
        "_state",
        "_stopped",
        "_submit",
        "_time",
    )

    def __init__(self, driver: ModbusDriver, group: ModbusGroup, state: GroupState, breaker: CircuitBreaker) -> None:
        """Prepare for a group whose scans can be read without a task."""
        self._state = state
        self._breaker = breaker
        self._driver, self._clock = driver, driver.clock
        self._group = group
        self._requests = state.plan.requests
        self._prepared, self._submit = driver.prepare(state.settings.unit, self._requests, self._takers())
        self._answers: list[bytes | Exception | None] = []
        self._payloads: list[bytes] = []
        self._time = 0
        # payloads and values of the last good scan
        self._before: tuple[list[bytes], list[Value | None]] | None = None
        self._done: Callable[[Scan], None] = _ignore
        self._stopped: Callable[[], None] = _ignore

    def _takers(self) -> list[Callable[[bytes | Exception], None]]:
        """Return a function for each request, which takes its answer."""
        return [self._take] * len(self._requests)

    def start(self, done: Callable[[Scan], None], stopped: Callable[[], None]) -> bool:
        """Start a scan; return False if it needs a task. See `Driver.start_read`."""
        if not self._state.settled or self._state.discard or not self._breaker.alive:
            return False
        self._done, self._stopped = done, stopped
        self._answers, self._payloads, self._time = [], [], 0
        return self._submit(self._prepared[0])

    def forget(self) -> None:
        """Compare the next scan with none: another was delivered meanwhile."""
        self._before = None

    def _send(self) -> bool:
        return self._submit(self._prepared[len(self._answers)])

    def _take(self, answer: bytes | Exception) -> None:
        planned = self._requests[len(self._answers)]
        self._answers.append(answer)
        scan: Scan | None = None
        if isinstance(answer, bytes):
            self._time = self._time or self._clock()
            try:
                whole = len(answer) == planned.size + 1 and answer[0] == planned.size and planned.unwrap is None
                self._payloads.append(answer[1:] if whole else self._driver.payload_of(planned, answer))
                if len(self._payloads) == len(self._requests):
                    scan = self._scan()
            except Exception as error:  # noqa: BLE001 - `read` raises it, or acts on it
                answer = self._answers[-1] = error
        if scan is not None:
            self._done(scan)
        elif isinstance(answer, Exception) or not self._send():
            missing = len(self._requests) - len(self._answers)
            self._state.ahead = self._time, self._answers + [None] * missing
            self._state.settled = False
            self._stopped()

    def _scan(self) -> Scan:
        """Return the scan of the payloads. The values of equal payloads are equal, and are not decoded again."""
        if not self._breaker.alive:  # another group has found the unit silent meanwhile
            self._breaker.answered()
        if self._before is not None and self._before[0] == self._payloads:
            return Scan(self._group, self._time, list(self._before[1]), same=True)
        values: list[Value | None] = []
        for planned, payload in zip(self._requests, self._payloads, strict=True):
            values += planned.decode(payload)
        if self._state.plan.arrange is not None:
            values = list(self._state.plan.arrange(values))
        faults = split_faults(values, self._state.fallible) if self._state.fallible else {}
        # a copy, since the values of a scan are changed in place
        self._before = None if faults else (self._payloads, list(values))
        return Scan(self._group, self._time, values, faults)


class _ParallelReader(_TasklessReader):
    """The same for connections that may have several requests in flight: all requests of a scan are sent at once."""

    __slots__ = ("_failed", "_missing")

    def _takers(self) -> list[Callable[[bytes | Exception], None]]:
        return [partial(self._take_one, place) for place in range(len(self._requests))]

    def start(self, done: Callable[[Scan], None], stopped: Callable[[], None]) -> bool:
        if not self._state.settled or self._state.discard or not self._breaker.alive:
            return False
        self._done, self._stopped = done, stopped
        self._missing = number = len(self._requests)
        self._answers, self._payloads, self._time = [None] * number, [b""] * number, 0
        self._failed = False
        if not self._submit(self._prepared[0]):
            return False
        for place in range(1, number):
            if not self._submit(self._prepared[place]):  # the first could not be written
                lost = NotConnected("the connection was lost")
                asyncio.get_running_loop().call_soon(self._take_one, place, lost)
        return True

    def _take_one(self, place: int, answer: bytes | Exception) -> None:
        if isinstance(answer, bytes):
            planned = self._requests[place]
            self._time = self._time or self._clock()
            try:
                whole = len(answer) == planned.size + 1 and answer[0] == planned.size and planned.unwrap is None
                self._payloads[place] = answer[1:] if whole else self._driver.payload_of(planned, answer)
            except Exception as error:  # noqa: BLE001 - `read` raises it, or acts on it
                answer = error
        self._answers[place] = answer
        self._failed = self._failed or isinstance(answer, Exception)
        self._missing -= 1
        if not self._missing:
            self._end(place)

    def _end(self, last: int) -> None:
        """Pass on the scan after the last answer, or let `read` go on."""
        scan: Scan | None = None
        if not self._failed:
            try:
                scan = self._scan()
            except Exception as error:  # noqa: BLE001 - as above
                self._answers[last] = error
        if scan is not None:
            self._done(scan)
        else:
            self._state.ahead = self._time, self._answers
            self._state.settled = False
            self._stopped()


def _ignore(*values: object) -> None:
    del values


class ModbusDriver(Driver[ModbusConnection, ModbusSource]):
    """One connection, shared by the units behind it."""

    def __init__(self, connection: ModbusConnection, groups: Sequence[ModbusGroup], clock: Callable[[], int]) -> None:
        super().__init__(connection, groups, clock)
        self._settings = connection
        self._breakers: dict[int, CircuitBreaker] = {}
        self._client = ModbusClient(self._settings, self._breakers.keys())
        self._states: dict[ModbusGroup, GroupState] = {}
        self._readers: dict[ModbusGroup, _TasklessReader] = {}
        self._warnings: dict[tuple[str, str], dict[str, None]] = {}
        self._held_warned: dict[int, float] = {}  # seconds that were warned of, by unit
        self._opening = asyncio.Lock()
        self._scanning = asyncio.Lock()  # used if the connection is closed after each scan
        self._users = 0  # scans that use the connection, or wait for it
        self._opened = 0.0
        self._retries = 0  # requests that were sent again within a scan
        self._wanted = False  # from `connect` to `close`
        self._wrong = ""
        self._payload = read_surplus_answer if connection.surplus else read_answer
        self._update_states()

    def _update_states(self) -> None:
        """Create the states of new groups and units, and drop the states of removed groups and units."""
        states = self._states
        self._states, self._wrong = {}, ""
        for group in self.groups:
            try:
                self._states[group] = states.get(group) or GroupState(group)
            except ValueError as error:
                self._wrong = f"{group.machine}: {error}"
        for group in self._readers.keys() - self._states.keys():
            del self._readers[group]
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
        self._wanted = True
        async with self._opening:
            await self._open()

    async def _open(self) -> None:
        await self._client.connect()
        self._opened = asyncio.get_running_loop().time()
        for state in self._states.values():
            state.discard = state.settings.discard_after_connect

    async def _reopen(self, lost: int) -> None:
        """Open the connection again, unless another group has done so since connection number `lost`.

        Raises `NotConnected`.
        """
        loop = asyncio.get_running_loop()
        async with self._opening:
            if self._client.connected and self._client.connections != lost:
                return
            began = loop.time()
            just_opened = began - self._opened < REOPEN_PAUSES[-1]
            for pause in REOPEN_PAUSES[just_opened:]:
                await asyncio.sleep(pause)
                try:
                    await self._open()
                except NotConnected:
                    if pause == REOPEN_PAUSES[-1] or loop.time() - began > self._settings.timeout:
                        raise
                else:
                    return

    # -- reading --

    async def read(self, group: ModbusGroup) -> Scan:
        """Read every point of the group; see the contract."""
        state = self._states[group]
        if group in self._readers:
            self._readers[group].forget()
        breaker = self._breakers[state.settings.unit]
        if breaker.open(asyncio.get_running_loop().time()):
            return Scan.failed(group, self.clock(), SILENT)
        if not self._settings.close_after_scan:
            return await self._read_connected(group, state)
        self._users += 1
        try:
            async with self._scanning:
                return await self._read_and_close(group, state, breaker)
        finally:
            self._users -= 1

    async def _read_and_close(self, group: ModbusGroup, state: GroupState, breaker: CircuitBreaker) -> Scan:
        """Read a group, connect if needed, and close the connection if no other group waits for it."""
        if breaker.open(asyncio.get_running_loop().time()):  # another group has found the unit silent meanwhile
            return Scan.failed(group, self.clock(), SILENT)
        try:
            if not self._client.connected:
                await self._reopen(self._client.connections)
            return await self._read_connected(group, state)
        finally:
            if self._users == 1:
                self._client.close()

    async def _read_connected(self, group: ModbusGroup, state: GroupState) -> Scan:
        while state.discard:
            # some devices answer at first with zeros, or with the values before the connection was lost
            state.discard -= 1
            await self._scan(state)
        requests = state.plan.requests
        before = await self._scale_factors(state) if state.apart else {}
        progress = await self._scan(state)
        scan = self._arranged(group, state, requests, progress)
        if state.apart and progress.abandoned is None:
            _apply_scale_factors(scan, state, before, await self._scale_factors(state))
        if state.parted and progress.abandoned is None and not progress.postponed:
            await self._try_again(state, progress)
        state.settle()
        return scan

    def start_read(self, group: ModbusGroup, done: Callable[[Scan], None], stopped: Callable[[], None]) -> bool:
        """Read a group whose requests were all answered in the last scan; see the contract."""
        reader = self._readers.get(group)
        if reader is None:
            state = self._states.get(group)
            if state is None or not state.settled or state.apart or self._settings.close_after_scan:
                return False
            parallel = self._settings.in_flight > 1 and len(state.plan.requests) > 1
            kind = _ParallelReader if parallel else _TasklessReader
            reader = self._readers[group] = kind(self, group, state, self._breakers[state.settings.unit])
        return reader.start(done, stopped)

    def prepare(
        self, unit: int, requests: Iterable[Request], answered: Iterable[Callable[[bytes | Exception], None]]
    ) -> tuple[list[PreparedRequest], Callable[[PreparedRequest], bool]]:
        """Return prepared requests, and the function that sends one, see `ModbusClient.submit`.

        `answered` has a function for each request, which takes the data of its response, or its failure.
        """
        client, pairs = self._client, zip(requests, answered, strict=True)
        return [PreparedRequest(client, unit, planned.pdu, take) for planned, take in pairs], client.submit

    def payload_of(self, planned: Request, answer: bytes) -> bytes:
        """Return the payload of a response without its function code. Raises `InvalidResponse`."""
        return planned.payload(answer, self._payload)

    async def _scale_factors(self, state: GroupState) -> dict[ModbusSource, Value | Fault]:
        """Return the content of the scale registers that are read apart from their points, or its fault."""
        found: dict[ModbusSource, Value | Fault] = {}
        for planned in state.scale_requests:
            registers = [state.scale_registers[position] for position in planned.positions]
            try:
                answer = await self._client.request(state.settings.unit, planned.pdu)
                found |= zip(registers, planned.values(answer, self._payload), strict=True)
            except _FAILURES as error:
                found |= dict.fromkeys(registers, fault_of(error))
        return found

    def _arranged(
        self, group: ModbusGroup, state: GroupState, requests: Sequence[Request], progress: ScanInProgress
    ) -> Scan:
        values: list[Value | None] = []
        faults = progress.faults
        for planned in requests:
            values += progress.values[planned.pdu]
        prepared = state.plan if state.plan.requests is requests else None
        if prepared is None:  # the plan has changed during the scan
            positions = [position for planned in requests for position in planned.positions]
            by_position = dict(zip(positions, values, strict=True))
            values = [by_position.get(position) for position in range(len(group.names))]
            faults = state.refused | faults
            faults |= {i: SILENT for i in range(len(values)) if i not in by_position and i not in faults}
        else:
            if prepared.left_out:
                values += [None] * len(prepared.left_out)
                faults |= state.refused
            if prepared.arrange is not None:
                values = list(prepared.arrange(values))
        if state.fallible:
            faults |= split_faults(values, state.fallible)
        return Scan(group, progress.time or self.clock(), values, faults)

    async def _scan(self, state: GroupState) -> ScanInProgress:
        """Send the requests of a group, and repeat the requests without a response."""
        loop = asyncio.get_running_loop()
        progress = ScanInProgress(loop.time() + state.every)
        requests, left_out = state.ordered(loop.time())
        if self._breakers[state.settings.unit].failures % 2:
            await self._probe(state, progress)
        ahead: Sequence[bytes | Exception | None]
        progress.time, ahead = state.take_ahead()
        if len(ahead) != len(requests):
            progress.time, ahead = 0, [None] * len(requests)
        if self._settings.in_flight > 1 and len(requests) > 1 and None in ahead:
            ahead = await self._client.request_all(state.settings.unit, [planned.pdu for planned in requests])
        for planned, answer in zip(requests, ahead, strict=True):
            await self._read_request(state, planned, answer, progress)
        for planned in progress.postponed:
            await self._read_silent(state, planned, progress)
        for planned in left_out:
            known = CLOSES if state.history(planned).closes else SILENT
            progress.fail(planned, known if progress.abandoned is None else progress.abandoned)
        return progress

    async def _probe(self, state: GroupState, progress: ScanInProgress) -> None:
        """Read a single point of a silent unit, since it may be silent only for blocks."""
        failures = self._breakers[state.settings.unit].failures
        position = failures // 2 % len(state.points)
        try:
            await self._ask(state, request(state.points, (position,), state.limits))
        except ResponseTimeout:
            self._abandon(state, [], SILENT, progress)
        except (ExceptionResponse, InvalidResponse):
            progress.answered = True
        except NotConnected:
            pass  # the next request opens the connection again
        else:
            progress.answered = True

    async def _read_request(
        self, state: GroupState, planned: Request, answer: bytes | Exception | None, progress: ScanInProgress
    ) -> None:
        """Add the result of one request to the scan; `answer` is set if the request was sent ahead."""
        if progress.abandoned is not None and not isinstance(answer, bytes):
            progress.fail(planned, progress.abandoned)
            return
        number = self._client.connections
        try:
            if isinstance(answer, Exception):
                raise answer
            self._note_answer(state, planned, await self._ask(state, planned, answer), progress)
        except _FAILURES as error:
            await self._handle_failure(state, planned, error, number, progress)

    async def _handle_failure(
        self, state: GroupState, planned: Request, error: Exception, number: int, progress: ScanInProgress
    ) -> None:
        """Repeat a request if the failure may be temporary; else add its failure to the scan."""
        loop = asyncio.get_running_loop()
        found: list[Value] | Exception = error
        if isinstance(error, NotConnected):
            found = await self._ask_reopened(state, planned, error, number, progress)
        for attempt in range(2 * state.settings.retries):
            passing = isinstance(found, ExceptionResponse) and found.code in PASSING
            if attempt >= state.settings.retries and not passing:  # a busy device costs no time-out: be patient
                break
            if not self._may_pass(state, planned, found) or loop.time() > progress.deadline:
                break
            if isinstance(found, ExceptionResponse):
                await asyncio.sleep(state.settings.busy_pause)
            found = await self._attempt(state, planned, progress)
        match found:
            case ResponseTimeout():
                self._note_silence(state, planned, progress)
            case NotConnected():
                self._note_loss(state, planned, found, progress)
            case Exception():
                await self._note_refusal(state, planned, found, progress)
            case _:
                self._note_answer(state, planned, found, progress)

    def _may_pass(self, state: GroupState, planned: Request, found: object) -> bool:
        """Return True if the failure may be temporary, so that the request is worth repeating."""
        answered = state.history(planned).answered
        if isinstance(found, ExceptionResponse):
            return found.code in PASSING or (answered and found.code in SPLITTABLE)
        return isinstance(found, InvalidResponse) and answered

    async def _attempt(
        self, state: GroupState, planned: Request, progress: ScanInProgress
    ) -> list[Value] | Exception:
        """Send a request again; return its values or its failure. Opens a lost connection again."""
        number = self._client.connections
        self._retries += 1
        try:
            return await self._ask(state, planned)
        except NotConnected as error:
            return await self._ask_reopened(state, planned, error, number, progress)
        except _FAILURES as error:
            return error

    async def _ask_reopened(
        self, state: GroupState, planned: Request, error: NotConnected, number: int, progress: ScanInProgress
    ) -> list[Value] | Exception:
        """Send a request again after connection `number` was lost; return its values or its failure."""
        if not (self._client.connected and self._client.connections != number):
            dials_in = self._settings.transport is Transport.LISTEN
            if progress.reopened >= REOPENED or dials_in or not self._wanted:
                progress.lost = True
                return error
            progress.reopened += 1
            try:
                await self._reopen(number)
            except NotConnected as failed:
                progress.lost = True
                return failed
        self._retries += 1
        try:
            return await self._ask(state, planned)
        except _FAILURES as failed:
            return failed

    def _note_answer(
        self, state: GroupState, planned: Request, values: list[Value], progress: ScanInProgress
    ) -> None:
        progress.time = progress.time or self.clock()
        progress.answered, progress.silent = True, 0
        self._breakers[state.settings.unit].answered()
        state.succeed(planned)
        progress.good(planned, values)

    def _note_silence(self, state: GroupState, planned: Request, progress: ScanInProgress) -> None:
        """Postpone a request without a response, or abandon the unit if it seems to answer nothing."""
        progress.silent += 1
        known = progress.answered or self._breakers[state.settings.unit].alive
        progress.fail(planned, SILENT)
        if known and progress.silent < 2:  # noqa: PLR2004 - a single time-out may be an accident
            progress.postponed.append(planned)
        else:
            self._abandon(state, [*progress.postponed, planned], SILENT, progress)

    def _note_loss(self, state: GroupState, planned: Request, error: NotConnected, progress: ScanInProgress) -> None:
        """Add the fault of a request at which the device closed the connection; give up if nothing is answered."""
        alone = not progress.answered and (progress.losses > 0 or len(state.plan.requests) == 1)
        progress.losses += 1
        if progress.lost or alone:
            if not progress.time:
                raise error
            progress.abandoned = error.fault
            progress.fail(planned, error.fault)
            return
        history = state.history(planned)
        # the second time it is a habit of the device, and no outage
        progress.fail(planned, CLOSES if history.closes else error.fault)
        self._isolate_silent(state, planned)
        history.closes = True

    async def _note_refusal(
        self, state: GroupState, planned: Request, error: Exception, progress: ScanInProgress
    ) -> None:
        """Add the fault of a refused request, and split a block that is refused permanently."""
        fault = fault_of(error)
        if isinstance(error, ExceptionResponse) and error.code in _UNREACHABLE:
            progress.fail(planned, fault)
            self._abandon(state, [], fault, progress)
            return
        progress.time = progress.time or self.clock()
        progress.answered, progress.silent = True, 0
        self._breakers[state.settings.unit].answered()
        history = state.history(planned)
        history.refusals += 1
        history.silent = 0
        now = asyncio.get_running_loop().time()
        splittable = isinstance(error, InvalidResponse) or (
            isinstance(error, ExceptionResponse) and error.code in SPLITTABLE
        )
        patient = history.answered and history.refusals < SPLIT_AFTER
        if not splittable or patient or not planned.splittable or now < history.retry_at:
            progress.fail(planned, fault)
            return
        if isinstance(error, InvalidResponse) and 0 < error.came < planned.size:
            option = "max_bits" if planned.table.bits else "max_registers"
            entries = 8 * error.came if planned.table.bits else error.came // 2
            self._warn(state, planned.positions, SHORT.format(option, entries))
        await self._split(state, planned, fault, progress)

    def _abandon(self, state: GroupState, silent: Sequence[Request], fault: Fault, progress: ScanInProgress) -> None:
        """Send no more requests to the unit in this scan; open its circuit breaker if it has answered nothing."""
        now = asyncio.get_running_loop().time()
        progress.abandoned = fault
        progress.postponed.clear()
        if not progress.answered:
            self._breakers[state.settings.unit].timed_out(now, *self._pauses(state, now))
        elif silent:
            self._isolate_silent(state, silent[0])
            silent = silent[1:]
        for planned in silent:
            state.suspect(planned)  # another request may be answered

    async def _read_silent(self, state: GroupState, planned: Request, progress: ScanInProgress) -> None:
        """Repeat a request without a response; if there is still none, split or postpone it."""
        history = state.history(planned)
        now = asyncio.get_running_loop().time()
        time_allows = now + state.settings.timeout <= progress.deadline
        first = not history.silent
        if first and state.settings.retries and time_allows and progress.abandoned is None:
            found = await self._attempt(state, planned, progress)
            if isinstance(found, list):
                for position in planned.positions:
                    progress.faults.pop(position, None)
                self._note_answer(state, planned, found, progress)
                return
            if isinstance(found, ExceptionResponse | InvalidResponse):
                progress.fail(planned, fault_of(found))
                return
        if not progress.answered:
            now = asyncio.get_running_loop().time()
            self._breakers[state.settings.unit].timed_out(now, *self._pauses(state, now))
            state.suspect(planned)
            return
        self._isolate_silent(state, planned)

    def _pauses(self, state: GroupState, now: float) -> tuple[float, float]:
        """Return the longest and the shortest pause of a silent unit, in seconds.

        A unit that is alone on its connection delays no other unit, so it is asked in every period. Else it is asked
        more often in the first minutes of its silence, since most outages are short; but rarely if its gateway says
        that it waits for the unit at each request, and serves no other meanwhile.
        """
        if len(self._breakers) == 1:
            return max(FIRST, state.every), 0.0
        held = self._client.held
        if held is not None and held[0] == state.settings.unit and self._client.held_reported:
            return LONGEST_PAUSE, EAGER_TIMEOUTS * held[1]
        if self._breakers[state.settings.unit].silent_for(now) < EAGER:
            return min(LONGEST_PAUSE, max(FIRST, state.every, EAGER_TIMEOUTS * self._settings.timeout)), 0.0
        return LONGEST_PAUSE, 0.0

    def _isolate_silent(self, state: GroupState, planned: Request) -> None:
        """Read a block without a response in halves from the next scan on; postpone a single point."""
        now = asyncio.get_running_loop().time()
        history = state.history(planned)
        history.silent += 1
        if history.silent == 1:
            history.eager_until = now + EAGER
        if history.answered and history.silent < SPLIT_AFTER:
            return
        if not planned.splittable:
            if history.answered and now < history.eager_until:
                history.wait, history.retry_at = 0.0, now + state.eager_wait
            else:
                history.postpone(now, FEWEST, max(MOST, state.settings.retry_refused))
            return
        points = state.points
        self._warn(state, planned.positions, GAP if _has_gaps(points, planned) else APART)
        middle = _widest_gap(points, planned)
        halves = (planned.positions[:middle], planned.positions[middle:])
        state.part(planned, [request(points, half, state.limits) for half in halves], {}, now)

    async def _split(self, state: GroupState, planned: Request, fault: Fault, progress: ScanInProgress) -> None:
        """Split a refused block until the refused points are isolated; read the others."""
        loop = asyncio.get_running_loop()
        ask = partial(self._ask, state)
        deadline = progress.deadline
        found = await isolate(ask, state.points, state.limits, planned.positions, lambda: loop.time() < deadline)
        progress.split(planned, found.values, found.faults, fault)
        parts = [*found.requests, *found.unresolved]
        if not parts:
            # no part is answered, so single points are not the cause: the request stays whole
            state.history(planned).postpone(loop.time(), state.every, state.settings.retry_refused)
            return
        for part in found.requests:
            state.succeed(part)
        reached = {position for part in parts for position in part.positions}
        refused = {position: one for position, one in found.faults.items() if position not in reached}
        state.part(planned, parts, refused, loop.time())

    async def _try_again(self, state: GroupState, progress: ScanInProgress) -> None:
        """Try some split blocks as a whole again, and some of the refused points."""
        loop = asyncio.get_running_loop()
        for block in state.due(loop.time())[:TRIED_BLOCKS]:
            if loop.time() > progress.deadline:
                return
            try:
                await self._ask(state, block.whole)
            except (ExceptionResponse, InvalidResponse):
                state.postpone(block, loop.time())
                most = EAGER_POINTS if loop.time() < block.eager_until else RETRIED_POINTS
                for position in list(block.refused)[:most]:
                    block.refused[position] = block.refused.pop(position)  # it is tried last next time
                    try:
                        await self._ask(state, request(state.points, (position,), state.limits))
                    except ExceptionResponse:
                        continue
                    except (ResponseTimeout, InvalidResponse, NotConnected):
                        return
                    state.readmit(block, position)
            except (ResponseTimeout, NotConnected):
                state.postpone(block, loop.time())
                return
            else:
                state.restore(block)

    async def _ask(self, state: GroupState, planned: Request, answer: bytes | None = None) -> list[Value]:
        if answer is None:
            answer = await self._client.request(state.settings.unit, planned.pdu)
        return planned.values(answer, self._payload)

    # -- traces --

    def trace(self, tracer: Tracer) -> bool:
        self._observe(self._trace_to(tracer))
        return True

    def _trace_to(self, tracer: Tracer) -> WireTrace:
        return WireTrace(tracer, self._machines_of)

    def _observe(self, *observers: WireObserver) -> None:
        """Replace the client, which is not connected yet, by a client that reports its messages."""
        self._client = ObservedModbusClient(self._settings, self._breakers.keys(), observers)

    def _machines_of(self, unit: int) -> str:
        """Return the machines with a unit id; more than one is rare."""
        return ", ".join(dict.fromkeys(group.machine for group in self.groups if group.connection.unit == unit))

    # -- writing, warnings, counters --

    async def write(self, group: ModbusGroup, position: int, value: Value) -> None:
        state = self._states[group]
        point = state.points[position]
        if not state.settings.writable:
            raise Misconfigured(f"{group.machine}: its connection is not writable")
        if is_wide(point, state.limits):
            raise Misconfigured(f"{point.address}: registers of 32 bits can't be written")
        if not point.address.table.writable:
            raise Misconfigured(f"{point.address}: only coils and holding registers can be written")
        try:
            for message in write_requests(point, value):
                await self._client.request(state.settings.unit, message)
        except ValueError as error:
            raise WriteFailed(f"{point.address}: {error}", bad(Reason.TYPE_MISMATCH, str(error))) from error
        except (ExceptionResponse, InvalidResponse, ResponseTimeout) as error:
            raise WriteFailed(f"{point.address}: {error}", fault_of(error)) from error

    def _warn(self, state: GroupState, positions: Sequence[int], text: str) -> None:
        """Store a warning about some points of a group, until `warnings` is called."""
        for group, one in self._states.items():
            if one is state:
                names = self._warnings.setdefault((group.machine, text), {})
                names.update(dict.fromkeys(group.names[position] for position in positions))

    def warnings(self) -> list[DeviceWarning]:
        self._warn_of_dead_unit()
        listener = self._client.listener
        if listener is not None and self._states:
            first = next(iter(self._states))
            for text in listener.remarks:
                self._warnings.setdefault((first.machine, text), dict.fromkeys(first.names))
            listener.remarks.clear()
        noted, self._warnings = self._warnings, {}
        return [DeviceWarning(machine, tuple(names), text) for (machine, text), names in noted.items()]

    def _warn_of_dead_unit(self) -> None:
        """Warn of a unit for which its gateway waits, with the measured seconds, unless it was done before."""
        if self._client.held is None:
            return
        unit, seconds = self._client.held
        if unit not in self._breakers or self._breakers[unit].alive:
            return
        if abs(seconds - self._held_warned.get(unit, 0.0)) < seconds / 2:
            return
        self._held_warned[unit] = seconds
        others = sorted(self._breakers.keys() - {unit})
        text = HELD.format(
            unit=unit,
            seconds=seconds,
            timeout=self._settings.timeout,
            others=f"units {', '.join(map(str, others[:MOST_NAMED]))}" if others else "other units",
            delay=max(0.0, seconds - self._settings.timeout),
            write=math.ceil(2 * seconds + 0.5) / 2,
        )
        for state in self._states.values():
            if state.settings.unit == unit:
                self._warn(state, range(len(state.points)), text)

    def counts(self) -> dict[str, int]:
        client = self._client
        return {
            "requests": client.requests,
            "retries": self._retries,
            "timeouts": client.timeouts,
            "refused": client.refused,
            "discarded_answers": client.discarded,
            "discarded_bytes": client.noise,
        } | ({"refused_connections": client.listener.refused} if client.listener is not None else {})

    async def close(self) -> None:
        self._wanted = False
        self._client.end()


def _apply_scale_factors(
    scan: Scan,
    state: GroupState,
    before: dict[ModbusSource, Value | Fault],
    after: dict[ModbusSource, Value | Fault],
) -> None:
    """Scale the values whose scale registers were read before and after them; a value is bad if they differ."""
    for position, register in state.apart.items():
        value, factor = scan.values[position], before[register]
        scale_register = state.points[position].scale_register
        if value is None or scale_register is None:
            continue
        if not isinstance(factor, Fault):
            again = after[register]
            moved = bad(Reason.OTHER, f"the scale factor changed from {factor} to {again} during the scan")
            factor = again if isinstance(again, Fault) else factor if factor == again else moved
        found = factor if isinstance(factor, Fault) else scale_register.scaling(value, factor)
        if isinstance(found, Fault):
            scan.values[position] = None
            scan.faults[position] = found
        else:
            scan.values[position] = found


def _has_gaps(points: Sequence[ModbusSource], planned: Request) -> bool:
    """Return True if a request reads entries without a point."""
    used: set[int] = set()
    for position in planned.positions:
        point = points[position]
        for one in (point, point.scaling_source()):
            if one is not None:
                used.update(range(one.address.offset, one.address.offset + planned.entries(one)))
    return planned.count > len(used)


def _widest_gap(points: Sequence[ModbusSource], planned: Request) -> int:
    """Return the index at which to split a block in address order: its widest gap, or its middle."""
    gaps = [0]
    end = 0
    block = planned.positions
    for number, position in enumerate(block):
        offset = points[position].address.offset
        if number:
            gaps.append(offset - end)
        end = max(end, offset + planned.entries(points[position]))
    widest = max(gaps)
    return gaps.index(widest) if widest > 0 else len(block) // 2
