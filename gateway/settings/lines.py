"""The sections `lines` and a template's file, as written."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from gateway.settings.types import Name, Section


def _url_or_options(written: object) -> object:
    if not isinstance(written, str | dict):
        raise ValueError(f"{written!r} is no connection; write a URL, or a mapping of url and options")  # noqa: TRY004
    return written


class MachineSection(Section):
    """One machine: a type, and where this one is. Its connection's options are its protocol's."""

    template: Name
    connection: Annotated[str | dict[str, Any], BeforeValidator(_url_or_options)]


class LineSection(Section):
    """A line of an area, and its machines by name."""

    area: Name
    machines: Annotated[dict[Name, MachineSection], Field(min_length=1)]


class TemplateSection(Section):
    """A machine type: its points, written once.

    `extends` names a template whose points this one has too, but for the keys that it writes again. `defaults`
    stands under every point of this file. The keys of a point are those of `Point`, and of its protocol's source.
    """

    format: int
    protocol: str
    extends: Name | None = None
    description: str = ""
    defaults: dict[str, Any] = {}
    points: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]
