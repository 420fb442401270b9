"""Configurations of EMQX Neuron as JSON: its global export, and its export of drivers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.importers.base import Format
from gateway.importers.found import Found, Import, Options, Row, free_name, with_unit, without_defaults
from gateway.importers.neuron_tags import (
    MODBUS,
    NODE_ORDERS,
    NODE_ORDERS_64,
    OPCUA,
    TYPES,
    Node,
    Tag,
    point,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.importers.content import Content

Data = dict[str, Any]

BAUD = {0: 115200, 1: 57600, 2: 38400, 3: 19200, 4: 9600, 5: 4800, 6: 2400, 7: 1800, 8: 1200, 9: 600, 10: 300}
PARITY = {0: "none", 1: "odd", 2: "even"}
SERVER_MODE = 1
ETHERNET = 1
LONGEST_INTERVAL = 86_400_000
"""A day, in milliseconds."""


def read(content: Content, options: Options) -> Import:
    """Return the machines of an export: one for each unit of each driver. Raises `ValueError`."""
    found = Import()
    data = content.json
    params = {str(one.get("node")): one.get("params") for one in _list(data, "settings")}
    groups = {
        (str(one.get("driver")), str(one.get("group", one.get("name")))): one.get("interval")
        for one in _list(data, "groups")
    }
    tags = [(one, f"$.tags[{number}]") for number, one in enumerate(_list(data, "tags"))]
    for number, node in enumerate(_list(data, "nodes")):
        name, where = str(node.get("name", "")), f"$.nodes[{number}]"
        plugin = str(node.get("plugin", ""))
        its_params = node.get("params", params.get(name))
        settings: Data = its_params if isinstance(its_params, dict) else {}
        own = list(_groups(node, where)) + [
            (groups.get((name, str(one.get("group")))), one, place)
            for one, place in tags
            if one.get("driver") == name
        ]
        if plugin.lower() not in MODBUS and plugin.lower() != OPCUA:
            if own:  # a node that sends data on has no tags
                found.note(where, name, f"is left out: its plugin is {plugin or 'missing'}, not Modbus or OPC UA")
            continue
        _node(name, plugin.lower(), settings, own, where, options, found)
    return found


def _list(data: Any, key: str) -> list[Data]:  # noqa: ANN401 - what a file has
    value = data.get(key) if isinstance(data, dict) else None
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _groups(node: Data, where: str) -> Iterator[tuple[Any, Data, str]]:
    """Yield the groups that a node has itself: interval, the group with its tags, and its place."""
    for number, group in enumerate(_list(node, "groups")):
        yield group.get("interval"), group, f"{where}.groups[{number}]"


def _node(
    name: str, plugin: str, params: Data, groups: list[tuple[Any, Data, str]], where: str, options: Options,
    found: Import,
) -> None:  # fmt: skip
    """Add the machines of a driver node."""
    opcua = plugin == OPCUA
    connection = (_server if opcua else _device)(name, plugin, params, where, options, found)
    settings = Node(
        opcua,
        options.order or NODE_ORDERS.get(_whole(params, "endianess", 1), "ABCD"),
        options.order or NODE_ORDERS_64.get(_whole(params, "endianess_64", 1), "ABCD"),
        0 if _whole(params, "address_base", 1) == 0 else 1,
        _whole(params, "update_mode", 0) == 0,
    )
    machines: dict[int | None, Found] = {}
    for interval, group, place in groups:
        for number, one in enumerate(_list(group, "tags")):
            tag, at = _tag(one), f"{place}.tags[{number}]"
            try:
                unit, keys = point(tag, settings)
            except ValueError as error:
                found.note(at, tag.name or "a tag", f"is left out: {error}")
                continue
            if isinstance(interval, int) and 0 < interval < LONGEST_INTERVAL:
                every = f"{interval / 1000:g}s" if interval % 1000 == 0 else f"{interval}ms"
                keys |= without_defaults({"every": every}, every="1s")
            if unit not in machines:
                machines[unit] = _machine(name, unit, connection, options, where, several=bool(machines))
            found.add(machines[unit], tag.name, Row(at, keys))
    found.machines += machines.values()


def _machine(name: str, unit: int | None, connection: Data, options: Options, where: str, *, several: bool) -> Found:
    free = free_name(name)
    if unit is None:
        return Found(free, free, "opcua", connection, options.area, options.line, where)
    machine = f"{free}-{unit}" if several else free
    return Found(machine, free, "modbus", connection | {"unit": unit}, options.area, options.line, where)


def _tag(one: Data) -> Tag:
    kind, attribute = one.get("type"), one.get("attribute", 1)
    return Tag(
        str(one.get("name", "")),
        str(one.get("address", "")),
        TYPES.get(kind, str(kind)) if isinstance(kind, int) else str(kind).upper(),
        attribute if isinstance(attribute, int) else 1,
        str(one.get("description") or ""),
        one.get("decimal", 0),
        one.get("bias", 0),
    )


def _whole(params: Data, key: str, default: int) -> int:
    value = params.get(key, default)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _device(name: str, plugin: str, params: Data, where: str, options: Options, found: Import) -> Data:
    """Return the connection of a Modbus node, without its unit."""
    serial = "rtu" in plugin and _whole(params, "link", 0) != ETHERNET and "device" in params
    timeout, pause = _whole(params, "timeout", 1000), _whole(params, "interval", 0)
    extra = without_defaults({"timeout": f"{timeout}ms", "pause": f"{pause}ms"}, timeout="1000ms", pause="0ms")
    if serial:
        return {
            "url": f"modbus+rtu://{params['device']}",
            "baud": BAUD.get(_whole(params, "baud", 4), 9600),
            "parity": PARITY.get(_whole(params, "parity", 0), "none"),
            "stop_bits": 2 if _whole(params, "stop", 0) == 1 else 1,
        } | extra
    if not params.get("host"):
        if options.connection.startswith("modbus"):
            return {"url": with_unit(options.connection, "")} | extra
        found.note(where, name, "the address is not in the file: write it in place of modbus+tcp://localhost:502")
        return {"url": "modbus+tcp://localhost:502"} | extra
    scheme = (
        "modbus+rtutcp"
        if "rtu" in plugin
        else "modbus+udp"
        if _whole(params, "transport_mode", 0) == 1
        else "modbus+tcp"
    )
    if _whole(params, "connection_mode", 0) == SERVER_MODE:
        found.note(where, name, "its device dials in: write modbus+listen, see the documentation of Modbus")
    backup = (
        {"backup": f"{params['backup_host']}:{_whole(params, 'backup_port', 502)}"}
        if params.get("backup_host")
        else {}
    )
    return {"url": f"{scheme}://{params['host']}:{_whole(params, 'port', 502)}"} | backup | extra


def _server(name: str, _plugin: str, params: Data, where: str, options: Options, found: Import) -> Data:
    """Return the connection of an OPC UA node."""
    url = str(params.get("url") or params.get("endpoint") or "")
    if not url:
        url = (
            options.connection
            if options.connection.startswith("opc.tcp")
            else "opc.tcp://localhost:4840?security=none"
        )
        if url != options.connection:
            found.note(where, name, f"the address is not in the file: write it in place of {url}")
        return {"url": url}
    connection: Data = {"url": url.rstrip("/")}
    if not params.get("cert"):
        connection["security"] = "none"
    else:
        found.note(where, name, "its certificate is not copied: lineside certs makes one")
    if user := str(params.get("username") or ""):
        secret = f"{free_name(name)}_password"
        connection |= {"username": user, "password": {"secret": secret}}
        found.note(where, name, f"the password is not copied: put it into the secret {secret}")
    return connection


def _recognise(content: Content) -> bool:
    if content.start != "{":
        return False
    return any("plugin" in node for node in _list(content.json, "nodes"))


FORMAT = Format("neuron", "configuration of EMQX Neuron (JSON)", _recognise, read)
