"""The configuration as JSON Schema (draft 7): editors complete and check with it as somebody types.

Everything comes from the sections themselves. What a schema can't say, such as which keys of a point go together,
only `lineside validate` knows; what is right to that is right to the schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import drivers
from gateway.codecs import CODECS
from gateway.settings.document import FORMAT
from gateway.settings.keys import keys_of, section
from gateway.settings.lines import LineSection, MachineSection, TemplateSection
from gateway.settings.parameters import NAME as PARAMETER
from gateway.settings.point import Point
from gateway.settings.sections import BrokerSection, FactorySection, GatewaySection, IngestSection
from gateway.settings.types import NAME
from gateway.stores import STORES, store_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from drivers.base import Protocol
    from gateway.settings.keys import Schema

FILLED: Schema = {"type": "string", "pattern": r"\{.*\}"}
"""Names in braces can stand in place of any value that a machine, or a template, has."""

ABOUT = frozenset({"description", "examples", "default"})
"""What a schema tells about a key, and does not ask of it."""

_PARAMETER = f"^{PARAMETER.pattern}$"
_MACHINES = f"^{NAME.pattern}$|^[A-Za-z0-9_.-]*\\{{[0-9., ]+\\}}[A-Za-z0-9_.-]*$"
"""The names of machines, or a range of them."""


def schemas(protocols: Iterable[str] = tuple(drivers.DRIVERS)) -> dict[str, Schema]:
    """Return the schemas by the kinds of files: a factory, lines that it includes, and a template."""
    kinds = [drivers.protocol(name) for name in protocols]
    lines = _lines(kinds)
    head: dict[str, Schema] = {"format": {"const": FORMAT, "description": "The format of this file."}}
    gateway = section(GatewaySection)
    gateway["properties"]["codec"]["enum"] = sorted(CODECS)
    factory = head | {
        "factory": section(FactorySection),
        "gateway": gateway,
        "broker": section(BrokerSection),
        "ingest": section(IngestSection),
        "stores": _stores(),
        "templates": {
            "description": "The folder of templates, beside this file.",
            "type": "string",
            "default": "machines",
            "examples": ["machines"],
        },
        "include": {
            "description": "Files with more lines, in this folder or below it.",
            "type": "array",
            "items": {"type": "string"},
            "examples": [["lines/*.yaml"]],
        },
        "lines": lines,
    }
    whole = _file("A factory of Lineside", factory, ["format", "factory", "gateway", "broker"])
    return {
        "factory": whole | {"anyOf": [{"required": ["lines"]}, {"required": ["include"]}]},
        "lines": _file("Lines of a factory of Lineside", head | {"lines": lines}, ["format", "lines"]),
        "template": _template(kinds),
    }


def _file(title: str, properties: Mapping[str, Schema], required: Iterable[str]) -> Schema:
    schema = "http://json-schema.org/draft-07/schema#"
    return {"$schema": schema, "title": title, "type": "object", "properties": dict(properties),
            "required": list(required), "additionalProperties": False}  # fmt: skip


def _by_name(what: Schema, names: str = f"^{NAME.pattern}$") -> Schema:
    return {
        "type": "object",
        "propertyNames": {"pattern": names},
        "additionalProperties": what,
    }


def _set(keys: dict[str, Schema], name: str, what: Schema) -> None:
    """Say what a key can be, and leave what is told about it."""
    keys[name] = {about: one for about, one in keys[name].items() if about in ABOUT} | what


def _stores() -> Schema:
    stores = {name: section(store_kind(name).settings) for name in sorted(STORES)}
    one = {
        "type": "object",
        "properties": stores,
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
    }
    return {
        "description": "Where ingest puts readings; each gets all of them.",
        "type": "array",
        "items": one,
        "examples": [[{"sqlite": {"path": "readings.db"}}]],
    }


def _lines(kinds: Iterable[Protocol]) -> Schema:
    kinds = list(kinds)
    machine = section(MachineSection)
    _set(machine["properties"], "connection", {"anyOf": [_url(kinds), _options(kinds)]})
    _set(machine["properties"], "points", _by_name(_any_point(kinds)))
    _set(machine["properties"], "parameters", _by_name({"type": ["string", "number", "boolean"]}, _PARAMETER))
    line = section(LineSection)
    _set(line["properties"], "machines", _by_name(machine, _MACHINES))
    return {"description": "The lines by their names."} | _by_name(line)


def _url(kinds: Iterable[Protocol]) -> Schema:
    schemes = "|".join(scheme.replace("+", r"\+") for kind in kinds for scheme in kind.connection.schemes)
    return {"type": "string", "pattern": f"^({schemes})://"}


def _options(kinds: Iterable[Protocol]) -> Schema:
    """Return the schema of a connection written as a mapping: the URL's scheme says which options there are."""
    of: list[Schema] = []
    for kind in kinds:
        options = {name: _or_filled(key) for name, key in keys_of(kind.connection).items()} | {"url": {}}
        of.append({
            "if": {"properties": {"url": _url([kind])}},
            "then": {"properties": options, "additionalProperties": False},
        })  # fmt: skip
    return {"type": "object", "properties": {"url": _url(kinds)}, "required": ["url"], "allOf": of}


def _or_filled(key: Schema) -> Schema:
    """Let names in braces stand there as well."""
    if key.get("type") == "string" and "pattern" not in key:
        return key
    about = {name: value for name, value in key.items() if name in ABOUT}
    return about | {"anyOf": [{name: value for name, value in key.items() if name not in about}, FILLED]}


def _point_keys(kind: Protocol) -> dict[str, Schema]:
    """Return the keys of a point, each of which null takes back."""
    enabled = {"description": "Whether the point is read.", "type": "boolean", "default": True, "examples": [False]}
    keys = keys_of(Point, without=("name", "source")) | keys_of(kind.source) | {"enabled": enabled}
    found = {}
    for name, key in keys.items():
        about = {one: value for one, value in key.items() if one in ABOUT}
        what = {one: value for one, value in key.items() if one not in about}
        found[name] = about | {"anyOf": [what, FILLED, {"type": "null"}]}
    return found


def _any_point(kinds: Iterable[Protocol]) -> Schema:
    keys: dict[str, Schema] = {}
    for kind in kinds:
        for name, key in _point_keys(kind).items():
            keys[name] = key if name not in keys or keys[name] == key else {"description": key["description"]}
    return {"type": "object", "properties": keys, "additionalProperties": False}


def _template(kinds: Iterable[Protocol]) -> Schema:
    kinds = list(kinds)
    keys = keys_of(TemplateSection)
    keys["format"] |= {"const": FORMAT}
    keys["protocol"]["enum"] = [kind.name for kind in kinds]
    _set(keys, "parameters", _by_name({"type": ["string", "number", "boolean", "null"]}, _PARAMETER))
    _set(keys, "points", {})
    of: list[Schema] = []
    definitions: dict[str, Schema] = {}
    for kind in kinds:
        definitions[f"{kind.name}_point"] = {
            "type": "object", "properties": _point_keys(kind), "additionalProperties": False
        }  # fmt: skip
        point = {"$ref": f"#/definitions/{kind.name}_point"}
        of.append({
            "if": {"properties": {"protocol": {"const": kind.name}}},
            "then": {"properties": {"defaults": point, "points": _by_name(point) | {"minProperties": 0}}},
        })  # fmt: skip
    whole = _file("A template of Lineside: a machine type", keys, ["format", "protocol"])
    return whole | {"allOf": of, "definitions": definitions}
