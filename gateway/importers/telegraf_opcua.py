"""Telegraf's inputs `opcua`, which asks, and `opcua_listener`, which subscribes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.importers.found import Found, Import, Options, Row, free_name
from gateway.importers.telegraf_common import COMMON, duration, left_over, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.importers.telegraf_common import Finder

Settings = dict[str, Any]

KNOWN = COMMON | {
    "endpoint", "connect_timeout", "request_timeout", "security_policy", "security_mode", "auth_method", "username",
    "password", "nodes", "group", "subscription_interval", "timestamp", "client_trace", "session_timeout",
}  # fmt: skip
NODE = {"name", "namespace", "identifier_type", "identifier", "id", "monitoring_params", "nodes", "sampling_interval"}
POLICIES = {"none": "none", "basic256sha256": "Basic256Sha256", "aes128_sha256_rsaoaep": "Aes128_Sha256_RsaOaep",
            "aes256_sha256_rsapss": "Aes256_Sha256_RsaPss"}  # fmt: skip


def read(plugin: Settings, every: str, start: int, lines: Finder, options: Options, found: Import) -> None:
    """Add the machine of one input."""
    name = free_name(str(plugin.get("name") or options.machine or "opcua"))
    left_over(plugin, KNOWN, start, lines, name, found)
    machine = Found(name, name, "opcua", {}, options.area, options.line, start)
    try:
        machine.connection = _connection(plugin, name, start, lines, found)
        subscribed = "subscription_interval" in plugin
        rate = {"every": duration(plugin.get("subscription_interval", plugin.get("interval", every)))}
    except ValueError as error:
        found.note(start, name, f"is left out: {error}")
        return
    rate |= {} if subscribed else {"mode": "poll"}
    for node in _nodes(plugin):
        point = str(node.get("name", ""))
        line = lines.find("name", point, start) if point else start
        left_over(node, NODE, line, lines, f"{name}/{point}", found)
        try:
            keys = {"node": _node_id(node), "type": options.kind} | rate | _monitored(node, name, line, found)
        except ValueError as error:
            found.note(line, f"{name}/{point}", f"is left out: {error}")
            continue
        found.add(machine, point, Row(line, keys))
    if machine.points:
        found.note(
            start, name, f"types of nodes are not in the file: all are {options.kind}; correct those that are not"
        )
    found.machines.append(machine)


def _connection(plugin: Settings, name: str, start: int, lines: Finder, found: Import) -> Settings:
    connection: Settings = {"url": str(plugin.get("endpoint", ""))}
    policy = str(plugin.get("security_policy", "auto")).lower()
    mode = str(plugin.get("security_mode", "auto")).lower()
    if policy == "none" or mode == "none":
        connection["security"] = "none"
    elif policy in POLICIES:
        connection["security"] = POLICIES[policy]
    elif policy != "auto":
        found.note(
            lines.find("security_policy", start=start),
            name,
            f"{policy} is insecure; the strongest policy is used",
        )
    if mode == "sign" and connection.get("security") != "none":
        connection["security_mode"] = "sign"
    if "request_timeout" in plugin:
        connection["timeout"] = seconds(plugin["request_timeout"])
    method = str(plugin.get("auth_method", "anonymous")).lower()
    if method == "username":
        connection["username"] = str(plugin.get("username", ""))
        connection["password"] = {"secret": f"{free_name(name)}_password"}
        where = lines.find("password", start=start)
        found.note(where, name, f"the password is not copied: put it into the secret {name}_password")
    elif method == "certificate":
        found.note(lines.find("auth_method", start=start), name, "write user_certificate and user_key by hand")
    return connection


def _nodes(plugin: Settings) -> Iterator[Settings]:
    """Yield the nodes, each with the settings of its group."""
    yield from plugin.get("nodes", ())
    for group in plugin.get("group", ()):
        inherited = {key: group[key] for key in ("namespace", "identifier_type", "sampling_interval") if key in group}
        for node in group.get("nodes", ()):
            yield inherited | node


def _node_id(node: Settings) -> str:
    if node.get("id"):
        return str(node["id"])
    kind, identifier = str(node.get("identifier_type", "")), str(node.get("identifier", ""))
    if kind not in {"s", "i", "g", "b"} or not identifier:
        raise ValueError("it needs an identifier, and its identifier_type: s, i, g or b")
    namespace = str(node.get("namespace", ""))
    return f"ns={namespace};{kind}={identifier}" if namespace not in {"", "0"} else f"ns=0;{kind}={identifier}"


def _monitored(node: Settings, name: str, line: int, found: Import) -> Settings:
    """Return the keys for the monitoring parameters of the listener."""
    asked = dict(node.get("monitoring_params", {}))
    keys: Settings = {}
    interval = asked.pop("sampling_interval", node.get("sampling_interval"))
    if interval is not None:
        keys["sampling"] = duration(interval)
    if "queue_size" in asked:
        keys["queue"] = int(asked.pop("queue_size"))
    if asked.pop("discard_oldest", True) is False:
        keys["discard"] = "newest"
    condition = dict(asked.pop("data_change_filter", {}))
    if condition.get("trigger") == "StatusValue":  # as we have it
        del condition["trigger"]
    if (kind := condition.get("deadband_type")) in {"Absolute", "Percent"}:
        size = float(condition.pop("deadband_value"))
        keys["deadband"] = size if kind == "Absolute" else f"{size:g}%"
        del condition["deadband_type"]
    for key in (*asked, *condition):
        found.note(line, f"{name}/{node.get('name')}", f"{key} is not translated")
    return keys
