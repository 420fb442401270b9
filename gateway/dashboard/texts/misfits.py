"""The fault in the body of a request, for a reader: the errors of pydantic as texts of the catalogues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.dashboard.texts.text import ReaderError, Text, _

if TYPE_CHECKING:
    from pydantic import ValidationError

_TEXTS = {
    "json_invalid": _("the body is not JSON"),
    "missing": _("{where} is missing"),
    "extra_forbidden": _("{where} is not a key of this request"),
    "literal_error": _("{where} is one of {expected}"),
    "string_type": _("{where} is a text"),
    "string_too_long": _("{where} has at most {max_length} characters"),
    "list_type": _("{where} is a list"),
    "too_short": _("{where} has at least {min_length} entries"),
    "too_long": _("{where} has at most {max_length} entries"),
    "int_type": _("{where} is a whole number"),
    "greater_than_equal": _("{where} is at least {ge}"),
    "less_than_equal": _("{where} is at most {le}"),
}
"""The texts of the errors of requests, by the names of pydantic; the values are those of its context."""


def misfit_text(error: ValidationError) -> Text:
    """Return the text of the first error: its place in the body, and what would be right."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    context = first.get("ctx", {})
    own = context.get("error")
    if isinstance(own, ReaderError):
        return _("{where}: {text}", where=where, text=own.text)
    if "expected" in context:
        context["expected"] = context["expected"].replace(" or ", ", ")
    return _TEXTS.get(first["type"], _("{where} does not fit")).given(**context, where=where)
