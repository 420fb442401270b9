"""The address space of simulated machines, built from the templates that the gateway reads.

Each machine is an object under Machines (OPC 40001-1, clause 8) with its Identification. The parts of a node's name
become objects, typed where a companion specification has them (`companion_types`). Variables have engineering units,
ranges and enumeration texts (OPC 10000-8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from asyncua import ua

from drivers.opcua.node_address import BrowsePath
from drivers.opcua.node_address import Node as WrittenNode
from simulators.opcua.companion_types import DI, IDENTIFICATION, MACHINE_TYPES, MACHINERY, TYPES_BY_NAME
from simulators.opcua.node_names import default_namespace
from simulators.opcua.node_store import MachinePrototype, NodeStore
from simulators.opcua.variable_metadata import describe
from simulators.opcua.variable_values import Layout, VariableValues
from simulators.opcua.variables import DerivedVariable, variables_of

if TYPE_CHECKING:
    from asyncua import Server
    from asyncua.common.node import Node

    from drivers.opcua.settings import OpcUaSource
    from gateway.settings.factory import Machine as Configured
    from simulators.machines.outputs import MachineOutputs
    from simulators.opcua.companion_types import Declaration, ObjectType, StaticValue
    from simulators.opcua.variables import Variable

MACHINES = 1001
"""Number of the folder Machines in the namespace of OPC 40001-1."""

DATA_TYPES = {
    "Boolean": (ua.VariantType.Boolean, ua.ObjectIds.Boolean),
    "Double": (ua.VariantType.Double, ua.ObjectIds.Double),
    "Duration": (ua.VariantType.Double, ua.ObjectIds.Duration),
    "Float": (ua.VariantType.Float, ua.ObjectIds.Float),
    "Int32": (ua.VariantType.Int32, ua.ObjectIds.Int32),
    "LocalizedText": (ua.VariantType.LocalizedText, ua.ObjectIds.LocalizedText),
    "String": (ua.VariantType.String, ua.ObjectIds.String),
    "UInt32": (ua.VariantType.UInt32, ua.ObjectIds.UInt32),
    "UInt64": (ua.VariantType.UInt64, ua.ObjectIds.UInt64),
}
"""Data type -> built-in type of its values, and its id."""

SET_BY_DECLARATION = {"Duration", "Int32", "UInt64"}
"""Data types that the node of a point takes from its declaration in the object's type."""


class AddressSpace:
    """The address space of one server, while it is built."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.nodes = NodeStore(server.iserver.aspace._nodes)  # noqa: SLF001 - asyncua has no public access
        server.iserver.aspace._nodes = cast("Any", self.nodes)  # noqa: SLF001
        self._prototypes: dict[tuple[str, int], MachinePrototype] = {}
        self._namespaces_in_use: set[int] = set()
        self._types: dict[ObjectType, ua.NodeId] = {}
        self._machines: Node | None = None
        self._on_paths: dict[ua.NodeId, Node] = {}

    async def add(self, configured: Configured, outputs: MachineOutputs) -> tuple[ua.NodeId, VariableValues]:
        """Add a machine; return the id of its object, and the values of its variables."""
        own = await self.namespace(default_namespace(configured))
        prototype = self._prototypes.get((configured.template, id(configured.points)))
        alone = isinstance(default_namespace(configured), str) and own not in self._namespaces_in_use
        if prototype is not None and alone and prototype.fits(configured):
            values = VariableValues(outputs, prototype.layout)
            root = self.nodes.copy_machine(prototype, configured, own, values)
        else:
            root, values = await self._build(configured, outputs, own)
        self._namespaces_in_use.add(own)
        values.refresh()
        return root, values

    async def _build(
        self, configured: Configured, outputs: MachineOutputs, own: int
    ) -> tuple[ua.NodeId, VariableValues]:
        """Add a machine node by node."""
        machine = _MachineTree(self, configured, own, await self._root(own, configured))
        await machine.add_identification()
        variables = variables_of(configured.points)
        for number, variable in enumerate(variables):
            await self._place(machine, variable)
            name = f"Simulated{id(self)}_{configured.path.machine}_{number}".replace("-", "_")
            type_ = await variable.define(self._server, own, name)
            value = variable.value(outputs.fault_free_values())  # faults are applied once the server is up
            assert value is not None, "all points have values"  # noqa: S101
            data_type = variable.data_type if type_ is None else type_.nodeid
            node = await variable.parent.add_variable(variable.id, variable.name, value, datatype=data_type)
            if variable.single is not None:
                await describe(node, own, f"{configured.path.machine}/{variable.single.name}", variable.single)
        await machine.complete(outputs)
        layout = Layout(variables, machine.derived)
        values = VariableValues(outputs, layout)
        self.nodes.bind(values)
        if isinstance(default_namespace(configured), str) and all(variable.is_own for variable in variables):
            prototype = MachinePrototype(configured, own, machine.root.nodeid, layout, machine.static)
            self._prototypes.setdefault((configured.template, id(configured.points)), prototype)
        return machine.root.nodeid, values

    async def namespace(self, wanted: str | int) -> int:
        """Return the index of a namespace; register it if it is missing."""
        if isinstance(wanted, str):
            return int(await self._server.register_namespace(wanted))
        while len(present := await self._server.get_namespace_array()) <= wanted:
            await self._server.register_namespace(f"urn:lineside:simulated:{len(present)}")
        return wanted

    async def add_object(
        self, parent: Node, id_: ua.NodeId, name: ua.QualifiedName, type_: ObjectType | None
    ) -> Node:
        """Add an object without children; a plain object if `type_` is None."""
        item = ua.AddNodesItem()
        item.RequestedNewNodeId = cast("Any", id_)
        item.BrowseName = name
        item.ParentNodeId = cast("Any", parent.nodeid)
        item.ReferenceTypeId = ua.NodeId(ua.Int32(ua.ObjectIds.HasComponent))
        item.NodeClass = ua.NodeClass.Object
        base = ua.NodeId(ua.Int32(ua.ObjectIds.BaseObjectType))
        item.TypeDefinition = cast("Any", base if type_ is None else await self.object_type(type_))
        item.NodeAttributes = ua.ObjectAttributes(DisplayName=ua.LocalizedText(name.Name))
        [result] = await self._server.iserver.isession.add_nodes([item])
        result.StatusCode.check()
        return self._server.get_node(id_)

    async def object_type(self, type_: ObjectType) -> ua.NodeId:
        """Return the id of an object type; add it with its declarations if it is missing."""
        if type_ in self._types:
            return self._types[type_]
        base = ua.NodeId(ua.Int32(ua.ObjectIds.BaseObjectType))
        if type_.supertype is not None:
            base = await self.object_type(type_.supertype)
        index = await self.namespace(type_.uri)
        node = await self._server.get_node(base).add_object_type(
            _numbered_id(type_.number, index), ua.QualifiedName(type_.name, ua.UInt16(index))
        )
        self._types[type_] = node.nodeid
        for member in type_.members:
            inside = await self.namespace(member.uri)
            declared = f"{member.name}<Nr>" if member.name.endswith("_") else member.name
            id_, name = _string_id(f"{type_.name}/{declared}", index), ua.QualifiedName(declared, ua.UInt16(inside))
            if member.type_ is not None:
                declaration = await self.add_object(node, id_, name, member.type_)
            else:
                variant, data_type = DATA_TYPES[member.data]
                value = ua.get_default_value(variant)
                declaration = await node.add_variable(id_, name, value, variant, ua.NodeId(ua.Int32(data_type)))
            await declaration.set_modelling_rule(bool(member.static or member.live or member.always))
        return node.nodeid

    async def _place(self, machine: _MachineTree, variable: Variable) -> None:
        """Set the parent, id, name and data type of a variable."""
        if isinstance(variable.node, BrowsePath):
            variable.parent, variable.id, variable.name = await self._follow(variable.node, machine.own)
            return
        namespace = variable.node.namespace
        index = machine.own if namespace is None else await self.namespace(namespace)
        variable.id = ua.NodeId.from_string(f"ns={index};{variable.node.identifier}")
        *way, last = variable.node.identifier.partition("=")[2].split(".")
        variable.parent, member = await machine.parent_of(tuple(way), last)
        uri = None if member is None else await self.namespace(member.uri)
        variable.name = ua.QualifiedName(last, ua.UInt16(machine.own if uri is None else uri))
        if member is not None and member.data in SET_BY_DECLARATION and variable.single is not None:
            variable.kind, number = DATA_TYPES[member.data]
            variable.data_type = ua.NodeId(ua.Int32(number))

    async def _follow(self, path: BrowsePath, own: int) -> tuple[Node, ua.NodeId, ua.QualifiedName]:
        """Add the objects of a browse path; return the parent of its variable, the id and the name."""
        parent, names = self._server.nodes.objects, ""
        for step in path.steps:
            index = own if step.namespace is None else await self.namespace(step.namespace)
            names += f"/{step.name}"
            id_, name = _string_id(names, index), ua.QualifiedName(step.name, ua.UInt16(index))
            if step is path.steps[-1]:
                return parent, id_, name
            if id_ not in self._on_paths:
                self._on_paths[id_] = await parent.add_object(id_, name)
            parent = self._on_paths[id_]
        raise ValueError(f"{path} has no steps")

    async def _root(self, own: int, configured: Configured) -> Node:
        if self._machines is None:
            index = await self.namespace(MACHINERY)
            self._machines = await self._server.nodes.objects.add_folder(
                _numbered_id(MACHINES, index), ua.QualifiedName("Machines", ua.UInt16(index))
            )
        name = configured.path.machine
        type_ = MACHINE_TYPES.get(configured.template)
        return await self.add_object(
            self._machines, _string_id(name, own), ua.QualifiedName(name, ua.UInt16(own)), type_
        )


class _MachineTree:
    """The objects of one machine, by their browse paths from the machine's object."""

    def __init__(self, space: AddressSpace, configured: Configured, own: int, root: Node) -> None:
        self.own, self.root = own, root
        self.derived: list[DerivedVariable] = []
        self.static: dict[ua.NodeId, StaticValue] = {}
        self._space, self._configured = space, configured
        self._objects: dict[tuple[str, ...], tuple[Node, ObjectType | None]] = {
            (): (root, MACHINE_TYPES.get(configured.template))
        }
        self._points: set[tuple[str, ...]] = set()
        # a search names the object below which it searches
        named = (cast("OpcUaSource", search.source).node for search in configured.searches)
        texts = (
            node.identifier[2:]
            for node in named
            if isinstance(node, WrittenNode) and node.identifier.startswith("s=")
        )
        self._named = {tuple(text.split(".")): _string_id(text, own) for text in texts}

    async def add_identification(self) -> None:
        """Add manufacturer, model, serial number and location (OPC 40001-1, clause 9)."""
        index = await self._space.namespace(DI)
        identification = await self._space.add_object(
            self.root,
            self._id("Identification"),
            ua.QualifiedName("Identification", ua.UInt16(index)),
            IDENTIFICATION,
        )
        self._objects["Identification",] = identification, IDENTIFICATION

    async def parent_of(self, way: tuple[str, ...], last: str) -> tuple[Node, Declaration | None]:
        """Return the object at a path, added if it is missing, and the declaration of `last` in its type."""
        node, type_ = await self._object(way)
        self._points.add((*way, last))
        return node, None if type_ is None else type_.member(last)

    async def complete(self, outputs: MachineOutputs) -> None:
        """Add the members of types that are not points."""
        pending = list(self._objects)
        for way in pending:
            node, type_ = self._objects[way]
            for member in type_.all_members() if type_ is not None else ():
                inside = (*way, member.name)
                if member.always and inside not in self._objects:
                    await self._object(inside)
                    pending.append(inside)
                elif (member.static or member.live) and inside not in self._points:
                    await self._fill(node, inside, member, outputs)

    async def _object(self, way: tuple[str, ...]) -> tuple[Node, ObjectType | None]:
        if way in self._objects:
            return self._objects[way]
        parent, parent_type = await self._object(way[:-1])
        member = parent_type.member(way[-1]) if parent_type is not None else None
        type_ = member.type_ if member is not None else None
        if type_ is None and len(way) == 1:
            type_ = TYPES_BY_NAME.get(way[0]) or TYPES_BY_NAME.get(way[0].rstrip("0123456789"))
        index = self.own if member is None else await self._space.namespace(member.uri)
        name = ua.QualifiedName(way[-1], ua.UInt16(index))
        id_ = self._named.get(way) or self._id(".".join(way))
        added = await self._space.add_object(parent, id_, name, type_), type_
        self._objects[way] = added
        return added

    async def _fill(self, node: Node, way: tuple[str, ...], member: Declaration, outputs: MachineOutputs) -> None:
        variant, number = DATA_TYPES[member.data]
        id_ = self._id("/".join(way))
        name = ua.QualifiedName(member.name, ua.UInt16(await self._space.namespace(member.uri)))
        if member.static is not None:
            constant = member.static(self._configured)
            self.static[id_] = member.static
            value = ua.LocalizedText(str(constant)) if variant is ua.VariantType.LocalizedText else constant
            await node.add_property(id_, name, value, variant, ua.NodeId(ua.Int32(number)))
        elif member.live is not None:
            derived = DerivedVariable(id_, variant, member.live)
            now = derived.value(outputs.values())
            await node.add_variable(id_, name, now, datatype=ua.NodeId(ua.Int32(number)))
            self.derived.append(derived)

    def _id(self, way: str) -> ua.NodeId:
        return _string_id(f"{self._configured.path.machine}/{way}", self.own)


def _string_id(name: str, namespace: int) -> ua.NodeId:
    return ua.NodeId(ua.String(name), ua.Int16(namespace))


def _numbered_id(number: int, namespace: int) -> ua.NodeId:
    return ua.NodeId(ua.Int32(number), ua.Int16(namespace))
