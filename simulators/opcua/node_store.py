"""The nodes of a simulated server: asyncua's own, those of prototype machines, and copies of these.

Only the first machine of a template is built node by node. The nodes of the others are copied from it when a client
asks for one. A machine then costs the server next to nothing, and 1,000 machines start as fast as one.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from asyncua import ua
from asyncua.server.address_space import AttributeValue, NodeData

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.settings.factory import Machine as Configured
    from simulators.opcua.companion_types import StaticValue
    from simulators.opcua.variable_values import Layout, VariableValues

CACHED_NODES = 512
"""Copied nodes that are kept for a while, since most are asked for several times."""


class MachinePrototype(NamedTuple):
    """A machine that was built node by node, in a namespace of its own.

    `root`    node id of its object
    `static`  constant values of its variables, by node id
    """

    configured: Configured
    namespace: int
    root: ua.NodeId
    layout: Layout
    static: Mapping[ua.NodeId, StaticValue]

    @property
    def name(self) -> str:
        """The machine's name."""
        return self.configured.path.machine

    def fits(self, configured: Configured) -> bool:
        """Return True if a machine can be copied from this machine: their nodes differ only in the machine's name."""
        names = {self.name, configured.path.machine}
        texts = (str(variable.id.Identifier).partition("/")[0] for variable in self.layout.variables)
        return configured.searches == self.configured.searches and names.isdisjoint(texts)


class MachineCopy:
    """A machine that equals its prototype except for its namespace, name and values."""

    def __init__(
        self, prototype: MachinePrototype, configured: Configured, namespace: int, values: VariableValues
    ) -> None:
        self.values = values
        self._prototype, self._configured = prototype, configured
        self._namespace, self._name = namespace, configured.path.machine

    def to_prototype(self, id_: ua.NodeId) -> ua.NodeId:
        """Return the id of the prototype's node that corresponds to a node of this machine; it need not exist."""
        return self._translate(id_, self._prototype.namespace, self._name, self._prototype.name)

    def from_prototype(self, id_: ua.NodeId) -> ua.NodeId:
        """Return the id that a node of the prototype has here; ids of other namespaces are returned unchanged."""
        if id_.NamespaceIndex != self._prototype.namespace:
            return id_
        return self._translate(id_, self._namespace, self._prototype.name, self._name)

    @staticmethod
    def _translate(id_: ua.NodeId, namespace: int, name: str, replacement: str) -> ua.NodeId:
        """Return an id in another namespace, with the machine's name at its start replaced."""
        text = id_.Identifier
        if isinstance(text, str) and (text == name or text.startswith(f"{name}/")):
            text = cast("ua.String", replacement + text[len(name) :])
        return ua.NodeId(text, ua.Int16(namespace))

    def copy_node(self, id_: ua.NodeId, source: NodeData) -> NodeData:
        """Return a copy of a node of the prototype."""
        node = NodeData(id_)
        for attribute, content in source.attributes.items():
            value = AttributeValue(cast("ua.DataValue", content.value))
            value.value_callback = content.value_callback
            if attribute == ua.AttributeIds.Value and source.nodeid in self._prototype.static:
                assert content.value is not None, "a constant"  # noqa: S101
                assert content.value.Value is not None, "a constant"  # noqa: S101
                value.value = _with_value(content.value, self._static_value(source.nodeid, content.value.Value))
            elif content.value is not None and content.value.Value is not None and attribute in _NAMING:
                value.value = _with_value(content.value, self._renamed(content.value.Value.Value))
            node.attributes[attribute] = value
        node.references = [self.copy_reference(reference) for reference in source.references]
        return node

    def copy_reference(self, source: ua.ReferenceDescription) -> ua.ReferenceDescription:
        """Return a copy of a reference of the prototype."""
        return ua.ReferenceDescription(
            ReferenceTypeId=source.ReferenceTypeId,
            IsForward=source.IsForward,
            NodeId=cast("ua.ExpandedNodeId", self.from_prototype(source.NodeId)),
            BrowseName=self._renamed(source.BrowseName),
            DisplayName=self._renamed(source.DisplayName),
            NodeClass=source.NodeClass,
            TypeDefinition=source.TypeDefinition,
        )

    def _static_value(self, id_: ua.NodeId, source: ua.Variant) -> Any:  # noqa: ANN401 - of any type
        value = self._prototype.static[id_](self._configured)
        return ua.LocalizedText(str(value)) if source.VariantType is ua.VariantType.LocalizedText else value

    def _renamed(self, value: Any) -> Any:  # noqa: ANN401 - an id, or a name of two kinds
        """Return the id or name that replaces one of the prototype's."""
        if isinstance(value, ua.NodeId):
            return self.from_prototype(value)
        if isinstance(value, ua.QualifiedName) and value.NamespaceIndex == self._prototype.namespace:
            name = self._name if value.Name == self._prototype.name else value.Name
            return ua.QualifiedName(cast("ua.String", name), ua.UInt16(self._namespace))
        if isinstance(value, ua.LocalizedText) and value.Text == self._prototype.name:
            return ua.LocalizedText(cast("ua.String", self._name))
        return value


_NAMING = {ua.AttributeIds.NodeId, ua.AttributeIds.BrowseName, ua.AttributeIds.DisplayName}


def _with_value(data: ua.DataValue, value: Any) -> ua.DataValue:  # noqa: ANN401 - of any type
    assert data.Value is not None, "checked by the caller"  # noqa: S101
    return ua.DataValue(
        ua.Variant(value, data.Value.VariantType),
        SourceTimestamp=data.SourceTimestamp,
        ServerTimestamp=data.ServerTimestamp,
    )


class NodeStore(MutableMapping[ua.NodeId, NodeData]):
    """The node table of a server, in place of asyncua's: nodes that were built, and copies made on demand."""

    def __init__(self, nodes: MutableMapping[ua.NodeId, NodeData]) -> None:
        self._nodes = nodes
        self._variables: dict[ua.NodeId, tuple[VariableValues, int]] = {}
        self._copies: dict[int, MachineCopy] = {}  # by namespace index
        self._cache: dict[ua.NodeId, NodeData] = {}

    def bind(self, values: VariableValues) -> None:
        """Let the variables of a machine that was built show its values."""
        for number, variable in enumerate(values.layout.variables):
            self._variables[variable.id] = values, number
            value = self[variable.id].attributes[ua.AttributeIds.Value]
            value.value, value.value_callback = None, self._read

    def copy_machine(
        self, prototype: MachinePrototype, configured: Configured, namespace: int, values: VariableValues
    ) -> ua.NodeId:
        """Add a copy of a machine; return the id of its object."""
        copy = self._copies[namespace] = MachineCopy(prototype, configured, namespace, values)
        root = prototype.root
        for reference in self[root].references:
            if not reference.IsForward:
                parent = self[reference.NodeId]
                down = next(other for other in parent.references if other.NodeId == root and other.IsForward)
                parent.references.append(copy.copy_reference(down))
        return copy.from_prototype(root)

    def variable(self, id_: ua.NodeId) -> tuple[VariableValues, int] | None:
        """Return the values that a node belongs to, and its number in them; None without a machine."""
        copy = self._copies.get(id_.NamespaceIndex)
        if copy is None:
            return self._variables.get(id_)
        found = self._variables.get(copy.to_prototype(id_))
        return None if found is None else (copy.values, found[1])

    def variables_with_range(self, values: VariableValues) -> Iterator[ua.NodeId]:
        """Yield the ids of a machine's variables that have a range."""
        copy = next((copy for copy in self._copies.values() if copy.values is values), None)
        for variable in values.layout.of_points:
            if variable.limits is not None:
                yield variable.id if copy is None else copy.from_prototype(variable.id)

    def keep(self, id_: ua.NodeId) -> None:
        """Keep a copied node permanently, because it will be changed."""
        if id_ not in self._nodes and (node := self.get(id_)) is not None:
            self._nodes[id_] = node

    def get(self, id_: ua.NodeId, default: Any = None) -> Any:  # noqa: ANN401 - as dictionaries have it
        found = self._nodes.get(id_)
        return found if found is not None else self._copied(id_) or default

    def __getitem__(self, id_: ua.NodeId) -> NodeData:
        found: NodeData | None = self.get(id_)
        if found is None:
            raise KeyError(id_)
        return found

    def __setitem__(self, id_: ua.NodeId, data: NodeData) -> None:
        self._nodes[id_] = data

    def __delitem__(self, id_: ua.NodeId) -> None:
        del self._nodes[id_]

    def __contains__(self, id_: object) -> bool:
        return isinstance(id_, ua.NodeId) and self.get(id_) is not None

    def __iter__(self) -> Iterator[ua.NodeId]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def _copied(self, id_: ua.NodeId) -> NodeData | None:
        copy = self._copies.get(id_.NamespaceIndex)
        if copy is None:
            return None
        node = self._cache.get(id_)
        if node is None:
            source = self._nodes.get(copy.to_prototype(id_))
            if source is None:
                return None
            if len(self._cache) >= CACHED_NODES:
                self._cache.clear()
            node = self._cache[id_] = copy.copy_node(id_, source)
        return node

    def _read(self, id_: ua.NodeId, _: ua.AttributeIds) -> ua.DataValue:
        found = self.variable(id_)
        assert found is not None, "the callback of variables alone"  # noqa: S101
        values, number = found
        values.refresh()
        return values.data_value(number)
