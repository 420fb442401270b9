"""Paths of machines, lines, areas and sites in the arguments of pages."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from gateway.dashboard.feeds.base import BadArguments
from gateway.dashboard.texts.text import _
from gateway.model.path import MachinePath


def machine_path(written: object) -> MachinePath:
    """Return the path of a machine. Raises `BadArguments`."""
    levels = written.split("/") if isinstance(written, str) else []
    if len(levels) != len(MachinePath._fields) or not all(levels):
        raise BadArguments(_("path is enterprise/site/area/line/machine"))
    return MachinePath(*levels)


def _checked(written: str) -> str:
    machine_path(written)
    return written


MachineText = Annotated[str, Field(max_length=2_000), AfterValidator(_checked)]
"""The path of a machine in a request, as text. A model with it raises `BadArguments`."""


def below(written: object) -> tuple[str, ...]:
    """Return the levels of a path that machines are below; all machines are below none. Raises `BadArguments`."""
    if not isinstance(written, str):
        raise BadArguments(_("path is text, as in acme/north"))
    return tuple(filter(None, written.split("/")))
