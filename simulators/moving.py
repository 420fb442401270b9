"""The configuration that points to where its machines are served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import yaml

from drivers.modbus.connection import ModbusConnection, Transport
from drivers.opcua.security_settings import SecureConnection
from simulators.servers import key_of

if TYPE_CHECKING:
    from drivers.base import Connection
    from gateway.settings.factory import Factory
    from simulators.servers import Servers

_SECURITY = frozenset(SecureConnection.model_fields)
"""Options of OPC UA connections that simulated machines can't heed: they have no certificate that anybody trusts."""

_ELSEWHERE = frozenset({"backup", "ca", "certificate", "key", "server_name"})
"""Options of Modbus connections that name other addresses, or files of whoever runs the real machines."""


def moved_configuration(factory: Factory, servers: Servers) -> str:
    """Return a factory's YAML with every connection pointing to where it is served."""
    data = {key: value for key, value in factory.written.items() if key not in {"include", "lines"}}
    templates = factory.file.parent / str(data.get("templates", "machines"))
    if templates.is_dir():
        data["templates"] = str(templates.resolve())
    lines: dict[str, Any] = {}
    for machine in factory.machines:
        line = lines.setdefault(machine.path.line, {"area": machine.path.area, "machines": {}})
        connection = _moved(machine.written["connection"], machine.connection, servers)
        line["machines"][machine.path.machine] = {**machine.written, "connection": connection}
    return yaml.safe_dump(data | {"lines": lines}, sort_keys=False, allow_unicode=True)


def _moved(written: str | dict[str, Any], connection: Connection, servers: Servers) -> object:
    """Return a connection as it was written, URL or mapping, with another address."""
    options = {"url": written} if isinstance(written, str) else dict(written)
    parts = urlsplit(str(options.pop("url")))
    query = dict(parse_qsl(parts.query))
    if isinstance(connection, ModbusConnection):
        endpoint = servers.endpoints[key_of(connection)]
        dropped = _ELSEWHERE
        where = (
            {"netloc": "", "path": endpoint.address} if endpoint.transport.serial else {"netloc": endpoint.address}
        )
        trust = {"ca": str(servers.certificate)} if endpoint.transport is Transport.TLS else {}
    else:
        served = servers.opcua[parts._replace(query="", fragment="").geturl()]
        dropped = _SECURITY
        where, trust = {"netloc": urlsplit(served.url).netloc}, {"security": "none"}
    query = trust | {key: value for key, value in query.items() if key not in dropped}
    moved = parts._replace(query=urlencode(query, safe=":/"), **where).geturl()
    if isinstance(written, str):
        return moved
    return {"url": moved} | {key: value for key, value in options.items() if key not in dropped}
