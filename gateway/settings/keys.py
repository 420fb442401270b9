"""The keys of a section as JSON Schema, out of its fields and what is said of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from drivers.base import as_written
from drivers.secret import NAME as SECRET_NAME
from drivers.secret import Secret
from gateway.settings.fields import Said, said_of
from gateway.settings.types import DURATION
from gateway.settings.written import duration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema

Schema = dict[str, Any]

SECRET: Schema = {
    "type": "object",
    "properties": {
        "secret": {"type": "string", "pattern": f"^{SECRET_NAME.pattern}$", "description": "Its name."},
        "file": {"type": "string", "pattern": "^/", "description": "The file that holds it."},
    },
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}

_TURNED = "x-turned"
"""Marks what is written in another form than it has in the end: its examples tell which kinds it can be."""

_KINDS = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


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
    field, said = model.model_fields[name], said_of(model).get(name, Said("", []))
    inner = field.annotation
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        found = section(inner)
    elif Secret in get_args(inner):
        found = SECRET
    elif _is_turned(found):
        found = _by_examples(said.examples, found)
    found = {"description": said.description} | {
        k: v for k, v in found.items() if k not in {"description", "default"}
    }
    if said.examples:
        found["examples"] = said.examples
    if not field.is_required() and isinstance(field.default, str | int | float):
        default = as_written(field.default)
        found["default"] = duration(default) if found.get("pattern") == DURATION["pattern"] else default
    return found


def _is_turned(schema: Any) -> bool:  # noqa: ANN401 - a part of a schema
    if isinstance(schema, dict):
        return _TURNED in schema or any(map(_is_turned, schema.values()))
    return isinstance(schema, list) and any(map(_is_turned, schema))


def _by_examples(examples: list[Any], found: Schema) -> Schema:
    """Return the kinds of what is written: those of examples, and of what it becomes where that is a choice."""
    if "enum" in found:
        return {"enum": found["enum"]}
    kinds = {next(kind for python, kind in _KINDS.items() if isinstance(example, python)) for example in examples}
    if found.get("type") in {"boolean", "integer", "number", "string"}:
        kinds.add(found["type"])
    if "null" in str(found):
        kinds.add("null")
    return {"type": sorted(kinds)}
