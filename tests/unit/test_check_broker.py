"""Rights that are tried at a broker that goes away meanwhile: no result is invented for the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiomqtt import MqttError
from processes import free_port, write_factory

from gateway.check import broker
from gateway.check.broker import CONNECTS, Outcome, try_rights
from gateway.mqtt.topics import Party
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from pathlib import Path

CONNACK = bytes([0x20, 0x03, 0x00, 0x00, 0x00])
"""A connection is accepted (MQTT 5, 3.2)."""


@pytest.mark.parametrize("accepted", [1, 3])
async def test_a_broker_that_goes_away_refuses_nothing_and_allows_nothing(
    tmp_path: Path, accepted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers some connections with an acceptance, ends them, and accepts none any more."""
    monkeypatch.setattr(broker, "CONNECT_PAUSE", 0.01)
    port, connections = free_port(), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections <= accepted:
            await reader.read(1000)
            writer.write(CONNACK)
            await writer.drain()
            await reader.read(1000)
        writer.close()

    press = {"template": "curing-press", "connection": "modbus+tcp://10.0.0.1:502?unit=1"}
    file = write_factory(
        tmp_path / "factory.yaml", broker={"url": f"mqtt://127.0.0.1:{port}"},
        lines={"line": {"area": "area", "machines": {"m": press}}},
    )  # fmt: skip
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        with pytest.raises(MqttError):
            await try_rights(load_factory(file), Party.GATEWAY)
    assert connections == accepted + CONNECTS


async def test_a_broker_that_refuses_an_id_for_a_moment_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NATS does that after it has ended the connection of a client: nothing is known of its rights by that."""
    monkeypatch.setattr(broker, "CONNECT_PAUSE", 0.01)
    port, connections = free_port(), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections % 2:
            await reader.read(1000)
            writer.write(CONNACK)
            await writer.drain()
            await reader.read(1000)
        writer.close()

    press = {"template": "curing-press", "connection": "modbus+tcp://10.0.0.1:502?unit=1"}
    file = write_factory(
        tmp_path / "factory.yaml", broker={"url": f"mqtt://127.0.0.1:{port}"},
        lines={"line": {"area": "area", "machines": {"m": press}}},
    )  # fmt: skip
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        found = await try_rights(load_factory(file), Party.GATEWAY)
    outcomes = [one.outcome for one in found]
    assert outcomes.count(Outcome.REFUSED) > 10
    assert Outcome.ALLOWED not in outcomes
