"""Patterns of hosts in a policy: a name, a name with `*`, or a network; with a scheme and a port if they matter."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, WithJsonSchema

Network = IPv4Network | IPv6Network

MOST_PATTERNS = 1_000
"""Patterns of one list."""

_PATTERN = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<network>[0-9A-Fa-f:.]+/\d{1,3})|(?P<host>[A-Za-z0-9*?._-]+))"
    r"(?::(?P<port>\d{1,5}))?"
)


class HostPattern(NamedTuple):
    """A pattern; None, or 0, stands for any scheme or port."""

    scheme: str | None
    host: str
    network: Network | None
    port: int

    @classmethod
    def parse(cls, written: str) -> Self:
        """Return a pattern. Raises `ValueError`."""
        match = _PATTERN.fullmatch(written)
        if match is None or not int(match["port"] or 1):
            raise ValueError(
                f"{written[:100]!r} is not a pattern of hosts; write a host, as in broker.example, '*.plant.example',"
                " 10.20.0.0/16 or mqtts://broker.example:8883"
            )
        network: Network | None = None
        if match["network"]:
            try:
                network = ip_network(match["network"])
            except ValueError as error:
                raise ValueError(f"{written[:100]!r} is not a network: {error}") from None
        host = (match["v6"] or match["host"] or "").lower().rstrip(".")
        return cls(match["scheme"], host, network, int(match["port"] or 0))

    def matches(self, url: str) -> bool:
        """Return whether a URL with a host is one of those that are meant; names are never looked up."""
        parts = urlsplit(url)
        if self.scheme not in {None, parts.scheme} or (self.port and self.port != _port(url)):
            return False
        host = _host(url)
        if self.network is None:
            return fnmatchcase(host, self.host) if "/" not in host else host == self.host
        try:
            return _within(ip_network(host), self.network)
        except ValueError:  # a name
            return False


def _within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)


_USUAL_PORTS = {"mqtt": 1883, "mqtts": 8883, "http": 80, "https": 443, "tls": 6514, "opc.tcp": 4840}


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or _USUAL_PORTS.get(parts.scheme, 0)


def _host(url: str) -> str:
    """Return the host of a URL in its plain form; that of a device that dials in may be a network."""
    if url.startswith("peer://"):
        return url.removeprefix("peer://").lower()
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return str(ip_address(host))
    except ValueError:
        return host


def _parse(written: object) -> object:
    if isinstance(written, list):
        return tuple(_parse(one) for one in written)
    return HostPattern.parse(written) if isinstance(written, str) else written


def _parse_all(written: object) -> object:
    parsed = _parse(written)
    return (parsed,) if isinstance(parsed, HostPattern) else parsed


Patterns = Annotated[
    tuple[HostPattern, ...],
    BeforeValidator(_parse_all),
    Field(max_length=MOST_PATTERNS),
    WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}}),
]
"""A pattern of hosts, or a list of them."""
