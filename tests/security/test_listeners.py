"""The ports of services: none by default, and each at its written address alone."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from processes import LOOPBACK, Lineside, Process, free_port, write_factory
from servers import Mosquitto

from drivers.base import Group, NotConnected
from drivers.modbus.address import Address, Table
from drivers.modbus.connection import ModbusConnection, Transport
from drivers.modbus.driver import ModbusDriver
from drivers.modbus.source import ModbusSource
from gateway.common.clock import Clock
from gateway.common.listening import bind

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHER = "127.0.0.2"
"""Another address of this machine: all of 127.0.0.0/8 is."""

TABLES = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
"""The tables of sockets of the kernel, and the state of a socket there that waits for others (proc(5))."""


class Open(NamedTuple):
    """A port that a process has open for others: `tcp` or `udp`, and its number."""

    kind: str
    port: int


def open_ports(process: Process) -> set[Open]:
    """Return the ports that a process, or one of those that it has started, has open for others."""
    owned = {str(file.readlink()) for pid in family(process.pid) for file in descriptors(pid)}
    found = set()
    for table, state in TABLES.items():
        for line in Path(f"/proc/{process.pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            _, local, _, now, *rest = line.split()
            if now == state and f"socket:[{rest[5]}]" in owned:
                found.add(Open(table.rstrip("6"), int(local.rpartition(":")[2], 16)))
    return found


def descriptors(pid: int) -> list[Path]:
    return [file for file in Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink()]


def family(pid: int) -> list[int]:
    """Return a process and all that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *(one for child in children for one in family(int(child)))]


def can_connect(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=5):
            return True
    except ConnectionRefusedError:
        return False


@contextmanager
def service_socket(port: int) -> Iterator[None]:
    """Open the socket of the page, and of metrics."""
    with bind((OTHER, port)):
        yield


async def test_services_listen_to_nothing_by_default(tmp_path: Path) -> None:
    """A gateway with workers, and ingest, have no port for anybody; the page has one, for the box alone."""
    mosquitto = await Mosquitto.start(tmp_path)
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "press.yaml").write_text(
        "format: 1\nprotocol: modbus\npoints: {pressure: {address: holding 0, unit: bar}}\n"
    )
    machines = {
        f"press-{n}": {"template": "press", "connection": f"modbus+tcp://{LOOPBACK}:{free_port()}"} for n in (1, 2)
    }
    page_port = free_port()
    config = write_factory(
        tmp_path / "factory.yaml",
        gateway={"id": "edge-01", "workers": 2},
        broker={"url": mosquitto.url},
        stores=[{"sqlite": {"path": str(tmp_path / "readings.db")}}],
        dashboard={"listen": page_port},
        lines={"curing-1": {"area": "curing", "machines": machines}},
    )
    gateway = await Lineside.start("run", config)
    await gateway.logged("worker.started", times=2)
    await gateway.logged("mqtt.connected", times=2)
    ingest = await Lineside.start("ingest", config)
    await ingest.logged("ingest.subscribed")
    page = await Lineside.start("dashboard", config)
    await page.logged("dashboard.listening")
    assert len(family(gateway.pid)) > 2
    assert open_ports(gateway) == set()
    assert open_ports(ingest) == set()
    assert open_ports(page) == {Open("tcp", page_port)}
    assert not can_connect(OTHER, page_port)


async def test_a_listener_is_open_at_its_address_alone() -> None:
    """A box between two networks shows its port to the network of the written address."""
    port = free_port()
    with service_socket(port):
        assert can_connect(OTHER, port)
        assert not can_connect(LOOPBACK, port)
    port = free_port()
    connection = ModbusConnection(transport=Transport.LISTEN, host=OTHER, port=port, timeout=0.4)
    group: Group = Group("m1", connection, ("p",), (ModbusSource(address=Address(Table.HOLDING, 0)),), 1.0)
    driver = ModbusDriver(connection.shared(), [group], Clock())
    try:
        with pytest.raises(NotConnected, match="no device has dialled in"):
            await driver.connect()
        assert can_connect(OTHER, port)
        assert not can_connect(LOOPBACK, port)
    finally:
        await driver.close()
