"""Paths of machines in the arguments of pages."""

from __future__ import annotations

from gateway.dashboard.feeds.base import BadArguments
from gateway.model.path import MachinePath


def machine_path(written: object) -> MachinePath:
    """Return the path of a machine. Raises `BadArguments`."""
    levels = written.split("/") if isinstance(written, str) else []
    if len(levels) != len(MachinePath._fields) or not all(levels):
        raise BadArguments("path is enterprise/site/area/line/machine")
    return MachinePath(*levels)
