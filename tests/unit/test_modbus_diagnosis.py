"""A check says what came from a device, and which option helps, and not only that nothing was read."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from fakes.modbus_server import CLOSE, HOST, Asked, FakeModbusServer, by_unit, exception, read_request, right, silent
from points import register
from processes import free_port

import drivers
from drivers.modbus import diagnosis
from drivers.modbus.address import Address, Table
from drivers.modbus.description import request_text, response_text
from drivers.modbus.driver import ModbusDriver
from drivers.modbus.framing import Frame, Rtu
from drivers.modbus.pdu import echo, read
from drivers.trace import Direction
from gateway.check.devices import Patience
from gateway.check.machines import check_machines
from gateway.common.wire_trace import trace_line
from gateway.model.path import MachinePath
from gateway.settings.factory import Machine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from fakes.modbus_server import Script

    from drivers.trace import WireEvent
    from gateway.check.results import Report
    from gateway.settings.point import Point

ROOT = Path(__file__).parent.parent.parent

never_late = pytest.mark.usefixtures("nothing_late")

PATIENCE = Patience(answer=20.0, seconds=0.0, at_once=8)


def points(*entries: int, raw: str = "uint16") -> tuple[Point, ...]:
    found = []
    for entry in entries:
        one = register(f"p{entry}", raw)
        source = one.source.model_copy(update={"address": Address(one.source.address.table, entry)})  # type: ignore[attr-defined] # a register
        found.append(one.model_copy(update={"source": source}))
    return tuple(found)


def machine(url: str, *read: Point, name: str = "m-1") -> Machine:
    protocol = drivers.protocol("modbus")
    return Machine(
        MachinePath("e", "s", "a", "l", name), "dev", protocol, drivers.parse_connection(protocol, url), read
    )


async def checked(*machines: Machine, events: list[WireEvent] | None = None) -> Report:
    tracer = None if events is None else events.append
    return await check_machines("f", machines, PATIENCE, lambda *_: None, tracer)


def texts(report: Report) -> str:
    return "\n".join(finding.text for finding in report.all_findings())


async def check_of(script: Script, options: str, *entries: int, raw: str = "uint16") -> Report:
    async with FakeModbusServer(script) as server:
        one = machine(f"modbus+tcp://{HOST}:{server.port}?timeout=0.3{options}", *points(*entries, raw=raw))
        return await checked(one)


@asynccontextmanager
async def bytes_server(answer: bytes, *, at_once: bool = False) -> AsyncIterator[int]:
    """A server of another protocol: it sends the same to any request, or at once; nothing means that it closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not at_once:
            await reader.read(1)
        writer.write(answer)
        if answer:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def outside(entries: set[int], answer: Script) -> Script:
    return lambda asked: (right if set(range(asked.first, asked.first + asked.count)) <= entries else answer)(asked)


@pytest.fixture
def nothing_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait shortly for a late response: this device sends none."""
    monkeypatch.setattr("drivers.modbus.sampler.LATE_WAIT", 0.3)


@never_late
async def test_a_gap_is_named_with_the_option() -> None:
    """The driver steps over it by itself, at the cost of more requests."""
    report = await check_of(outside({0, 1, 8, 9}, silent), "", 0, 1, 8, 9)
    assert report.passed()
    assert "write max_gap: 0" in texts(report)


async def test_a_dead_unit_behind_a_gateway_is_named_with_the_measured_seconds() -> None:
    """The gateway waits for it longer than we do, and serves no other unit meanwhile."""

    def gateway(asked: Asked) -> Sequence[bytes | float]:
        return [0.8, *exception(11)(asked)] if asked.unit == 2 else right(asked)

    async with FakeModbusServer(gateway) as server:
        url = f"modbus+tcp://{HOST}:{server.port}?timeout=0.3&unit="
        report = await checked(*(machine(f"{url}{unit}", *points(0), name=f"m-{unit}") for unit in (1, 2, 3)))
    dead = report.machines[1]
    assert dead.absent
    assert "serves no other unit for 0.8 s (the timeout here is 0.3 s)" in texts(report)
    assert "units 1, 3 wait up to 0.5 s" in texts(report)
    assert "a gateway answers in place of unit 2" in dead.findings[0].text
    assert "exception 11 gateway target device failed to respond" in dead.findings[0].text
    assert [point.quality for one in (report.machines[0], report.machines[2]) for point in one.points] == ["good"] * 2


async def test_another_unit_that_answers_is_named() -> None:
    """It was a bad answer of an unknown kind of device."""
    report = await check_of(lambda asked: [asked.frame(unit=1)], "&unit=3", 0)
    assert "unit 1 answered" in texts(report)
    assert "write unit=1" in texts(report)
    assert "any_unit=true" in texts(report)
    assert "is it on" not in texts(report)


@never_late
async def test_a_wrong_transaction_id_is_named() -> None:
    """The response was dropped, and the device counted as silent."""
    report = await check_of(lambda asked: [asked.frame(transaction=0)], "", 0)
    assert "wrong transaction id (0" in texts(report)
    assert "any_transaction=true" in texts(report)


async def test_a_response_after_the_timeout_names_a_longer_timeout() -> None:
    """The device is on, and slow."""
    report = await check_of(lambda asked: [0.5, asked.frame()], "", 0)
    assert "responses came after the timeout of 0.3 s" in texts(report)
    assert "write timeout=" in texts(report)


async def test_more_bytes_than_were_requested_are_named() -> None:
    """Some devices append a checksum, or a whole register."""

    def odd(asked: Asked) -> Sequence[bytes]:
        return [asked.frame(bytes((asked.data[0] + 1,)) + asked.data[1:] + b"\0")]

    report = await check_of(odd, "", 0, 500)
    assert "write surplus=true" in texts(report)


async def test_registers_of_32_bits_are_named() -> None:
    """Each address of them has four bytes."""

    def wide(asked: Asked) -> Sequence[bytes]:
        return [asked.frame(bytes((4 * asked.count,)) + bytes(4 * asked.count))]

    report = await check_of(wide, "", 5000, 5001, 5002)
    assert "write wide: [holding 5000" in texts(report)


async def test_truncated_responses_name_the_largest_request() -> None:
    """Forty registers, though a hundred were requested."""
    report = await check_of(lambda asked: [asked._replace(count=min(asked.count, 40)).frame()], "", *range(100))
    assert report.passed()
    assert "max_registers: 40" in texts(report)


@never_late
async def test_silence_at_many_bits_names_the_largest_request() -> None:
    """Up to 64 bits are answered."""
    script: Script = lambda asked: [] if asked.count > 64 else right(asked)  # noqa: E731 - shorter
    report = await check_of(script, "", *range(100), raw="bool")
    assert report.passed()
    assert "write max_bits=50" in texts(report)


@pytest.mark.parametrize(
    ("pauses", "named"),
    [
        ([(0.001, False), (0.002, False), (0.3, True)], True),
        ([(0.001, False), (0.019, False), (0.021, True), (0.3, True)], True),  # a busy computer sent one late
        ([(0.001, False), (0.03, False), (0.021, True), (0.3, True)], False),  # the pause is of no importance
        ([(0.001, False), (0.001, False), (0.002, True)], False),  # chance
        ([(0.001, False), (0.3, True)], False),  # once
        ([(0.001, False), (0.002, False), (0.3, False)], False),  # never
    ],
)
def test_a_pause_that_a_device_needs_is_between_its_silence_and_its_responses(
    monkeypatch: pytest.MonkeyPatch, pauses: list[tuple[float, bool]], *, named: bool
) -> None:
    """The seconds between a response and the next request, and whether that was answered."""
    now = 100.0
    monkeypatch.setattr(diagnosis, "_now", lambda: now)
    record = diagnosis.WireRecord(drivers.parse_connection(drivers.protocol("modbus"), "modbus+tcp://10.0.0.1"))
    record.opened("10.0.0.1:502")
    request, response = read(Table.HOLDING, 0, 1), bytes([3, 2, 0, 1])
    for transaction, (pause, answered) in enumerate([(0.0, True), *pauses]):
        now += pause
        record.sent(transaction, 1, request, b"")
        if answered:
            record.received(b"", [Frame(transaction, 1, response)])
        else:
            record.received(b"", [])  # the next pause begins here
    assert any("write pause=100ms" in one for one in record.diagnose(1)) is named


@never_late
async def test_an_address_that_is_never_answered_is_not_a_device_that_is_off() -> None:
    """The others are answered."""
    report = await check_of(outside({0}, silent), "", 0, 100)
    assert "the device answers other requests, and not this request" in texts(report)
    assert "is it on" not in texts(report)


async def test_an_address_at_which_the_connection_is_closed_is_named() -> None:
    """It looks like an outage of the network."""
    report = await check_of(outside({0, 1}, lambda _: [CLOSE]), "", 0, 1, 100)
    assert "the device closes the connection at this request" in texts(report)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP server answers"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "write modbus+tls://"),
        (b"ERRF\x10\x00\x00\x00\x00\x00\x7e\x80\x00\x00\x00\x00", "write opc.tcp://"),
        (b"\x03\x00\x00\x0b\x06\xd0\x00\x00\x12\x00\x00", "(S7)"),
        (Rtu().pack(0, 1, b"\x03\x02\x00\x07"), "write modbus+rtutcp://"),
        (b"\xa5\x5a\x01\x02\x03\x04\x05\x06\x07\x08", "bytes came that are not Modbus (A5 5A 01"),
    ],
)
async def test_another_protocol_is_recognized(answer: bytes, expected: str) -> None:
    """A port of another service is a frequent mistake."""
    async with bytes_server(answer) as port:
        report = await checked(machine(f"modbus+tcp://{HOST}:{port}?timeout=0.3", *points(0)))
    assert expected in texts(report)
    assert "is the device on" not in texts(report)


@never_late
async def test_modbus_tcp_at_an_rtu_connection_is_recognized() -> None:
    """A gateway in the wrong mode."""
    async with bytes_server(b"\x00\x01\x00\x00\x00\x05\x01\x03\x02\x00\x07") as port:
        report = await checked(machine(f"modbus+rtutcp://{HOST}:{port}?timeout=0.3", *points(0)))
    assert "write modbus+tcp://" in texts(report)


@pytest.mark.parametrize(("at_once", "expected"), [(True, "closes it at once"), (False, "at the first request")])
async def test_a_device_that_closes_the_connection_is_described(at_once: bool, expected: str) -> None:  # noqa: FBT001 - a case
    """It may have one client already, or not know the unit."""
    async with bytes_server(b"", at_once=at_once) as port:
        url = f"modbus+tcp://{HOST}:{port}?timeout=0.3&pause_after_connect=0.1"
        report = await checked(machine(url, *points(0)))
    assert expected in texts(report)


async def test_a_device_that_refuses_everything_is_on() -> None:
    """It answers with an exception; the point is refused, and the machine is there."""
    report = await check_of(exception(1), "", 0)
    assert "unit 1 answers, and refuses" in texts(report)
    assert not report.machines[0].absent


@never_late
async def test_another_unit_that_would_answer_is_found() -> None:
    """The unit id is the most frequent mistake behind a silent device."""
    report = await check_of(by_unit({7: silent}), "&unit=7", 0)
    assert "unit 7 does not answer, and unit 1 does: write unit=1" in texts(report)


@never_late
async def test_other_frames_that_would_be_answered_are_found() -> None:
    """A gateway in transparent mode is silent at Modbus TCP."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(100):
            if request == Rtu().pack(0, 1, read(Table.HOLDING, 0, 1)):
                writer.write(Rtu().pack(0, 1, b"\x03\x02\x00\x07"))
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.release()

    ended = asyncio.Semaphore(0)
    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        report = await checked(machine(f"modbus+tcp://{HOST}:{port}?timeout=0.3", *points(0)))
        for _ in range(3):
            await ended.acquire()
    assert "write modbus+rtutcp://" in texts(report)


async def test_a_check_waits_for_a_device_that_dials_in() -> None:
    """It dials every few seconds, and its timeout is a second."""
    port = free_port()

    async def dial() -> None:
        await asyncio.sleep(1.0)
        reader, writer = await asyncio.open_connection(HOST, port)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                writer.write((await read_request(reader)).frame())
        writer.close()

    device = asyncio.create_task(dial())
    report = await checked(machine(f"modbus+listen://{HOST}:{port}?timeout=0.3", *points(5)))
    await device
    assert [point.value for point in report.machines[0].points] == [5]


@never_late
async def test_a_silent_device_is_asked_for_as_before() -> None:
    """Nothing came, so nothing can be said."""
    report = await check_of(silent, "", 0)
    assert "is it on, is its unit id right" in texts(report)


async def test_the_trace_shows_time_machine_direction_bytes_and_meaning() -> None:
    """One line a message, as a person reads it."""
    events: list[WireEvent] = []
    async with FakeModbusServer() as server:
        await checked(machine(f"modbus+tcp://{HOST}:{server.port}", *points(0, 1)), events=events)
    assert [event.direction for event in events] == [
        Direction.OPENED, Direction.SENT, Direction.RECEIVED, Direction.CLOSED
    ]  # fmt: skip
    lines = [trace_line(event).split("  ") for event in events]
    assert lines[1][1:] == ["l/m-1", ">", "00 01 00 00 00 06 01 03 00 00 00 02", "unit 1: read holding 0..1"]
    assert lines[2][1:] == ["l/m-1", "<", "00 01 00 00 00 07 01 03 04 00 00 00 01", "unit 1: holding, 4 bytes"]
    assert all(len(line[0]) == len("12:34:56.123456") for line in lines)


async def test_the_trace_in_the_manual_is_a_trace() -> None:
    """A reader compares it with a trace of one's own."""
    text = (ROOT / "docs" / "modbus.md").read_text(encoding="utf-8")
    block = re.search(r"### Traces\n.*?^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    events: list[WireEvent] = []
    async with FakeModbusServer(lambda asked: (right if asked.first < 50 else exception(2))(asked)) as server:
        one = machine(f"modbus+tcp://{HOST}:{server.port}?max_gap=0", *points(0, 1, 100))
        path = MachinePath("e", "s", "a", "curing-1", "press-01")
        await checked(replace(one, path=path), events=events)
    made = [trace_line(event).partition("  ")[2] for event in events]
    shown = [line.partition("  ")[2] for line in block[1].splitlines()]
    assert shown == [line.replace(f"{HOST}:{server.port}", "10.20.1.11:502") for line in made]


def test_the_messages_in_the_manual_are_those_of_the_code() -> None:
    """A symptom is found by the words that a check prints."""
    text = (ROOT / "docs" / "modbus.md").read_text(encoding="utf-8")
    table = text.partition("## Troubleshooting")[2].partition("Numbers that look wrong")[0]
    said = [
        message
        for row in table.splitlines()
        if row.count("|") > 3
        for message in re.findall(r"`([^`]+)`", row.split("|")[2])
    ]
    files = (*(ROOT / "drivers" / "modbus").glob("*.py"), ROOT / "gateway" / "check" / "hints.py")
    code = " ".join(re.sub(r'"\s*\n\s*f?"', "", file.read_text(encoding="utf-8")) for file in files)
    assert len(said) > 15
    for message in said:
        words = [part.strip() for part in re.split(r"\bN\b|\.\.\.", message)]
        assert [part for part in words if part not in code] == [], message


async def test_a_driver_that_is_not_traced_has_the_plain_client() -> None:
    """A trace that is off costs nothing: its code is in another class."""
    connection = drivers.parse_connection(drivers.protocol("modbus"), "modbus+tcp://127.0.0.1")
    with mock.patch("drivers.modbus.driver.ObservedModbusClient") as observed:
        driver = ModbusDriver(connection, [], lambda: 0)  # type: ignore[arg-type] # of that protocol
        assert not observed.called
        assert driver.trace(lambda _: None)
        assert observed.called


def test_tables_have_names_in_a_trace() -> None:
    """And functions that read no table."""
    assert request_text(1, read(Table.COIL, 7, 1)) == "unit 1: read coil 7"
    assert request_text(9, echo(1)) == "unit 9: echo"
    assert response_text(1, b"\x83\x02") == "unit 1: exception 2 illegal data address"
    assert response_text(1, b"") == "unit 1: no function code"
