"""The plan of a configuration as plain data: the requests to each device, their cost, and what devices granted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from drivers.base import Group, PointMetadata
    from gateway.acquisition.link_load import LinkLoad

    Reported = Mapping[str, Mapping[str, PointMetadata]]


def are_kept(links: Iterable[LinkLoad]) -> bool:
    """Return whether all periods can be kept."""
    return all(link.load <= 1 for link in links)


def plan_of(link: LinkLoad, reported: Reported) -> dict[str, Any]:
    """Return the requests of a connection, by group, with their cost in bytes and seconds."""
    return {
        "connection": str(link.connection),
        "protocol": link.protocol.name,
        "load": link.load,
        "bytes_per_second": link.bytes_per_second,
        "verdict": link.verdict,
        "groups": [
            {
                "machine": group.machine,
                "points": list(group.names),
                "every": group.every,
                "pushed": group.pushed,
                "requests": cost.requests,
                "bytes": cost.bytes,
                "seconds": cost.seconds,
                "details": list(cost.details),
                "revised": {name: dict(revised) for name, revised in revised_of(group, reported)},
            }
            for group, cost in link.costs
        ],
    }


def revised_of(group: Group, reported: Reported) -> list[tuple[str, Mapping[str, float]]]:
    """Return the parameters that the device granted instead of those requested, when it was last connected."""
    known = reported.get(group.machine, {})
    return [(name, known[name].revised) for name in group.names if name in known and known[name].revised]
