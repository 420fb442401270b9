"""The address space of simulated machines, made of the templates that the gateway reads.

Each machine is an object under Machines (OPC 40001-1, clause 8) with its Identification; a folder for each part of
its nodes' names, PackMLStatus being of the type of OPC 30050; variables with engineering units, range and the meaning
of numbers (OPC 10000-8). Types of companion specifications are there by id and name, without what is inside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from asyncua import ua

from drivers.opcua.node import BrowsePath
from simulators.opcua import own_namespace
from simulators.variables import variables_of

if TYPE_CHECKING:
    from asyncua import Server
    from asyncua.common.node import Node

    from gateway.settings.factory import Machine as Configured
    from gateway.settings.point import Point
    from simulators.shown import Shown
    from simulators.variables import Variable


class Companion(NamedTuple):
    """A type of a companion specification."""

    namespace: str
    number: int
    name: str


MACHINERY = "http://opcfoundation.org/UA/Machinery/"
MACHINES = Companion(MACHINERY, 1001, "Machines")
IDENTIFICATION = Companion(MACHINERY, 1012, "MachineIdentificationType")
PACKML_STATUS = Companion("http://opcfoundation.org/UA/PackML/", 4, "PackMLStatusObjectType")
MACHINE_TYPES = {
    "injection-moulding": Companion(
        "http://opcfoundation.org/UA/PlasticsRubber/IMM2MES/", 1007, "IMM_MES_InterfaceType"
    ),
    "tread-extruder": Companion(
        "http://opcfoundation.org/UA/PlasticsRubber/Extrusion/Extruder/", 1015, "Extruder_InterfaceType"
    ),
}
"""Template -> type of the machine's object (OPC 40077, OPC 40084-3); a plain object elsewhere."""

UNITS = {
    "%": "P1", "/min": "C94", "A": "AMP", "Cel": "CEL", "Hz": "HTZ", "MOhm": "B75", "MPa": "MPA", "N": "NEW",
    "Ohm": "OHM", "Pa": "PAL", "V": "VLT", "W": "WTT", "W.h": "WHR", "bar": "BAR", "cm3": "CMQ", "deg": "DD",
    "g": "GRM", "h": "HUR", "kA": "B22", "kN": "B47", "kN.m": "B48", "kPa": "KPA", "kV": "KVT", "kW": "KWT",
    "kW.h": "KWH", "kg": "KGM", "kg/h": "E93", "kg/m": "KL", "m": "MTR", "m/min": "2X", "m/s": "MTS", "m3": "MTQ",
    "mA": "4K", "min": "MIN", "mm": "MMT", "mm/s": "C16", "r/min": "RPM", "s": "SEC", "t": "TNE", "um": "4H",
}  # fmt: skip
"""UCUM code -> UN/CEFACT code (Recommendation 20), by which OPC UA numbers units (OPC 10000-8, clause 5.6.3)."""

CEFACT = "http://www.opcfoundation.org/UA/units/un/cefact"


class Space:
    """The address space of one server, while it is made."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._made: dict[Companion, Node] = {}
        self._on_paths: dict[ua.NodeId, Node] = {}

    async def add(self, configured: Configured, shown: Shown) -> tuple[Node, list[Variable]]:
        """Add a machine; returns its object, and its variables."""
        own = await self.namespace(own_namespace(configured))
        machine = configured.path.machine
        root = await self._machine(own, configured)
        folders: dict[str, Node] = {}
        variables = variables_of(configured.points)
        for number, variable in enumerate(variables):
            if isinstance(variable.node, BrowsePath):
                parent, variable.id, name = await self._along(variable.node, own)
            else:
                space = variable.node.namespace
                index = own if space is None else await self.namespace(space)
                variable.id = ua.NodeId.from_string(f"ns={index};{variable.node.identifier}")
                group, _, last = variable.node.identifier.partition("=")[2].rpartition(".")
                if group and group not in folders:
                    folders[group] = await self._folder(root, own, machine, group)
                parent, name = folders.get(group, root), ua.QualifiedName(last, own)
            type_ = await variable.define(
                self._server, own, f"Simulated{id(self)}_{machine}_{number}".replace("-", "_")
            )
            value = variable.value(shown.values())
            assert value is not None, "no sensor is broken before the first fault"  # noqa: S101
            made = await parent.add_variable(
                variable.id, name, value, datatype=None if type_ is None else type_.nodeid
            )
            if variable.single is not None:
                await self._describe(made, own, f"{machine}/{variable.single.name}", variable.single)
        return root, variables

    async def namespace(self, wanted: str | int) -> int:
        """Return the index of a namespace, making it where it is missing."""
        if isinstance(wanted, str):
            return int(await self._server.register_namespace(wanted))
        while len(present := await self._server.get_namespace_array()) <= wanted:
            await self._server.register_namespace(f"urn:lineside:simulated:{len(present)}")
        return wanted

    async def _along(self, path: BrowsePath, own: int) -> tuple[Node, ua.NodeId, ua.QualifiedName]:
        """Make the objects that a path goes through; returns where its variable stands, its id and its name."""
        parent, names = self._server.nodes.objects, ""
        for step in path.steps:
            index = own if step.namespace is None else await self.namespace(step.namespace)
            names += f"/{step.name}"
            id_, name = _string_id(names, index), ua.QualifiedName(step.name, index)
            if step is path.steps[-1]:
                return parent, id_, name
            if id_ not in self._on_paths:
                self._on_paths[id_] = await parent.add_object(id_, name)
            parent = self._on_paths[id_]
        raise ValueError(f"{path} has no steps")

    async def _machine(self, own: int, configured: Configured) -> Node:
        name = configured.path.machine
        companion = MACHINE_TYPES.get(configured.template)
        kind = None if companion is None else (await self._type(companion)).nodeid
        root = await (await self._machines()).add_object(own, name, kind)
        type_ = (await self._type(IDENTIFICATION)).nodeid
        index = await self.namespace(MACHINERY)
        about = await root.add_object(
            _string_id(f"{name}/Identification", own), ua.QualifiedName("Identification", index), type_
        )
        path = configured.path
        for key, value in {
            "Manufacturer": ua.Variant(ua.LocalizedText("Lineside simulator"), ua.VariantType.LocalizedText),
            "Model": ua.Variant(ua.LocalizedText(configured.template), ua.VariantType.LocalizedText),
            "ProductInstanceUri": ua.Variant(f"urn:lineside:simulated:{path.site}:{name}", ua.VariantType.String),
            "SerialNumber": ua.Variant(f"SIM-{name}", ua.VariantType.String),
            "Location": ua.Variant(f"{path.site}/{path.area}/{path.line}", ua.VariantType.String),
        }.items():
            await about.add_property(
                _string_id(f"{name}/Identification/{key}", own), ua.QualifiedName(key, index), value
            )
        return root

    async def _machines(self) -> Node:
        """Return the folder in which machines stand."""
        if MACHINES not in self._made:
            index = await self.namespace(MACHINES.namespace)
            self._made[MACHINES] = await self._server.nodes.objects.add_folder(
                _numbered_id(MACHINES.number, index), ua.QualifiedName(MACHINES.name, index)
            )
        return self._made[MACHINES]

    async def _type(self, companion: Companion) -> Node:
        if companion not in self._made:
            index = await self.namespace(companion.namespace)
            self._made[companion] = await self._server.nodes.base_object_type.add_object_type(
                _numbered_id(companion.number, index), ua.QualifiedName(companion.name, index)
            )
        return self._made[companion]

    async def _folder(self, root: Node, own: int, machine: str, group: str) -> Node:
        id_, name = _string_id(f"{machine}/{group}", own), ua.QualifiedName(group, own)
        if group == "PackMLStatus":
            return await root.add_object(id_, name, (await self._type(PACKML_STATUS)).nodeid)
        return await root.add_folder(id_, name)

    async def _describe(self, variable: Node, own: int, where: str, point: Point) -> None:
        """Say what a variable's numbers mean."""
        described: dict[str, Any] = {}
        if point.unit:
            described["EngineeringUnits"] = engineering_unit(point.unit)
        if point.range is not None:
            described["EURange"] = ua.Range(*point.range)
        if point.labels:
            described["EnumValues"] = [
                ua.EnumValueType(number, ua.LocalizedText(label), ua.LocalizedText(""))
                for number, label in point.labels.items()
            ]
        for key, value in described.items():
            await variable.add_property(_string_id(f"{where}/{key}", own), ua.QualifiedName(key, 0), value)
        if point.description:
            text = ua.LocalizedText(point.description)
            value = ua.DataValue(ua.Variant(text, ua.VariantType.LocalizedText))
            await variable.write_attribute(ua.AttributeIds.Description, value)


def engineering_unit(unit: str) -> ua.EUInformation:
    """Return a unit as OPC UA tells it: by the letters of its UN/CEFACT code, as a number; -1 where it has none."""
    code = UNITS.get(unit)
    number = -1 if code is None else int.from_bytes(code.encode(), "big")
    return ua.EUInformation(CEFACT, number, ua.LocalizedText(unit), ua.LocalizedText(unit))


def _string_id(name: str, namespace: int) -> ua.NodeId:
    return ua.NodeId(ua.String(name), ua.Int16(namespace))


def _numbered_id(number: int, namespace: int) -> ua.NodeId:
    return ua.NodeId(ua.Int32(number), ua.Int16(namespace))
