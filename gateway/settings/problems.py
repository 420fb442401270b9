"""What is wrong with a configuration: all of it at once, each with its place."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Problem(NamedTuple):
    """One mistake, as `file:line: path: message`. Lines count from 1."""

    file: Path
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: "
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


class ConfigurationError(Exception):
    """The configuration is wrong; `problems` says all that is wrong with it, in the order of the files."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems), key=lambda problem: (str(problem.file), *problem[1:]))
        super().__init__("\n".join(map(str, self.problems)))


def unknown(what: str, written: str, valid: Iterable[str]) -> str:
    """Return the message for a name that does not exist, with the likely one, else with all there are."""
    valid = sorted(valid)
    close = get_close_matches(written, valid, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(valid) or 'none'}"
    return f"unknown {what} {written!r}; {hint}"
