"""The nodes of a simulated server: asyncua's, those of machines, and those of machines that are like another.

Of machines of one template only the first is made, node by node. What others have is made of that when somebody asks
for it: so a machine costs the server next to nothing, and a thousand are no slower to start than one.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from asyncua import ua
from asyncua.server.address_space import AttributeValue, NodeData

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.settings.factory import Machine as Configured
    from simulators.opcua.companion_types import Static
    from simulators.opcua.variable_values import Layout, VariableValues

RECENT = 512
"""Nodes that were made last and are kept for a while: most are asked for several times."""


class Original(NamedTuple):
    """A machine that was made node by node, in a namespace of its own.

    `root`    the id of its object
    `static`  what its nodes show that never changes, by their ids
    """

    configured: Configured
    namespace: int
    root: ua.NodeId
    layout: Layout
    static: Mapping[ua.NodeId, Static]

    @property
    def name(self) -> str:
        """The machine's name."""
        return self.configured.path.machine

    def fits(self, configured: Configured) -> bool:
        """Return whether a machine can be made of this one: what tells their nodes apart are the machines' names."""
        names = {self.name, configured.path.machine}
        texts = (str(variable.id.Identifier).partition("/")[0] for variable in self.layout.variables)
        return configured.searches == self.configured.searches and names.isdisjoint(texts)


class Copy:
    """A machine that is like another, but for its namespace, its name, and what it holds."""

    def __init__(self, original: Original, configured: Configured, namespace: int, held: VariableValues) -> None:
        self.held = held
        self._original, self._configured = original, configured
        self._namespace, self._name = namespace, configured.path.machine

    def back(self, id_: ua.NodeId) -> ua.NodeId:
        """Return the id of the node that another is made of, which need not exist."""
        return self._other(id_, self._original.namespace, self._name, self._original.name)

    def forth(self, id_: ua.NodeId) -> ua.NodeId:
        """Return the id that one of the original's nodes has here; others are as they are."""
        if id_.NamespaceIndex != self._original.namespace:
            return id_
        return self._other(id_, self._namespace, self._original.name, self._name)

    @staticmethod
    def _other(id_: ua.NodeId, namespace: int, name: str, other: str) -> ua.NodeId:
        """Return an id in another namespace, with the machine's name in it, if it is there, put for the other's."""
        text = id_.Identifier
        if isinstance(text, str) and (text == name or text.startswith(f"{name}/")):
            text = cast("ua.String", other + text[len(name) :])
        return ua.NodeId(text, ua.Int16(namespace))

    def make(self, id_: ua.NodeId, like: NodeData) -> NodeData:
        """Return a node made like another."""
        made = NodeData(id_)
        for attribute, held in like.attributes.items():
            value = AttributeValue(cast("ua.DataValue", held.value))
            value.value_callback = held.value_callback
            if attribute == ua.AttributeIds.Value and like.nodeid in self._original.static:
                assert held.value is not None, "it never changes"  # noqa: S101
                assert held.value.Value is not None, "it never changes"  # noqa: S101
                value.value = _like(held.value, self._told(like.nodeid, held.value.Value))
            elif held.value is not None and held.value.Value is not None and attribute in _NAMING:
                value.value = _like(held.value, self._named(held.value.Value.Value))
            made.attributes[attribute] = value
        made.references = [self.reference(one) for one in like.references]
        return made

    def reference(self, like: ua.ReferenceDescription) -> ua.ReferenceDescription:
        """Return a reference made like another."""
        return ua.ReferenceDescription(
            ReferenceTypeId=like.ReferenceTypeId,
            IsForward=like.IsForward,
            NodeId=cast("ua.ExpandedNodeId", self.forth(like.NodeId)),
            BrowseName=self._named(like.BrowseName),
            DisplayName=self._named(like.DisplayName),
            NodeClass=like.NodeClass,
            TypeDefinition=like.TypeDefinition,
        )

    def _told(self, id_: ua.NodeId, like: ua.Variant) -> Any:  # noqa: ANN401 - of any type
        told = self._original.static[id_](self._configured)
        return ua.LocalizedText(str(told)) if like.VariantType is ua.VariantType.LocalizedText else told

    def _named(self, value: Any) -> Any:  # noqa: ANN401 - an id, or a name of two kinds
        """Return what stands here for an id or a name of the original's."""
        if isinstance(value, ua.NodeId):
            return self.forth(value)
        if isinstance(value, ua.QualifiedName) and value.NamespaceIndex == self._original.namespace:
            name = self._name if value.Name == self._original.name else value.Name
            return ua.QualifiedName(cast("ua.String", name), ua.UInt16(self._namespace))
        if isinstance(value, ua.LocalizedText) and value.Text == self._original.name:
            return ua.LocalizedText(cast("ua.String", self._name))
        return value


_NAMING = {ua.AttributeIds.NodeId, ua.AttributeIds.BrowseName, ua.AttributeIds.DisplayName}


def _like(data: ua.DataValue, value: Any) -> ua.DataValue:  # noqa: ANN401 - of any type
    assert data.Value is not None, "there is something to be like"  # noqa: S101
    return ua.DataValue(
        ua.Variant(value, data.Value.VariantType),
        SourceTimestamp=data.SourceTimestamp,
        ServerTimestamp=data.ServerTimestamp,
    )


class NodeStore(MutableMapping[ua.NodeId, NodeData]):
    """The table of a server's nodes, in the place of that which it has: what is made node by node stays there."""

    def __init__(self, nodes: MutableMapping[ua.NodeId, NodeData]) -> None:
        self._nodes = nodes
        self._variables: dict[ua.NodeId, tuple[VariableValues, int]] = {}
        self._copies: dict[int, Copy] = {}  # by their namespaces
        self._recent: dict[ua.NodeId, NodeData] = {}

    def hold(self, held: VariableValues) -> None:
        """Have a machine's variables show what it holds."""
        for number, variable in enumerate(held.layout.variables):
            self._variables[variable.id] = held, number
            value = self[variable.id].attributes[ua.AttributeIds.Value]
            value.value, value.value_callback = None, self._read

    def copy_machine(
        self, original: Original, configured: Configured, namespace: int, held: VariableValues
    ) -> ua.NodeId:
        """Take in a machine that is like another; return the id of its object."""
        copy = self._copies[namespace] = Copy(original, configured, namespace, held)
        root = original.root
        for one in self[root].references:
            if not one.IsForward:
                above = self[one.NodeId]
                down = next(other for other in above.references if other.NodeId == root and other.IsForward)
                above.references.append(copy.reference(down))
        return copy.forth(root)

    def variable(self, id_: ua.NodeId) -> tuple[VariableValues, int] | None:
        """Return whose variable a node is, and its number; None where it is no machine's."""
        copy = self._copies.get(id_.NamespaceIndex)
        if copy is None:
            return self._variables.get(id_)
        found = self._variables.get(copy.back(id_))
        return None if found is None else (copy.held, found[1])

    def measured(self, held: VariableValues) -> Iterator[ua.NodeId]:
        """Yield the ids of a machine's variables that have a range."""
        copy = next((one for one in self._copies.values() if one.held is held), None)
        for variable in held.layout.of_points:
            if variable.limits is not None:
                yield variable.id if copy is None else copy.forth(variable.id)

    def keep(self, id_: ua.NodeId) -> None:
        """Keep a node from now on, since something will be changed in it."""
        if id_ not in self._nodes and (made := self.get(id_)) is not None:
            self._nodes[id_] = made

    def get(self, id_: ua.NodeId, default: Any = None) -> Any:  # noqa: ANN401 - as dictionaries have it
        found = self._nodes.get(id_)
        return found if found is not None else self._made(id_) or default

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

    def _made(self, id_: ua.NodeId) -> NodeData | None:
        copy = self._copies.get(id_.NamespaceIndex)
        if copy is None:
            return None
        made = self._recent.get(id_)
        if made is None:
            like = self._nodes.get(copy.back(id_))
            if like is None:
                return None
            if len(self._recent) >= RECENT:
                self._recent.clear()
            made = self._recent[id_] = copy.make(id_, like)
        return made

    def _read(self, id_: ua.NodeId, _: ua.AttributeIds) -> ua.DataValue:
        found = self.variable(id_)
        assert found is not None, "only variables are read like this"  # noqa: S101
        held, number = found
        held.look()
        return held.data(number)
