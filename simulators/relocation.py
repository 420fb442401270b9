"""The configuration whose connections point to the simulated servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from drivers.modbus.connection import ModbusConnection, Transport
from drivers.opcua.security.settings import Policy
from gateway.settings.serialize import dump_factory, unrolled
from simulators.servers import device_key

if TYPE_CHECKING:
    from drivers.opcua.settings import OpcUaConnection
    from gateway.settings.factory import Factory, Machine
    from simulators.servers import Servers

_ELSEWHERE = {
    "modbus": frozenset({"backup", "peer", "ca", "crl", "certificate", "key", "key_password", "server_name"}),
    "opcua": frozenset({"backup", "pki", "password", "key_password", "user_certificate", "user_key",
                        "user_key_password", "server_name", "server_uri", "endpoint", "peer", "dial_in"}),
}  # fmt: skip
"""Protocol -> options that are dropped: other addresses, and secrets and files of the real machines."""


def relocated_configuration(factory: Factory, servers: Servers) -> str:
    """Return a factory's YAML with every connection pointing to its simulated server."""
    data = unrolled(factory)
    if servers.free_ports:
        for machine in factory.machines:
            section = data["lines"][machine.path.line]["machines"][machine.path.machine]
            section["connection"] = _relocated_connection(machine, servers)
    return dump_factory(data)


def _relocated_connection(machine: Machine, servers: Servers) -> object:
    """Return a connection in the form of the configuration, URL or mapping, with the address of its server."""
    written, connection = machine.written["connection"], machine.connection
    options = {"url": written} if isinstance(written, str) else dict(written)
    parts = urlsplit(str(options.pop("url")))
    query = dict(parse_qsl(parts.query))
    dropped = _ELSEWHERE[machine.protocol.simulator]
    if isinstance(connection, ModbusConnection):
        endpoint = servers.endpoints[device_key(connection)]
        where = (
            {"netloc": "", "path": endpoint.address} if endpoint.transport.serial else {"netloc": endpoint.address}
        )
        trust: dict[str, Any] = {"ca": str(servers.certificate)} if endpoint.transport is Transport.TLS else {}
    else:
        served = servers.opcua[parts._replace(query="", fragment="").geturl()]
        where, trust = (
            {"scheme": "opc.tcp", "netloc": urlsplit(served.url).netloc},
            trust_options(cast("OpcUaConnection", connection), servers),
        )
    query = {key: value for key, value in query.items() if key not in dropped}
    options = {key: value for key, value in options.items() if key not in dropped}
    if isinstance(written, str) and "password" not in trust:
        query |= trust
    else:
        options |= trust
    moved = parts._replace(query=urlencode(query, safe=":/"), **where).geturl()
    return {"url": moved} | options if options or not isinstance(written, str) else moved


def trust_options(connection: OpcUaConnection, servers: Servers) -> dict[str, Any]:
    """Return the options with the certificates and passwords of this run."""
    credentials = servers.credentials
    if credentials.folder is None or (connection.security is Policy.NONE and not connection.identified):
        return {}
    trust = {"pki": str(credentials.folder)}
    if connection.user_certificate is not None:
        trust |= {"user_certificate": str(credentials.user_certificate), "user_key": str(credentials.user_key)}
    if connection.username is not None and connection.password is not None:
        return trust | {"password": {"file": str(credentials.password_of(connection.username))}}
    return trust
