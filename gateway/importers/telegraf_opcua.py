"""Telegraf's inputs `opcua`, which asks, and `opcua_listener`, which subscribes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.importers.foreign import Foreign
from gateway.importers.found import Found, Import, Options, Row, free_name
from gateway.importers.opcua_keys import endpoint, note_types, security, user
from gateway.importers.telegraf_common import COMMON, checked, duration, entries, left_over, seconds
from gateway.settings.serialize import number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.importers.telegraf_common import Finder

Settings = dict[str, Any]

KNOWN = COMMON | {
    "endpoint", "connect_timeout", "request_timeout", "security_policy", "security_mode", "auth_method", "username",
    "password", "nodes", "group", "subscription_interval", "timestamp", "session_timeout", "read_retry_timeout",
    "read_retry_count", "reconnect_error_threshold", "locales", "timestamp_format", "request_workarounds",
}  # fmt: skip
GROUP = {"name", "namespace", "namespace_uri", "identifier_type", "sampling_interval", "nodes"}
INHERITED = ("namespace", "namespace_uri", "identifier_type", "sampling_interval")
NODE = {
    "name", "namespace", "namespace_uri", "identifier_type", "identifier", "id", "monitoring_params",
    "sampling_interval",
}  # fmt: skip
TIMES = {"gather": "gateway", "server": "server", "source": "source"}
"""Clocks by the values of `timestamp`."""


class Input(Foreign):
    """Settings of the input."""

    name: str = ""
    endpoint: str = ""
    interval: str = ""
    subscription_interval: str = ""
    request_timeout: str = ""
    security_policy: str = ""
    security_mode: str = ""
    auth_method: str = ""
    username: str = ""
    timestamp: str = ""


class NodeSettings(Foreign):
    """A node, or what the nodes of a group share."""

    name: str = ""
    id: str = ""
    namespace: str = ""
    namespace_uri: str = ""
    identifier_type: str = ""
    identifier: str = ""
    sampling_interval: str = ""
    monitoring_params: dict[str, Any] = {}


class Monitoring(Foreign):
    """How the server watches a node."""

    sampling_interval: str = ""
    queue_size: int = 10
    discard_oldest: bool = True
    data_change_filter: dict[str, Any] = {}


class Filter(Foreign):
    """Which changes the server sends."""

    trigger: str = ""
    deadband_type: str = ""
    deadband_value: float = 0


def read(plugin: object, every: str, start: int, lines: Finder, options: Options, found: Import) -> None:
    """Add the machine of one input."""
    given = plugin.get("name") if isinstance(plugin, dict) else ""
    name = free_name(str(given or options.machine or "opcua")[:100])
    settings = checked(Input, plugin, start, name, found)
    if settings is None:
        return
    left_over(settings, KNOWN, start, lines, name, found)
    machine = Found(name, name, "opcua", {}, options.area, options.line, start)
    try:
        machine.connection = _connection(settings, name, start, lines, found)
        subscribed = "subscription_interval" in settings
        rate = {"every": duration(settings.get("subscription_interval") or settings.get("interval") or every)}
    except ValueError as error:
        found.note(start, name, f"is left out: {error}")
        return
    rate |= {} if subscribed else {"mode": "poll"}
    for written in _nodes(settings, name, start, lines, found):
        point = str(written.get("name", ""))[:100] if isinstance(written, dict) else ""
        line = lines.find("name", point, start) if point else start
        node = checked(NodeSettings, written, line, f"{name}/{point}", found)
        if node is None:
            continue
        left_over(node, NODE, line, lines, f"{name}/{point}", found)
        try:
            keys = {"node": _node_id(node), "type": options.kind} | rate | _monitored(node, name, line, found)
        except ValueError as error:
            found.note(line, f"{name}/{point}", f"is left out: {error}")
            continue
        found.add(machine, point, Row(line, keys))
    if machine.points:
        note_types(machine, options.kind, found)
    found.machines.append(machine)


def _connection(plugin: Settings, name: str, start: int, lines: Finder, found: Import) -> Settings:
    connection: Settings = {"url": endpoint(str(plugin.get("endpoint", "")))}
    policy, mode = plugin.get("security_policy") or "auto", plugin.get("security_mode") or "auto"
    connection |= security(policy, mode, lines.find("security_policy", start=start), name, found)
    if plugin.get("request_timeout"):
        connection["timeout"] = seconds(plugin["request_timeout"])
    if (clock := plugin.get("timestamp")) is not None:
        if clock not in TIMES:
            raise ValueError(f"the timestamp {clock[:40]!r} is not gather, server or source")
        connection["time"] = TIMES[clock]
    method = str(plugin.get("auth_method", "anonymous")).lower()
    if method == "username":
        connection |= user(str(plugin.get("username", "")), name, lines.find("password", start=start), found)
    elif method == "certificate":
        found.note(lines.find("auth_method", start=start), name, "write user_certificate and user_key by hand")
    return connection


def _nodes(plugin: Settings, name: str, start: int, lines: Finder, found: Import) -> Iterator[object]:
    """Yield the nodes, each with the settings of its group."""
    yield from entries(plugin, "nodes", start, name, found)
    for index, group in enumerate(entries(plugin, "group", start, name, found), 1):
        what = f"{name}/group {index}"
        settings = checked(NodeSettings, group, start, what, found)
        if settings is None:
            continue
        left_over(settings, GROUP, start, lines, what, found)
        inherited = {key: settings[key] for key in INHERITED if key in settings}
        for node in entries(settings, "nodes", start, what, found):
            yield inherited | node if isinstance(node, dict) else node


def _node_id(node: Settings) -> str:
    """Return the address of a node, with the URI of its namespace if it is written. Raises `ValueError`."""
    if node.get("id"):
        return str(node["id"])
    kind, identifier = str(node.get("identifier_type", "")), str(node.get("identifier", ""))
    if kind not in {"s", "i", "g", "b"} or not identifier:
        raise ValueError("it needs an identifier, and its identifier_type: s, i, g or b")
    if node.get("namespace_uri"):
        return f"nsu={node['namespace_uri']};{kind}={identifier}"
    return f"ns={node.get('namespace') or 0};{kind}={identifier}"


def _monitored(node: Settings, name: str, line: int, found: Import) -> Settings:
    """Return the keys for the monitoring parameters of the listener. Raises `ValueError`."""
    what = f"{name}/{node.get('name')}"
    given = checked(Monitoring, node.get("monitoring_params", {}), line, what, found)
    if given is None:
        raise ValueError("its monitoring_params are wrong")
    keys: Settings = {}
    interval = given.pop("sampling_interval", "") or node.get("sampling_interval")
    if interval:
        keys["sampling"] = duration(interval)
    if "queue_size" in given:
        keys["queue"] = given.pop("queue_size")
    if given.pop("discard_oldest", True) is False:
        keys["discard"] = "newest"
    written = given.pop("data_change_filter", {})
    condition = checked(Filter, written, line, what, found)
    if condition is None:
        raise ValueError("its data_change_filter is wrong")
    keys |= _changes(condition, line, what, found) if written else {}
    for key in (*given, *condition):
        found.note(line, what, f"{key[:100]} is not translated")
    return keys


def _changes(condition: Settings, line: int, what: str, found: Import) -> Settings:
    """Return the keys for a filter of changes, and remove its translated parts. Raises `ValueError`."""
    trigger, kind = condition.pop("trigger", "Status"), condition.pop("deadband_type", "None")
    size = condition.pop("deadband_value", 0.0)
    if trigger == "StatusValueTimestamp":
        return {"trigger": "timestamp"}
    if trigger == "Status":
        found.note(line, what, "the trigger Status sends no changes of the value; here they are sent")
    elif trigger != "StatusValue":
        raise ValueError(f"the trigger {trigger[:40]!r} is not known")
    if kind in {"Absolute", "Percent"} and size > 0:
        return {"deadband": number(size) if kind == "Absolute" else f"{number(size)}%"}
    return {}
