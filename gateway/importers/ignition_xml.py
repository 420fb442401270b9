"""Tags of Ignition as XML, which version 7 exports: with types, which its CSV does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.importers.base import Format
from gateway.importers.found import Import
from gateway.importers.ignition_tags import read_tags
from gateway.importers.ignition_udt import LINE, TYPES_FOLDER, Tree

if TYPE_CHECKING:
    from gateway.importers.content import Content
    from gateway.importers.found import Options
    from gateway.importers.xml_tree import Element

Node = dict[str, Any]

KINDS = {"folder": "Folder", "udt_def": "UdtType", "udt_inst": "UdtInstance", "provider": "Provider"}
"""Types of elements, in small letters, and those of a JSON export; all others are tags."""

NAMES = {
    "datatype": "dataType", "opcserver": "opcServer", "opcitempath": "opcItemPath", "engunit": "engUnit",
    "englow": "engLow", "enghigh": "engHigh", "englimitmode": "engLimitMode", "scalemode": "scaleMode",
    "rawlow": "rawLow", "rawhigh": "rawHigh", "scaledlow": "scaledLow", "scaledhigh": "scaledHigh",
    "clampmode": "clampMode", "deadband": "deadband", "deadbandmode": "deadbandMode",
    "documentation": "documentation", "tooltip": "tooltip", "scanclass": "tagGroup", "enabled": "enabled",
    "udtparenttype": "typeId", "expression": "expression",
}  # fmt: skip
"""Properties of an XML export, in small letters, and those of a JSON export."""

_SCALING = {"1": "Linear", "0": "Off"}


def read(content: Content, options: Options) -> Import:
    """Return the machines of an export. Raises `ValueError`."""
    noted = Import()
    found = read_tags(Tree(_Reader(noted).root(content.xml), noted).tags(), options)
    found.notes += noted.notes
    return found


class _Reader:
    """Turns elements into the nodes of a JSON export."""

    def __init__(self, found: Import) -> None:
        self._found = found
        self._named: dict[int, dict[str, Node]] = {}  # the children of each node by their names

    def root(self, tags: Element) -> Node:
        """Return the tree of an export."""
        root: Node = {"tags": []}
        for element in tags:
            if element.tag == "Tag":
                self._add(root, self._node(element), element.get("path", ""))
        return root

    def _add(self, folder: Node, node: Node, path: str) -> None:
        """Add a node at its path, in folders that are made where they are missing."""
        for name in filter(None, path.split("/")):
            folder = self._child(folder, name)
        named = self._named.setdefault(id(folder), {})
        same = named.get(node["name"])
        if same is None or same.get("tagType") != "Folder" or node.get("tagType") != "Folder":
            named[node["name"]] = node
            folder["tags"].append(node)

    def _child(self, folder: Node, name: str) -> Node:
        named = self._named.setdefault(id(folder), {})
        if "tags" not in named.get(name, {}):
            named[name] = {"name": name, "tagType": "Folder", "tags": []}
            folder["tags"].append(named[name])
        return named[name]

    def _node(self, element: Element) -> Node:
        kind = element.get("type", "").lower()
        node: Node = {"name": element.get("name", ""), LINE: element.line}
        if kind in KINDS:
            node |= {"tagType": KINDS[kind], "tags": []}
        elif kind != "extension":  # an extension overrides the tag of a type
            node |= {"tagType": "AtomicTag", "valueSource": "opc" if kind == "opc" else "expr"}
        for child in element:
            name = child.get("name", "")
            if child.tag == "Property":
                if key := NAMES.get(name.lower()):
                    node[key] = _value(key, child.text or "")
            elif child.tag == "Parameters":
                node["parameters"] = {one.get("name", ""): _bound(one.text or "") for one in child}
            elif child.tag == "Tag" and "tags" in node:
                self._add(node, self._node(child), child.get("path", ""))
            else:
                self._found.note(child.line, node["name"], f"{child.tag} is not translated")
        return node


def _value(key: str, text: str) -> Any:  # noqa: ANN401 - a property
    if key == "enabled":
        return text.lower() != "false"
    if key == "scaleMode":
        return _SCALING.get(text, text)
    if key == "typeId":
        return text.removeprefix(f"{TYPES_FOLDER}/")
    return _bound(text)


def _bound(text: str) -> Any:  # noqa: ANN401 - a property
    """Return a text, as a binding if it has parameters in braces."""
    return {"bindType": "parameter", "binding": text} if "{" in text and "}" in text else text


def _recognise(content: Content) -> bool:
    if content.start != "<" or "<Tag" not in content.text:
        return False
    root = content.xml
    return root.tag in {"Tags", "CustomTags", "Export"} and any(one.tag == "Tag" for one in root)


FORMAT = Format("ignition-xml", "tags of Ignition (XML)", _recognise, read)
