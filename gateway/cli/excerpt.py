"""The line of a file that a problem is in, with a mark below the mistake, as compilers show it."""

from __future__ import annotations

import codecs
import re
import unicodedata
from difflib import get_close_matches
from typing import TYPE_CHECKING

from drivers.secret import NOT_NAMED
from gateway.settings.interpolation import NOT_A_VARIABLE, SECRETS
from gateway.settings.problems import LONGEST_MESSAGE

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.problems import Problem

WIDTH = 100
"""Columns of the part of a line that is shown."""

_BEFORE = 40
"""Columns that are shown before the mistake in a longer line."""

MOST_BYTES = 4 * 2**20
"""The size of a file whose lines are shown."""

_TEXT = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*'"
_WORD = r"[^\s:,{}\[\]]+"
_KEY = rf"{_WORD}(?: {_WORD})*(?:\{{[^{{}}]*\}}[^\s:,{{}}\[\]]*)?(?=\s*:(?:\s|$))"
_VALUE = r"(?:\$\{[^}]*\}|[^\s,{}\[\]#])(?:\$\{[^}]*\}|[^,{}\[\]#])*"
_MISTAKE = re.compile(rf"(?:{_TEXT}|{_KEY}|{_WORD})(?::\s+(?:{_TEXT}|{_VALUE}))?|[^\s]")
"""The marked part of a line: a key with its value, where that is one word or text, else the first characters."""

_ENTRY = re.compile(rf"({_TEXT}|[\w-]+)(\s*:\s+)(?!\{{\s*(?:secret|file)\s*:)({_TEXT}|[^,}}#]+)")
_USER = re.compile(r"(://[^/\s:@]*:)[^/\s@]*@")
_HIDDEN = "***"


class Excerpts:
    """The lines of files that have problems; each file is read once."""

    def __init__(self) -> None:
        self._files: dict[Path, list[str]] = {}

    def of(self, problem: Problem) -> list[str]:
        """Return the line of a problem and a mark below it, behind the number of the line; empty without a line.

        What may be a secret is hidden. A value that comes from the command line is in no line.
        """
        if "(from --set " in problem.message:
            return []
        line = self._line(problem.file, problem.line)
        if not line.strip():
            return []
        line = _without_secrets(line, problem)
        start = min(problem.column - 1, len(line))
        found = _MISTAKE.match(line, start)
        end = max(start + 1, len(line[: found.end()].rstrip()) if found else start + 1)
        first = 0 if end <= WIDTH else max(0, start - _BEFORE)
        shown = line[first : first + WIDTH]
        marked = shown[start - first : end - first]
        number = str(problem.line)
        left, right = "... " if first else "", " ..." if first + WIDTH < len(line) else ""
        indent = " " * (_columns(left) + _columns(shown[: start - first]))
        return [
            f"  {number} | {left}{_printable(shown)}{right}".rstrip(),
            f"  {' ' * len(number)} | {indent}{'^' * max(1, _columns(marked))}",
        ]

    def _line(self, file: Path, number: int) -> str:
        if file not in self._files:
            self._files[file] = _lines(file)
        lines = self._files[file]
        return lines[number - 1] if 1 <= number <= len(lines) else ""


def _lines(file: Path) -> list[str]:
    """Return the lines of a file, none of one that is too large or has gone."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except (OSError, ValueError):
        return []
    if (
        len(content) > MOST_BYTES
        or b"\0" in content
        or content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    ):
        return []
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _without_secrets(line: str, problem: Problem) -> str:
    """Return a line without the values that may be secrets: those of such keys, and passwords in URLs."""
    here = problem.column - 1
    written = NOT_NAMED in problem.message or NOT_A_VARIABLE in problem.message[:LONGEST_MESSAGE]

    def hidden(match: re.Match[str]) -> str:
        key = match[1].strip("'\"").lower()
        if key == "secret" and line[: match.start()].rstrip().endswith("{"):
            return match[0]  # the name of a secret
        close = get_close_matches(key, SECRETS, n=1, cutoff=0.75) or re.match(r"pas+|pw|pin$|.*(token|secret)", key)
        named = written and match.start() == here
        return f"{match[1]}{match[2]}{_HIDDEN}" if (close or named) and not match[3].startswith("{") else match[0]

    return _USER.sub(rf"\1{_HIDDEN}@", _ENTRY.sub(hidden, line))


def _columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def _printable(text: str) -> str:
    """Replace characters that would move the cursor or turn the text; each has one column."""
    return "".join(one if one.isprintable() else " " if one == "\t" else "\N{REPLACEMENT CHARACTER}" for one in text)
