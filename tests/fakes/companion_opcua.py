"""A machine after companion specifications, by asyncua: numbered ids, names of others' namespaces, and a loop.

It is served from a thread of its own: the commands under test run event loops of their own.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from asyncua import ua
from asyncua.common.structures104 import new_struct, new_struct_field
from processes import LOOPBACK, free_port

from drivers.opcua.browse.companion_names import IMM2MES, MACHINERY, PACKML, PLASTICS
from simulators.opcua.standard_nodes import new_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncua import Server
    from asyncua.common.node import Node

URI = "urn:test:moulding"
DI = "http://opcfoundation.org/UA/DI/"
CEFACT = "http://www.opcfoundation.org/UA/units/un/cefact"
START_SECONDS = 60.0


class CompanionMachine:
    """The machine: `Press` with PackML, `Machinery` identification and state, and EUROMAP 77 jobs and cycles."""

    def __init__(self) -> None:
        self.url = f"opc.tcp://{LOOPBACK}:{free_port()}"
        self._server = new_server()
        self._indexes: dict[str, int] = {}
        self._next = 5000

    async def start(self) -> Server:
        """Build it; the caller serves it."""
        server = self._server
        await server.init()
        server.set_endpoint(self.url)
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        for uri in (URI, PACKML, MACHINERY, IMM2MES, PLASTICS, DI):
            self._indexes[uri] = await server.register_namespace(uri)
        press = await self._object(server.nodes.objects, URI, "Press")
        await self._packml(press)
        await self._machinery(press)
        await self._moulding(press)
        await self._others(press)
        await press.add_reference(press, ua.ObjectIds.Organizes, bidirectional=False)  # a loop, of one
        zones = await self._object(press, URI, "Zones")
        await zones.add_reference(press, ua.ObjectIds.Organizes)  # and of two
        for name, value in (("Zone 1", 171.5), ("Zone 2", 172.5)):
            zone = await self._object(zones, URI, name)
            await self._variable(zone, URI, "Temperature", value, ua.VariantType.Double)
        return server

    def _name(self, uri: str, name: str) -> ua.QualifiedName:
        return ua.QualifiedName(name, ua.UInt16(self._indexes[uri] if uri else 0))

    def _id(self) -> ua.NodeId:
        self._next += 1
        return ua.NodeId(ua.Int32(self._next), ua.Int16(self._indexes[URI]))

    async def _object(self, above: Node, uri: str, name: str, kind: ua.NodeId | None = None) -> Node:
        return await above.add_object(self._id(), self._name(uri, name), kind)

    async def _variable(
        self, above: Node, uri: str, name: str, value: Any, kind: ua.VariantType, **more: Any
    ) -> Node:
        return await above.add_variable(self._id(), self._name(uri, name), value, kind, **more)

    async def _type(self, uri: str, name: str, above: Node | None = None) -> Node:
        base = above or self._server.nodes.base_object_type
        return await base.add_object_type(self._id(), self._name(uri, name))

    async def _packml(self, press: Node) -> None:
        kind = await self._type(PACKML, "PackMLStatusObjectType")
        ours = await self._type(URI, "OurStatusType", kind)  # a vendor's own, whose names are its own, too
        status = await self._object(press, URI, "Status", ours.nodeid)
        await self._variable(status, URI, "StateCurrent", 6, ua.VariantType.Int32)
        await self._variable(status, PACKML, "CurMachSpeed", 12.5, ua.VariantType.Float)
        fields = [new_struct_field(name, ua.VariantType.Int32) for name in ("Count", "AccCount")]
        count, _ = await new_struct(self._server, self._indexes[PACKML], "PackMLCountDataType", fields)
        await self._server.load_data_type_definitions()
        made: Any = getattr(ua, "PackMLCountDataType")  # noqa: B009 - asyncua adds it, once for all servers
        counts = [made(7, 1007), made(8, 1008)]
        value = ua.Variant(counts, ua.VariantType.ExtensionObject)
        admin = await self._object(press, PACKML, "Admin")
        await admin.add_variable(self._id(), self._name(PACKML, "ProdProcessedCount"), value, datatype=count.nodeid)

    async def _machinery(self, press: Node) -> None:
        kind = await self._type(MACHINERY, "MachineIdentificationType")
        about = await self._object(press, DI, "Identification", kind.nodeid)
        await about.add_property(self._id(), self._name(DI, "SerialNumber"), "K-1", ua.VariantType.String)
        await about.add_property(self._id(), self._name("", "DefaultInstanceBrowseName"), "x", ua.VariantType.String)

    async def _moulding(self, press: Node) -> None:
        jobs = await self._object(press, IMM2MES, "Jobs")
        values = await self._object(jobs, PLASTICS, "ActiveJobValues")
        await self._variable(values, PLASTICS, "JobGoodPartsCounter", 17, ua.VariantType.UInt64)
        duration = ua.NodeId(ua.Int32(ua.ObjectIds.Duration))
        last = await self._variable(
            values, PLASTICS, "LastCycleTime", 45_020.0, ua.VariantType.Double, datatype=duration
        )
        await self._property(last, "EURange", ua.Range(0.0, 120_000.0))
        job = await self._object(jobs, PLASTICS, "ActiveJob")
        await self._variable(job, PLASTICS, "JobName", "ORD-1", ua.VariantType.String)
        cycle = await self._object(press, IMM2MES, "InjectionUnitCycleParameters_1")
        cushion = await self._variable(cycle, IMM2MES, "CushionVolume", 21.5, ua.VariantType.Double)
        await self._property(cushion, "EngineeringUnits", _unit("CMQ", "cm³"))

    async def _others(self, press: Node) -> None:
        speed = await self._variable(press, URI, "Speed", 12.0, ua.VariantType.Double)
        await self._property(speed, "EngineeringUnits", ua.EUInformation("urn:x", -1, ua.LocalizedText("rpm")))
        await self._property(speed, "EURange", ua.Range(-3.5e38, 3.5e38))
        stroke = await self._variable(press, URI, "Stroke", 3.0, ua.VariantType.Double)
        await self._property(stroke, "EngineeringUnits", ua.EUInformation("urn:x", -1, ua.LocalizedText("Hübe")))
        valve = await self._variable(press, URI, "Valve", 1, ua.VariantType.UInt16)
        labels = [ua.LocalizedText("shut"), ua.LocalizedText("open")]
        await self._property(valve, "EnumStrings", labels)
        await self._variable(press, URI, "Empty", [], ua.VariantType.Double)

    async def _property(self, variable: Node, name: str, value: Any) -> None:
        await variable.add_property(self._id(), self._name("", name), value)


def _unit(code: str, shown: str) -> ua.EUInformation:
    return ua.EUInformation(CEFACT, int.from_bytes(code.encode(), "big"), ua.LocalizedText(shown))


@contextmanager
def served() -> Iterator[CompanionMachine]:
    """Serve the machine until the end of the block."""
    machine = CompanionMachine()
    ready, stop = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    async def serve() -> None:
        async with await machine.start():
            ready.set()
            await asyncio.to_thread(stop.wait)

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - raised where the test waits
            errors.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="companion machine")
    thread.start()
    try:
        assert ready.wait(START_SECONDS), "the server does not start"
        if errors:
            raise errors[0]
        yield machine
    finally:
        stop.set()
        thread.join()
