"""What `lineside browse` shows: a line for each node of a server's tree."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from drivers.opcua.browse.companion_names import TITLES
from drivers.opcua.browse.point_names import Addresses, own_namespace
from drivers.opcua.security.certificates import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.opcua.browse.nodes import BrowsedNode, Details
    from gateway.cli.browse_result import BrowseResult

NAME_WIDTH, TYPE_WIDTH, VALUE_WIDTH = 40, 16, 32
LONGEST = 60
"""Characters of a value that are shown."""

_PLAIN_KINDS = {"BaseObjectType", "FolderType", ""}


def tree(looked: BrowseResult, namespace: str | None) -> Iterator[str]:
    """Yield the lines: the nodes that were chosen, with those above them up to the start."""
    own = namespace or own_namespace(looked.chosen, looked.uris)
    nodes = list(looked.start.all())
    addresses = Addresses(nodes, looked.uris, own, by_path=False)
    shown = {id(above) for one in looked.chosen for above in (looked.start, *one.way)}
    chosen = {id(one) for one in looked.chosen}
    depth = len(looked.start.way)
    if own is not None:
        yield f"namespace={own}"
    for one in nodes:
        if not looked.every and id(one) not in shown:
            continue
        indent = "  " * (len(one.way) - depth)
        name = f"{indent}{_text(one.name.Name or one.display) or '(no name)'}"
        if id(one) in chosen and one.details is not None:
            kind, value = _type(one.details), _value(one.details)
            yield f"{name:<{NAME_WIDTH}} {kind:<{TYPE_WIDTH}} {value:<{VALUE_WIDTH}} {addresses.of(one)}"
        else:
            yield f"{name}{_kind(one)}{f'  [{one.note}]' if one.note else ''}"


def as_dicts(looked: BrowseResult, namespace: str | None) -> dict[str, Any]:
    """Return the variables that were chosen, for other programs; values that JSON does not have are text."""
    own = namespace or own_namespace(looked.chosen, looked.uris)
    addresses = Addresses(list(looked.start.all()), looked.uris, own, by_path=False)
    return {
        "url": looked.url,
        "namespace": own,
        "complete": not looked.cut,
        "variables": [
            {"path": _text(one.path), "node": _node(addresses, one), **_details(one.details)}
            for one in looked.chosen
            if one.details is not None
        ],
    }


def _node(addresses: Addresses, one: BrowsedNode) -> str | None:
    node = addresses.of(one)
    return None if node is None else str(node)


def _details(details: Details) -> dict[str, Any]:
    about, fault, shown = details.about, details.fault, details.shown
    value = details.value if shown is None else shown
    if not (value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and isfinite(value))):
        value = _text(_plain(value))
    return {
        "type": _type(details),
        "value": value,
        "unit": about.unit or _text(details.unit),
        "range": list(about.range) if about.range else None,
        "labels": dict(about.labels),
        "quality": "good" if fault is None else fault.quality.value,
        "code": "" if fault is None else fault.code,
    }


def _text(text: str) -> str:
    return printable(text)


def _kind(node: BrowsedNode) -> str:
    kind = node.kinds[0] if node.kinds else None
    if kind is None or kind.name in _PLAIN_KINDS:
        return ""
    specification = next((TITLES[one.uri] for one in node.kinds if one.uri in TITLES), None)
    return f"  ({_text(kind.name)}{f', {specification}' if specification else ''})"


def _type(details: Details) -> str:
    several = "[]" if details.rank > 0 or isinstance(details.value, list) else ""
    return _text(details.type) + several


def _value(details: Details) -> str:
    """Return the value with unit, label and range, or the fault code."""
    about = details.about
    fault = details.fault
    if fault is not None and details.shown is None and details.value is None:
        return f"{fault.quality}: {fault.code}"
    value = _short(details.value if details.shown is None else details.shown)
    if fault is not None and details.shown is not None:
        value += f" ({fault.quality}: {fault.code})"
    if type(details.shown) is int and details.shown in about.labels:
        value += f" = {_text(about.labels[details.shown])}"
    unit = about.unit or _text(details.unit)
    low_high = f", {about.range[0]:g} to {about.range[1]:g}" if about.range else ""
    return f"{value} {unit}".rstrip() + low_high


def _short(value: object) -> str:
    text = _text(_plain(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _plain(value: object) -> str:
    if (
        is_dataclass(value)
        and not isinstance(value, type)
        and not hasattr(value, "Text")
        and not hasattr(value, "Name")
    ):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_plain(one)}" for key, one in list(value.items())[:LONGEST]) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_plain, value[:LONGEST])) + "]"
    if isinstance(value, float):
        return f"{value:.10g}"
    text = getattr(value, "Text", getattr(value, "Name", value))
    return str(text)
