"""Nodes of node-red-contrib-modbus that read: `modbus-read`, `modbus-getter`, and the flexible getter and sequencer.

Registers that a buffer-parser turns into values become these values; others are numbers of 16 bits, as the node sends
them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from gateway.importers.foreign import Foreign, Part
from gateway.importers.found import Found, Import, Options, Row, free_name
from gateway.importers.modbus_keys import FUNCTIONS, Keys, SerialLine, every, network_url, serial_keys, timeout
from gateway.importers.nodered_buffer import parsed
from gateway.importers.nodered_flow import EDITOR, PASSIVE
from gateway.settings.serialize import duration

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from gateway.importers.nodered_flow import Flow

DATA_TYPES = {"Coil": 1, "Input": 2, "HoldingRegister": 3, "InputRegister": 4}
"""Functions by the names in the editor."""

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
"""Seconds of a unit of `rateUnit`."""

TCP = {"": "modbus+tcp", "DEFAULT": "modbus+tcp", "TCP-RTU-BUFFERED": "modbus+rtutcp", "UDP": "modbus+udp"}
"""Schemes by `tcpType`."""

SERIAL = {"": "modbus+rtu", "RTU-BUFFERD": "modbus+rtu", "RTU": "modbus+rtu", "ASCII": "modbus+ascii"}
"""Schemes by `serialType`."""

BITS = frozenset({"coil", "discrete"})

_TIMED = PASSIVE | {"function", "change", "switch", "trigger"}


class Editor(Foreign):
    """A node of the editor; numbers are texts there."""

    model_config = ConfigDict(alias_generator=to_camel)
    apart: ClassVar[Container[str]] = EDITOR

    name: str = ""


class Client(Editor):
    """A connection."""

    clienttype: str = "tcp"
    tcp_host: str = "127.0.0.1"
    tcp_port: str = "502"
    tcp_type: str = ""
    serial_port: str = ""
    serial_type: str = ""
    serial_baudrate: int = 9600
    serial_databits: int = 8
    serial_stopbits: float = 1
    serial_parity: str = "none"
    serial_connection_delay: str = ""
    unit_id: Annotated[str, Field(alias="unit_id")] = "1"
    command_delay: Annotated[float | None, Field(ge=0, le=10_000)] = None
    client_timeout: Annotated[float | None, Field(ge=0)] = None


class Reader(Editor):
    """A node that reads a fixed request."""

    apart: ClassVar[Container[str]] = EDITOR | {"useIOFile", "ioFile"}

    unitid: str = ""
    data_type: str = "HoldingRegister"
    adr: int
    quantity: Annotated[int, Field(ge=1, le=2000)] = 1
    rate: Annotated[float | None, Field(gt=0)] = None
    rate_unit: str = "s"
    server: str = ""


class Flexible(Editor):
    """A node that reads the request of a message, or its own sequence."""

    apart: ClassVar[Container[str]] = EDITOR | {"useIOFile", "ioFile", "sequences"}

    server: str = ""


class Message(Foreign):
    """The payload that requests a read."""

    apart: ClassVar[Container[str]] = {"value", "requestCard", "messageId"}

    name: str = ""
    fc: str = "3"
    unitid: str = ""
    address: int = 0
    quantity: Annotated[int, Field(ge=1, le=2000)] = 1


class Request(NamedTuple):
    """The entries that a node reads."""

    name: str
    unit: str
    table: str
    address: int
    quantity: int


class Device(NamedTuple):
    """A client with its connection, and the machines of its units."""

    name: str
    connection: Keys
    unit: str
    units: dict[int, Found]


def read(flow: Flow, options: Options, found: Import) -> set[str]:
    """Add the machines of flows, one for each unit of a client. Returns the ids of the nodes that were used."""
    used: set[str] = set()
    devices: dict[str, Device | None] = {}
    for node in flow.of_type("modbus-client"):
        used.add(node.data["id"])
        devices[node.data["id"]] = _device(node, options, found)
    for node in flow.of_type("modbus-read", "modbus-getter"):
        used.add(node.data["id"])
        reader = node.read(Reader, found, flow.title(node))
        if reader is not None:
            request = _fixed(reader, node, flow, found)
            if request is not None and (device := _of(reader.server, devices, node, flow, found)) is not None:
                period = _period(reader, node, flow, found)
                used |= _add(request, device, node, period, flow, options, found)
    for node in flow.of_type("modbus-flex-getter", "modbus-flex-sequencer"):
        used.add(node.data["id"])
        flexible = node.read(Flexible, found, flow.title(node))
        if flexible is None or (device := _of(flexible.server, devices, node, flow, found)) is None:
            continue
        requests = list(_requested(node, flow, found))
        period = _triggered(node, flow, found) if requests else {}
        for request in requests:
            used |= _add(request, device, node, period, flow, options, found)
    found.machines += [machine for device in devices.values() if device for machine in device.units.values()]
    return used


def _device(node: Part, options: Options, found: Import) -> Device | None:
    what = str(node.at("name").data or "modbus-client")[:100]
    client = node.read(Client, found, what)
    if client is None:
        return None
    name = free_name(client.name or options.machine or client.tcp_host or "modbus")
    try:
        return Device(name, _connection(client, node, name, found), client.unit_id, {})
    except ValueError as error:
        found.note(node.where, name, f"is left out: {error}")
        return None


def _connection(client: Client, node: Part, name: str, found: Import) -> Keys:
    kind = client.clienttype.lower()
    if kind == "tcp":
        if client.tcp_type not in TCP:
            raise ValueError(f"the tcpType {client.tcp_type[:40]!r} is not read here")
        keys: Keys = {"url": network_url(TCP[client.tcp_type], client.tcp_host, client.tcp_port)}
    elif kind in {"serial", "simpleser"}:
        if client.serial_type not in SERIAL:
            raise ValueError(f"the serialType {client.serial_type[:40]!r} is not read here")
        line = SerialLine(
            client.serial_port,
            client.serial_baudrate,
            client.serial_parity,
            client.serial_stopbits,
            client.serial_databits,
        )
        keys = serial_keys(SERIAL[client.serial_type], line, node.where, name, found)
    else:
        raise ValueError(f"the clienttype {client.clienttype[:40]!r} is not tcp, serial or simpleser")
    if client.client_timeout:
        keys |= timeout(client.client_timeout / 1000, node.where, name, found)
    if client.command_delay and client.command_delay > 1:  # 1 ms is the default there
        keys["pause"] = duration(client.command_delay / 1000)
    return keys


def _of(server: str, devices: dict[str, Device | None], node: Part, flow: Flow, found: Import) -> Device | None:
    if server not in devices:
        found.note(node.where, flow.title(node), "is left out: its server, a modbus-client, is not in the file")
    return devices.get(server)


def _fixed(reader: Reader, node: Part, flow: Flow, found: Import) -> Request | None:
    if reader.data_type not in DATA_TYPES:
        found.note(node.where, flow.title(node), f"is left out: dataType {reader.data_type[:40]!r} is not known")
        return None
    if node.at("useIOFile").data is True:
        found.note(node.at("useIOFile").where, flow.title(node), "the names of its IO file are not in the flows")
    name = reader.name or str(node.at("topic").data or "") or node.data["id"]
    return Request(name, reader.unitid, FUNCTIONS[DATA_TYPES[reader.data_type]], reader.adr, reader.quantity)


def _period(reader: Reader, node: Part, flow: Flow, found: Import) -> Keys:
    """Return the period of a node with its own rate, else that of the node that triggers it."""
    if reader.rate is None or node.data["type"] != "modbus-read":
        return _triggered(node, flow, found)
    try:
        return every(reader.rate * UNITS.get(reader.rate_unit, 1.0))
    except ValueError as error:
        found.note(node.where, flow.title(node), f"{error}; it is read every second")
        return {}


def _triggered(node: Part, flow: Flow, found: Import) -> Keys:
    """Return the period of the inject node that triggers a node."""
    for one in flow.before(node, _TIMED):
        repeat = one.at("repeat").data
        if one.data["type"] == "inject" and re.fullmatch(r"\d{1,6}(\.\d{1,6})?", str(repeat)) and float(repeat) > 0:
            return every(float(repeat))
    found.note(node.where, flow.title(node), "how often it reads is not in the file; it is read every second")
    return {}


def _requested(node: Part, flow: Flow, found: Import) -> Iterator[Request]:
    """Yield what messages, or a sequence, request of a flexible node."""
    title = flow.title(node)
    payloads = node.find("sequences", found, title)
    for one in () if payloads else flow.before(node):
        if one.data["type"] == "function":
            message = f"is left out: the function {flow.title(one)!r} makes its requests; write these points by hand"
            found.note(node.where, title, message)
        payloads += _payloads(one, found, title)
    if not payloads:
        found.note(node.where, title, "is left out: no message with a constant request leads to it")
    for number, payload in enumerate(payloads):
        message_of = payload.read(Message, found, title)
        if message_of is None:
            continue
        function = message_of.fc.upper().removeprefix("FC").strip()
        if function not in {"1", "2", "3", "4"}:
            found.note(payload.where, title, f"is left out: function {message_of.fc[:20]!r} does not read")
            continue
        name = message_of.name or (title if len(payloads) == 1 else f"{title}_{number}")
        table = FUNCTIONS[int(function)]
        yield Request(name, message_of.unitid, table, message_of.address, message_of.quantity)


def _payloads(node: Part, found: Import, what: str) -> list[Part]:
    """Return the constant payloads of an inject or change node."""
    written: list[tuple[Part, Any]] = []
    if node.data["type"] == "inject":
        if node.at("payloadType").data == "json":
            written.append((node.at("payload"), node.at("payload").data))
        props = [[one.at(key) for key in ("p", "vt", "v")] for one in node.find("props", found, what)]
        written += [(v, v.data) for p, vt, v in props if p.data == "payload" and vt.data == "json"]
    elif node.data["type"] == "change":
        for one in node.find("rules", found, what):
            rule = [one.at(key).data for key in ("t", "p", "tot")]
            if rule == ["set", "payload", "json"]:
                written.append((one.at("to"), one.at("to").data))
    return [inner for part, text in written if (inner := part.inner_json(text, found, what)) is not None]


def _add(
    request: Request, device: Device, node: Part, period: Keys, flow: Flow, options: Options, found: Import
) -> set[str]:
    """Add the points of a request. Returns the ids of the nodes that were used for them."""
    title = flow.title(node)
    unit = request.unit.strip() or device.unit.strip() or "1"
    if not re.fullmatch(r"\d{1,3}", unit) or int(unit) > 255:  # noqa: PLR2004 - unit ids
        found.note(node.where, title, f"is left out: the unit {unit[:40]!r} is not a number from 0 to 255")
        return set()
    followers = list(flow.after(node))
    for function in (one for one in followers if one.data["type"] == "function"):
        message = f"the function {flow.title(function)!r} changes its values; its code is not translated"
        found.note(node.where, title, message)
    parsers = [one for one in followers if one.data["type"] == "buffer-parser"]
    points: list[tuple[Part, str, Keys]] = []
    if request.table not in BITS:
        for parser in parsers:
            points += parsed(parser, request.table, request.address, request.quantity, flow.title(parser), found)
    elif parsers:
        found.note(node.where, title, "bits are not parsed; they are read as they are")
    if not points:
        keys: Keys = {"address": f"{request.table} {request.address}"}
        if request.quantity > 1:
            keys["count"] = request.quantity
            if request.table not in BITS:
                message = (
                    f"is {request.quantity} numbers of 16 bits, as the node sends them; write raw for other types"
                )
                found.note(node.where, title, message)
        points.append((node, request.name, keys))
    machine = _machine(device, int(unit), node, options)
    for part, name, keys in points:
        found.add(machine, name, Row(part.where, keys | period))
    return {parser.data["id"] for parser in parsers}


def _machine(device: Device, unit: int, node: Part, options: Options) -> Found:
    if unit not in device.units:
        name = device.name if not device.units else f"{device.name}-{unit}"
        connection = device.connection | {"unit": unit}
        device.units[unit] = Found(name, name, "modbus", connection, options.area, options.line, node.where)
    return device.units[unit]
