"""The meaning of a plain YAML scalar: the core schema of YAML 1.2.

`no`, `on` and `012` are text, text and 12, as they look. PyYAML reads the syntax, which is the fast and well-kept
part; it would resolve scalars by YAML 1.1, so they are resolved here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_NUMBER = 100
"""Characters of a number. Python refuses to convert more than 4,300 digits, and no value here needs as many."""


class Number(int):
    """A whole number that keeps how it was written, since `00011` and `0x1F` say more than 11 and 31 to some."""

    text: str

    def __new__(cls, text: str, value: int) -> Self:
        """Keep `text` beside the value that it has."""
        number = super().__new__(cls, value)
        number.text = text
        return number

    def __reduce__(self) -> tuple[type[Number], tuple[str, int]]:
        return Number, (self.text, int(self))

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


_CORE: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"null|Null|NULL|~|"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"0|-?[1-9][0-9]*"), int),
    (re.compile(r"[-+]?[0-9]+"), lambda text: Number(text, int(text))),
    (re.compile(r"0o[0-7]+"), lambda text: Number(text, int(text, 8))),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: Number(text, int(text, 16))),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)"), lambda text: float(text.replace(".", ""))),
    (re.compile(r"\.(nan|NaN|NAN)"), lambda _: float("nan")),
)
"""YAML 1.2.2, clause 10.3.2: which plain scalars are not text."""

_NOT_TEXT = frozenset("-+.~0123456789ntfNTF")
"""How a plain scalar begins that can be something else than text."""


def resolve(text: str) -> Any:  # noqa: ANN401 - what a user wrote
    """Return the value of a plain scalar. Raises `ValueError` for a number that is too long."""
    if text and text[0] not in _NOT_TEXT:
        return text
    for pattern, convert in _CORE:
        if pattern.fullmatch(text):
            if len(text) > LONGEST_NUMBER:
                raise ValueError(f"the number has {len(text):,} characters; the limit is {LONGEST_NUMBER}")
            return convert(text)
    return text


def is_text(text: str) -> bool:
    """Return whether a plain scalar of these characters would be text."""
    return not any(pattern.fullmatch(text) for pattern, _ in _CORE)
