"""What others on the network can read, forge or reach: the meaning of "loopback" and of "readable text".

Every section of settings says by `exposure` whether it has such a connection or listener. A person accepts it with
`insecure: true` beside it (IEC 62443-4-2, CR 3.1, 4.1 and 7.7).
"""

from __future__ import annotations

from ipaddress import ip_address

OF_PLANT = "and ca: FILE where it has a certificate of the plant's authority"
"""What to write beside a URL with TLS."""

ACCEPT = "where that is impossible, write insecure: true and the reason beside it"
"""How a person accepts an exposure."""


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name or address; nothing is resolved."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower() in {"localhost", "ip6-localhost"}


def is_everywhere(host: str) -> bool:
    """Return whether a host to listen at stands for all addresses of this machine."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return not host


def readable_text(what: str, host: str, secure: str) -> str:
    """Return the message for `what`, in the plural, that crosses the network to a host; `secure` is to be written."""
    return (
        f"{what} cross the network to {host} as readable text, and others there can read and change them; write "
        f"{secure}; {ACCEPT}"
    )
