"""The problems of a configuration: all at once, each with its place."""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from gateway.common.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


LONGEST_PATH, LONGEST_MESSAGE = 300, 1500
"""Characters of a problem that are shown, because a problem repeats text of the file."""


CLOSE = 0.6
"""How similar a name must be to be suggested in place of another, from 0 to 1."""


class Severity(StrEnum):
    """Whether a configuration can be used in spite of a problem."""

    ERROR = "error"
    WARNING = "warning"


class Problem(NamedTuple):
    """One mistake, as `file:line:column: path: message`. Lines and columns count from 1.

    A warning names a value that is allowed and rarely intended.
    """

    file: Path
    line: int
    column: int
    path: str
    message: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        kind = "" if self.severity is Severity.ERROR else f"{self.severity}: "
        path = f"{_cut(self.path, LONGEST_PATH)}: " if self.path else ""
        return printable(f"{self.file}:{self.line}:{self.column}: {kind}{path}{_cut(self.message, LONGEST_MESSAGE)}")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return each problem once, in the order of the files."""
    return sorted(set(problems), key=lambda problem: (str(problem.file), *problem[1:]))


class ConfigurationError(Exception):
    """The configuration is wrong; `problems` says all that is wrong with it, in the order of the files."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = in_order(problems)
        super().__init__("\n".join(map(str, self.problems)))


def unknown(what: str, written: str, valid: Iterable[str]) -> str:
    """Return the message for a name that does not exist, with the likely one, else with all there are."""
    valid = sorted(valid)
    close = get_close_matches(written, valid, n=1, cutoff=CLOSE)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(valid) or 'none'}"
    return f"unknown {what} {written!r}; {hint}"
