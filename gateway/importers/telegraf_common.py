"""Shared by the inputs of Telegraf: intervals, and unknown settings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from gateway.importers.found import Import

COMMON = frozenset({"interval", "name", "alias", "precision", "collection_jitter", "collection_offset", "log_level"})
"""Settings of every input that are translated, or do not change the readings."""

_SIZES = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}


class Finder(Protocol):
    """Finds the line of a key."""

    def find(self, key: str, value: object = None, start: int = 1) -> int:
        """Return the line of a key, with this value where one is given."""


def seconds(written: object) -> float:
    """Return the seconds of a duration such as `10s`, `1m30s` or `500ms`. Raises `ValueError`."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|us|h|m|s)", str(written))
    if not parts or "".join(map("".join, parts)) != str(written).strip():
        raise ValueError(f"{written!r} is not a duration")
    return sum(float(count) * _SIZES[unit] for count, unit in parts)


def duration(written: object) -> str:
    """Return a duration of Telegraf as one of ours. Raises `ValueError`."""
    return f"{seconds(written):.9g}s"


def left_over(
    settings: dict[str, Any], known: Container[str], start: int, lines: Finder, what: str, found: Import
) -> None:
    """Note the settings that are not translated."""
    for key in unknown_of(settings, known):
        found.note(lines.find(key, start=start), what, f"{key} is not translated")


def unknown_of(settings: Iterable[str], known: Container[str]) -> list[str]:
    """Return the settings that are not known."""
    return [key for key in settings if key not in known]
