"""Rights that are tried at a broker that goes away meanwhile: no result is invented for the others."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
from aiomqtt import MqttError
from click.testing import CliRunner
from processes import free_port, write_factory

from gateway.check import broker
from gateway.check.broker import CONNECTS, Attempt, Outcome, try_rights
from gateway.cli import main
from gateway.mqtt.topics import Party
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONNACK = bytes([0x20, 0x03, 0x00, 0x00, 0x00])
"""A connection is accepted (MQTT 5, 3.2)."""


async def tried(
    folder: Path, monkeypatch: pytest.MonkeyPatch, accepts: Callable[[int], bool]
) -> tuple[list[Attempt] | MqttError, int]:
    """Try rights at a broker that ends each connection; return the attempts, or the error, and the connections.

    `accepts` says of the number of a connection, from 1, whether it is answered with an acceptance before.
    """
    monkeypatch.setattr(broker, "CONNECT_PAUSE", 0.01)
    port, connections = free_port(), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if accepts(connections):
            await reader.read(1000)
            writer.write(CONNACK)
            await writer.drain()
            await reader.read(1000)
        writer.close()

    press = {"template": "curing-press", "connection": "modbus+tcp://10.0.0.1:502?unit=1"}
    file = write_factory(
        folder / "factory.yaml", broker={"url": f"mqtt://127.0.0.1:{port}"},
        lines={"line": {"area": "area", "machines": {"m": press}}},
    )  # fmt: skip
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        try:
            return await try_rights(load_factory(file), Party.GATEWAY), connections
        except MqttError as error:
            return error, connections


@pytest.mark.parametrize("accepted", [1, 3])
async def test_a_broker_that_goes_away_refuses_nothing_and_allows_nothing(
    tmp_path: Path, accepted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers some connections with an acceptance, ends them, and accepts none any more."""
    found, connections = await tried(tmp_path, monkeypatch, lambda number: number <= accepted)
    assert isinstance(found, MqttError)
    assert connections == accepted + CONNECTS


@pytest.mark.slow
async def test_a_broker_that_refuses_an_id_for_a_moment_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NATS does that after it has ended the connection of a client: nothing is known of its rights by that."""
    found, _ = await tried(tmp_path, monkeypatch, lambda number: number % 2 == 1)
    assert isinstance(found, list)
    outcomes = [one.outcome for one in found]
    assert outcomes.count(Outcome.REFUSED) > 10
    assert Outcome.ALLOWED not in outcomes


def test_values_of_the_command_line_are_not_those_of_the_other_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the tested user in both, its own session would be closed, and reported as a hole in the rights."""
    press = {"template": "curing-press", "connection": "modbus+tcp://10.0.0.1:502?unit=1"}
    lines = {"line": {"area": "area", "machines": {"m": press}}}
    files = [
        write_factory(tmp_path / f"{name}.yaml", broker={"url": "mqtt://127.0.0.1:1", "username": name}, lines=lines)
        for name in ("edge", "other")
    ]
    seen: list[tuple[str | None, str | None]] = []
    monkeypatch.setattr(
        import_module("gateway.cli.check"), "_check_broker",
        lambda factory, _part, other, _style, **_more: seen.append((factory.broker.username, other.username)),
    )  # fmt: skip
    arguments = ["check", str(files[0]), "--broker", "--other", str(files[1]), "--set", "broker.username=new"]
    done = CliRunner().invoke(main, arguments)
    assert (done.exit_code, seen) == (0, [("new", "other")]), done.output
