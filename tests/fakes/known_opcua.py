"""An OPC UA machine of which everything is known: constants of every type, faults, and values that a test writes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from asyncua import ua

from drivers.base import Quality
from fakes.known_modbus import Known
from simulators.opcua.standard_nodes import new_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncua import Server

URI = "urn:test:panel"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SINGLE = 0.10000000149011612  # 0.1 as a Float holds it
CONSTANTS: dict[str, tuple[ua.VariantType, Any, str, Any]] = {
    "Boolean": (ua.VariantType.Boolean, True, "bool", True),
    "SByte": (ua.VariantType.SByte, -128, "int", -128),
    "Byte": (ua.VariantType.Byte, 255, "int", 255),
    "Int16": (ua.VariantType.Int16, -32768, "int", -32768),
    "UInt16": (ua.VariantType.UInt16, 65535, "int", 65535),
    "Int32": (ua.VariantType.Int32, -(2**31), "int", -(2**31)),
    "UInt32": (ua.VariantType.UInt32, 2**32 - 1, "int", 2**32 - 1),
    "Int64": (ua.VariantType.Int64, -(2**63), "int", -(2**63)),
    "UInt64": (ua.VariantType.UInt64, 2**63 - 1, "int", 2**63 - 1),
    "Float": (ua.VariantType.Float, SINGLE, "float", SINGLE),
    "Double": (ua.VariantType.Double, 171.8, "float", 171.8),
    "WholeDouble": (ua.VariantType.Double, 16.0, "float", 16.0),
    "IntAsFloat": (ua.VariantType.Int32, 16, "float", 16.0),
    "String": (ua.VariantType.String, 'B-17 x,y="z" \u8f6e\u80ce', "string", 'B-17 x,y="z" \u8f6e\u80ce'),
    "Empty": (ua.VariantType.String, "", "string", ""),
    "Localized": (ua.VariantType.LocalizedText, ua.LocalizedText("Reifen", "de"), "string", "Reifen"),
}
"""Name -> type and value in the server, then the declared type and the value of the reading."""


def moment(microseconds: int) -> datetime:
    """Return microseconds since the epoch as asyncua has times: UTC, not said."""
    return (EPOCH + timedelta(microseconds=microseconds)).replace(tzinfo=None)


class KnownOpcUa:
    """The machine. Its constants have had their values since `since`, microseconds since the epoch."""

    def __init__(self, port: int, since: int) -> None:
        self.since = since
        self.url = f"opc.tcp://127.0.0.1:{port}"
        self._server: Server
        self._index = 0
        self.points = [
            Known(name.lower(), {"node": f"s={name}", "type": kind, "unit": "mm" if kind != "string" else ""}, value)
            for name, (_, _, kind, value) in CONSTANTS.items()
        ]
        self.points += [
            Known("missing", {"node": "s=Missing", "type": "int"}, None, Quality.BAD, "not_found",
                  "0x80340000 BadNodeIdUnknown"),
            Known("mismatch", {"node": "s=String", "type": "int"}, None, Quality.BAD, "type_mismatch",
                  "str where a whole number belongs"),
            Known("sick", {"node": "s=Sick", "type": "float"}, None, Quality.BAD, "device_fault",
                  "0x808C0000 BadSensorFailure"),
            Known("stale", {"node": "s=Stale", "type": "float"}, 2.5, Quality.UNCERTAIN, "stale",
                  "0x40900000 UncertainLastUsableValue"),
        ]  # fmt: skip

    def template(self) -> dict[str, Any]:
        """Return the machine type, as YAML has it."""
        points = {"counter": {"node": "s=Counter", "type": "int", "unit": "{part}"}}
        return {
            "format": 1,
            "protocol": "opcua",
            "defaults": {"every": "200ms"},
            "points": points | {point.name: {k: v for k, v in point.keys.items() if v} for point in self.points},
        }

    @asynccontextmanager
    async def served(self) -> AsyncIterator[KnownOpcUa]:
        """Serve it."""
        server = self._server = new_server()
        await server.init()
        server.set_endpoint(self.url)
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        self._index = await server.register_namespace(URI)
        for name, (kind, value, _, _) in CONSTANTS.items():
            await self._add(name, ua.DataValue(ua.Variant(value, kind)))
        number = ua.Variant(2.5, ua.VariantType.Double)
        await self._add("Sick", ua.DataValue(number, ua.StatusCode(ua.StatusCodes.BadSensorFailure)))
        await self._add("Stale", ua.DataValue(number, ua.StatusCode(ua.StatusCodes.UncertainLastUsableValue)))
        await self._add("Counter", ua.DataValue(ua.Variant(0, ua.VariantType.UInt32)))
        async with server:
            yield self

    async def count(self, value: int, time: int) -> None:
        """Set the counter, as of a time."""
        await self._write("Counter", ua.DataValue(ua.Variant(value, ua.VariantType.UInt32)), time)

    def subscriptions(self) -> int:
        """Return how many clients are subscribed."""
        return len(self._server.iserver.subscription_service.subscriptions)

    async def _add(self, name: str, value: ua.DataValue) -> None:
        node = ua.NodeId(name, self._index)
        await self._server.nodes.objects.add_variable(node, name, value.Value)
        await self._write(name, value, self.since)

    async def _write(self, name: str, value: ua.DataValue, time: int) -> None:
        status = value.StatusCode
        stamped = ua.DataValue(value.Value, status, moment(time), moment(time))
        await self._server.write_attribute_value(ua.NodeId(name, self._index), stamped)
