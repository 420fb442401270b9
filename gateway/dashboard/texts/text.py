"""A text that the server sends to a reader: English with its values, translated when it is sent.

    raise BadRequest(_("{name} is a whole number from 1 to {most}", name=name, most=most))

`tools/texts.py` collects the calls of `_`, and its check finds errors for readers that are made without it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.dashboard.texts import catalogue

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Text:
    """A text in English, the key of its translations, with a value for each `{name}` in it.

    A value is a `Text`, which is translated too, or anything with a `str`.
    """

    __slots__ = ("english", "values")

    def __init__(self, english: str, values: Mapping[str, object]) -> None:
        self.english = english
        self.values = dict(values)

    def __str__(self) -> str:
        return self.into("en")

    def __repr__(self) -> str:
        return f"Text({self.english!r}, {self.values!r})"

    def into(self, language: str) -> str:
        """Return the text in a language; in English where the catalogue does not have it."""
        found = catalogue(language).get(self.english, self.english)
        text = found if isinstance(found, str) else self.english

        def value(match: re.Match[str]) -> str:
            return _shown(self.values[match[1]], language) if match[1] in self.values else match[0]

        return _PLACEHOLDER.sub(value, text)

    def given(self, **values: object) -> Text:
        """Return the text with more values."""
        return Text(self.english, self.values | values)


def _(english: str, /, **values: object) -> Text:
    """Return a text for readers; `tools/texts.py` finds it here."""
    return Text(english, values)


def _shown(value: object, language: str) -> str:
    if isinstance(value, Text):
        return value.into(language)
    return f"{value:g}" if isinstance(value, float) else str(value)


class ReaderError(Exception):
    """Base of the errors whose text a reader sees: `text` has it for all languages, `str` in English."""

    def __init__(self, text: Text) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return str(self.text)
