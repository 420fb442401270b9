"""Checks of JSON against a schema.

jsonschema is imported at the first check, and not by each worker that collects the tests: it compiles grammars for
two seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema import ValidationError


def check_schema(schema: dict[str, Any]) -> None:
    """Raise `SchemaError` for a schema that is not of draft 7."""
    from jsonschema import Draft7Validator

    Draft7Validator.check_schema(schema)


def errors(schema: dict[str, Any], data: Any) -> list[ValidationError]:
    """Return the errors of data, as JSON has it, against a schema of draft 7."""
    from jsonschema import Draft7Validator

    return list(Draft7Validator(schema).iter_errors(data))
