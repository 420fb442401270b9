"""Flows of Node-RED: nodes of node-red-contrib-modbus and node-red-contrib-opcua, and of buffer-parser behind them.

Only nodes whose effect is in the file are translated. Function nodes are noted, since they are programs.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gateway.importers import nodered_modbus, nodered_opcua
from gateway.importers.base import Format
from gateway.importers.foreign import Part, json_part, looks_like_json
from gateway.importers.found import Import
from gateway.importers.modbus_keys import share_options
from gateway.importers.nodered_flow import Flow

if TYPE_CHECKING:
    from gateway.importers.content import Content
    from gateway.importers.found import Options

FAMILIES = ("modbus", "opcua")
"""How the types of nodes begin that read machines, in small letters and without signs."""

SILENT = frozenset({"tab", "group", "comment", "junction", "link in", "link out", "subflow"})
"""Types of nodes that do nothing with a value."""

SHOWN_TYPES = 8
"""Types of other nodes that the note about them names."""


def read(content: Content, options: Options) -> Import:
    """Return the machines of flows. Raises `ValueError` for flows without a node that reads a machine."""
    found = Import()
    flow = Flow(_nodes(json_part(content)), found)
    used = nodered_modbus.read(flow, options, found) | nodered_opcua.read(flow, options, found)
    share_options(found.machines, found)
    _note_others(flow, used, found)
    if not any(_family(node) for node in flow.nodes.values()):
        raise ValueError("it has no node of node-red-contrib-modbus or node-red-contrib-opcua")
    return found


def _nodes(whole: Part) -> list[Part]:
    """Return the nodes of an export, of the editor's file, or of a single flow of the API."""
    lists = [whole] if isinstance(whole.data, list) else [whole.at(key) for key in ("flows", "nodes", "configs")]
    return [node for one in lists if isinstance(one.data, list) for node in one.entries() if _is_node(node)]


def _is_node(part: Part) -> bool:
    return isinstance(part.at("id").data, str) and isinstance(part.at("type").data, str)


def _family(node: Part) -> bool:
    plain = "".join(filter(str.isalnum, node.data["type"].lower()))
    return plain.startswith(FAMILIES)


def _note_others(flow: Flow, used: set[str], found: Import) -> None:
    """Note the nodes that were not translated."""
    others = []
    for identity, node in flow.nodes.items():
        kind = node.data["type"]
        if identity in used:
            continue
        if kind == "buffer-parser":
            message = "is left out: it does not follow a node that reads registers, or a function is between them"
            found.note(node.where, flow.title(node), message)
        elif _family(node):
            found.note(node.where, flow.title(node), f"{kind}: is not translated")
        elif kind not in SILENT:
            others.append(kind[:40])
    if others:
        kinds = [kind for kind, _ in Counter(others).most_common()]
        shown = ", ".join(kinds[:SHOWN_TYPES]) + (" and others" if len(kinds) > SHOWN_TYPES else "")
        found.note("$", "flows", f"other nodes are left out: {shown}")


def _recognise(content: Content) -> bool:
    if not looks_like_json(content):
        return False
    nodes = _nodes(json_part(content))
    return any(_family(node) or ("wires" in node.data and "z" in node.data) for node in nodes)


FORMAT = Format("nodered", "flows of Node-RED (JSON)", _recognise, read)
