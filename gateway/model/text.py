"""The text that is allowed in names, templates, units, labels and descriptions; for settings and for the wire alike.

A refused character would break out of a tag, a quoted field or a line of a store's protocol, can't be sent as UTF-8,
or makes a terminal or a page show a different text.
"""

from __future__ import annotations

import re
import unicodedata

MAX_NAME, MAX_TEXT, MAX_UNIT = 256, 1024, 256
"""Characters of a name, of a description, label, reason or other text, and of a unit."""

FORBIDDEN_TEXT = re.compile(
    r"[\x00-\x1f\x7f-\x9f"  # C0 controls, DEL, C1 controls
    r"\\\""  # escapes of line protocol and JSON
    r"\u2028\u2029"  # line and paragraph separators
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidi controls: Unicode Standard Annex 9, clause 2
    r"\ud800-\udfff]"  # surrogates, which have no UTF-8
)
"""Matches one character that names, templates, units, labels and descriptions must not contain."""

_NAMES = {
    "\n": "a line feed", "\r": "a carriage return", "\t": "a tab", "\0": "a null character",
    "\\": "a backslash", '"': "a double quote",
}  # fmt: skip

_REPLACED = {'"': "'", "\\": "/"}


def check_text(text: str, most: int) -> str:
    """Return `text` unchanged. `most` is its greatest length in characters.

    Raises `ValueError` that names the first forbidden character and its position, which counts from 1, or the
    length where the text is too long. The message repeats nothing of the text, so that it can be logged.
    """
    if len(text) > most:
        raise ValueError(f"is {len(text):,} characters long; the limit is {most:,}")
    if found := FORBIDDEN_TEXT.search(text):
        raise ValueError(f"contains {_describe(found[0])} at character {found.start() + 1}; remove it")
    return text


def clean_text(text: str, most: int) -> str:
    """Return `text` as `check_text` lets it through, for text of devices and of other programs.

    A double quote becomes a single quote, a backslash a slash, any other forbidden character a blank. A longer text
    is cut.
    """
    return FORBIDDEN_TEXT.sub(lambda found: _REPLACED.get(found[0], " "), text).strip()[:most]


def _describe(character: str) -> str:
    """Return the usual name of a character, with its code point."""
    other = "a surrogate" if unicodedata.category(character) == "Cs" else "a control character"
    name = _NAMES.get(character) or unicodedata.name(character, other).lower()
    return f"{name} (U+{ord(character):04X})"
