"""Text of reports for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LISTED = 20
"""Most names in a list; the others are counted."""


def printable(text: str) -> str:
    """Return a text, in one line, with escapes in place of characters that would steer a terminal.

    These are the control characters C0 and C1 (ECMA-48), line ends, the controls of bidirectional text (UAX #9),
    other characters without a picture, and surrogates.
    """
    return text if text.isprintable() else "".join(map(_printable, text))


def printable_lines(text: str) -> str:
    """Return a text as `printable` does, and leave its line feeds."""
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))


def printable_json(text: str) -> str:
    r"""Return a JSON text that means the same, in which characters that would steer a terminal are `\uXXXX`.

    RFC 8259 requires that of C0 alone: U+009B begins an escape sequence in many terminals, too. Characters outside
    the Basic Multilingual Plane become a surrogate pair (RFC 8259, clause 7).
    """
    return text if text.isprintable() else "\n".join(map(_printable_json, text.split("\n")))


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()


def _printable_json(line: str) -> str:
    return line if line.isprintable() else "".join(one if one.isprintable() else _json_escape(one) for one in line)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def counted(number: int, thing: str) -> str:
    """Return `1 machine`, `2 machines`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Return the first `MAX_LISTED` names, and the number of the others, as `a, b and 3 more`."""
    more = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
