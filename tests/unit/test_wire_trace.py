"""Traces for people: lines of `check --trace`, and events of `run -v`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from click.testing import CliRunner
from fakes.modbus_server import FakeModbusServer, right, served
from processes import free_port, write_factory
from structlog.testing import capture_logs

from drivers.trace import Direction, WireEvent
from gateway.cli import main
from gateway.common.wire_trace import log_trace, shown_bytes, trace_line
from gateway.gateway_service import GatewayService
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from pathlib import Path

AT = 1_764_000_000_123_456


def factory(folder: Path, url: str) -> Path:
    (folder / "machines").mkdir(exist_ok=True)
    (folder / "machines" / "dev.yaml").write_text(
        "format: 1\nprotocol: modbus\npoints:\n  a: {address: holding 0, every: 200ms}\n"
    )
    machines = {"m-01": {"template": "dev", "connection": url}}
    lines = {"l-1": {"area": "a", "machines": machines}}
    return write_factory(folder / "f.yaml", broker={"url": f"mqtt://127.0.0.1:{free_port()}"}, lines=lines)


def test_a_trace_line_has_all_fields() -> None:
    """The fields are time, line and machine, direction, bytes and meaning."""
    sent = WireEvent(AT, "e/s/a/l/m", Direction.SENT, b"\x01\x03", "unit 1: read holding 0")
    assert trace_line(sent) == "16:00:00.123456  l/m  >  01 03  unit 1: read holding 0"
    opened = WireEvent(AT, "", Direction.OPENED, b"", "modbus+tcp://h:502")
    assert trace_line(opened) == "16:00:00.123456  -  =  opened modbus+tcp://h:502"


def test_a_long_message_is_cut() -> None:
    """A chunk of a structure has kilobytes, and a log line has not."""
    assert shown_bytes(bytes(1000)).endswith("00 ... (1000 bytes)")
    assert len(shown_bytes(bytes(1000))) < 1000


def test_events_are_logged_with_their_fields() -> None:
    """`lineside run -v`, for people and for programs."""
    with capture_logs() as logs:
        tracer = log_trace("modbus+tcp://h:502")
        tracer(WireEvent(AT, "e/s/a/l/m", Direction.RECEIVED, b"\x01", "unit 1: holding, 2 bytes"))
        tracer(WireEvent(AT, "", Direction.CLOSED, b"", "by the gateway"))
    assert [one["event"] for one in logs] == ["wire.received", "wire.closed"]
    assert (logs[0]["machine"], logs[0]["bytes"], logs[0]["text"]) == ("e/s/a/l/m", "01", "unit 1: holding, 2 bytes")
    assert "bytes" not in logs[1]
    assert "machine" not in logs[1]


def test_the_check_prints_its_trace_beside_the_report(tmp_path: Path) -> None:
    """The trace goes to standard error, so that other programs can read the report."""
    with served(right) as (port, _):
        file = factory(tmp_path, f"modbus+tcp://127.0.0.1:{port}")
        ran = CliRunner().invoke(main, ["check", str(file), "--trace", "--format", "json"])
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.startswith("{")
    lines = ran.stderr.splitlines()
    assert any("l-1/m-01  >  00 01 00 00 00 06 01 03 00 00 00 01  unit 1: read holding 0" in line for line in lines)
    assert any("l-1/m-01  <  00 01 00 00 00 05 01 03 02 00 00  unit 1: holding, 2 bytes" in line for line in lines)


def test_a_trace_of_simulated_machines_is_refused(tmp_path: Path) -> None:
    """They are read by a gateway in a process of its own."""
    file = factory(tmp_path, "modbus+tcp://127.0.0.1")
    ran = CliRunner().invoke(main, ["check", str(file), "--simulated", "--trace"])
    assert ran.exit_code == 2
    assert "--trace is for real machines" in ran.stderr


async def test_a_gateway_logs_its_messages_where_it_is_asked_to(tmp_path: Path) -> None:
    """Without the option it logs no message."""
    async with FakeModbusServer() as server:
        file = factory(tmp_path, f"modbus+tcp://127.0.0.1:{server.port}")
        for trace in (True, False):
            stop = asyncio.Event()
            with capture_logs() as logs:
                running = asyncio.create_task(GatewayService(load_factory(file), trace=trace).run(stop))
                before = len(server.asked)
                async with asyncio.timeout(30):
                    while len(server.asked) < before + 3:  # noqa: ASYNC110 - the gateway reads on its own
                        await asyncio.sleep(0.02)
                stop.set()
                await running
            events = {one["event"] for one in logs}
            assert ({"wire.opened", "wire.sent", "wire.received", "wire.closed"} <= events) is trace
