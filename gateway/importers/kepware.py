"""Tag lists of KEPServerEX, as its CSV export writes them: the tags of one device of its Modbus, or OPC UA, driver.

A tag list names no device, so the person who imports it gives the connection. The word order is not in it
either: it is a setting of the device there ("first word low", which is its default).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.importers.base import Format
from gateway.importers.found import Found, Import, Options, Row, free_name
from gateway.importers.kepware_tags import ORDER, Device, point

if TYPE_CHECKING:
    from gateway.importers.content import Content

COLUMNS = frozenset({"Tag Name", "Address"})
"""The columns that a tag list needs."""

OWN_COLUMNS = frozenset({"Respect Data Type", "Client Access", "Scaled Data Type", "Negate Value"})
"""Columns by which a table is known as one of these."""

_SAMPLE = 20


def read(content: Content, options: Options) -> Import:
    """Return the machine of a tag list. Raises `ValueError` without its connection."""
    if not options.connection:
        raise ValueError("a tag list names no device; say --connection, as in modbus+tcp://10.20.1.11:502?unit=1")
    found = Import()
    order = options.order or ORDER
    device = Device(options.connection.startswith("opc.tcp"), order, order)
    name = options.machine or "machine"
    protocol = "opcua" if device.opcua else "modbus"
    machine = Found(name, free_name(name), protocol, options.connection, options.area, options.line)
    wide = False
    for line in content.table.lines:
        tag = line.get("Tag Name")
        try:
            keys = point(line, tag, device, found)
        except ValueError as error:
            found.note(line.line, tag or "a tag", f"is left out: {error}")
            continue
        wide = wide or "order" in keys
        found.add(machine, tag, Row(line.line, keys))
    if wide:
        found.note(1, "order", f"values of 32 and 64 bits are read as {order}; say --order where it is another")
    found.machines.append(machine)
    return found


def _recognise(content: Content) -> bool:
    table = content.table
    if not COLUMNS.issubset(table.columns):
        return False
    if OWN_COLUMNS & set(table.columns):
        return True
    return any(re.match(r"nsu?=", line.get("Address")) for line in table.lines[:_SAMPLE])  # else anybody's


FORMAT = Format("kepware", "tag list of Kepware (CSV)", _recognise, read)
