"""The values in the sections of a configuration, and the secrets among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from drivers.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gateway.settings.document import Step
    from gateway.settings.factory import Factory


def sections_of(factory: Factory) -> list[BaseModel]:
    """Return the parts of a configuration that can name secrets and files; each connection once."""
    connections = {id(machine.connection): machine.connection for machine in factory.machines}.values()
    stores = (entry.settings for entry in factory.stores)
    return [factory.broker, factory.gateway, factory.ingest, factory.dashboard, *stores, *connections]


def pki_folders(factory: Factory) -> list[Path]:
    """Return the folders with the certificates of connections that have some (OPC UA), sorted, each once."""
    connections = [machine.connection for machine in factory.machines]
    used = {
        factory.file.parent / folder
        for one in connections
        if not getattr(one, "unprotected", True) and (folder := getattr(one, "folder", None)) is not None
    }
    return sorted(used)


def values_in(section: object, path: tuple[Step, ...] = ()) -> Iterator[tuple[tuple[Step, ...], object]]:
    """Yield the values in a section, and in sections, lists and mappings in it, each with its keys.

    A secret is a value.
    """
    below: Iterable[tuple[Step, object]]
    if isinstance(section, BaseModel) and not isinstance(section, Secret):
        below = ((name, getattr(section, name)) for name in type(section).model_fields)
    elif isinstance(section, list | tuple):
        below = enumerate(section)
    elif isinstance(section, dict):
        below = section.items()
    else:
        yield path, section
        return
    for step, value in below:
        yield from values_in(value, (*path, step))


def secrets_in(section: object) -> Iterator[tuple[tuple[Step, ...], Secret]]:
    """Yield the secrets in a section, each with its keys."""
    for path, value in values_in(section):
        if isinstance(value, Secret):
            yield path, value


def secrets_of(factory: Factory) -> list[Secret]:
    """Return the secrets that a configuration names, each once."""
    return list(dict.fromkeys(secret for _, secret in secrets_in(sections_of(factory))))
