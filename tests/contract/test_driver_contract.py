"""The contract of drivers, checked with the drivers that come with Lineside, by the kit that others' packages use."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from asyncua import ua
from fakes.modbus_server import FakeModbusServer, exception, right
from processes import free_port

from drivers.base import Group
from drivers.modbus import PROTOCOL as MODBUS
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.source import ModbusSource
from drivers.opcua import PROTOCOL as OPCUA
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from drivers.testing import DeviceUnderTest, DriverContract
from gateway.common.clock import Clock
from simulators.opcua.standard_nodes import new_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from fakes.modbus_server import Asked

    from drivers.base import Driver

URI = "urn:test:machine"
GAP = 1000
"""The register that the Modbus device does not have."""


def _registers(asked: Asked) -> Sequence[bytes]:
    missing = asked.first <= GAP < asked.first + asked.count
    return exception(2)(asked) if missing else right(asked)


class TestModbusDriver(DriverContract):
    @asynccontextmanager
    async def device(self) -> AsyncIterator[DeviceUnderTest]:
        async with FakeModbusServer(_registers) as server:

            def group(unit: int, *addresses: int) -> Group[ModbusConnection, ModbusSource]:
                connection = ModbusConnection(host="127.0.0.1", port=server.port, unit=unit)
                sources = tuple(
                    ModbusSource.model_validate({"address": f"holding {at}", "raw": "uint16"}) for at in addresses
                )
                return Group("machine", connection, tuple(f"p{at}" for at in addresses), sources, 1.0)

            groups = [group(1, 0, 1, 5), group(1, 200), group(2, 7, 8)]

            def make(groups: Sequence[Group[Any, Any]]) -> Driver[Any, Any]:
                return MODBUS.driver(groups[0].connection.shared(), groups, Clock())

            async def stop() -> None:
                server.stop_listening()
                await server.disconnect()

            yield DeviceUnderTest(make, groups, group(1, 0, 1, GAP), stop)


class TestOpcUaDriver(DriverContract):
    seconds = 60.0

    @asynccontextmanager
    async def device(self) -> AsyncIterator[DeviceUnderTest]:
        port = free_port()
        server = new_server()
        await server.init()
        server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await server.register_namespace(URI)
        for name, value in {"Speed": 12.5, "Count": 7, "Badge": "A1"}.items():
            await server.nodes.objects.add_variable(ua.NodeId.from_string(f"ns={index};s={name}"), name, value)
        url = f"opc.tcp://127.0.0.1:{port}"
        connection = OpcUaConnection.from_url(url, {"security": "none", "namespace": URI, "keep_alive": 1.0})

        def group(mode: str, *names: str) -> Group[OpcUaConnection, OpcUaSource]:
            sources = tuple(OpcUaSource.model_validate({"node": f"s={name}", "mode": mode}) for name in names)
            return Group("machine", connection, names, sources, 0.1, pushed=mode == "subscribe")

        groups = [group("poll", "Speed", "Count"), group("poll", "Badge"), group("subscribe", "Count", "Badge")]

        def make(groups: Sequence[Group[Any, Any]]) -> Driver[Any, Any]:
            return OPCUA.driver(connection, groups, Clock())

        running = True

        async def stop() -> None:
            nonlocal running
            if running:
                running = False
                await server.stop()

        await server.start()
        try:
            yield DeviceUnderTest(make, groups, group("poll", "Speed", "Nowhere"), stop)
        finally:
            await stop()
