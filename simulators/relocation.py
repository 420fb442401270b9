"""The configuration that points to where its machines are served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

import yaml

from drivers.modbus.connection import ModbusConnection, Transport
from drivers.opcua.security.settings import Policy
from simulators.servers import key_of

if TYPE_CHECKING:
    from drivers.opcua.settings import OpcUaConnection
    from gateway.settings.factory import Factory, Machine
    from simulators.servers import Servers

_ELSEWHERE = {
    "modbus": frozenset({"backup", "ca", "certificate", "key", "server_name"}),
    "opcua": frozenset({"backup", "pki", "password", "user_certificate", "user_key", "server_name"}),
}
"""Options that name other addresses, or secrets and files of whoever runs the real machines, by protocol."""


def moved_configuration(factory: Factory, servers: Servers) -> str:
    """Return a factory's YAML with every connection pointing to where it is served."""
    data = {key: value for key, value in factory.written.items() if key not in {"include", "lines"}}
    templates = factory.file.parent / str(data.get("templates", "machines"))
    if templates.is_dir():
        data["templates"] = str(templates.resolve())
    lines: dict[str, Any] = {}
    for machine in factory.machines:
        line = lines.setdefault(machine.path.line, {"area": machine.path.area, "machines": {}})
        connection = _moved(machine, servers) if servers.free_ports else machine.written["connection"]
        line["machines"][machine.path.machine] = {**machine.written, "connection": connection}
    return yaml.safe_dump(data | {"lines": lines}, sort_keys=False, allow_unicode=True)


def _moved(machine: Machine, servers: Servers) -> object:
    """Return a connection as it was written, URL or mapping, with another address."""
    written, connection = machine.written["connection"], machine.connection
    options = {"url": written} if isinstance(written, str) else dict(written)
    parts = urlsplit(str(options.pop("url")))
    query = dict(parse_qsl(parts.query))
    dropped = _ELSEWHERE[machine.protocol.simulator]
    if isinstance(connection, ModbusConnection):
        endpoint = servers.endpoints[key_of(connection)]
        where = (
            {"netloc": "", "path": endpoint.address} if endpoint.transport.serial else {"netloc": endpoint.address}
        )
        trust: dict[str, Any] = {"ca": str(servers.certificate)} if endpoint.transport is Transport.TLS else {}
    else:
        served = servers.opcua[parts._replace(query="", fragment="").geturl()]
        where, trust = (
            {"netloc": urlsplit(served.url).netloc},
            _trusting(cast("OpcUaConnection", connection), servers),
        )
    query = {key: value for key, value in query.items() if key not in dropped}
    options = {key: value for key, value in options.items() if key not in dropped}
    if isinstance(written, str) and "password" not in trust:
        query |= trust
    else:
        options |= trust
    moved = parts._replace(query=urlencode(query, safe=":/"), **where).geturl()
    return {"url": moved} | options if options or not isinstance(written, str) else moved


def _trusting(connection: OpcUaConnection, servers: Servers) -> dict[str, Any]:
    """Return the options by which a gateway is let in, and trusts who is there: all of it made for this run."""
    made = servers.credentials
    if made.folder is None or (connection.security is Policy.NONE and not connection.identified):
        return {}
    trust = {"pki": str(made.folder)}
    if connection.user_certificate is not None:
        trust |= {"user_certificate": str(made.user_certificate), "user_key": str(made.user_key)}
    if connection.username is not None and connection.password is not None:
        return trust | {"password": {"file": str(made.password_of(connection.username))}}
    return trust
