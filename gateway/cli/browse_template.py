"""A template of what `lineside browse` has found: points with names, nodes, types, units, ranges and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from drivers.base import ValueType
from drivers.opcua.browse.point_candidates import DURATION, PointCandidate, Unusable, offers
from drivers.opcua.browse.point_names import Addresses, own_namespace
from drivers.opcua.security.certificates import printable
from gateway.model.text import MAX_TEXT, clean_text
from gateway.settings.units import USUAL, is_unit

if TYPE_CHECKING:
    from drivers.opcua.node_address import BrowsePath, Node
    from gateway.cli.browse_result import BrowseResult

MOST_LEFT_OUT = 50
"""Variables without a point that a template names in comments."""


class Template(NamedTuple):
    """A template: its text, how many points it has, and what to write in the factory beside its name."""

    text: str
    points: int
    hint: str


def template_of(looked: BrowseResult, namespace: str | None, name: str, *, by_path: bool | None) -> Template:
    """Return a template of the variables that were chosen; `by_path` is of `Addresses`."""
    own = namespace or own_namespace(looked.chosen, looked.uris)
    addresses = Addresses(list(looked.start.all()), looked.uris, own, by_path=by_path)
    found, left_out = offers(looked.chosen, looked.types, looked.uris)
    lines, points = [], 0
    for offer in found:
        node = addresses.of(offer.found)
        if node is None:
            left_out.append(Unusable(offer.found.path, "a node that can't be written"))
            continue
        keys, remark = _keys(offer, node)
        lines.append(f"  {_flow(offer.name)}: {_flow(keys)}{f'  # {remark}' if remark else ''}")
        points += offer.count or 1
    title = looked.url if looked.start.is_objects else f"{looked.start.path} of {looked.url}"
    head = ["format: 1", "protocol: opcua", f"description: {_flow(_line(title))}", "points:"]
    if own is not None:
        head = [f"# Nodes without a namespace are in the namespace of the connection: {_line(own)}", *head]
    text = "\n".join((*head, *lines, *_remarks(left_out))) + "\n"
    hint = f'; in the factory: {{template: {name}, connection: "...?namespace={own}"}}' if own is not None else ""
    return Template(text, points, hint)


def _keys(offer: PointCandidate, node: Node | BrowsePath) -> tuple[dict[str, Any], str]:
    """Return the keys of a point, and a remark for who goes over the template."""
    about, remark = offer.details.about, ""
    keys: dict[str, Any] = {"node": str(node), "type": offer.type.value}
    if offer.field:
        keys["field"] = ".".join(offer.field)
    if offer.count is not None:
        keys["count"] = offer.count
    number = offer.type in {ValueType.INT, ValueType.FLOAT}
    if number and offer.data_type == DURATION:
        keys |= {"type": ValueType.FLOAT.value, "scale": 0.001, "unit": "s"}
    elif number and not offer.field:
        unit, remark = _unit(about.unit, _line(offer.details.unit))
        keys |= {"unit": unit} if unit else {}
    if number and about.range is not None and not offer.field:
        keys["range"] = [_whole(one * keys.get("scale", 1)) for one in about.range]
    labels = {} if offer.field else about.labels or (offer.known.labels if offer.known else {})
    if offer.type is ValueType.INT and labels and "scale" not in keys:
        keys["labels"] = {number: _line(label) for number, label in labels.items() if _line(label)}
    if description := _description(offer):
        keys["description"] = description
    return keys, remark


def _unit(ucum: str, text: str) -> tuple[str, str]:
    """Return the unit, by its code or by how the server writes it; and a remark where that is less than sure."""
    if ucum or not text:
        return ucum, ""
    unit = USUAL.get(text) or (text if is_unit(text) else "")
    return unit, f"the server writes its unit {text!r} without a UN/CEFACT code"


def _description(offer: PointCandidate) -> str:
    """Return the description or the display name of a node, if it differs from the name."""
    texts = (_line(offer.details.about.description), _line(offer.found.display))
    return next((text for text in texts if text not in {"", offer.found.name.Name}), "")


def _line(text: str) -> str:
    """Return text of a server on one line, without what could disturb a terminal."""
    return clean_text(printable(" ".join(text.split())), MAX_TEXT)


def _whole(number: float) -> float:
    short = float(f"{number:.10g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short  # noqa: PLR2004 - what a float holds exactly


def _flow(value: object) -> str:
    """Return YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1 << 20)
    return text.removesuffix("\n").removesuffix("\n...")


def _remarks(left_out: list[Unusable]) -> list[str]:
    lines = [f"# left out: {_line(one.path)}: {_line(one.why)}" for one in left_out[:MOST_LEFT_OUT]]
    more = len(left_out) - MOST_LEFT_OUT
    return [*lines, f"# left out: {more} more"] if more > 0 else lines
