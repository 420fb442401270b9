"""Connectors of the ThingsBoard IoT Gateway: `modbus` and `opcua`, in their present and their old form.

A file is the configuration of one connector, or contains it under `configurationJson`, as the platform exports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.importers import thingsboard_modbus, thingsboard_opcua
from gateway.importers.base import Format
from gateway.importers.foreign import Part, json_part, looks_like_json
from gateway.importers.found import Import

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.importers.content import Content
    from gateway.importers.found import Options

INNER = "configurationJson"
"""The key that contains a connector's configuration in an export of the platform."""


def read(content: Content, options: Options) -> Import:
    """Return the machines of a file. Raises `ValueError` for one without anything that is read from a machine."""
    whole = json_part(content)
    if files := _names_of_files(whole):
        raise ValueError(f"it names the files of connectors; import these: {', '.join(files)}")
    found = Import()
    for connector in _connectors(whole):
        if thingsboard_modbus.is_connector(connector):
            thingsboard_modbus.read(connector, options, found)
        elif thingsboard_opcua.is_connector(connector):
            thingsboard_opcua.read(connector, options, found)
    if not any(machine.points for machine in found.machines) and not found.notes:
        raise ValueError("it has no connector modbus or opcua with anything to read")
    return found


def _connectors(part: Part) -> Iterator[Part]:
    """Yield the configurations of connectors: the file itself, or what it contains."""
    if thingsboard_modbus.is_connector(part) or thingsboard_opcua.is_connector(part):
        yield part
        return
    inside = part.entries() if isinstance(part.data, list) else [one for _, one in part.items()]
    for one in [part, *inside]:
        if isinstance(one.at(INNER).data, dict):
            yield one.at(INNER)


def _names_of_files(part: Part) -> list[str]:
    """Return the files that the gateway's main configuration names."""
    connectors = part.at("connectors").data
    if not isinstance(connectors, list) or not part.at("thingsboard").data:
        return []
    files = [one.get("configuration") for one in connectors if isinstance(one, dict)]
    return [str(file)[:100] for file in files if file]


def _recognise(content: Content) -> bool:
    if not looks_like_json(content):
        return False
    whole = json_part(content)
    return bool(_names_of_files(whole)) or any(
        thingsboard_modbus.is_connector(one) or thingsboard_opcua.is_connector(one) for one in _connectors(whole)
    )


FORMAT = Format("thingsboard", "connector of the ThingsBoard IoT Gateway (JSON)", _recognise, read)
