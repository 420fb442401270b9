"""Shared by the inputs of Telegraf: intervals, and unknown settings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from gateway.importers.environment import VARIABLE
from gateway.importers.foreign import LONGEST_MESSAGE
from gateway.settings.validation import describe

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from gateway.importers.foreign import Foreign
    from gateway.importers.found import Import

COMMON = frozenset({
    "interval", "name", "alias", "precision", "collection_jitter", "collection_offset", "log_level",
    "debug_connection", "startup_error_behavior", "client_trace",
})  # fmt: skip
"""Settings of every input that are translated, or do not change the readings."""

_SIZES = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}


class Finder(Protocol):
    """Finds the line of a key."""

    def find(self, key: str, value: object = None, start: int = 1) -> int:
        """Return the line of a key, with this value where one is given."""


def seconds(written: object) -> float:
    """Return the seconds of a duration such as `10s`, `1m30s` or `500ms`. Raises `ValueError`."""
    text = VARIABLE.sub(lambda match: match["default"] or match[0], str(written)).strip()
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|us|h|m|s)", text)
    if not parts or "".join(map("".join, parts)) != text:
        hint = "; say --env-file with its value" if "$" in str(written) else ""
        raise ValueError(f"{str(written)[:100]!r} is not a duration{hint}")
    return sum(float(count) * _SIZES[unit] for count, unit in parts)


def duration(written: object) -> str:
    """Return a duration of Telegraf as one of ours. Raises `ValueError`."""
    return f"{seconds(written):.9g}s"


def checked(model: type[Foreign], data: object, line: int, what: str, found: Import) -> dict[str, Any] | None:
    """Return settings whose values have the types of a model, None after noting each that has not."""
    try:
        return model.model_validate(data).model_dump(exclude_unset=True, by_alias=True)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            key = ".".join(map(str, detail["loc"]))
            message = f"is left out: {key}: {describe(detail)}" if key else "is left out: it is not a table"
            found.note(line, what, message[:LONGEST_MESSAGE])
        return None


def entries(settings: dict[str, Any], key: str, line: int, what: str, found: Import) -> list[Any]:
    """Return the entries of a list of settings, and note a value that is not a list."""
    value = settings.get(key, [])
    if isinstance(value, list):
        return value
    found.note(line, what, f"{key} is left out: it is not a list")
    return []


def left_over(
    settings: dict[str, Any], known: Container[str], start: int, lines: Finder, what: str, found: Import
) -> None:
    """Note the settings that are not translated."""
    for key in unknown_of(settings, known):
        found.note(lines.find(key, start=start), what, f"{key} is not translated")


def unknown_of(settings: Iterable[str], known: Container[str]) -> list[str]:
    """Return the settings that are not known."""
    return [key for key in settings if key not in known]
