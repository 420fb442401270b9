"""Nodesets of OPC UA (NodeSet2 XML, OPC UA 6, annex F): variables of objects, or of types if there are no objects.

A node is addressed by its id where that is a text, else by its browse path, since servers may number nodes again. The
namespaces are written by their URI.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from drivers.opcua.browse.point_names import snake, unique
from drivers.opcua.codec.units import NAMESPACE, UCUM
from drivers.opcua.node_address import BrowsePath, Node, Step, parse_node
from gateway.common.text import counted
from gateway.importers.base import Format
from gateway.importers.found import Found, Import, Options, Row
from gateway.importers.nodeset_graph import UA, NodeSet, Qualified, own_text, text_of
from gateway.importers.opcua_keys import TYPES, Keys
from gateway.settings.serialize import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.importers.content import Content
    from gateway.importers.xml_tree import Element

BUILT_IN = {
    1: "bool", **dict.fromkeys(range(2, 10), "int"), 10: "float", 11: "float",
    **dict.fromkeys(range(12, 22), "string"), 22: "json", 26: "float", 27: "int", 28: "int",
    29: "int", 50: "float", 290: "duration",
}  # fmt: skip
"""Types of points by the numbers of data types in namespace 0 (OPC UA 6, 5.1.2; OPC UA 3, 8)."""

OTHERS = {
    "int": {256, 257, 287, 288, 289, 852, 11737, 17588, 20998},
    "string": {30, 291, 292, 293, 294, 295, 296, 307, 308, 311, 521, 12877, 12878, 12879, 12880, 12881, 23751},
    "json": {
        884,
        887,
        7594,
        12079,
        12080,
        12077,
        12171,
        12172,
        338,
        340,
        432,
        862,
        865,
        868,
        871,
        300,
        299,
        *range(18806, 18820),
    },
}  # fmt: skip
"""Types of points of other data types in namespace 0, whose supertypes are not in the file."""

NUMBERED = {str(kind): found for kind, found in BUILT_IN.items()} | {
    str(kind): found for found, kinds in OTHERS.items() for kind in kinds
}

ROOTS = {
    ("http://opcfoundation.org/UA/DI/", "i=5001"): ("http://opcfoundation.org/UA/DI/", "DeviceSet"),
    ("http://opcfoundation.org/UA/Machinery/", "i=1001"): ("http://opcfoundation.org/UA/Machinery/", "Machines"),
}
"""Folders of other nodesets below Objects, which nodes of a file may be below."""

OBJECTS = "i=85"
NOT_VALUES = frozenset({"i=86", "i=87", "i=88", "i=89", "i=90", "i=91", "i=92", "i=93", "i=11715"})
"""Folders of types, views, type dictionaries and namespaces: nodes below them describe the address space."""

MOST_POINTS = 50_000
MOST_LEVELS = 16
LARGEST = 3.4e38
"""A range beyond it is a default."""

OPTIONAL, PLACEHOLDERS = "i=80", frozenset({"i=11508", "i=11510"})
"""Modelling rules (OPC UA 3, 6.4.4)."""


class Variable(NamedTuple):
    """A variable: its element, the browse names that lead to it, and whether they begin at Objects.

    A type does not require an `optional` variable.
    """

    element: Element
    way: tuple[Qualified, ...]
    from_objects: bool
    optional: bool = False


def read(content: Content, options: Options) -> Import:
    """Return the machine of a nodeset, or a machine for each type. Raises `ValueError` without a connection."""
    if not options.connection:
        raise ValueError("a nodeset names no server; say --connection, as in opc.tcp://10.20.2.21:4840")
    nodes = NodeSet(content.xml)
    found = Import()
    variables = [one for one in _instances(nodes, found) if _is_value(one)]
    if variables:
        _add_machine(nodes, variables, options.machine or _common_name(variables), options, found)
        return found
    for kind in _kinds(nodes, options.machine):
        namespace, name = nodes.browse_name(kind)
        root = Qualified(namespace, options.machine or name.removesuffix("Type"))
        members = [one for one in _members(nodes, kind, root, found) if _is_value(one)]
        if members:
            _add_machine(nodes, members, members[0].way[0].name, options, found)
    if not found.machines:
        raise ValueError("it has no variable of an object or of a type, except those of the standard")
    message = (
        f"the file has types and no objects: instances are assumed below Objects, as in /{found.machines[0].machine}"
    )
    found.note(1, "objects", f"{message}; correct the paths, or say --machine")
    return found


def _kinds(nodes: NodeSet, machine: str) -> list[Element]:
    """Return the types to make machines of: the type with a machine's name, else all except those of the standard."""
    kinds = [kind for kind in nodes.types() if nodes.browse_name(kind).namespace != 0]
    named = [kind for kind in kinds if nodes.browse_name(kind).name in {machine, f"{machine}Type"}]
    return named or kinds


def _is_value(variable: Variable) -> bool:
    """Return whether a variable is a value; most names of the standard describe the address space."""
    name = variable.way[-1]
    return name.namespace != 0 or name.name in {"CurrentState", "Number", "Value"}


def _instances(nodes: NodeSet, found: Import) -> Iterator[Variable]:
    """Yield the variables that are not part of a type."""
    for identity, element in nodes.of_class("UAVariable"):
        way = [nodes.browse_name(element)]
        above, from_objects, seen = identity, False, {identity}
        while (parent := nodes.parent(above)) is not None and parent not in seen and len(seen) < MOST_LEVELS:
            seen.add(parent)
            root = ROOTS.get((nodes.uri_of_id(parent), nodes.identifier(parent)))
            if root is not None:
                way.append(Qualified(nodes.index_of(root[0]), root[1]))
            if root is not None or parent == OBJECTS:
                from_objects = True
                break
            if parent in NOT_VALUES:
                way.clear()
                break
            holder = nodes.elements.get(parent)
            if holder is None:
                break
            if holder.tag in {f"{UA}UAObjectType", f"{UA}UAVariableType", f"{UA}UADataType", f"{UA}UAMethod"}:
                way.clear()
                break
            way.append(nodes.browse_name(holder))
            above = parent
        if way and any(one.name.startswith("<") for one in way):
            found.note(element.line, way[0].name, "is left out: it is a placeholder")
        elif way:
            yield Variable(element, tuple(reversed(way)), from_objects)


def _members(nodes: NodeSet, kind: Element, root: Qualified, found: Import) -> Iterator[Variable]:
    """Yield the variables of a type, with those of its supertypes and of the types of its objects."""
    waiting: list[tuple[str, tuple[Qualified, ...], bool]] = [(nodes.identity(kind), (root,), False)]
    seen: set[tuple[str, tuple[Qualified, ...]]] = set()
    names: set[tuple[Qualified, ...]] = set()
    while waiting:
        holder, way, optional = waiting.pop(0)
        if (holder, way) in seen or len(way) > MOST_LEVELS or len(names) > MOST_POINTS:
            continue
        seen.add((holder, way))
        above = [nodes.supertype(holder), nodes.type_of(holder)]
        waiting += [(one, way, optional) for one in above if one is not None and one in nodes.elements]
        for child in nodes.children(holder):
            element = nodes.elements.get(child)
            if element is None or element.tag not in {f"{UA}UAVariable", f"{UA}UAObject"}:
                continue
            name = nodes.browse_name(element)
            rule = nodes.modelling_rule(child)
            inner = (*way, name)
            if rule in PLACEHOLDERS or name.name.startswith("<"):
                found.note(element.line, name.name, "is left out: it is a placeholder")
                continue
            is_optional = optional or rule == OPTIONAL
            if element.tag == f"{UA}UAVariable" and inner not in names:
                names.add(inner)
                yield Variable(element, inner, from_objects=True, optional=is_optional)
            waiting.append((child, inner, is_optional))


def _common_name(variables: Sequence[Variable]) -> str:
    """Return the lowest object that all variables are below."""
    shared: list[str] = []
    for level in zip(*(one.way[:-1] for one in variables), strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0].name)
    return shared[-1] if shared else "machine"


def _add_machine(nodes: NodeSet, variables: Sequence[Variable], name: str, options: Options, found: Import) -> None:
    if len(variables) > MOST_POINTS:
        raise ValueError(f"it has more than {MOST_POINTS:,} variables")
    own = _own_namespace(nodes, variables)
    machine = Found(name, name, "opcua", options.connection, options.area, options.line, variables[0].element.line)
    if own:
        machine.connection = {"url": options.connection, "namespace": own}
    times = Counter(one.way for one in variables)
    points: list[tuple[Variable, Keys]] = []
    for one in variables:
        keys = _point(nodes, one, own, options, found, alone=times[one.way] == 1)
        if keys is not None:
            points.append((one, keys))
    if any(one.optional for one, _ in points) and not all(one.optional for one, _ in points):
        off = [keys for one, keys in points if one.optional]
        for keys in off:
            keys["enabled"] = False
        message = f"{counted(len(off), 'variable')} that the type does not require: off (enabled: false)"
        found.note(machine.where, name, message)
    wanted = [(None, [snake(step.name) or step.name for step in one.way], keys.get("count")) for one, keys in points]
    for (one, keys), point in zip(points, unique(wanted), strict=True):
        found.add(machine, point, Row(one.element.line, keys))
    found.machines.append(machine)


def _own_namespace(nodes: NodeSet, variables: Sequence[Variable]) -> str | None:
    """Return the URI of most nodes, which the connection names."""
    counts = Counter(nodes.uri_of_id(nodes.identity(one.element)) for one in variables)
    usable = [uri for uri, _ in counts.most_common() if uri and not set(uri) & set(";{}") and uri != nodes.uris[0]]
    return usable[0] if usable else None


def _point(
    nodes: NodeSet, variable: Variable, own: str | None, options: Options, found: Import, *, alone: bool
) -> Keys | None:
    element = variable.element
    what = "/".join(step.name for step in variable.way)[:200]
    node = _address(nodes, variable, own, options.nodes, has_path=alone and variable.from_objects)
    if node is None:
        found.note(element.line, what, "is left out: it has no address that can be written")
        return None
    if "ns=" in node[:3]:
        found.note(
            element.line, what, "the URI of its namespace is not in the file; the index may differ on the server"
        )
    keys: Keys = {"node": node}
    kind = _kind(nodes, element, what, options, found)
    rank, dimensions = element.get("ValueRank", "-1"), element.get("ArrayDimensions", "")
    if kind == "duration":
        keys |= {"type": "float", "scale": 0.001, "unit": "s"}
    else:
        keys["type"] = kind
    if rank not in {"-1", "-2", "-3"}:
        size = int(dimensions) if re.fullmatch(r"\d{1,5}", dimensions) else 0
        if rank == "1" and 0 < size <= 10_000 and keys["type"] != "json":  # noqa: PLR2004 - the most elements of a point
            keys["count"] = size
        else:
            keys = {"node": node, "type": "json"}
    keys |= _metadata(nodes, element, keys, what, found)
    description = own_text(element, "Description") or own_text(element, "DisplayName")
    states = _states(nodes, element)
    if states or (description and description != variable.way[-1].name):
        keys["description"] = "; ".join(filter(None, (description, states)))
    return keys


def _address(nodes: NodeSet, variable: Variable, own: str | None, how: str, *, has_path: bool) -> str | None:
    identity = nodes.identity(variable.element)
    identifier, index = nodes.identifier(identity), nodes.index_of_id(identity)
    plain = Node(_namespace(nodes, index, own), f"{'ns=0;' if index == 0 else ''}{identifier}")
    path = BrowsePath(tuple(Step(_namespace(nodes, step.namespace, own), step.name) for step in variable.way))
    wants_path = how == "path" or (how == "auto" and not identifier.startswith("s="))
    ways: list[Node | BrowsePath] = [path, plain] if wants_path else [plain, path]
    for way in ways:
        if isinstance(way, BrowsePath) and not has_path:
            continue
        written = str(way)
        try:
            if str(parse_node(written)) == written:
                return written
        except ValueError:
            continue
    return None


def _namespace(nodes: NodeSet, index: int, own: str | None) -> str | int | None:
    """Return a namespace as an address names it: nothing for the connection's own, else its URI, else its index."""
    if index == 0:
        return 0
    uri = nodes.uris[index] if index < len(nodes.uris) else ""
    if not uri or set(uri) & set(";{}"):
        return index
    return None if uri == own else uri


def _kind(nodes: NodeSet, element: Element, what: str, options: Options, found: Import) -> str:
    """Return the type of a variable's points."""
    data_type = nodes.resolved(element.get("DataType", "i=24"))
    by_name = TYPES.get(data_type.lower())
    if by_name:
        return by_name
    seen: set[str] = set()
    current: str | None = data_type
    while current is not None and current not in seen:
        seen.add(current)
        if current.startswith("i=") and current[2:] in NUMBERED:
            return NUMBERED[current[2:]]
        current = nodes.supertype(current)
    message = (
        f"its data type {element.get('DataType', 'BaseDataType')[:60]} is not in the file: the type is {options.kind}"
    )
    found.note(element.line, what, f"{message}; correct it, or say --type")
    return options.kind


def _metadata(nodes: NodeSet, element: Element, keys: Keys, what: str, found: Import) -> Keys:
    """Return unit, range and labels of the properties that describe a variable."""
    properties: dict[str, Element] = {}
    for child in nodes.children(nodes.identity(element)):
        inner = nodes.elements.get(child)
        if inner is not None and inner.tag == f"{UA}UAVariable":
            properties.setdefault(nodes.browse_name(inner).name, inner)
    metadata: Keys = {}
    if keys["type"] in {"int", "float"}:
        if "unit" not in keys:
            metadata |= _unit(properties.get("EngineeringUnits"), what, found)
        limits = [_number(properties.get("EURange"), name) for name in ("Low", "High")]
        low, high = limits
        if low is not None and high is not None and low < high and max(-low, high) < LARGEST and "scale" not in keys:
            metadata["range"] = [number(low), number(high)]
    labels = _labels(nodes, element, properties, keys["type"])
    return metadata | ({"labels": labels} if labels else {})


def _states(nodes: NodeSet, element: Element) -> str:
    """Return the names of the two states of a bool, as text."""
    parts = [nodes.elements[child] for child in nodes.children(nodes.identity(element)) if child in nodes.elements]
    named = {nodes.browse_name(one).name: text_of(one, "Text") for one in parts}
    states = [(state, named.get(name)) for name, state in (("TrueState", "true"), ("FalseState", "false"))]
    return ", ".join(f"{state}: {text}" for state, text in states if text)


def _unit(element: Element | None, what: str, found: Import) -> Keys:
    if element is None:
        return {}
    values = {one.tag.rpartition("}")[2]: (one.text or "").strip() for one in element.iter() if one.text}
    number_of, uri = values.get("UnitId", ""), values.get("NamespaceUri", "")
    if re.fullmatch(r"-?\d{1,10}", number_of) and uri in {NAMESPACE, ""} and int(number_of) in UCUM:
        return {"unit": UCUM[int(number_of)]}
    return dict(found.unit(element.line, what, values.get("Text", "")))


def _number(element: Element | None, name: str) -> float | None:
    for one in () if element is None else element.iter():
        if one.tag.rpartition("}")[2] == name:
            try:
                value = float((one.text or "").strip())
            except ValueError:
                return None
            return value if math.isfinite(value) else None
    return None


def _labels(nodes: NodeSet, element: Element, properties: dict[str, Element], kind: str) -> dict[int, str]:
    """Return the labels of numbers: of the variable, else of its data type."""
    if kind != "int":
        return {}
    data_type = nodes.resolved(element.get("DataType", ""))
    own = {
        nodes.browse_name(one).name: one
        for child in nodes.children(data_type)
        if (one := nodes.elements.get(child)) is not None
    }
    for source in properties, own:
        if (values := source.get("EnumValues")) is not None:
            return _enum_values(values)
        if (strings := source.get("EnumStrings")) is not None:
            texts = [one.text or "" for one in strings.iter() if one.tag.endswith("}Text")]
            return {place: text for place, text in enumerate(texts) if text}
    definition: dict[int, str] = {}
    kind_element = nodes.elements.get(data_type)
    fields = [] if kind_element is None else list(kind_element.iter(f"{UA}Field"))
    for field in fields:
        if re.fullmatch(r"-?\d{1,10}", field.get("Value", "")):
            definition[int(field.get("Value", "0"))] = text_of(field, "DisplayName") or field.get("Name", "")
    return definition


def _enum_values(element: Element) -> dict[int, str]:
    labels: dict[int, str] = {}
    for one in element.iter():
        if one.tag.endswith("}EnumValueType"):
            value: Any = next((inner.text for inner in one if inner.tag.endswith("}Value")), None)
            text = text_of(one, "Text")
            if value is not None and re.fullmatch(r"\s*-?\d{1,10}\s*", value) and text:
                labels[int(value)] = text
    return labels


def _recognise(content: Content) -> bool:
    return b"UANodeSet" in content.head and content.xml.tag == f"{UA}UANodeSet"


FORMAT = Format("nodeset", "nodeset of OPC UA (NodeSet2 XML)", _recognise, read)
