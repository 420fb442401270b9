r"""The OPC UA connector of the ThingsBoard IoT Gateway: `mapping`, and the old `server.mapping`.

A value is a node id, `${ns=2;i=5}`, a path from the root, `${Root\.Objects\.Drum\.Speed}`, or one from the device's
node, `${Speed}`. The program compares browse names of all namespaces; here they belong to one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import Field

from gateway.importers.foreign import Foreign, Part
from gateway.importers.found import Found, Import, Options, Row, free_name
from gateway.importers.modbus_keys import every
from gateway.importers.opcua_keys import Keys, browse_path, endpoint, note_types, security, user
from gateway.importers.thingsboard_modbus import SECTIONS, Camel
from gateway.settings.serialize import number

if TYPE_CHECKING:
    from collections.abc import Container

LEFT_OUT = {"attributes_updates": "attribute updates", "rpc_methods": "methods", "rpc": "RPC"}
"""Parts of a mapping that are not values to read."""

_NODE_ID = re.compile(r"(?:ns=\d+;)?[sigb]=[^}]+")
_PATTERN = re.compile(r"[*+?|^$]|\\[^.]")


class Server(Camel):
    """The server, and how it is read."""

    apart: ClassVar[Container[str]] = {
        "identity", "mapping", "name", "scanPeriodInMillis", "showMap", "subDataMaxBatchSize",
        "reconnectRetriesCount",
        "subDataMinBatchCreationTimeMs", "subscriptionProcessBatchSize", "sessionTimeoutInMillis", "uri",
        "subKeepAlivePeriodInSeconds", "reconnectBackoffInitialDelay", "reconnectBackoffFactor", "reportStrategy",
    }  # fmt: skip

    url: str
    timeout_in_millis: Annotated[float | None, Field(ge=0)] = None
    poll_period_in_millis: Annotated[float, Field(gt=0)] = 5000
    sub_check_period_in_millis: Annotated[float, Field(gt=0)] = 100
    enable_subscriptions: bool = True
    disable_subscriptions: bool | None = None
    security: str = "None"


class Identity(Camel):
    """How the program identifies itself."""

    apart: ClassVar[Container[str]] = {
        "password", "caCert", "privateKey", "cert", "pathToCACert", "pathToPrivateKey", "pathToClientCert",
    }  # fmt: skip

    type: str = "anonymous"
    username: str = ""
    mode: str = "SignAndEncrypt"


class Mapping(Camel):
    """A device: its node, and its name."""

    apart: ClassVar[Container[str]] = {
        *SECTIONS, *LEFT_OUT, "deviceInfo", "deviceTypePattern", "deviceNodeSource", "reportStrategy", "converter",
    }  # fmt: skip

    device_node_pattern: str
    device_name_pattern: str = ""


class DeviceInfo(Camel):
    """The name and the type of a device."""

    apart: ClassVar[Container[str]] = {"deviceNameExpressionSource", "deviceProfileExpressionSource"}

    device_name_expression: str = ""
    device_profile_expression: str = ""


class Value(Foreign):
    """One value of a device; its address is `value`, in the old form `path`."""

    apart: ClassVar[Container[str]] = {"type", "reportStrategy", "timestampLocation"}

    key: str
    value: str = ""
    path: str = ""


def is_connector(part: Part) -> bool:
    """Return whether this is a configuration of the OPC UA connector."""
    there = isinstance(part.at("mapping").data, list) or isinstance(part.at("server", "mapping").data, list)
    return there and isinstance(part.at("server", "url").data, str)


def read(connector: Part, options: Options, found: Import) -> None:
    """Add the machines of a connector, one for each mapping."""
    server = connector.at("server").read(Server, found, "server")
    if server is None:
        return
    polled = not server.enable_subscriptions if server.disable_subscriptions is None else server.disable_subscriptions
    where = connector.at("server").where
    try:
        period = server.poll_period_in_millis if polled else server.sub_check_period_in_millis
        keys = every(period / 1000) | ({"mode": "poll"} if polled else {})
        connection = _connection(connector.at("server"), server, found)
    except ValueError as error:
        found.note(where, "server", f"is left out: {error}")
        return
    mappings = connector.find("mapping", found, "server") or connector.at("server").find("mapping", found, "server")
    for part in mappings:
        mapping = part.read(Mapping, found, f"mapping {part.path[-1]}")
        if mapping is not None:
            machine = _machine(part, mapping, options, found)
            machine.connection = dict(connection)
            _add_values(part, machine, mapping, keys | {"type": options.kind}, found)
            found.machines.append(machine)


def _machine(part: Part, mapping: Mapping, options: Options, found: Import) -> Found:
    info = None
    if part.at("deviceInfo").data:
        info = part.at("deviceInfo").read(DeviceInfo, found, f"mapping {part.path[-1]}")
    written = info.device_name_expression if info else mapping.device_name_pattern
    name = free_name(re.sub(r"\s*\$\{[^}]*\}\s*", " ", written).strip() or options.machine or "machine")
    if "${" in written:
        message = f"the name {written[:100]!r} has the value of a node; the machine is called {name}"
        found.note(part.where, name, message)
    profile = info.device_profile_expression if info else ""
    template = name if profile in {"", "default"} or "${" in profile else profile
    return Found(name, template, "opcua", {}, options.area, options.line, part.where)


def _connection(part: Part, server: Server, found: Import) -> Keys:
    keys: Keys = {"url": endpoint(server.url)}
    name = free_name(str(urlsplit(keys["url"]).hostname or "server"))
    identity = Identity()
    if part.at("identity").data:
        identity = part.at("identity").read(Identity, found, name) or identity
    if identity.type.lower().startswith("cert"):
        keys |= security(server.security, identity.mode, part.where, name, found)
        message = "the certificate is not copied: Lineside has its own, which the server has to trust"
        found.note(part.at("identity").where, name, message)
    else:  # the program has no security without a certificate
        keys |= {"security": "none"}
    if identity.username:
        keys |= user(identity.username, name, part.at("identity").where, found)
    if server.timeout_in_millis:
        keys["timeout"] = number(min(server.timeout_in_millis / 1000, 60.0))
    return keys


def _add_values(part: Part, machine: Found, mapping: Mapping, keys: Keys, found: Import) -> None:
    device = mapping.device_node_pattern
    unnamed = False
    for section in SECTIONS:
        for one in part.find(section, found, machine.machine):
            what = f"{machine.machine}/{str(one.at('key').data)[:100]}"
            value = one.read(Value, found, what)
            if value is None:
                continue
            try:
                node = _node(value.value or value.path, device)
            except ValueError as error:
                found.note(one.where, what, f"is left out: {error}")
                continue
            unnamed = unnamed or (node.startswith("/") and not re.match(r"/(\d+:|\{)", node))
            found.add(machine, value.key, Row(one.where, {"node": node} | keys))
    for key, words in LEFT_OUT.items():
        if part.at(key).data:
            found.note(part.at(key).where, machine.machine, f"{words}: is left out, since Lineside only reads")
    if machine.points:
        note_types(machine, str(keys["type"]), found)
    if unnamed:
        message = "browse names have no namespace in the file: write namespace, the URI, into the connection"
        found.note(machine.where, machine.machine, message)


def _node(written: str, device: str) -> str:
    """Return the address of a value. Raises `ValueError` for one without an equivalent."""
    if match := _NODE_ID.search(written):
        return match[0].strip()
    match = re.fullmatch(r"\s*\$\{(.+)\}\s*", written)
    if not match:
        raise ValueError(f"{written[:100]!r} is a constant, not a node")
    steps = match[1].split("\\.")
    if steps[0].lower() != "root":
        if _NODE_ID.match(device):
            raise ValueError(
                f"its path begins at the node {device[:100]}; write the path from Objects on, or a node id"
            )
        device_steps = device.removeprefix("${").removesuffix("}").split("\\.")
        if any(_PATTERN.search(step) for step in device_steps):
            raise ValueError(f"deviceNodePattern {device[:100]!r} selects devices by a pattern; write one for each")
        steps = [*device_steps, *steps]
    if steps[0].lower() == "root":
        steps = steps[1:]
    if not steps or steps[0].rpartition(":")[2].lower() != "objects":
        raise ValueError(f"the path {written[:100]!r} does not begin at Root\\.Objects")
    return browse_path(steps[1:])
