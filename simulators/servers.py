"""The servers of a configuration: one for each address that it names."""

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
from simulators.modbus.endpoints import Endpoint, ListeningPort, ReverseConnection, SerialLine, explain_bind_error
from simulators.modbus.registers import RegisterMap, Unit, overlaps
from simulators.opcua.security import Credentials, SecurityRequirements, requirements_of
from simulators.opcua.server_thread import OpcUaServerThread
from simulators.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    import ssl

    from drivers.opcua.settings import OpcUaConnection
    from gateway.settings.factory import Factory
    from gateway.settings.factory import Machine as Configured
    from simulators.machines.outputs import MachineOutputs
    from simulators.machines.plant import Plant

    Hosted = list[tuple[Configured, MachineOutputs]]

log = structlog.get_logger(__name__)

FILES_EACH = 8
"""Open files for each Modbus address and each OPC UA machine: a listener and a few connections."""


class CannotServe(OSError):
    """Machines can't be served as configured."""


def raise_file_limit(wanted: int) -> None:
    """Raise the limit of open files (each connection is one) as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def device_key(connection: ModbusConnection) -> str:
    """Return the key that connections to one device share: transport, and address or serial port."""
    return str(connection)


class Servers:
    """All servers of a configuration."""

    def __init__(self, factory: Factory, plant: Plant, *, free_ports: bool, faulty: bool, history: int) -> None:
        """Prepare the servers. Raises `CannotServe`.

        With `free_ports`, machines of several OPC UA servers share one, since each server is a thread with an event
        loop. With `faulty` they don't, since a fault of a server must reach its own machines alone.
        """
        self._location = ConfigLocation(factory)
        self.free_ports, self._faulty, self._history = free_ports, faulty, history
        self._modbus: dict[str, Hosted] = defaultdict(list)
        self._opcua: dict[str, Hosted] = defaultdict(list)
        for configured, outputs in plant.machines:
            if configured.protocol.simulator == "modbus":
                self._modbus[device_key(cast("ModbusConnection", configured.connection))].append(
                    (configured, outputs)
                )
            else:
                url = cast("OpcUaConnection", configured.connection).url
                self._opcua[url].append((configured, outputs))
        self._units = {key: self._units_of(key, hosted) for key, hosted in self._modbus.items()}
        self._requirements = {
            url: requirements_of(cast("OpcUaConnection", configured.connection) for configured, _ in hosted)
            for url, hosted in self._opcua.items()
        }
        self.certificate: Path | None = None
        self.credentials: Credentials
        self.endpoints: dict[str, Endpoint] = {}
        self.opcua: dict[str, OpcUaServerThread] = {}

    def counts(self) -> dict[str, int]:
        """Return how many servers there are, for the log."""
        return {"modbus_ports": len(self.endpoints), "opcua_servers": len(set(self.opcua.values()))}

    async def start(self, beside: Path) -> None:
        """Start all servers; write the certificates that they need to files beside `beside`, named after it.

        OPC UA servers are ready later. Raises `OSError`.
        """
        raise_file_limit(FILES_EACH * (len(self._modbus) + sum(map(len, self._opcua.values()))))
        tls = await self._make_certificate(beside.with_name(f"{beside.name}.pem"))
        await self._make_credentials(beside.with_name(f"{beside.name}.pki"))
        for key, hosted in self._modbus.items():
            endpoint = self._endpoint(cast("ModbusConnection", hosted[0][0].connection), self._units[key], tls)
            try:
                await endpoint.start()
            except OSError as error:
                raise OSError(error.errno, f"{self._location.connection(hosted[0][0])}: {error.strerror}") from error
            self.endpoints[key] = endpoint
        for url, machines in self._opcua.items():
            address = f"opc.tcp://{LOOPBACK}:{free_port()}" if self.free_ports else url
            requirements = self._requirements[url]
            self.opcua[url] = self._shared_server(machines, requirements) or OpcUaServerThread(
                address, requirements, self.credentials, history=self._history, faulty=self._faulty
            )
            self.opcua[url].add(machines)
        for server in set(self.opcua.values()):
            server.start()

    async def apply_faults(self) -> None:
        """Let faults act on servers."""
        for endpoint in self.endpoints.values():
            await endpoint.apply_faults()

    def check(self) -> None:
        """Raise `OSError` if a server has failed."""
        for url, server in self.opcua.items():
            if server.error is not None:
                where = self._location.connection(self._opcua[url][0][0])
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
        over_tls = [hosted[0][0] for hosted in self._modbus.values() if _transport(hosted[0][0]) is Transport.TLS]
        if not over_tls:
            return None
        if not self.free_ports:
            where = self._location.connection(over_tls[0])
            raise CannotServe(
                f"{where}: a simulated device has no trusted certificate; use --ports auto, which creates one and "
                "writes a configuration that trusts it"
            )
        self.certificate = file.absolute()
        return await asyncio.to_thread(self_signed, file, file.with_suffix(".key"))

    async def _make_credentials(self, folder: Path) -> None:
        connections = [
            cast("OpcUaConnection", configured.connection)
            for url, hosted in self._opcua.items()
            for configured, _ in hosted
            if not self._requirements[url].plain
        ]
        self.credentials = Credentials(connections, folder if self.free_ports else None)
        if connections:
            await asyncio.to_thread(self.credentials.create)

    def _endpoint(self, connection: ModbusConnection, units: dict[int, Unit], tls: ssl.SSLContext | None) -> Endpoint:
        transport = connection.transport
        host, port = (LOOPBACK, 0) if self.free_ports else (connection.host, connection.port)
        if transport.serial:
            return SerialLine(transport, None if self.free_ports else Path(connection.device), units)
        if transport is Transport.LISTEN:
            rtu = connection.framing == "rtu"
            return ReverseConnection(LOOPBACK, port, units, registration=connection.registration_packet, rtu=rtu)
        return ListeningPort(transport, host, port, units, tls if transport is Transport.TLS else None)

    def _units_of(self, key: str, hosted: Hosted) -> dict[int, Unit]:
        """Return the units behind one address, by unit id."""
        units: dict[int, Unit] = {}
        maps: dict[int, RegisterMap] = {}
        for configured, outputs in hosted:
            number = cast("ModbusConnection", configured.connection).unit
            for earlier, later in overlaps(configured.points):
                raise CannotServe(
                    f"{self._location.point(configured, later.name)}: overlaps registers of {earlier.name}; "
                    "give each point its own"
                )
            unit = units.setdefault(number, Unit())
            if unit.machines:
                log.warning("simulation.shared_unit", address=key, unit=number, machine=configured.path.machine)
            registers = maps.get(id(configured.points)) or RegisterMap(configured.points)
            maps[id(configured.points)] = registers
            unit.add(registers, outputs)
        return units

    def _shared_server(self, machines: Hosted, requirements: SecurityRequirements) -> OpcUaServerThread | None:
        """Return a server with the same security that has room for these machines, None if there is none."""
        if not self.free_ports or self._faulty:
            return None
        candidates = (server for server in self.opcua.values() if server.requirements == requirements)
        return next((server for server in candidates if server.has_room_for(machines)), None)


def _failure(server: OpcUaServerThread) -> str:
    """Return why a server has failed, in the words of Modbus servers."""
    parts = urlsplit(server.url)
    if isinstance(server.error, OSError):
        return explain_bind_error(server.error, parts.hostname or LOOPBACK, parts.port or PORT)
    return f"{server.url}: {server.error}"


def _transport(configured: Configured) -> Transport:
    return cast("ModbusConnection", configured.connection).transport
