"""The trace of every transport: the sent and received bytes, with their meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from simulated import configure, simulated

from drivers.trace import Direction
from gateway.acquisition.groups import groups_of
from gateway.common.wire_trace import trace_line

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.trace import WireEvent

METER = {
    "protocol": "modbus",
    "points": {"level": {"address": "holding 3", "range": [0, 100]}, "on": {"address": "coil 0"}},
}
SCHEMES = (
    "modbus+tcp://10.0.0.1", "modbus+tls://10.0.0.1", "modbus+udp://10.0.0.1", "modbus+rtutcp://10.0.0.1",
    "modbus+rtu:///dev/ttyS9", "modbus+ascii:///dev/ttyS9", "modbus+listen://0.0.0.0:5502",
    "modbus+listen://0.0.0.0:5502?framing=rtu&registration=DTU-1",
)  # fmt: skip


@pytest.mark.parametrize("url", SCHEMES)
async def test_each_transport_is_traced(url: str, tmp_path: Path) -> None:
    """Modbus messages are shown as they are framed; over TLS inside the encryption."""
    events: list[WireEvent] = []
    config = configure(tmp_path, {"meter": METER}, {"m1": {"template": "meter", "connection": f"{url}"}})
    async with simulated(tmp_path, config) as factory:
        [machine] = factory.machines
        [(group, _)] = groups_of(machine)
        driver = machine.protocol.driver(
            machine.connection.shared().model_copy(update={"timeout": 5.0}), [group], lambda: 1
        )
        assert driver.trace(events.append)
        async with driver:
            scan = await driver.read(group)
    assert not scan.faults
    lines = [trace_line(event) for event in events]
    assert events[0].direction is Direction.OPENED or "registration" in url
    assert events[-1].direction is Direction.CLOSED
    for text in (
        "unit 1: read coil 0",
        "unit 1: read holding 3",
        "unit 1: coil, 1 byte",
        "unit 1: holding, 2 bytes",
    ):
        assert any(line.endswith(f"  {text}") for line in lines), (text, lines)
    sent = next(event.data for event in events if event.text == "unit 1: read holding 3")
    received = next(event.data for event in events if event.text == "unit 1: holding, 2 bytes")
    value = scan.values[group.names.index("level")]
    content = bytes.fromhex(received[1:-2].decode()) if url.startswith("modbus+ascii") else received
    assert isinstance(value, int)
    assert value.to_bytes(2, "big") in content
    assert len(sent) > 7
