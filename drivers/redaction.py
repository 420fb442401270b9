"""Remove the secrets that this process has read from texts that leave it: log events, reports, archives."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

HIDDEN = "[secret]"
"""The text in place of a secret."""

SHORTEST = 4
"""Characters of the shortest secret that is removed: a shorter text is a part of many words."""

MAX_FORMS = 3_000
"""Forms of secrets that are remembered: three for each secret."""


class _Secrets:
    """The forms of all secrets, the longest first: a secret may begin with another."""

    forms: tuple[str, ...] = ()


def remember(secret: str) -> None:
    """Note a secret, so that `redact` removes it: as it is, in a URL, and in Base64."""
    if len(secret) < SHORTEST or secret in _Secrets.forms:
        return
    encoded = secret.encode("utf-8", "surrogateescape")
    forms = {*_Secrets.forms, secret, quote(encoded, safe=""), b64encode(encoded).decode()}
    if len(forms) <= MAX_FORMS:
        _Secrets.forms = tuple(sorted(forms, key=lambda form: (-len(form), form)))


def redact(text: str) -> str:
    """Return a text with `HIDDEN` in place of every secret that was noted."""
    for form in _Secrets.forms:
        if form in text:
            text = text.replace(form, HIDDEN)
    return text
