"""The variables of an OPC UA server. Points may share one, as fields of a structure or elements of an array."""

from __future__ import annotations

import struct
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from asyncua import ua
from asyncua.common.structures104 import new_struct, new_struct_field

from drivers.base import ValueType
from drivers.opcua.node_address import Node
from simulators.machines.composed import parts_of
from simulators.machines.plant import raw_of, raw_value
from simulators.opcua.variable_metadata import raw_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from asyncua import Server
    from asyncua.common.node import Node as ServerNode

    from drivers.base import Value
    from drivers.opcua.node_address import BrowsePath
    from drivers.opcua.settings import OpcUaSource
    from gateway.settings.point import Point

BUILT_IN_TYPES = {
    ValueType.BOOL: ua.VariantType.Boolean,
    ValueType.INT: ua.VariantType.Int64,
    ValueType.FLOAT: ua.VariantType.Double,
    ValueType.STRING: ua.VariantType.String,
    ValueType.JSON: ua.VariantType.String,
}
NUMBER_FORMATS = {
    ua.VariantType.Boolean: "?",
    ua.VariantType.Double: "d",
    ua.VariantType.Float: "f",
    ua.VariantType.Int32: "i",
    ua.VariantType.Int64: "q",
    ua.VariantType.UInt32: "I",
    ua.VariantType.UInt64: "Q",
}
"""Built-in types of a fixed size -> format character of `struct`."""
ZEROS: dict[ValueType, Value] = {
    ValueType.BOOL: False,
    ValueType.INT: 0,
    ValueType.FLOAT: 0.0,
    ValueType.STRING: "",
    ValueType.JSON: '""',
}


class Variable:
    """A node with a value, and the points that it holds."""

    def __init__(self, node: Node | BrowsePath, points: Sequence[Point]) -> None:
        self.node = node
        self.points = points
        self.id = ua.NodeId()  # these and the next are set when it is added to a server
        self.name = ua.QualifiedName()
        self.parent: ServerNode
        self.kind: ua.VariantType | None = None  # if a companion specification says which
        self.data_type: ua.NodeId | None = None
        self._sources = [cast("OpcUaSource", point.source) for point in points]
        self._classes: dict[tuple[str, ...], Any] = {}  # of its structure and nested structures, by field path

    @property
    def single(self) -> Point | None:
        """The point whose value is the node's whole value, None if points share the node."""
        source = self._sources[0]
        return self.points[0] if not source.field and source.element is None else None

    @property
    def is_own(self) -> bool:
        """Whether its node is in the machine's own namespace, and of a built-in type."""
        return isinstance(self.node, Node) and self.node.namespace is None and not self._classes

    @cached_property
    def form(self) -> struct.Struct | None:
        """The packed form of a good change; None if the variable holds more than one number."""
        if self.single is None or len(self.points) > 1 or self._kind not in NUMBER_FORMATS:
            return None
        return struct.Struct(f"<IBB{NUMBER_FORMATS[self._kind]}qq")

    @cached_property
    def code(self) -> int:
        """The number of its built-in type, as encoded in a Variant."""
        return int(self._kind)

    @cached_property
    def raw(self) -> Callable[[Value], Value]:
        """The function from its point's value to the device's value."""
        return raw_of(self.points[0])

    @cached_property
    def limits(self) -> ua.Range | None:
        """The range of the device's value, None if it has none."""
        return None if self.single is None else raw_range(self.single)

    @property
    def _kind(self) -> ua.VariantType:
        return self.kind or _kind(self.points[0])

    async def define(self, server: Server, namespace: int, name: str) -> ServerNode | None:
        """Define the structure of the value and return its data type; None if the value is not a structure."""
        if not any(source.field for source in self._sources):
            return None
        type_ = await self._define(server, namespace, name, ())
        await server.load_data_type_definitions()
        self._find_classes(name, ())
        return type_

    def value(self, values: Mapping[str, Value | None]) -> ua.Variant | None:
        """Return the node's value for those of the points; None if one of these is None."""
        raw: dict[str, Value] = {}
        for point in self.points:
            value = values.get(point.name, ZEROS[point.type])
            if value is None:
                return None
            raw[point.name] = raw_value(point, value)
        content = self._content(raw, ())
        if self._classes:
            return ua.Variant(content, ua.VariantType.ExtensionObject)
        return ua.Variant(content, self._kind)

    def _fields(self, at: tuple[str, ...]) -> dict[str, list[tuple[Point, OpcUaSource]]]:
        """Return the points of a structure by the names of its fields; `at` is the path of the structure."""
        found: dict[str, list[tuple[Point, OpcUaSource]]] = {}
        for point, source in zip(self.points, self._sources, strict=True):
            if source.field[: len(at)] == at and len(source.field) > len(at):
                found.setdefault(source.field[len(at)], []).append((point, source))
        return found

    def _content(self, raw: Mapping[str, Value], at: tuple[str, ...]) -> Any:  # noqa: ANN401 - a structure, list, number
        if fields := self._fields(at):
            return self._classes[at](**{name: self._content(raw, (*at, name)) for name in fields})
        here = [(p, s) for p, s in zip(self.points, self._sources, strict=True) if s.field == at]
        if all(source.element is None for _, source in here):
            return raw[here[0][0].name]
        elements: list[Value] = [ZEROS[here[0][0].type]] * (1 + max(source.element or 0 for _, source in here))
        for point, source in here:
            elements[source.element or 0] = raw[point.name]
        return elements

    async def _define(self, server: Server, namespace: int, name: str, at: tuple[str, ...]) -> ServerNode:
        fields = []
        for field, members in self._fields(at).items():
            point, source = members[0]
            kind: Any = _kind(point)
            if len(source.field) > len(at) + 1:
                kind = await self._define(server, namespace, f"{name}_{field}", (*at, field))
            fields.append(new_struct_field(field, kind, array=source.element is not None))
        type_, _ = await new_struct(server, namespace, name, fields)
        return type_

    def _find_classes(self, name: str, at: tuple[str, ...]) -> None:
        self._classes[at] = getattr(ua, name)
        for field in self._fields(at):
            if self._fields((*at, field)):
                self._find_classes(f"{name}_{field}", (*at, field))


class DerivedVariable:
    """A node without a point, whose value is derived from those of the machine's points."""

    def __init__(
        self, id_: ua.NodeId, kind: ua.VariantType, derive: Callable[[Mapping[str, Value | None]], Value]
    ) -> None:
        self.id = id_
        self.kind, self._derive = kind, derive

    def value(self, values: Mapping[str, Value | None]) -> ua.Variant:
        """Return the node's value."""
        return ua.Variant(self._derive(values), self.kind)


def variables_of(points: Iterable[Point]) -> list[Variable]:
    """Return a variable for each node that points name; composed points have the values of their parts."""
    points = list(points)
    composed = parts_of(points)
    by_node: dict[Node | BrowsePath, list[Point]] = {}
    for point in points:
        if point.name in composed:
            continue
        by_node.setdefault(cast("OpcUaSource", point.source).node, []).append(point)
    return [Variable(node, sharing) for node, sharing in by_node.items()]


def _kind(point: Point) -> ua.VariantType:
    return BUILT_IN_TYPES[ValueType.INT if point.labels else point.type]
