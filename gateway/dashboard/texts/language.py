"""The language of a reader: as the page names it, or as the browser accepts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.dashboard.texts import LANGUAGES

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

_MOST_LANGUAGES = 20
"""Languages of a browser that are looked at."""


def accepted_language(accepted: str) -> str:
    """Return the first language of an `Accept-Language` that the page has (RFC 9110, clause 12.5.4), else English."""
    for one in accepted[:1000].split(",")[:_MOST_LANGUAGES]:
        language = one.partition(";")[0].strip().lower().partition("-")[0]
        if language in LANGUAGES:
            return language
    return "en"


def language_of(connection: HTTPConnection) -> str:
    """Return the language of who makes a request, or has opened a WebSocket.

    The page writes the language that its reader has chosen into `Accept-Language`. A link and a WebSocket have no
    headers of their own: there it is `language` in the query.
    """
    named = connection.query_params.get("language", "")
    return named if named in LANGUAGES else accepted_language(connection.headers.get("accept-language", ""))
