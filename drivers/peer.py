"""The address of a device that dials in, and the network in which it is expected."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network


def peer_network(written: str) -> IPv4Network | IPv6Network:
    """Return the network of an address or a network, as in `10.20.1.0/24`. Raises `ValueError`."""
    try:
        return ip_network(written, strict=False)
    except ValueError:
        raise ValueError(
            f"peer {written!r} is not an address or a network; write 10.20.1.11 or 10.20.1.0/24"
        ) from None


def peer_address(peer: str) -> IPv4Address | IPv6Address | None:
    """Return the address of a peer, None if it is not one.

    A port for IPv6 accepts IPv4, too, and shows such addresses as IPv6 (RFC 4291, 2.5.5.2).
    """
    try:
        found = ip_address(peer.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
