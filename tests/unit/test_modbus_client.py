"""The Modbus TCP client against devices that answer late, twice, in pieces, for others, wrongly, or not at all."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from fakes.modbus_connection import AdjustableConnection
from fakes.modbus_server import CLOSE, HOST, Asked, FakeModbusServer, by_unit, exception, in_turn, right, silent
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import NotConnected
from drivers.modbus.client import SILENT_MAX, ModbusClient
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.pdu import EXCEPTIONS, ExceptionResponse, InvalidResponse, ResponseTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from collections.abc import Set as AbstractSet

    from fakes.modbus_server import Script

    from drivers.modbus.transport import TransportProtocol

PATIENT = 10.0
"""A time-out that is never reached: a test that uses it has to end without it."""

SHORT = 0.01
"""A time-out that is reached: nothing that is waited for with it will be answered."""

UNIT = 7
READ = bytes.fromhex("03 0005 0002")  # two holding registers from 5
ANSWER = bytes.fromhex("04 0005 0006")


class Client(ModbusClient):
    """A client whose time-out a test changes."""

    def __init__(self, port: int, units: AbstractSet[int]) -> None:
        self.connection = AdjustableConnection(host=HOST, port=port, timeout=PATIENT)
        super().__init__(self.connection, units)


@asynccontextmanager
async def client_of(server: FakeModbusServer, units: AbstractSet[int] = frozenset()) -> AsyncIterator[Client]:
    client = Client(server.port, units)
    await client.connect()
    try:
        yield client
    finally:
        client.close()


async def ask_in_vain(client: Client, unit: int = UNIT, pdu: bytes = READ) -> None:
    """Send a request that is not answered, without the wait."""
    client.connection.timeout = SHORT
    with pytest.raises(ResponseTimeout, match=r"no answer within 0\.01 s"):
        await client.request(unit, pdu)
    client.connection.timeout = PATIENT


class Wire(asyncio.Transport):
    """A transport without a network. `answer` makes the response to each frame, if there is one."""

    def __init__(self, answer: Callable[[bytes], bytes] = lambda _: b"") -> None:
        super().__init__()
        self.frames: list[bytes] = []
        self.written = asyncio.Event()
        self.closed = False
        self._answer = answer
        self._protocol: TransportProtocol

    async def connect(self, client: ModbusClient) -> None:
        """Let a client connect to this wire."""

        async def opened(_: ModbusConnection, make: Callable[[], TransportProtocol], turn: int) -> asyncio.Transport:
            del turn
            self._protocol = make()
            return self

        with mock.patch("drivers.modbus.client.open_transport", opened):
            await client.connect()

    def write(self, frame: Any) -> None:
        self.frames.append(frame)
        self.written.set()
        if answer := self._answer(frame):
            self.arrive(answer)

    def arrive(self, data: bytes) -> None:
        self._protocol.data_received(data)

    def abort(self) -> None:
        self.closed = True


def bytewise(asked: Asked) -> Sequence[bytes]:
    return [bytes((byte,)) for byte in asked.frame()]


def raw(text: str) -> Callable[[Asked], Sequence[bytes]]:
    return lambda _: [bytes.fromhex(text)]


# -- answers that are found --


@pytest.mark.parametrize(
    ("script", "discarded"),
    [
        pytest.param(right, 0, id="right"),
        pytest.param(bytewise, 0, id="byte by byte"),
        pytest.param(lambda asked: [asked.frame()[:7], asked.frame()[7:]], 0, id="header first"),
        pytest.param(lambda asked: [asked.frame(ANSWER[:1] + b"\xff" * 4, transaction=99) + asked.frame()], 1,
                     id="another transaction's before it, in one piece"),
        pytest.param(lambda asked: [asked.frame(b"\x02\xff\xff", transaction=0), *bytewise(asked)], 1,
                     id="transaction 0 before it"),
        pytest.param(lambda asked: [asked.frame(unit=8, transaction=3) + asked.frame()[:3], asked.frame()[3:]], 1,
                     id="another's and the beginning of ours in one piece"),
        pytest.param(lambda asked: [asked.frame(b"\x02", function=0x83, transaction=9), asked.frame()], 1,
                     id="another's exception before it"),
    ],
)  # fmt: skip
async def test_the_answer_is_found_however_it_arrives(script: Script, discarded: int) -> None:
    """TCP is a stream: frames come in pieces or together, and old frames may still be in it."""
    async with FakeModbusServer(script) as server, client_of(server) as client:
        assert await client.request(UNIT, READ) == ANSWER
        assert client.discarded == discarded
        [asked] = server.asked
        assert asked[1:] == (UNIT, 3, 5, 2)


async def test_a_doubled_answer_is_not_used_for_the_next_request() -> None:
    """Some gateways repeat themselves."""
    twice = lambda asked: [asked.frame() * 2]  # noqa: E731 - a script
    async with FakeModbusServer(twice) as server, client_of(server) as client:
        for first in range(20):
            data = await client.request(UNIT, struct.pack(">BHH", 3, first, 1))
            assert data == struct.pack(">BH", 2, first)
        # the double of the last answer may still be on its way
        assert client.discarded >= 19


async def test_a_late_answer_is_not_used_for_the_next_request() -> None:
    """An answer that comes after its time-out must not put all that follow out of step by one."""
    late: list[Asked] = []

    def slow(asked: Asked) -> Sequence[bytes]:
        late.append(asked)
        return []

    async with (
        FakeModbusServer(in_turn(slow, lambda asked: [late[0].frame(), asked.frame()], right)) as server,
        client_of(server) as client,
    ):
        await ask_in_vain(client, pdu=struct.pack(">BHH", 3, 100, 1))
        for first in (200, 300):
            assert await client.request(UNIT, struct.pack(">BHH", 3, first, 1)) == struct.pack(">BH", 2, first)
        assert client.discarded == 1


async def test_requests_at_the_same_time_follow_each_other() -> None:
    """Many devices take one request at a time; each task gets its own answer."""
    async with FakeModbusServer(bytewise) as server, client_of(server) as client:
        answers = await asyncio.gather(*(client.request(UNIT, struct.pack(">BHH", 3, n, 1)) for n in range(20)))
    assert answers == [struct.pack(">BH", 2, n) for n in range(20)]


async def test_a_cancelled_request_leaves_the_connection_in_step() -> None:
    """The gateway may stop a scan at any moment."""
    asked_once = asyncio.Event()
    held: list[Asked] = []

    def hold(asked: Asked) -> Sequence[bytes]:
        held.append(asked)
        asked_once.set()
        return []

    async with (
        FakeModbusServer(in_turn(hold, lambda asked: [held[0].frame(), asked.frame()])) as server,
        client_of(server) as client,
    ):
        waiting = asyncio.create_task(client.request(UNIT, struct.pack(">BHH", 3, 100, 1)))
        await asked_once.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await client.request(UNIT, READ) == ANSWER
        assert client.discarded == 1


@pytest.mark.slow
async def test_transactions_are_numbered_and_never_0() -> None:
    """A device that always answers with transaction id 0 never matches a request, even after 65,535 requests."""
    client, wire = ModbusClient(ModbusConnection(host=HOST, timeout=PATIENT)), Wire(lambda frame: frame[:7] + READ)
    await wire.connect(client)
    for _ in range(0xFFFF + 2):
        await client.request(UNIT, READ)
    assert [int.from_bytes(frame[:2]) for frame in wire.frames] == [*range(1, 0x10000), 1, 2]


# -- invalid answers --


@pytest.mark.parametrize("code", [*EXCEPTIONS, 0, 7, 255])
async def test_an_exception_is_reported_with_its_code(code: int) -> None:
    """Clause 7: the device received the request, and refuses it."""
    async with FakeModbusServer(exception(code)) as server, client_of(server) as client:
        with pytest.raises(ExceptionResponse, match=f"exception {code} {EXCEPTIONS.get(code, 'unknown')}") as caught:
            await client.request(UNIT, READ)
        assert caught.value.code == code
        server.script = right
        assert await client.request(UNIT, READ) == ANSWER


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(lambda asked: [asked.frame(unit=8)], id="another unit"),
        pytest.param(lambda asked: [asked.frame(function=4)], id="another function"),
        pytest.param(lambda asked: [asked.frame(b"\x02", function=0x84)], id="another function's exception"),
        pytest.param(lambda asked: [asked.frame(function=0)], id="function 0"),
    ],
)
async def test_an_answer_that_does_not_fit_is_refused(script: Script) -> None:
    """A gateway that mixes up its units must not put one machine's values under another's name."""
    async with FakeModbusServer(in_turn(script, right)) as server, client_of(server) as client:
        with pytest.raises(InvalidResponse):
            await client.request(UNIT, READ)
        assert await client.request(UNIT, READ) == ANSWER


@pytest.mark.parametrize(
    ("script", "message"),
    [
        pytest.param(lambda _: [CLOSE], "the device closed the connection", id="closed"),
        pytest.param(lambda asked: [asked.frame()[:9], CLOSE], "the device closed the connection", id="in mid-frame"),
        pytest.param(
            lambda asked: [asked.frame()[:3], CLOSE], "the device closed the connection", id="in mid-header"
        ),
        pytest.param(lambda asked: [asked.frame(protocol=1)], "protocol id 1, length 7", id="another protocol"),
        pytest.param(lambda asked: [asked.frame(length=0)], "protocol id 0, length 0", id="length 0"),
        pytest.param(lambda asked: [asked.frame(length=2)], "protocol id 0, length 2", id="length 2"),
        pytest.param(lambda asked: [asked.frame(length=255)], "protocol id 0, length 255", id="length 255"),
        pytest.param(lambda asked: [asked.frame(length=65535)], "protocol id 0, length 65535", id="length 65535"),
        pytest.param(raw("FF" * 300), "protocol id 65535, length 65535", id="all ones"),
        pytest.param(raw("00" * 300), "protocol id 0, length 0", id="all zeros"),
        pytest.param(lambda _: [b"HTTP/1.1 400 Bad Request\r\n\r\n"], "garbage received", id="a web server"),
    ],
)
async def test_a_connection_that_is_lost_or_out_of_step_is_given_up(script: Script, message: str) -> None:
    """The next frame can't be found in garbage: the client must connect again, and need not wait."""
    async with FakeModbusServer(script) as server, client_of(server) as client:
        for _ in range(2):
            with pytest.raises(NotConnected, match=message):
                await client.request(UNIT, READ)
    assert len(server.asked) == 1


async def test_silence_is_reported_after_the_time_out() -> None:
    """The connection is kept: the next answer is accepted."""
    async with FakeModbusServer(in_turn(silent, right)) as server, client_of(server) as client:
        await ask_in_vain(client)
        assert await client.request(UNIT, READ) == ANSWER


async def test_half_an_answer_costs_the_connection_and_brings_no_value() -> None:
    """The bytes after the first half are out of step; they must not be read as a value."""
    script = in_turn(lambda asked: [asked.frame()[:9]], right)
    async with FakeModbusServer(script) as server, client_of(server) as client:
        await ask_in_vain(client)
        with pytest.raises(NotConnected, match="garbage received"):
            await client.request(UNIT, READ)


async def test_repeated_silence_is_a_dead_connection() -> None:
    """A switch that forgot the connection swallows requests for hours while TCP sees nothing wrong."""
    async with FakeModbusServer(silent) as server, client_of(server, {UNIT}) as client:
        for _ in range(SILENT_MAX):
            await ask_in_vain(client)
        with pytest.raises(NotConnected, match="3 requests in a row were not answered"):
            await client.request(UNIT, READ)


@pytest.mark.parametrize("script", [right, exception(2), lambda asked: [asked.frame(unit=9)]])
async def test_any_answer_between_is_a_sign_of_life(script: Script) -> None:
    """This includes an exception, and an answer that does not fit."""
    dull = in_turn(silent, silent, script, silent, silent, right)
    async with FakeModbusServer(dull) as server, client_of(server, {UNIT}) as client:
        for _ in range(SILENT_MAX - 1):
            await ask_in_vain(client)
        with suppress(ExceptionResponse, InvalidResponse):
            await client.request(UNIT, READ)
        for _ in range(SILENT_MAX - 1):
            await ask_in_vain(client)
        assert await client.request(UNIT, READ) == ANSWER


async def test_units_that_are_switched_off_do_not_take_the_others_with_them() -> None:
    """Behind one serial gateway three presses may be off: closing the connection would cost the fourth its scans."""
    script = by_unit({2: silent, 3: silent, 4: silent})
    async with FakeModbusServer(script) as server, client_of(server, {1, 2, 3, 4}) as client:
        for unit in (2, 3, 4, 2):
            await ask_in_vain(client, unit)
        assert await client.request(1, READ) == ANSWER
        server.script = silent
        for unit in (2, 3, 1, 4):
            await ask_in_vain(client, unit)
        with pytest.raises(NotConnected):
            await client.request(1, READ)
    assert server.connections == 1


# -- connecting --


async def test_a_device_that_is_not_there_is_not_connected() -> None:
    """The message names the host and the port."""
    async with FakeModbusServer() as server:
        port = server.port
    with pytest.raises(NotConnected, match=f"127.0.0.1:{port}: "):
        await ModbusClient(ModbusConnection(host=HOST, port=port)).connect()


@pytest.mark.parametrize("host", ["press..example", "x" * 70, "a\0b"])
async def test_an_impossible_host_name_is_not_connected(host: str) -> None:
    """It is a typing error in one machine's line, and must not stop the gateway."""
    with pytest.raises(NotConnected):
        await ModbusClient(ModbusConnection(host=host)).connect()


async def test_a_device_that_does_not_answer_the_call_is_not_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall that drops packets must not delay a device for the minutes that TCP tries."""

    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", never)
    with pytest.raises(NotConnected, match=r"127\.0\.0\.1:502 does not answer"):
        await ModbusClient(ModbusConnection(host=HOST, timeout=0.01)).connect()


async def test_nothing_is_asked_without_a_connection() -> None:
    """This is so before it is opened and after it is closed; it may be closed twice."""
    async with FakeModbusServer() as server:
        client = ModbusClient(ModbusConnection(host=HOST, port=server.port))
        with pytest.raises(NotConnected, match="not connected yet"):
            await client.request(UNIT, READ)
        await client.connect()
        client.close()
        client.close()
        with pytest.raises(NotConnected):
            await client.request(UNIT, READ)


# -- any bytes at all --


def understood(stream: bytes) -> Any:
    """Return the result of the first request from a stream, by other code: its answer, an error, or None."""
    while len(stream) >= 7:
        transaction, protocol, length, unit = struct.unpack_from(">HHHB", stream)
        if protocol or not 3 <= length <= 254:
            return NotConnected
        if len(stream) < 6 + length:
            return None
        pdu, stream = stream[7 : 6 + length], stream[6 + length :]
        if transaction == 1:
            if unit != UNIT or pdu[0] not in {3, 0x83}:
                return InvalidResponse
            return pdu[1:] if pdu[0] == 3 else ExceptionResponse
    return None


frames = st.builds(
    lambda transaction, protocol, unit, pdu, wrong: (
        struct.pack(">HHHB", transaction, protocol, (len(pdu) + 1 + wrong) & 0xFFFF, unit) + pdu
    ),
    st.sampled_from([1, 1, 1, 0, 2, 256]),
    st.sampled_from([0] * 9 + [1]),
    st.sampled_from([UNIT, UNIT, UNIT, 8]),
    st.builds(
        lambda function, data: bytes((function,)) + data, st.sampled_from([3, 3, 0x83, 4]), st.binary(min_size=1)
    ),
    st.sampled_from([0] * 9 + [-3, -1, 1, 0xFF00]),
)


@given(st.lists(frames | st.binary(max_size=20), max_size=4), st.lists(st.integers(0, 80), max_size=6))
def test_any_bytes_are_an_answer_or_a_documented_error(pieces: list[bytes], cuts: list[int]) -> None:
    """A device may send any bytes in any pieces: no other error is raised, and no value is invented."""
    stream = b"".join(pieces)
    places = sorted({0, *(min(cut, len(stream)) for cut in cuts), len(stream)})

    async def feed() -> Any:
        client, wire = ModbusClient(ModbusConnection(host=HOST, timeout=PATIENT)), Wire()
        await wire.connect(client)
        task = asyncio.create_task(client.request(UNIT, READ))
        await wire.written.wait()
        for first, last in pairwise(places):
            wire.arrive(stream[first:last])
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not task.done():
            task.cancel()
        [outcome] = await asyncio.gather(task, return_exceptions=True)
        return outcome, wire.closed

    outcome, closed = asyncio.run(feed())
    expected = understood(stream)
    if expected is None:
        assert isinstance(outcome, asyncio.CancelledError)
    elif isinstance(expected, bytes):
        assert outcome == expected
    else:
        assert type(outcome) is expected
    assert closed or expected is not NotConnected
