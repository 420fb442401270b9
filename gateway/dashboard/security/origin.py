"""Where a request comes from: the name that was asked for, and the page that asks.

A name of somebody else that resolves to this machine (DNS rebinding) is refused by its Host header. A request that
changes something, and the handshake of a WebSocket, must come from a page of this server (Fetch, clause 3.2; Fetch
Metadata).
"""

from __future__ import annotations

import re
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.datastructures import Headers

    from gateway.settings.dashboard_section import DashboardSection

_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>\d{1,5}))?", re.ASCII)

_PORTS = {"http": 80, "https": 443}


def _split(host: str) -> tuple[str, int | None] | None:
    """Return name and port of a Host header, None if it is not one."""
    match = _HOST.fullmatch(host)
    if match is None:
        return None
    return match["name"].lower().rstrip("."), int(match["port"]) if match["port"] else None


class Hosts:
    """The names of this server: of the loopback and this machine, all addresses, and the configured names."""

    def __init__(self, section: DashboardSection) -> None:
        machine = socket.gethostname().lower()
        self._names = {"localhost", machine, machine.partition(".")[0], section.endpoint.host.lower(), *section.hosts}
        if section.oidc is not None and section.oidc.redirect_url is not None:
            self._names.add((urlsplit(section.oidc.redirect_url).hostname or "").lower())

    def allows(self, headers: Headers) -> bool:
        """Return whether a request has one Host header, with a name of this server."""
        found = headers.getlist("host")
        split = _split(found[0]) if len(found) == 1 else None
        if split is None:
            return False
        name = split[0]
        if name in self._names:
            return True
        try:
            ip_address(name.strip("[]"))  # an address can't be pointed elsewhere
        except ValueError:
            return False
        return True


def is_same_origin(headers: Headers, scheme: str) -> bool:
    """Return whether a request is from a page of this server, or from a program that is not a browser.

    `scheme` is that of the request. A proxy in front may end TLS, so a plain request may have an origin with https.
    """
    site, origins = headers.get("sec-fetch-site"), headers.getlist("origin")
    if site not in {None, "same-origin"}:
        return False
    if not origins or (origins == ["null"] and site is not None):
        return True  # a browser sends null with a form, because the page asks for no referrer (Fetch, clause 3.2)
    parts = urlsplit(origins[0]) if len(origins) == 1 and len(origins[0]) < 300 else None  # noqa: PLR2004 - of a host
    if parts is None or parts.scheme not in _PORTS or (scheme in {"https", "wss"} and parts.scheme != "https"):
        return False
    usual = _PORTS[parts.scheme]
    ours, theirs = _split(headers.get("host", "")), _split(parts.netloc)
    if ours is None or theirs is None or parts.path or parts.query:
        return False
    return (ours[0], ours[1] or usual) == (theirs[0], theirs[1] or usual)
