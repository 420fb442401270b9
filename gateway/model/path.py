"""The places of machines in the factory, after ISA-95, and of gateways in the topics."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple


class MachinePath(NamedTuple):
    """The place of a machine in the factory (ISA-95), and of its topics."""

    enterprise: str
    site: str
    area: str
    line: str
    machine: str

    def __str__(self) -> str:
        return "/".join(self)


class GatewayPath(NamedTuple):
    """The place of a gateway in the topics."""

    enterprise: str
    site: str
    gateway: str


def matches(pattern: str, path: MachinePath, point: str = "") -> bool:
    """Return whether a glob such as `*press*`, `press-01/*` or `bladder_pressure` matches a point, or a machine.

    It matches the whole of `enterprise/site/area/line/machine[/point]`, or its end from a level on.
    """
    whole = f"{path}/{point}" if point else str(path)
    return fnmatchcase(whole, pattern) or fnmatchcase(whole, f"*/{pattern}")
