"""The address space of simulated machines, made of the templates that the gateway reads.

Each machine is an object under Machines (OPC 40001-1, clause 8) with its Identification. The parts of a node's name
are objects, of a companion specification's type where one has them (`companion_types`); variables have
engineering units, range and the meaning of numbers (OPC 10000-8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from asyncua import ua

from drivers.opcua.node_address import BrowsePath
from drivers.opcua.node_address import Node as WrittenNode
from simulators.opcua.companion_types import DI, IDENTIFICATION, MACHINE_KINDS, MACHINERY, OF_ANY_MACHINE
from simulators.opcua.node_store import NodeStore, Original
from simulators.opcua.server import own_namespace
from simulators.opcua.variable_metadata import describe
from simulators.opcua.variable_values import Layout, VariableValues
from simulators.opcua.variables import Following, variables_of

if TYPE_CHECKING:
    from asyncua import Server
    from asyncua.common.node import Node

    from drivers.opcua.settings import OpcUaSource
    from gateway.settings.factory import Machine as Configured
    from simulators.machines.outputs import MachineOutputs
    from simulators.opcua.companion_types import Kind, Member, Static
    from simulators.opcua.variables import Variable

MACHINES = 1001
"""The folder in which machines stand, in the namespace of OPC 40001-1."""

KINDS = {
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
"""Data type -> how its values are written, and its id."""

SHOWN_BY_POINTS = {"Duration", "Int32", "UInt64"}
"""Data types that a point's node takes over from the type that has it."""


class AddressSpace:
    """The address space of one server, while it is made."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.nodes = NodeStore(server.iserver.aspace._nodes)  # noqa: SLF001 - asyncua has no other way to put it there
        server.iserver.aspace._nodes = cast("Any", self.nodes)  # noqa: SLF001
        self._originals: dict[tuple[str, int], Original] = {}
        self._owned: set[int] = set()
        self._kinds: dict[Kind, ua.NodeId] = {}
        self._machines: Node | None = None
        self._on_paths: dict[ua.NodeId, Node] = {}

    async def add(self, configured: Configured, shown: MachineOutputs) -> tuple[ua.NodeId, VariableValues]:
        """Add a machine; returns the id of its object, and what its variables hold."""
        own = await self.namespace(own_namespace(configured))
        like = self._originals.get((configured.template, id(configured.points)))
        alone = isinstance(own_namespace(configured), str) and own not in self._owned
        if like is not None and alone and like.fits(configured):
            held = VariableValues(shown, like.layout)
            root = self.nodes.copy_machine(like, configured, own, held)
        else:
            root, held = await self._make(configured, shown, own)
        self._owned.add(own)
        held.look()
        return root, held

    async def _make(
        self, configured: Configured, shown: MachineOutputs, own: int
    ) -> tuple[ua.NodeId, VariableValues]:
        """Add a machine node by node."""
        machine = _Tree(self, configured, own, await self._root(own, configured))
        await machine.add_identification()
        variables = variables_of(configured.points)
        for number, variable in enumerate(variables):
            await self._place(machine, variable)
            name = f"Simulated{id(self)}_{configured.path.machine}_{number}".replace("-", "_")
            type_ = await variable.define(self._server, own, name)
            value = variable.value(shown.sound())  # what is wrong with it is told once the server is up
            assert value is not None, "of all its points"  # noqa: S101
            data_type = variable.data_type if type_ is None else type_.nodeid
            made = await variable.parent.add_variable(variable.id, variable.name, value, datatype=data_type)
            if variable.single is not None:
                await describe(made, own, f"{configured.path.machine}/{variable.single.name}", variable.single)
        await machine.complete(shown)
        layout = Layout(variables, machine.following)
        held = VariableValues(shown, layout)
        self.nodes.hold(held)
        if isinstance(own_namespace(configured), str) and all(variable.is_own for variable in variables):
            original = Original(configured, own, machine.root.nodeid, layout, machine.static)
            self._originals.setdefault((configured.template, id(configured.points)), original)
        return machine.root.nodeid, held

    async def namespace(self, wanted: str | int) -> int:
        """Return the index of a namespace, making it where it is missing."""
        if isinstance(wanted, str):
            return int(await self._server.register_namespace(wanted))
        while len(present := await self._server.get_namespace_array()) <= wanted:
            await self._server.register_namespace(f"urn:lineside:simulated:{len(present)}")
        return wanted

    async def add_object(self, above: Node, id_: ua.NodeId, name: ua.QualifiedName, kind: Kind | None) -> Node:
        """Add an object of a type; what is inside comes later."""
        item = ua.AddNodesItem()
        item.RequestedNewNodeId = cast("Any", id_)
        item.BrowseName = name
        item.ParentNodeId = cast("Any", above.nodeid)
        item.ReferenceTypeId = ua.NodeId(ua.Int32(ua.ObjectIds.HasComponent))
        item.NodeClass = ua.NodeClass.Object
        base = ua.NodeId(ua.Int32(ua.ObjectIds.BaseObjectType))
        item.TypeDefinition = cast("Any", base if kind is None else await self.kind(kind))
        item.NodeAttributes = ua.ObjectAttributes(DisplayName=ua.LocalizedText(name.Name))
        [result] = await self._server.iserver.isession.add_nodes([item])
        result.StatusCode.check()
        return self._server.get_node(id_)

    async def kind(self, kind: Kind) -> ua.NodeId:
        """Return the id of an object type, making it with what is inside where it is missing."""
        if kind in self._kinds:
            return self._kinds[kind]
        base = ua.NodeId(ua.Int32(ua.ObjectIds.BaseObjectType)) if kind.above is None else await self.kind(kind.above)
        index = await self.namespace(kind.uri)
        made = await self._server.get_node(base).add_object_type(
            _numbered_id(kind.number, index), ua.QualifiedName(kind.name, ua.UInt16(index))
        )
        self._kinds[kind] = made.nodeid
        for member in kind.members:
            inside = await self.namespace(member.uri)
            declared = f"{member.name}<Nr>" if member.name.endswith("_") else member.name
            id_, name = _string_id(f"{kind.name}/{declared}", index), ua.QualifiedName(declared, ua.UInt16(inside))
            if member.kind is not None:
                declaration = await self.add_object(made, id_, name, member.kind)
            else:
                variant, data_type = KINDS[member.data]
                value = ua.get_default_value(variant)
                declaration = await made.add_variable(id_, name, value, variant, ua.NodeId(ua.Int32(data_type)))
            await declaration.set_modelling_rule(bool(member.static or member.live or member.always))
        return made.nodeid

    async def _place(self, machine: _Tree, variable: Variable) -> None:
        """Find out where a variable stands: the object above it, its id and its name."""
        if isinstance(variable.node, BrowsePath):
            variable.parent, variable.id, variable.name = await self._along(variable.node, machine.own)
            return
        space = variable.node.namespace
        index = machine.own if space is None else await self.namespace(space)
        variable.id = ua.NodeId.from_string(f"ns={index};{variable.node.identifier}")
        *way, last = variable.node.identifier.partition("=")[2].split(".")
        variable.parent, member = await machine.along(tuple(way), last)
        uri = None if member is None else await self.namespace(member.uri)
        variable.name = ua.QualifiedName(last, ua.UInt16(machine.own if uri is None else uri))
        if member is not None and member.data in SHOWN_BY_POINTS and variable.single is not None:
            variable.kind, number = KINDS[member.data]
            variable.data_type = ua.NodeId(ua.Int32(number))

    async def _along(self, path: BrowsePath, own: int) -> tuple[Node, ua.NodeId, ua.QualifiedName]:
        """Make the objects that a path goes through; returns where its variable stands, its id and its name."""
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
        kind = MACHINE_KINDS.get(configured.template)
        return await self.add_object(
            self._machines, _string_id(name, own), ua.QualifiedName(name, ua.UInt16(own)), kind
        )


class _Tree:
    """The objects of one machine, by the way to each from the machine's own."""

    def __init__(self, space: AddressSpace, configured: Configured, own: int, root: Node) -> None:
        self.own, self.root = own, root
        self.following: list[Following] = []
        self.static: dict[ua.NodeId, Static] = {}
        self._space, self._configured = space, configured
        self._made: dict[tuple[str, ...], tuple[Node, Kind | None]] = {
            (): (root, MACHINE_KINDS.get(configured.template))
        }
        self._taken: set[tuple[str, ...]] = set()
        # a search names the object that it looks below
        named = (cast("OpcUaSource", search.source).node for search in configured.searches)
        texts = (
            node.identifier[2:]
            for node in named
            if isinstance(node, WrittenNode) and node.identifier.startswith("s=")
        )
        self._named = {tuple(text.split(".")): _string_id(text, own) for text in texts}

    async def add_identification(self) -> None:
        """Add who made the machine, and where it stands (OPC 40001-1, clause 9)."""
        index = await self._space.namespace(DI)
        about = await self._space.add_object(
            self.root,
            self._id("Identification"),
            ua.QualifiedName("Identification", ua.UInt16(index)),
            IDENTIFICATION,
        )
        self._made["Identification",] = about, IDENTIFICATION

    async def along(self, way: tuple[str, ...], last: str) -> tuple[Node, Member | None]:
        """Return the object that a way leads to, making it, and the member of its type that `last` is."""
        node, kind = await self._object(way)
        self._taken.add((*way, last))
        return node, None if kind is None else kind.member(last)

    async def complete(self, shown: MachineOutputs) -> None:
        """Add what the types have besides the points."""
        pending = list(self._made)
        for way in pending:
            node, kind = self._made[way]
            for member in kind.all_members() if kind is not None else ():
                inside = (*way, member.name)
                if member.always and inside not in self._made:
                    await self._object(inside)
                    pending.append(inside)
                elif (member.static or member.live) and inside not in self._taken:
                    await self._fill(node, inside, member, shown)

    async def _object(self, way: tuple[str, ...]) -> tuple[Node, Kind | None]:
        if way in self._made:
            return self._made[way]
        above, kind_above = await self._object(way[:-1])
        member = kind_above.member(way[-1]) if kind_above is not None else None
        kind = member.kind if member is not None else None
        if kind is None and len(way) == 1:
            kind = OF_ANY_MACHINE.get(way[0]) or OF_ANY_MACHINE.get(way[0].rstrip("0123456789"))
        index = self.own if member is None else await self._space.namespace(member.uri)
        name = ua.QualifiedName(way[-1], ua.UInt16(index))
        id_ = self._named.get(way) or self._id(".".join(way))
        made = await self._space.add_object(above, id_, name, kind), kind
        self._made[way] = made
        return made

    async def _fill(self, node: Node, way: tuple[str, ...], member: Member, shown: MachineOutputs) -> None:
        variant, number = KINDS[member.data]
        id_ = self._id("/".join(way))
        name = ua.QualifiedName(member.name, ua.UInt16(await self._space.namespace(member.uri)))
        if member.static is not None:
            told = member.static(self._configured)
            self.static[id_] = member.static
            value = ua.LocalizedText(str(told)) if variant is ua.VariantType.LocalizedText else told
            await node.add_property(id_, name, value, variant, ua.NodeId(ua.Int32(number)))
        elif member.live is not None:
            following = Following(id_, variant, member.live)
            now = following.value(shown.values())
            await node.add_variable(id_, name, now, datatype=ua.NodeId(ua.Int32(number)))
            self.following.append(following)

    def _id(self, way: str) -> ua.NodeId:
        return _string_id(f"{self._configured.path.machine}/{way}", self.own)


def _string_id(name: str, namespace: int) -> ua.NodeId:
    return ua.NodeId(ua.String(name), ua.Int16(namespace))


def _numbered_id(number: int, namespace: int) -> ua.NodeId:
    return ua.NodeId(ua.Int32(number), ua.Int16(namespace))
