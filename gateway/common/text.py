"""Text of reports for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LISTED = 20
"""Most names in a list; the others are counted."""


def printable(text: str) -> str:
    """Return a text with escapes in place of characters that would steer a terminal."""
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()


def counted(number: int, thing: str) -> str:
    """Return `1 machine`, `2 machines`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Return the first `MAX_LISTED` names, and the number of the others, as `a, b and 3 more`."""
    more = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
