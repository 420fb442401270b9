"""What pydantic complains of, in words that say what would be right."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_NO = {
    "int_type": "is no whole number",
    "int_parsing": "is no whole number",
    "int_from_float": "is no whole number",
    "float_type": "is no number",
    "float_parsing": "is no number",
    "finite_number": "is no number that values can have",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
}
"""Kind of error -> what the value that was written is not."""

_OURS = frozenset({"value_error", "model_type", "dict_type", "list_type"})
"""Kinds whose message says all, and whose input may be a secret, or large."""


def told(detail: ErrorDetails) -> str:
    """Return what is wrong with one value. What may be a secret is not repeated."""
    kind, written = detail["type"], detail["input"]
    context: dict[str, Any] = detail.get("ctx", {})
    message = detail["msg"].removeprefix("Value error, ").replace(" or instance of ", " of ")
    if kind in _OURS or not isinstance(written, str | int | float):
        return message
    if kind == "string_type":
        return f"{written!r} is no text; put it in quotes"
    if kind in _NO:
        return f"{written!r} {_NO[kind]}"
    if kind in {"enum", "literal_error"}:
        return _none_of(str(written), str(context["expected"]))
    for bound, words in {"le": "at the most", "lt": "less than", "ge": "at least", "gt": "more than"}.items():
        if bound in context:
            return f"{written!r} can't be; write {words} {context[bound]:g}"
    return f"{message}, not {written!r}"


def _none_of(written: str, expected: str) -> str:
    """Return the message for a word that is none of a few, such as `'bool', 'int' or 'float'`."""
    close = get_close_matches(written, re.findall(r"'([^']*)'", expected), n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{written!r} is none of what can be here; {hint}There are: {expected}"
