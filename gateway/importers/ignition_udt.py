"""A tree of tags as Ignition exports it: folders, types (UDT) and their instances become a plain list of tags.

The tree is data as in a JSON export. A type inherits from another type, an instance overrides parts of its type, and
parameters in braces are replaced: `{dev}`, `{base+4}`, `{number|00}`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.common.text import counted
from gateway.importers.ignition_tags import Tag
from gateway.importers.scaling import finite
from gateway.importers.table import Line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.importers.found import Import, Where

Node = dict[str, Any]

MOST_TAGS = 200_000
"""Tags after types are expanded; few types in each other can stand for any number."""

MOST_TYPES = 32
"""Types that inherit from each other, or instances in each other."""

MOST_LEVELS = 100
"""Folders and instances in each other."""

LINE = "#line"
"""The key of a node's line, if its file is not JSON."""

TYPES_FOLDER = "_types_"

DEFAULTS = {
    "scaled": {"rawLow": 0, "rawHigh": 10, "scaledLow": 0, "scaledHigh": 10},
    "limits": {"engLow": 0, "engHigh": 100},
}
"""Values of properties that an export leaves out."""

KNOWN = frozenset(
    {"name", "tagType", "typeId", "parameters", "tags", "valueSource", "dataType", "opcItemPath", "opcServer",
     "engUnit", "engLow", "engHigh", "engLimitMode", "scaleMode", "rawLow", "rawHigh", "scaledLow", "scaledHigh",
     "clampMode", "deadband", "deadbandMode", "documentation", "tooltip", "tagGroup", "enabled", "expression",
     "query", "path"}
)  # fmt: skip
"""Properties that are translated, or that belong to tags that are left out."""

WITHOUT_EFFECT = frozenset(
    {"value", "formatString", "readOnly", "readPermissions", "writePermissions", "accessRights", "historyEnabled",
     "historyProvider", "historicalDeadband", "historicalDeadbandMode", "historicalDeadbandStyle",
     "historySampleRate",
     "historySampleRateUnits", "historyTagGroup", "historyMaxAge", "historyMaxAgeUnits", "historyTimeDeadband",
     "historyTimeDeadbandUnits", "sampleMode", "persistValue", "valuePersistence", "qualifiedValue", "typeColor",
     "sourceTagPath"}
)  # fmt: skip
"""Properties without an effect on readings."""

_PARAMETER = re.compile(
    r"\{\s*(?P<name>[^{}|+]*?[^{}|+\s])\s*(?:(?P<sign>[+-])\s*(?P<by>\d{1,9}))?\s*(?:\|(?P<format>0{1,12}))?\s*\}"
)


@dataclass(frozen=True, slots=True)
class _Scope:
    """An instance that tags are part of: its path, its type, its parameters, and the instance around it."""

    path: str
    type: str
    where: Where
    parameters: dict[str, str] = field(default_factory=dict)
    outer: _Scope | None = None
    enabled: bool = True

    @property
    def root(self) -> _Scope:
        return self if self.outer is None else self.outer.root


class Tree:
    """The tags of one export. Notes go to `found`."""

    def __init__(self, root: Node, found: Import) -> None:
        self._root = root
        self._found = found
        self._types: dict[str, Node] = {}
        self._count = 0
        self._untranslated: Counter[str] = Counter()
        self._collect(root, "")

    def tags(self) -> Iterator[Tag]:
        """Yield every tag outside of types. Raises `ValueError` beyond a limit."""
        yield from self._walk(self._root, "", "$", None)
        for name, count in self._untranslated.most_common():
            self._found.note("$", name, f"of {counted(count, 'tag')} is not translated")

    def _collect(self, node: Node, path: str) -> None:
        """Find the types of a tree, by their paths below the folder of types."""
        for child in _children(node):
            name = str(child.get("name", ""))
            here = name if path in {"", TYPES_FOLDER} else f"{path}/{name}"
            if kind_of(child) == "UdtType":
                self._types.setdefault(here, child)
            elif kind_of(child) in {"Folder", "Provider", ""}:
                self._collect(child, here)

    def _walk(self, node: Node, path: str, where: Where, scope: _Scope | None) -> Iterator[Tag]:
        for number, child in enumerate(_children(node)):
            name, kind = str(child.get("name", "")), kind_of(child)
            here = f"{path}/{name}" if path else name
            place = child.get(LINE, f"{where}.tags[{number}]") if scope is None else scope.where
            self._count += 1
            if self._count > MOST_TAGS:
                raise ValueError(f"it has more than {MOST_TAGS:,} tags with those of its types; export it in parts")
            if here.count("/") > MOST_LEVELS:
                raise ValueError(f"it has folders and types deeper than {MOST_LEVELS} levels")
            if kind == "UdtInstance":
                yield from self._instance(child, here, place, scope)
            elif kind in {"Folder", "Provider"} or (not kind and "tags" in child):
                yield from self._walk(child, here, place, scope)
            elif kind != "UdtType":
                yield from self._tag(child, here, place, scope)

    def _instance(self, node: Node, path: str, where: Where, outer: _Scope | None) -> Iterator[Tag]:
        try:
            whole = self._merged(node, ())
            scope = _Scope(path, _type_name(node), where, {}, outer, _is_enabled(node, outer))
            if _depth(scope) > MOST_TYPES:
                raise ValueError(f"more than {MOST_TYPES} instances are in each other")  # noqa: TRY301 - handled alike
            parameters = whole.get("parameters")
            for name, written in parameters.items() if isinstance(parameters, dict) else ():
                value = (
                    written.get("value", "") if isinstance(written, dict) and "bindType" not in written else written
                )
                scope.parameters[str(name)] = "" if value is None else _text(value, outer or scope, path)
        except ValueError as error:
            self._found.note(where, path, f"is left out: {error}")
            return
        yield from self._walk(whole, path, where, scope)

    def _merged(self, node: Node, seen: tuple[str, ...]) -> Node:
        """Return a type or an instance with all that it inherits. Raises `ValueError` for a missing type."""
        name = _type_name(node)
        if not name:
            return node
        if name in seen or len(seen) > MOST_TYPES:
            raise ValueError(f"the type {name!r} inherits from itself")
        base = self._types.get(name)
        if base is None:
            raise ValueError(f"its type {name!r} is not in the file; export the tags with the folder {TYPES_FOLDER}")
        return _over(self._merged(base, (*seen, name)), node)

    def _tag(self, node: Node, path: str, where: Where, scope: _Scope | None) -> Iterator[Tag]:
        self._untranslated.update(
            key for key in node if key not in KNOWN and key not in WITHOUT_EFFECT and key != LINE
        )
        cells: dict[str, str] = {}
        filled = dict(node)
        if str(node.get("scaleMode", "")).lower() == "linear":
            filled = DEFAULTS["scaled"] | filled
        if "engLow" in node or "engHigh" in node:
            filled = DEFAULTS["limits"] | {"engLimitMode": "Both"} | filled
        for key in KNOWN & filled.keys():
            if filled[key] is None or key in {"parameters", "tags"}:
                continue
            try:
                cells[key.lower()] = _text(filled[key], scope, path)
            except ValueError as error:
                if key in {"opcItemPath", "dataType", "valueSource"}:
                    self._found.note(where, path, f"is left out: its {key}: {error}")
                    return
                self._found.note(where, path, f"its {key} is not translated: {error}")
        if not _is_enabled(node, scope):
            cells["enabled"] = "false"
        cells.setdefault("valuesource", "opc" if "opcitempath" in cells else "memory")
        root = scope.root if scope else None
        inside = path.removeprefix(f"{root.path}/") if root else path
        yield Tag(inside, Line(where, cells), root.path if root else "", root.type if root else "")


def kind_of(node: Node) -> str:
    """Return the type of a node, nothing where it has none."""
    kind = node.get("tagType")
    return kind if isinstance(kind, str) else ""


def _children(node: Node) -> list[Node]:
    tags = node.get("tags")
    return [child for child in tags if isinstance(child, dict)] if isinstance(tags, list) else []


def _type_name(node: Node) -> str:
    """Return the type of an instance, or the type that a type inherits from, by its path in the folder of types."""
    written = str(node.get("typeId") or "")
    return re.sub(r"^\[[^\]]*\]", "", written).strip("/").removeprefix(f"{TYPES_FOLDER}/")


def _is_enabled(node: Node, outer: _Scope | None) -> bool:
    return node.get("enabled") is not False and (outer is None or outer.enabled)


def _depth(scope: _Scope) -> int:
    return 1 if scope.outer is None else 1 + _depth(scope.outer)


def _over(base: Node, node: Node) -> Node:
    """Return a type with the overrides of an instance, or of a type below it; tags are matched by name."""
    merged = base | {key: value for key, value in node.items() if key not in {"tags", "parameters", "typeId"}}
    parameters = [one for one in (base.get("parameters"), node.get("parameters")) if isinstance(one, dict)]
    merged["parameters"] = {name: value for one in parameters for name, value in one.items()}
    tags = {str(child.get("name", "")): child for child in _children(base)}
    for child in _children(node):
        name = str(child.get("name", ""))
        tags[name] = _overridden(tags[name], child) if name in tags else child
    merged["tags"] = list(tags.values())
    return merged


def _overridden(base: Node, child: Node) -> Node:
    merged = _over(base, child)
    if base.get("typeId"):
        merged["typeId"] = base["typeId"]
    if "tags" not in base and "tags" not in child:
        del merged["tags"]
    return merged


def _text(value: Any, scope: _Scope | None, path: str) -> str:  # noqa: ANN401 - what a file has
    """Return a property as text, with parameters filled in. Raises `ValueError`."""
    if isinstance(value, dict):
        binding = value.get("binding")
        if value.get("bindType") != "parameter" or not isinstance(binding, str):
            raise ValueError(f"a binding of the kind {str(value.get('bindType'))[:20]!r} has none like it here")
        return _PARAMETER.sub(lambda match: _filled(match, scope, path), binding[:4096])
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{finite(value):.15g}"
    if isinstance(value, str):
        return value
    raise ValueError("it is a list")


def _filled(match: re.Match[str], scope: _Scope | None, path: str) -> str:
    """Return the value of one parameter in braces."""
    name = match["name"]
    value = _parameter(name, scope, path)
    if value is None:
        raise ValueError(f"the parameter {{{name[:40]}}} has no value")
    if match["by"] is None and match["format"] is None:
        return value
    if not re.fullmatch(r"-?\d{1,15}", value):
        raise ValueError(f"the parameter {{{name[:40]}}} is {value[:40]!r}, which is not a whole number")
    number = int(value) + int((match["sign"] or "+") + (match["by"] or "0"))
    return str(number).zfill(len(match["format"] or ""))


def _parameter(name: str, scope: _Scope | None, path: str) -> str | None:
    """Return the value of a parameter: of the instance, of those around it, or one that every tag has."""
    inner = scope
    while inner is not None:
        if name in inner.parameters:
            return inner.parameters[name]
        inner = inner.outer
    if scope is None:
        return None
    own = {
        "InstanceName": scope.path.rpartition("/")[2],
        "ParentInstanceName": (scope.outer or scope).path.rpartition("/")[2],
        "RootInstanceName": scope.root.path.rpartition("/")[2],
        "PathToParentFolder": path.rpartition("/")[0],
        "PathToTag": path.rpartition("/")[0],
        "TagName": path.rpartition("/")[2],
    }
    return own.get(name)
