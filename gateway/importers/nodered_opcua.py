"""Nodes of node-red-contrib-opcua: clients that read or subscribe to the nodes that messages name as their topic."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

from pydantic import Field

from gateway.importers.foreign import Foreign, Part
from gateway.importers.found import Found, Import, Options, Row, free_name
from gateway.importers.modbus_keys import every
from gateway.importers.nodered_flow import EDITOR, PASSIVE
from gateway.importers.opcua_keys import TYPES, Keys, endpoint, note_types, security
from gateway.settings.serialize import number

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from gateway.importers.nodered_flow import Flow

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
"""Seconds of a unit of `timeUnit`."""

READS = frozenset({"read", "readmultiple"})
SUBSCRIBES = frozenset({"subscribe", "monitor"})
"""Actions of a client, in small letters."""

_THROUGH = PASSIVE | {"OpcUa-Item", "switch"}
_NODE = re.compile(r"(?P<id>(?:nsu=[^;]+;|ns=\d+;)?[sigb]=[^;]+)(?:;\s*datatype=(?P<type>\w+))?", re.IGNORECASE)


class Endpoint(Foreign):
    """An address of a server."""

    apart: ClassVar[Container[str]] = EDITOR | {"none", "usercert", "usercertificate", "userprivatekey", "name"}

    endpoint: str
    secpol: str = "None"
    secmode: str = "None"
    login: bool = False


class Client(Foreign):
    """A node that reads, or subscribes."""

    apart: ClassVar[Container[str]] = EDITOR | {
        "certificate", "localfile", "localkeyfile", "folderName4PKI", "useTransport", "maxChunkCount",
        "maxMessageSize", "receiveBufferSize", "sendBufferSize", "securitymode", "securitypolicy", "setstatusandtime",
        "keepsessionalive", "applicationName", "applicationUri", "name",
    }  # fmt: skip

    endpoint: str
    action: str = "read"
    time: Annotated[float, Field(ge=0)] = 10
    time_unit: Annotated[str, Field(alias="timeUnit")] = "s"
    deadbandtype: str = "a"
    deadbandvalue: Annotated[float, Field(ge=0)] = 0


class Item(NamedTuple):
    """A node that a message names: its id, its type if it is known, its name, and the part of the file."""

    node: str
    type: str
    name: str
    part: Part


def read(flow: Flow, options: Options, found: Import) -> set[str]:
    """Add the machines of flows, one for each endpoint. Returns the ids of the nodes that were used."""
    used: set[str] = set()
    machines: dict[str, Found | None] = {}
    for node in flow.of_type("OpcUa-Endpoint"):
        used.add(node.data["id"])
        machines[node.data["id"]] = _machine(node, options, found)
    assumed: set[str] = set()
    for node in flow.of_type("OpcUa-Client"):
        used.add(node.data["id"])
        client = node.read(Client, found, flow.title(node))
        if client is None:
            continue
        if client.endpoint not in machines:
            found.note(node.where, flow.title(node), "is left out: its endpoint is not in the file")
        machine = machines.get(client.endpoint)
        keys = None if machine is None else _reading(client, node, flow, found)
        if machine is None or keys is None:
            continue
        for item in _items(node, flow, found):
            used.add(item.part.data["id"])
            point = _point(item, keys, options)
            if point["type"] != "string" and not item.type:
                assumed.add(client.endpoint)
            found.add(machine, item.name, Row(item.part.where, point))
    there = [machine for machine in machines.values() if machine is not None and machine.points]
    for machine in there:
        if any(machines[identity] is machine for identity in assumed):
            note_types(machine, options.kind, found)
    found.machines += there
    return used


def _point(item: Item, keys: Keys, options: Options) -> Keys:
    """Return the keys of a point."""
    point = {"node": item.node} | keys
    kind = "string" if keys.get("mode") == "events" else TYPES.get(item.type.lower(), options.kind)
    if kind in {"bool", "string"}:
        point.pop("deadband", None)
    return point | {"type": kind}


def _machine(node: Part, options: Options, found: Import) -> Found | None:
    settings = node.read(Endpoint, found, str(node.at("endpoint").data)[:100])
    if settings is None:
        return None
    written = str(node.at("name").data or options.machine or "")
    host = re.sub(r"^opc\.tcp://|[:/?].*$", "", settings.endpoint.strip(), flags=re.IGNORECASE)
    name = free_name(written or host or "opcua")
    try:
        connection: Keys = {"url": endpoint(settings.endpoint)}
    except ValueError as error:
        found.note(node.where, name, f"is left out: {error}")
        return None
    connection |= security(settings.secpol, settings.secmode, node.where, name, found)
    if settings.login:
        found.note(node.where, name, "the user is not in the file: write username and password into the connection")
    return Found(name, name, "opcua", connection, options.area, options.line, node.where)


def _reading(client: Client, node: Part, flow: Flow, found: Import) -> Keys | None:
    """Return the keys that say how a client reads, None after noting that it does not."""
    action = client.action.lower()
    keys: Keys = {}
    try:
        if action in READS:
            period = _repeat(node, flow)
            if period is None:
                message = "how often it reads is not in the file; it is read every second"
                found.note(node.where, flow.title(node), message)
            return keys | ({} if period is None else every(period)) | {"mode": "poll"}
        if action == "events":
            return {"mode": "events"}
        if action in SUBSCRIBES:
            keys = every((client.time or 0.1) * UNITS.get(client.time_unit, 1.0))
            if action == "monitor" and client.deadbandvalue:
                size = number(client.deadbandvalue)
                keys["deadband"] = f"{size}%" if client.deadbandtype.startswith("p") else size
            return keys
    except ValueError as error:
        found.note(node.where, flow.title(node), f"is left out: {error}")
        return None
    found.note(node.where, flow.title(node), f"is left out: action {client.action[:40]!r} does not read values")
    return None


def _repeat(node: Part, flow: Flow) -> float | None:
    """Return the period of the inject node that triggers a client, in seconds; None if there is none."""
    for one in flow.before(node, _THROUGH | {"function", "change"}):
        repeat = str(one.at("repeat").data)
        if one.data["type"] == "inject" and re.fullmatch(r"\d{1,6}(\.\d{1,6})?", repeat) and float(repeat) > 0:
            return float(repeat)
    return None


def _items(node: Part, flow: Flow, found: Import) -> Iterator[Item]:
    """Yield the nodes that messages to a client name."""
    for one in flow.before(node, _THROUGH):
        kind = one.data["type"]
        title = flow.title(one)
        if kind == "OpcUa-Item":
            written, data_type = one.at("item").data, str(one.at("datatype").data or "")
        elif kind == "inject":
            written, data_type = one.at("topic").data, ""
        elif kind in {"function", "change", "template"}:
            message = f"its nodes come from the {kind} {title!r}, which is not translated; write these points by hand"
            found.note(node.where, flow.title(node), message)
            continue
        else:
            continue
        match = _NODE.fullmatch(str(written or "").strip())
        if match:
            name = str(one.at("name").data or "") or match["id"].partition("=")[2].rpartition("=")[2]
            yield Item(match["id"], data_type or match["type"] or "", name[:100], one)
        elif kind == "OpcUa-Item":
            found.note(one.where, title, f"is left out: {str(written)[:100]!r} is not a node id")
