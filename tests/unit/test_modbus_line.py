"""Lines without transaction ids: an answer is never used for another request, whatever the unit does."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import pytest
from fakes.virtual_time import run
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.base import NotConnected
from drivers.modbus import pdu as pdus
from drivers.modbus.address import Table
from drivers.modbus.client import ModbusClient
from drivers.modbus.connection import ModbusConnection, Transport
from drivers.modbus.framing import Ascii, Rtu
from drivers.modbus.pdu import ExceptionResponse, InvalidResponse, ResponseTimeout, read
from drivers.modbus.pending_requests import LATE, MOST, PendingRequests

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivers.modbus.framing import Framing
    from drivers.modbus.transport import TransportProtocol

TIMEOUT = 1.0


class Habit(NamedTuple):
    """The reaction of a unit to one request: the seconds until its answer, or None if it does not receive it."""

    takes: float | None
    noise: bytes = b""


PROMPT = Habit(0.01)
DEAF = Habit(None)


@dataclass
class Unit:
    """A scripted device. It answers in the order in which it was asked, each register with its own number.

    `echo` is its reaction to function 8: answer, refuse, or ignore it. It has only the entries below `size`.
    """

    habits: list[Habit]
    echo: str = "answers"
    size: int = 10_000
    free_at: float = 0.0

    def answer(self, request: bytes) -> bytes | None:
        function = request[0]
        if function == 8:
            return {"answers": request, "refuses": b"\x88\x01", "ignores": None}[self.echo]
        if function == 6:
            return request
        first, count = struct.unpack_from(">HH", request, 1)
        if first + count > self.size:
            return bytes((function | 0x80, 2))
        return data(function, first, count)


def data(function: int, first: int, count: int) -> bytes:
    """Return the right answer to a read: registers hold their number and their table's function, bits repeat that."""
    if function in {1, 2}:
        bits = sum((first + i + function >> (first + i) % 8 & 1) << i for i in range(count))
        body = bits.to_bytes((count + 7) // 8, "little")
    else:
        body = b"".join(struct.pack(">H", (first + i) * 4 + function & 0xFFFF) for i in range(count))
    return bytes((function, len(body))) + body


class FakeLine(asyncio.Transport):
    """A transport with units behind it. Their answers arrive over the connection that is then open."""

    def __init__(self, units: dict[int, Unit]) -> None:
        super().__init__()
        self.asked: list[bytes] = []
        self.units = units
        self._framing: type[Framing] = Rtu
        self._protocol: TransportProtocol

    async def connect(self, client: ModbusClient) -> None:
        """Let a client connect to this line."""

        async def opened(
            connection: ModbusConnection, make: Callable[[], TransportProtocol], turn: int
        ) -> asyncio.Transport:
            del turn
            self._framing = Ascii if connection.transport is Transport.ASCII else Rtu
            self._protocol = make()
            return self

        with mock.patch("drivers.modbus.client.open_transport", opened):
            await client.connect()

    def write(self, frame: Any) -> None:
        loop = asyncio.get_running_loop()
        body = bytes.fromhex(frame[1:-2].decode())[:-1] if self._framing is Ascii else frame[:-2]
        number, request = body[0], body[1:]
        self.asked.append(request)
        unit = self.units[number]
        habit = unit.habits.pop(0) if unit.habits else PROMPT
        answer = unit.answer(request)
        if habit.takes is None or answer is None:
            return
        unit.free_at = max(unit.free_at, loop.time() + habit.takes)
        packed = self._framing().pack(0, number, answer)
        loop.call_at(unit.free_at, self.arrive, habit.noise + packed[:3], packed[3:])

    def arrive(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._protocol.data_received(piece)

    def abort(self) -> None:
        pass


async def on_line(
    units: dict[int, Unit], transport: Transport = Transport.RTU, baud: int = 19_200
) -> tuple[ModbusClient, FakeLine]:
    connection = ModbusConnection(transport=transport, device="/dev/null", baud=baud, timeout=TIMEOUT)
    client, line = ModbusClient(connection, set(units)), FakeLine(units)
    await line.connect(client)
    return client, line


async def asked(client: ModbusClient, unit: int, request: bytes, line: FakeLine | None = None) -> Any:
    """Return the answer, after a check of its values, or the error. With `line`, connect to the line if necessary."""
    if line is not None and not client.connected:
        await line.connect(client)
    try:
        answer = await client.request(unit, request)
    except (ExceptionResponse, ResponseTimeout, InvalidResponse, NotConnected) as error:
        return error
    if request[0] in {1, 2, 3, 4}:
        assert answer == data(request[0], *struct.unpack(">HH", request[1:]))[1:], "the value of another entry"
    return answer


# -- the story of one late answer --


@pytest.mark.parametrize("echo", ["answers", "refuses", "ignores"])
@pytest.mark.parametrize("transport", [Transport.RTU, Transport.ASCII, Transport.RTU_TCP])
@pytest.mark.parametrize("late", [1.005, 1.3, 1.995, 2.005, 2.5, 3.005, 4.5, 20.0])
def test_a_late_answer_is_not_used_for_the_next_request(late: float, transport: Transport, echo: str) -> None:
    """Unit, function and length are the same: only the order distinguishes the answers."""

    async def story() -> None:
        client, line = await on_line({1: Unit([Habit(late)], echo)}, transport)
        assert isinstance(await asked(client, 1, read(Table.HOLDING, 100, 2)), ResponseTimeout)
        for first in range(200, 240):
            await asked(client, 1, read(Table.HOLDING, first, 2), line)
            await asyncio.sleep(0.25)
        assert isinstance(await asked(client, 1, read(Table.HOLDING, 300, 2), line), bytes)

    run(story())


@pytest.mark.parametrize("echo", ["answers", "refuses", "ignores"])
@pytest.mark.parametrize(
    ("table", "count"), [(Table.HOLDING, 1), (Table.HOLDING, 9), (Table.COIL, 8), (Table.DISCRETE, 33)]
)
def test_one_lost_request_costs_a_probe_or_two(echo: str, table: Table, count: int) -> None:
    """The unit is not lost permanently, whether or not it supports function 8."""

    async def story() -> None:
        client, line = await on_line({1: Unit([DEAF], echo)})
        request = read(table, 100, count)
        assert isinstance(await asked(client, 1, request), ResponseTimeout)
        if echo == "ignores":
            assert isinstance(await asked(client, 1, request), ResponseTimeout)
        assert isinstance(await asked(client, 1, request), bytes)
        probes = [other for other in line.asked if other != request]
        assert [probe[0] for probe in probes] == ([8, request[0]] if echo == "ignores" else [8])
        assert isinstance(await asked(client, 1, request), bytes)
        assert len(line.asked) == 3 + len(probes), "it is in step again"

    run(story())


def test_a_request_with_a_distinct_answer_needs_no_probe() -> None:
    """Another unit, another function, another length: asked at once, and the late answer is dropped."""

    async def story() -> None:
        client, line = await on_line({1: Unit([Habit(1.01), PROMPT]), 2: Unit([])})
        assert isinstance(await asked(client, 1, read(Table.HOLDING, 100, 2)), ResponseTimeout)
        assert isinstance(await asked(client, 2, read(Table.HOLDING, 100, 2)), bytes)
        assert isinstance(await asked(client, 1, read(Table.HOLDING, 100, 3)), bytes)
        assert isinstance(await asked(client, 1, read(Table.INPUT, 100, 2)), bytes)
        assert isinstance(await asked(client, 1, read(Table.HOLDING, 100, 2)), bytes)
        assert client.discarded == 1
        assert len(line.asked) == 5

    run(story())


def test_a_late_refusal_is_not_used_for_the_next_request() -> None:
    """It would give one point's fault to another."""

    async def story() -> None:
        client, _ = await on_line({1: Unit([Habit(1.5)], size=1000)})
        assert isinstance(await asked(client, 1, read(Table.HOLDING, 2000, 2)), ResponseTimeout)
        assert isinstance(await asked(client, 1, read(Table.HOLDING, 100, 3)), bytes)
        assert isinstance(await asked(client, 1, read(Table.HOLDING, 100, 2)), bytes)

    run(story())


def test_a_cancelled_request_is_as_one_that_was_not_answered() -> None:
    """The gateway may stop a scan at any moment, and the answer comes all the same."""

    async def story() -> None:
        client, _ = await on_line({1: Unit([Habit(0.5)])})
        task = asyncio.create_task(client.request(1, read(Table.HOLDING, 100, 2)))
        await asyncio.sleep(0.1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert isinstance(await asked(client, 1, read(Table.HOLDING, 200, 2)), bytes)

    run(story())


def test_a_new_connection_brings_old_answers() -> None:
    """A serial server, or a port that was opened again, leads to the same line."""

    async def story() -> None:
        client, line = await on_line({1: Unit([Habit(1.5)])}, Transport.RTU_TCP)
        assert isinstance(await asked(client, 1, read(Table.HOLDING, 100, 2)), ResponseTimeout)
        client.close()
        assert isinstance(await asked(client, 1, read(Table.HOLDING, 100, 2)), NotConnected)
        assert isinstance(await asked(client, 1, read(Table.HOLDING, 200, 2), line), bytes)

    run(story())


@pytest.mark.slow
def test_a_unit_that_was_off_is_read_when_it_is_back() -> None:
    """This holds after any number of requests without an answer."""
    for echo in ("answers", "refuses", "ignores"):

        async def story(echo: str = echo) -> None:
            client, _ = await on_line({1: Unit([DEAF] * 500, echo)})
            request = read(Table.HOLDING, 100, 1)
            for _ in range(500):
                assert isinstance(await asked(client, 1, request), ResponseTimeout)
            outcomes = [await asked(client, 1, request) for _ in range(4)]
            assert isinstance(outcomes[-1], bytes)

        run(story())


def test_an_answer_of_another_length_is_reported_as_invalid() -> None:
    """A device that answers two registers where one was asked is broken, not silent."""

    async def story() -> None:
        client, line = await on_line({1: Unit([])})
        task = asyncio.create_task(client.request(1, read(Table.HOLDING, 100, 1)))
        await asyncio.sleep(0.005)
        line.arrive(Rtu().pack(0, 1, data(3, 100, 2)))
        with pytest.raises(InvalidResponse):
            pdus.read_answer(await task, 2)

    run(story())


def test_a_write_that_is_answered_with_another_is_not_done() -> None:
    """The answer to a write repeats the written bytes."""

    async def story() -> None:
        client, line = await on_line({1: Unit([])})
        line.units[1].answer = lambda request: request[:-1] + b"\0"  # type: ignore[method-assign]
        with pytest.raises(InvalidResponse, match="06 00 01 00 00 came where 06 00 01 00 05 should be repeated"):
            await client.request(1, pdus.write_register(1, 5))

    run(story())


def test_requests_keep_the_silence_that_parts_frames() -> None:
    """3.5 characters: at 300 baud that is 128 ms (Serial Line V1.02, clause 2.5.1.1)."""

    async def story() -> float:
        client, _ = await on_line({1: Unit([])}, baud=300)
        times = []
        for _ in range(3):
            await client.request(1, read(Table.HOLDING, 100, 2))
            times.append(asyncio.get_running_loop().time())
        return min(later - earlier for earlier, later in pairwise(times))

    assert run(story()) == pytest.approx(3.5 * 11 / 300 + PROMPT.takes)


# -- any device --

takes = st.none() | st.floats(0.001, 0.9) | st.floats(0.9, 4) | st.floats(4, LATE / 2)
habits = st.builds(Habit, takes, st.sampled_from([b"", b"", b"\0", b"\xff\x03", b"\x01\x03"]))
requests = st.builds(
    read,
    st.sampled_from([Table.HOLDING, Table.HOLDING, Table.INPUT, Table.COIL]),
    st.integers(0, 1005),
    st.sampled_from([1, 1, 2, 3]),
)
devices = st.builds(
    Unit, st.lists(habits, max_size=25), st.sampled_from(["answers", "refuses", "ignores"]), st.just(1000)
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([Transport.RTU, Transport.ASCII]),
    st.fixed_dictionaries({1: devices, 2: devices}),
    st.lists(st.tuples(st.integers(1, 2), requests, st.sampled_from([0, 0, 0.3, 5])), min_size=1, max_size=25),
)
def test_every_value_is_that_of_the_entry_that_was_asked_for(
    transport: Transport, units: dict[int, Unit], story: list[tuple[int, bytes, float]]
) -> None:
    """Whatever units lose, and however late they answer; and when all is well again, they are read."""

    async def scenario() -> None:
        client, _ = await on_line(units, transport)
        for unit, request, wait in story:
            await asked(client, unit, request)
            await asyncio.sleep(wait)
        for number, unit in units.items():
            unit.habits.clear()
            await asyncio.sleep(max(0.0, unit.free_at - asyncio.get_running_loop().time()))
            good = [await asked(client, number, read(Table.HOLDING, 5, count)) for count in (1, 2, 3, 1, 1, 1)]
            assert isinstance(good[-1], bytes)

    run(scenario())


def test_the_number_of_unanswered_requests_is_bounded() -> None:
    """A unit may be off for weeks, and asked without a pause."""
    line = PendingRequests(0)
    for transaction in range(10 * MOST):
        line.sent(1, transaction, read(Table.HOLDING, transaction, 1), 0.0)
    kept = 0
    while line.match(1, data(3, 0, 1)) is not None:
        kept += 1
    assert kept == MOST


def test_a_request_older_than_any_answer_is_forgotten() -> None:
    """Otherwise a unit that answers no probe would be lost permanently."""
    line = PendingRequests(0)
    request = read(Table.HOLDING, 1, 1)
    line.sent(1, 1, request, 0.0)
    assert line.ambiguous(1, request, LATE - 1)
    assert not line.ambiguous(1, request, LATE)
