"""Tags of Ignition as JSON, which version 8 exports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.importers.base import Format
from gateway.importers.found import Import
from gateway.importers.ignition_tags import read_tags
from gateway.importers.ignition_udt import Tree, kind_of

if TYPE_CHECKING:
    from gateway.importers.content import Content
    from gateway.importers.found import Options

_KINDS = frozenset({"Provider", "Folder", "AtomicTag", "UdtType", "UdtInstance"})


def read(content: Content, options: Options) -> Import:
    """Return the machines of an export: a provider, a folder, a tag, or a list of them. Raises `ValueError`."""
    data: Any = content.json
    noted = Import()
    found = read_tags(Tree(_root(data), noted).tags(), options)
    found.notes += noted.notes
    return found


def _root(data: Any) -> dict[str, Any]:  # noqa: ANN401 - what a file has
    if isinstance(data, list):
        return {"tags": data}
    if isinstance(data, dict):
        return data if kind_of(data) in {"Provider", ""} or data.get("name") == "" else {"tags": [data]}
    raise ValueError("it is not an export of tags")


def _recognise(content: Content) -> bool:
    if content.start not in {"{", "["}:
        return False
    data = content.json
    nodes = data if isinstance(data, list) else [data]
    return any(_is_tag(node) or any(map(_is_tag, _tags(node))) for node in nodes[:20])


def _is_tag(node: object) -> bool:
    return isinstance(node, dict) and kind_of(node) in _KINDS


def _tags(node: object) -> list[object]:
    tags = node.get("tags") if isinstance(node, dict) else None
    return tags[:20] if isinstance(tags, list) else []


FORMAT = Format("ignition-json", "tags of Ignition (JSON)", _recognise, read)
