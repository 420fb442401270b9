"""The configuration as JSON Schema (draft 7): editors complete and check with it as somebody types.

Everything comes from the sections themselves: types from pydantic, descriptions and examples from the string below
each field. Text in backquotes behind "as in" gives examples in YAML. A schema can't say which
keys of a point go together; what `lineside validate` accepts, the schema accepts too.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

import drivers
from drivers.base import as_written
from drivers.secret import NAME as SECRET_NAME
from drivers.secret import Secret
from gateway.codecs import CODECS
from gateway.common.setting_types import DURATION, NAME
from gateway.settings.alarm_set import Kind, Priority
from gateway.settings.alarms import AlarmKeys
from gateway.settings.calendar import DATE, PAUSE, CalendarSection, Day, ShiftSection, StopSection
from gateway.settings.dashboard_section import DashboardSection
from gateway.settings.derivation import NOT_DERIVED, Derivation
from gateway.settings.document import FORMAT, read_text
from gateway.settings.line_sections import LineSection, MachineSection, TemplateSection
from gateway.settings.parameters import NAME as PARAMETER
from gateway.settings.parts import MOST_CURVES, PartKeys, ResultKeys, ValueKeys
from gateway.settings.point import Point
from gateway.settings.production import ProductionSection
from gateway.settings.sections import BrokerSection, FactorySection, GatewaySection, IngestSection
from gateway.settings.serialize import duration
from gateway.settings.storage_section import StorageSection
from gateway.stores import STORES, store_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema

    from drivers.base import Protocol

Schema = dict[str, Any]

SECRET: Schema = {
    "type": "object",
    "properties": {
        "secret": {"type": "string", "pattern": f"^{SECRET_NAME.pattern}$", "description": "Its name."},
        "file": {"type": "string", "minLength": 1, "description": "The file that holds it."},
    },
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}

_TURNED = "x-turned"
"""Marks a value whose written form is converted: its examples give the JSON types of that form."""

_KINDS = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}

FILLED: Schema = {"type": "string", "pattern": r"\{.*\}"}
"""Any value of a machine or a template can be a text with names in braces."""

VARIABLE: Schema = {"type": "string", "pattern": r"\$\{[A-Za-z_]"}
"""Any value of a factory's file can be a text with variables."""

ABOUT = frozenset({"description", "examples", "default"})
"""Annotations of a key, which validate nothing."""

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
        "dashboard": section(DashboardSection),
        "calendar": _calendar(),
        "storage": section(StorageSection),
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
    whole = _file("A factory of Lineside", _with_variables(factory), ["format", "factory", "gateway", "broker"])
    included = _file("Lines of a factory of Lineside", _with_variables(head | {"lines": lines}), ["format", "lines"])
    return {
        "factory": whole | {"anyOf": [{"required": ["lines"]}, {"required": ["include"]}]},
        "lines": included,
        "template": _template(kinds),
    }


_WORDS = ("enum", "const", "pattern")
"""Keywords that a text with a variable does not satisfy."""


def _with_variables(keys: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return the keys of a file, whose values may be texts with variables."""
    return {name: key if name == "format" else _or_variable(key) for name, key in keys.items()}


def _or_variable(schema: Any) -> Any:  # noqa: ANN401 - a part of a schema
    """Accept `${NAME}` wherever a schema has a single value, except for secrets."""
    if not isinstance(schema, dict) or schema == SECRET or schema.items() >= SECRET.items():
        return schema
    found = dict(schema)
    for name in ("properties", "definitions"):
        if name in found:
            found[name] = {key: _or_variable(one) for key, one in found[name].items()}
    for name in ("additionalProperties", "items", "then"):
        if name in found:
            found[name] = _or_variable(found[name])
    if "allOf" in found:
        found["allOf"] = [_or_variable(one) for one in found["allOf"]]
    if FILLED in found.get("anyOf", ()):  # it accepts variables as well
        return found
    if "anyOf" in found:
        inner = [_or_variable(one) for one in found["anyOf"]]
        flat = [one for part in inner for one in (part["anyOf"] if set(part) == {"anyOf"} else [part])]
        found["anyOf"] = [one for at, one in enumerate(flat) if one not in flat[:at]]
        return found
    types = found.get("type", [])
    single = set(types if isinstance(types, list) else [types]) & {"string", "number", "integer", "boolean"}
    if not any(word in found for word in _WORDS) and ("string" in single or not single):
        return found
    about = {name: value for name, value in found.items() if name in ABOUT}
    what = {name: value for name, value in found.items() if name not in about}
    return about | {"anyOf": [what, VARIABLE]}


def _file(title: str, properties: Mapping[str, Schema], required: Iterable[str]) -> Schema:
    schema = "http://json-schema.org/draft-07/schema#"
    return {"$schema": schema, "title": title, "type": "object", "properties": dict(properties),
            "required": list(required), "additionalProperties": False}  # fmt: skip


def _by_name(value: Schema, names: str = f"^{NAME.pattern}$") -> Schema:
    return {
        "type": "object",
        "propertyNames": {"pattern": names},
        "additionalProperties": value,
    }


def _set(keys: dict[str, Schema], name: str, what: Schema) -> None:
    """Replace the schema of a key, and keep its annotations."""
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
    _set(machine["properties"], "derive", _by_name(_derived_point()))
    _set(machine["properties"], "alarms", _by_name(_alarm()))
    _set(machine["properties"], "part", _parts())
    _set(machine["properties"], "production", _production())
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
    """Accept names in braces as well."""
    if key.get("type") == "string" and "pattern" not in key:
        return key
    about = {name: value for name, value in key.items() if name in ABOUT}
    return about | {"anyOf": [{name: value for name, value in key.items() if name not in about}, FILLED]}


def _point_keys(kind: Protocol) -> dict[str, Schema]:
    """Return the keys of a point, each of which null takes back."""
    enabled = {"description": "Whether the point is read.", "type": "boolean", "default": True, "examples": [False]}
    return _nullable(keys_of(Point, without=("name", "source")) | keys_of(kind.source) | {"enabled": enabled})


def _nullable(keys: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return keys that can also be null, or have names in braces."""
    found = {}
    for name, key in keys.items():
        about = {one: value for one, value in key.items() if one in ABOUT}
        what = {one: value for one, value in key.items() if one not in about}
        found[name] = about | {"anyOf": [what, FILLED, {"type": "null"}]}
    return found


def _derived_point() -> Schema:
    """Return the schema of a derived point, each of whose keys null takes back."""
    enabled = {
        "description": "Whether the point is derived.",
        "type": "boolean",
        "default": True,
        "examples": [False],
    }
    keys = keys_of(Derivation) | keys_of(Point, without=NOT_DERIVED) | {"enabled": enabled}
    return {"type": "object", "properties": _nullable(keys), "additionalProperties": False}


def _alarm() -> Schema:
    """Return the schema of an alarm, each of whose keys null takes back."""
    enabled = {"description": "Whether there is the alarm.", "type": "boolean", "default": True, "examples": [False]}
    category = {
        "description": "The class, for alarms that are managed alike.",
        "type": "string",
        "default": "process",
        "examples": ["quality"],
    }
    keys = keys_of(AlarmKeys, without=("class",)) | {"class": category, "enabled": enabled}
    names = {"type": "string", "enum": [one.shown for one in Priority]}
    each = {"type": "object", "properties": {kind.value: names for kind in Kind}, "additionalProperties": False}
    _set(keys, "priority", {"anyOf": [names, each]})
    state = {"type": ["string", "integer", "boolean"]}
    _set(keys, "state", {"anyOf": [state, {"type": "array", "items": state}]})
    return {"type": "object", "properties": _nullable(keys), "additionalProperties": False}


def _parts() -> Schema:
    """Return the schema of the work on parts: the keys of one place, or a list of them."""
    text = {"type": "string"}
    enabled = {"description": "Whether parts are followed.", "type": "boolean", "default": True, "examples": [False]}
    keys = keys_of(PartKeys) | {"enabled": enabled}
    value = {"type": "object", "properties": keys_of(ValueKeys), "additionalProperties": False}
    counters = {"type": "object", "properties": keys_of(ResultKeys), "additionalProperties": False}
    _set(keys, "values", {"anyOf": [_by_name({"anyOf": [text, value]}), {"type": "array", "items": text}]})
    _set(keys, "result", {"anyOf": [text, counters]})
    _set(keys, "materials", _by_name(text))
    _set(keys, "curves", {"type": "array", "items": text, "maxItems": MOST_CURVES})
    time = {"type": ["string", "integer"], "pattern": DURATION["pattern"]}
    for name in ("stable", "settle", "wait"):
        _set(keys, name, time)
    one = {"type": "object", "properties": _nullable(keys), "additionalProperties": False}
    return {"anyOf": [one, {"type": "array", "items": one}]}


def _production() -> Schema:
    """Return the schema of `production`, each of whose keys null takes back."""
    enabled = {
        "description": "Whether the production is calculated.",
        "type": "boolean",
        "default": True,
        "examples": [False],
    }
    keys = _nullable(keys_of(ProductionSection) | {"enabled": enabled})
    return {"type": "object", "properties": keys, "additionalProperties": False}


def _calendar() -> Schema:
    whole = section(CalendarSection)
    shift = section(ShiftSection)
    pause, day = {"type": "string", "pattern": PAUSE}, {"type": "string", "pattern": DATE}
    _set(shift["properties"], "days", {"type": "array", "minItems": 1, "items": {"enum": [one.value for one in Day]}})
    _set(shift["properties"], "breaks", {"type": "array", "items": pause})
    _set(whole["properties"], "shifts", _by_name(shift) | {"minProperties": 1})
    _set(whole["properties"], "holidays", {"type": "array", "items": day})
    _set(whole["properties"], "stops", {"type": "array", "items": section(StopSection)})
    return whole


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
    _set(keys, "derive", _by_name(_derived_point()))
    _set(keys, "alarms", _by_name(_alarm()))
    _set(keys, "part", _parts())
    _set(keys, "production", _production())
    rows = {
        "type": "array",
        "minItems": 2,
        "items": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
    }
    _set(keys, "tables", _by_name(rows, _PARAMETER))
    of: list[Schema] = []
    definitions: dict[str, Schema] = {}
    for kind in kinds:
        definitions[f"{kind.name}_point"] = {
            "type": "object", "properties": _point_keys(kind), "additionalProperties": False
        }  # fmt: skip
        point = {"$ref": f"#/definitions/{kind.name}_point"}
        defaults = point if not kind.source.by_type else _defaults(kind)
        of.append({
            "if": {"properties": {"protocol": {"const": kind.name}}},
            "then": {"properties": {"defaults": defaults, "points": _by_name(point) | {"minProperties": 0}}},
        })  # fmt: skip
    whole = _file("A template of Lineside: a machine type", keys, ["format", "protocol"])
    return whole | {"allOf": of, "definitions": definitions}


def _defaults(kind: Protocol) -> Schema:
    """Return the schema of a template's defaults: keys of a point, some of which may have a value for each type."""
    point = f"#/definitions/{kind.name}_point/properties"
    keys: dict[str, Schema] = {name: {"$ref": f"{point}/{name}"} for name in _point_keys(kind)}
    for name in kind.source.by_type:
        keys[name] = {"anyOf": [keys[name], {"type": "object"}]}
    return {"type": "object", "properties": keys, "additionalProperties": False}


class _Generator(GenerateJsonSchema):
    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"]) | {_TURNED: True}

    def is_instance_schema(self, schema: core_schema.IsInstanceSchema) -> JsonSchemaValue:
        del schema
        return {_TURNED: True}


def section(model: type[BaseModel]) -> Schema:
    """Return the schema of a section."""
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    about = (model.__doc__ or "").split("\n", maxsplit=1)[0]
    found: Schema = {
        "description": about,
        "type": "object",
        "properties": keys_of(model),
        "additionalProperties": False,
    }
    return found | ({"required": required} if required else {})


def keys_of(model: type[BaseModel], without: Iterable[str] = ()) -> dict[str, Schema]:
    """Return the schema of each key of a section."""
    whole = model.model_json_schema(schema_generator=_Generator)
    definitions = whole.get("$defs", {})
    without = {*without, *getattr(model, "of_url", ())}
    return {
        name: _key(model, name, _inlined(key, definitions))
        for name, key in whole["properties"].items()
        if name not in without
    }


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:  # noqa: ANN401 - a part of a schema
    """Return a schema without references and titles."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]] | {k: v for k, v in schema.items() if k != "$ref"}
    return {name: _inlined(one, definitions) for name, one in schema.items() if name != "title"}


def _key(model: type[BaseModel], name: str, found: Schema) -> Schema:
    field, text = model.model_fields[name], field_texts(model).get(name, FieldText("", []))
    inner = field.annotation
    models = [one for one in (inner, *get_args(inner)) if isinstance(one, type) and issubclass(one, BaseModel)]
    if Secret in models:
        found = SECRET
    elif models and (inner is models[0] or _is_optional(found)):
        found = section(models[0])
    elif _is_turned(found):
        found = _by_examples(text.examples, found)
    found = {"description": text.description} | {
        k: v for k, v in found.items() if k not in {"description", "default"}
    }
    if text.examples:
        found["examples"] = text.examples
    if not field.is_required() and isinstance(field.default, str | int | float):
        default = as_written(field.default)
        found["default"] = duration(default) if found.get("pattern") == DURATION["pattern"] else default
    return found


def _is_optional(found: Schema) -> bool:
    """Return whether a value is a section or null."""
    options = found.get("anyOf", [])
    return len(options) == 2 and {"type": "null"} in options and not any(_TURNED in one for one in (found, *options))  # noqa: PLR2004 - and null


def _is_turned(schema: Any) -> bool:  # noqa: ANN401 - a part of a schema
    if isinstance(schema, dict):
        return _TURNED in schema or any(map(_is_turned, schema.values()))
    return isinstance(schema, list) and any(map(_is_turned, schema))


def _by_examples(examples: list[Any], found: Schema) -> Schema:
    """Return the JSON types of a written form: those of its examples, or the values of an enumeration."""
    if "enum" in found:
        return {"enum": found["enum"]}
    kinds = {next(kind for python, kind in _KINDS.items() if isinstance(example, python)) for example in examples}
    if found.get("type") in {"boolean", "integer", "number", "string"}:
        kinds.add(found["type"])
    if "null" in str(found):
        kinds.add("null")
    return {"type": sorted(kinds)}


class FieldText(NamedTuple):
    """A key's description, without its examples, and those."""

    description: str
    examples: list[Any]


@cache
def field_texts(model: type[BaseModel]) -> dict[str, FieldText]:
    """Return description and examples of each field of a model and of its base models."""
    found: dict[str, FieldText] = {}
    for one in reversed(model.__mro__):
        if one.__module__.startswith("pydantic") or "__annotations__" not in vars(one):
            continue
        [node] = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        body = node.body if isinstance(node, ast.ClassDef) else []
        for field, text in pairwise(body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(written))):
                    found[name] = _field_text(" ".join(written.split()))
    return found


def _field_text(text: str) -> FieldText:
    description, _, examples = text.partition(" as in `")
    if not examples:
        return FieldText(text, [])
    written = re.split(r"` or `", examples.rstrip(".").removesuffix("`"))
    return FieldText(description.rstrip(",") + ".", [read_text(one) for one in written])
