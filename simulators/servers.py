"""Which servers a configuration needs: one for each address that it names."""

from __future__ import annotations

import asyncio
import resource
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import structlog

from drivers.modbus.connection import ModbusConnection, Transport
from drivers.opcua.settings import PORT
from simulators.certificates import self_signed
from simulators.config_location import ConfigLocation
from simulators.modbus.endpoints import Dialling, Endpoint, Port, SerialLine, refusal
from simulators.modbus.registers import RegisterMap, Unit, overlaps
from simulators.opcua.security import Credentials, Demands, demands_of
from simulators.opcua.server import OpcUaMachines
from simulators.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    import ssl

    from drivers.opcua.settings import OpcUaConnection
    from gateway.settings.factory import Factory
    from gateway.settings.factory import Machine as Configured
    from simulators.machines.outputs import MachineOutputs
    from simulators.machines.plant import Plant

    Behind = list[tuple[Configured, MachineOutputs]]

log = structlog.get_logger()

FILES_EACH = 8
"""Open files for each Modbus address and each OPC UA machine: who listens, and a few who read."""


class CantServe(OSError):
    """Machines can't be served as they are configured."""


def _allow_files(wanted: int) -> None:
    """Let this process have so many files open, as far as the system allows: every connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def key_of(connection: ModbusConnection) -> str:
    """Return what connections to one device have in common: transport, and address or serial port."""
    return str(connection)


class Servers:
    """All servers of a configuration."""

    def __init__(self, factory: Factory, plant: Plant, *, free_ports: bool, faulty: bool, history: int) -> None:
        """Find out what is needed. Raises `CantServe`.

        Where we choose the addresses, machines of several OPC UA servers stand behind one, since each server is a
        thread with an event loop; but not where something will go wrong: that is its own machines' alone.
        """
        self._blame = ConfigLocation(factory)
        self.free_ports, self._faulty, self._history = free_ports, faulty, history
        self._modbus: dict[str, Behind] = defaultdict(list)
        self._behind_url: dict[str, Behind] = defaultdict(list)
        for configured, shown in plant.machines:
            if configured.protocol.simulator == "modbus":
                self._modbus[key_of(cast("ModbusConnection", configured.connection))].append((configured, shown))
            else:
                url = cast("OpcUaConnection", configured.connection).url
                self._behind_url[url].append((configured, shown))
        self._units = {key: self._units_of(key, behind) for key, behind in self._modbus.items()}
        self._demands = {
            url: demands_of(cast("OpcUaConnection", one.connection) for one, _ in behind)
            for url, behind in self._behind_url.items()
        }
        self.certificate: Path | None = None
        self.credentials: Credentials
        self.endpoints: dict[str, Endpoint] = {}
        self.opcua: dict[str, OpcUaMachines] = {}

    def counts(self) -> dict[str, int]:
        """Return how many servers there are, for the log."""
        return {"modbus_ports": len(self.endpoints), "opcua_servers": len(set(self.opcua.values()))}

    async def start(self, beside: Path) -> None:
        """Start all; certificates, where some are needed, are written to files beside that one, named after it.

        OPC UA servers are ready later. Raises `OSError`.
        """
        _allow_files(FILES_EACH * (len(self._modbus) + sum(map(len, self._behind_url.values()))))
        tls = await self._make_certificate(beside.with_name(f"{beside.name}.pem"))
        await self._make_credentials(beside.with_name(f"{beside.name}.pki"))
        for key, behind in self._modbus.items():
            endpoint = self._endpoint(cast("ModbusConnection", behind[0][0].connection), self._units[key], tls)
            try:
                await endpoint.start()
            except OSError as error:
                raise OSError(error.errno, f"{self._blame.connection(behind[0][0])}: {error.strerror}") from error
            self.endpoints[key] = endpoint
        for url, machines in self._behind_url.items():
            here = f"opc.tcp://{LOOPBACK}:{free_port()}" if self.free_ports else url
            demands = self._demands[url]
            self.opcua[url] = self._shared_server(machines, demands) or OpcUaMachines(
                here, demands, self.credentials, history=self._history, faulty=self._faulty
            )
            self.opcua[url].add(machines)
        for server in set(self.opcua.values()):
            server.start()

    async def attend(self) -> None:
        """Let faults act on servers."""
        for endpoint in self.endpoints.values():
            await endpoint.attend()

    def check(self) -> None:
        """Raise `OSError` where a server has failed."""
        for url, server in self.opcua.items():
            if server.error is not None:
                where = self._blame.connection(self._behind_url[url][0][0])
                raise OSError(f"{where}: {_failure(server)}") from server.error

    async def stop(self) -> None:
        """Stop all."""
        for endpoint in self.endpoints.values():
            await endpoint.close()
        for server in set(self.opcua.values()):
            server.stop()
        for server in set(self.opcua.values()):
            if server.ident is not None:
                await asyncio.to_thread(server.join)

    async def _make_certificate(self, file: Path) -> ssl.SSLContext | None:
        needs = [behind[0][0] for behind in self._modbus.values() if _transport(behind[0][0]) is Transport.TLS]
        if not needs:
            return None
        if not self.free_ports:
            raise CantServe(f"{self._blame.connection(needs[0])}: nobody would trust a simulated device there; "
                          "--ports auto makes a certificate, and a configuration that trusts it")  # fmt: skip
        self.certificate = file.absolute()
        return await asyncio.to_thread(self_signed, file, file.with_suffix(".key"))

    async def _make_credentials(self, folder: Path) -> None:
        connections = [
            cast("OpcUaConnection", configured.connection)
            for url, behind in self._behind_url.items()
            for configured, _ in behind
            if not self._demands[url].plain
        ]
        self.credentials = Credentials(connections, folder if self.free_ports else None)
        if connections:
            await asyncio.to_thread(self.credentials.make)

    def _endpoint(self, connection: ModbusConnection, units: dict[int, Unit], tls: ssl.SSLContext | None) -> Endpoint:
        transport = connection.transport
        host, port = (LOOPBACK, 0) if self.free_ports else (connection.host, connection.port)
        if transport.serial:
            return SerialLine(transport, None if self.free_ports else Path(connection.device), units)
        if transport is Transport.LISTEN:
            return Dialling(LOOPBACK, port, units)
        return Port(transport, host, port, units, tls if transport is Transport.TLS else None)

    def _units_of(self, key: str, behind: Behind) -> dict[int, Unit]:
        """Put machines behind their unit ids."""
        units: dict[int, Unit] = {}
        maps: dict[int, RegisterMap] = {}
        for configured, shown in behind:
            number = cast("ModbusConnection", configured.connection).unit
            for one, other in overlaps(configured.points):
                raise CantServe(
                    f"{self._blame.point(configured, other.name)}: stands in registers of {one.name}; "
                    "give each its own"
                )
            unit = units.setdefault(number, Unit())
            if unit.machines:
                log.warning("simulation.shared_unit", address=key, unit=number, machine=configured.path.machine)
            registers = maps.get(id(configured.points)) or RegisterMap(configured.points)
            maps[id(configured.points)] = registers
            unit.add(registers, shown)
        return units

    def _shared_server(self, machines: Behind, demands: Demands) -> OpcUaMachines | None:
        """Return a server that can take these machines along, and is as secure as theirs."""
        if not self.free_ports or self._faulty:
            return None
        alike = (server for server in self.opcua.values() if server.demands == demands)
        return next((server for server in alike if server.has_room_for(machines)), None)


def _failure(server: OpcUaMachines) -> str:
    """Return why a server has failed, in the words that Modbus servers use."""
    parts = urlsplit(server.url)
    if isinstance(server.error, OSError):
        return refusal(server.error, parts.hostname or LOOPBACK, parts.port or PORT)
    return f"{server.url}: {server.error}"


def _transport(configured: Configured) -> Transport:
    return cast("ModbusConnection", configured.connection).transport
