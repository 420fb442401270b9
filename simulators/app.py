"""`lineside simulate`: serves every machine of a configuration."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

import structlog
import yaml

from drivers.opcua.security_settings import SecureConnection
from gateway.settings.document import read_document
from simulators.modbus import ModbusMachines, Unit
from simulators.opcua import OpcUaMachines
from simulators.plant import Plant
from simulators.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.modbus.connection import ModbusConnection
    from drivers.opcua.settings import OpcUaConnection
    from gateway.settings.factory import Factory
    from gateway.settings.factory import Machine as Configured
    from simulators.machine import Machine

log = structlog.get_logger()

STEP = 0.2
"""Seconds between two steps of the machines."""

_SECURITY = frozenset(SecureConnection.model_fields)
"""Options of OPC UA connections that simulated machines can't heed: they have no certificate that anybody trusts."""


class Simulation:
    """The servers of one configuration."""

    def __init__(self, factory: Factory, seed: str, *, free_ports: bool = False) -> None:
        """Prepare; `free_ports` listens on the loopback wherever there is room, not where it is configured."""
        self._factory = factory
        self._free_ports = free_ports
        self._plant = Plant(factory, seed)
        self._modbus: dict[tuple[str, int], ModbusMachines] = {}
        self._opcua: dict[str, OpcUaMachines] = {}

    async def run(self, stop: asyncio.Event, write: Path | None) -> None:
        """Serve until `stop` is set; `write` gets a configuration that points here.

        Raises `OSError` where a port is taken.
        """
        self._build()
        try:
            for server in self._modbus.values():
                await server.start()
            for opcua in set(self._opcua.values()):
                opcua.start()
            if write is not None:
                await asyncio.to_thread(write_whole, write, self._moved_configuration())
            log.info("simulation.started", machines=len(self._plant.machines), modbus_ports=len(self._modbus),
                     opcua_servers=len(set(self._opcua.values())))  # fmt: skip
            await self._step_until(stop)
        finally:
            for server in self._modbus.values():
                await server.stop()
            for opcua in set(self._opcua.values()):
                opcua.stop()
                if opcua.ident is not None:
                    await asyncio.to_thread(opcua.join)
        log.info("simulation.stopped")

    def _build(self) -> None:
        """Put the machines behind their servers: one for each address that the configuration names."""
        behind: dict[str, list[tuple[Configured, Machine]]] = defaultdict(list)
        for configured, machine in self._plant.machines:
            if configured.protocol.name == "modbus":
                modbus = cast("ModbusConnection", configured.connection)
                key = (modbus.host, modbus.port)
                if key not in self._modbus:
                    here = (LOOPBACK, 0) if self._free_ports else key
                    self._modbus[key] = ModbusMachines(*here)
                self._modbus[key].units[modbus.unit] = Unit(configured, machine)
            else:
                behind[cast("OpcUaConnection", configured.connection).url].append((configured, machine))
        for url, machines in behind.items():
            self._opcua[url] = self._shared_server(machines) or OpcUaMachines(
                f"opc.tcp://{LOOPBACK}:{free_port()}" if self._free_ports else url
            )
            self._opcua[url].add(machines)

    def _shared_server(self, machines: list[tuple[Configured, Machine]]) -> OpcUaMachines | None:
        """Return a server that can take these machines along, where we choose the addresses.

        Each server's address space costs seconds to load, and most configurations name several servers.
        """
        if not self._free_ports:
            return None
        return next((server for server in set(self._opcua.values()) if server.has_room_for(machines)), None)

    async def _step_until(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not stop.is_set():
            self._plant.step(STEP)
            for opcua in self._opcua.values():
                if opcua.error is not None:
                    raise OSError(f"{opcua.url}: {opcua.error}") from opcua.error
            due = max(due + STEP, loop.time())
            try:
                async with asyncio.timeout_at(due):
                    await stop.wait()
            except TimeoutError:
                continue

    def _moved_configuration(self) -> str:
        """Return the configuration with every connection pointing to where it is served."""
        data = read_document(self._factory.file).data
        templates = self._factory.file.parent / data.get("templates", "machines")
        if templates.is_dir():
            data["templates"] = str(templates.resolve())
        for line in data["lines"].values():
            for machine in line["machines"].values():
                machine["connection"] = self._moved(machine["connection"])
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)

    def _moved(self, connection: object) -> object:
        if isinstance(connection, dict):
            secure = _SECURITY if str(connection["url"]).startswith("opc.tcp:") else ()
            options = {key: value for key, value in connection.items() if key not in secure}
            return options | {"url": self._moved(connection["url"])}
        parts = urlsplit(str(connection))
        if parts.scheme == "opc.tcp":
            served = self._opcua[parts._replace(query="", fragment="").geturl()]
            options = {key: value for key, value in parse_qsl(parts.query) if key not in _SECURITY}
            query = urlencode({"security": "none"} | options, safe=":/")
            return parts._replace(netloc=urlsplit(served.url).netloc, query=query).geturl()
        modbus = self._modbus[parts.hostname or "", parts.port or 502]
        return parts._replace(netloc=f"{modbus.host}:{modbus.port}").geturl()


def write_whole(file: Path, text: str) -> None:
    """Write a file so that nobody sees half of it."""
    half = file.with_name(file.name + ".half")
    half.write_text(text, encoding="utf-8")
    half.replace(file)
