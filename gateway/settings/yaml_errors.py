"""The mistake in a text that is not YAML, and its place: libyaml reports the place where it gave up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import yaml

LONGEST_EXAMPLE = 60
"""Characters of a line of the file that a message repeats in its example."""


class Mark(NamedTuple):
    """A place in a file. Lines and columns count from 1."""

    line: int
    column: int


def mark_of(mark: yaml.Mark | None) -> Mark:
    """Return the place that a mark of PyYAML means."""
    return Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)


def explained(error: yaml.MarkedYAMLError, text: str) -> tuple[Mark, str]:
    """Return the place of a mistake in a text, and the message with what would be right."""
    lines = text.split("\n")
    if len(lines) > 1 and not lines[-1]:
        lines.pop()
    found = _Mistake(error, lines)
    mark, message = found.explain()
    return mark, f"is not YAML: {message}"


class _Mistake:
    """An error of PyYAML, and the lines of the file around it."""

    def __init__(self, error: yaml.MarkedYAMLError, lines: list[str]) -> None:
        self._problem = error.problem or ""
        self._context = error.context or ""
        self._lines = lines
        self._gave_up = mark_of(error.problem_mark).line
        self._mark = self._inside(mark_of(error.problem_mark))
        self._began = self._inside(mark_of(error.context_mark or error.problem_mark))

    def _inside(self, mark: Mark) -> Mark:
        """Return a mark in the file: PyYAML reports what is missing at the end behind the last line."""
        return mark if mark.line <= len(self._lines) else Mark(len(self._lines), 1)

    def _line(self, number: int) -> str:
        return self._lines[number - 1] if 1 <= number <= len(self._lines) else ""

    @property
    def _above(self) -> int:
        """The number of the last line above the mistake that is not empty, 0 without one."""
        return next((n for n in range(self._mark.line - 1, 0, -1) if _content(self._line(n))), 0)

    @property
    def _rest(self) -> str:
        """The text of the line from the mistake on."""
        return self._line(self._mark.line)[self._mark.column - 1 :]

    def explain(self) -> tuple[Mark, str]:
        """Return the place of the mistake, and the message."""
        problem, context = self._problem, self._context
        for applies, explain in (
            ("cannot start any token" in problem, self._first_character),
            ("mapping values are not allowed" in problem, self._colon),
            ("flow mapping" in context or "flow sequence" in context, self._in_one_line),
            ("could not find expected ':'" in problem, self._no_colon),
            ("quoted scalar" in context, self._quoted),
            ("did not find expected key" in problem or "block end" in problem, self._key),
        ):
            if applies:
                return explain()
        hint = "; the entries of a list begin with - in one column" if "expected '-'" in problem else ""
        return self._mark, f"{problem or context or 'it has a mistake'}{hint}"

    def _no_colon(self) -> tuple[Mark, str]:
        return self._began, "this line has no colon behind its key; write KEY: VALUE"

    def _key(self) -> tuple[Mark, str]:
        return self._mark, self._indented() or (
            f"{self._problem}; keys of one mapping begin in one column, and values with : {{ }} [ ] # are in quotes"
        )

    def _first_character(self) -> tuple[Mark, str]:
        first = self._rest[:1]
        if first == "\t":
            return self._mark, "a tab is not indentation; indent with spaces"
        word = re.match(r"[^,\]}#]*", self._rest)
        value = (word[0] if word else first).strip()
        example = value if len(value) <= LONGEST_EXAMPLE and "'" not in value else first
        return self._mark, f"plain text can't begin with {first}; put it in quotes, as in '{example}'"

    def _colon(self) -> tuple[Mark, str]:
        """Explain a colon that can't be where it is: its line is indented wrongly, or it belongs into quotes."""
        line = self._line(self._mark.line)
        if re.fullmatch(r"\s*[^\s:]+\s*", line[: self._mark.column - 1]) and (wrong := self._indented()):
            return Mark(self._mark.line, len(line) - len(line.lstrip()) + 1), wrong
        above = self._above
        if above and ":" not in _content(self._line(above)) and not _content(self._line(above)).startswith("-"):
            return Mark(above, _indentation(self._line(above)) + 1), self._no_colon()[1]
        key, _, value = line.strip().partition(": ")
        example = f"{key}: '{value}'" if value and len(line) <= LONGEST_EXAMPLE and "'" not in value else "'a: b'"
        return self._mark, f"a value can't have a colon and a blank; put it in quotes, as in {example}"

    def _indented(self) -> str:
        """Return why the indentation of the line can't be right; empty where it can."""
        above = self._above
        if not above:
            return ""
        here, before = _indentation(self._line(self._mark.line)), _indentation(self._line(above))
        key, _, value = _content(self._line(above)).removeprefix("- ").partition(":")
        if here > before and value.strip():
            return (
                f"this line is indented by {here} and line {above} by {before}, which has a value behind its colon: "
                f"begin both in one column, or remove the value of {key.strip()}"
            )
        columns = {_indentation(self._line(n)) for n in range(1, self._mark.line) if _content(self._line(n))}
        if here < before and here not in columns:
            return f"this line is indented by {here}, as no line above it; keys of one mapping begin in one column"
        return ""

    def _in_one_line(self) -> tuple[Mark, str]:
        """Explain a mistake in `{...}` or `[...]`."""
        opened = "{" if "mapping" in self._context else "["
        closed = "}" if opened == "{" else "]"
        began, here = self._began, self._mark
        before = self._line(here.line)[: here.column - 1]
        if before.endswith("$") or self._rest.startswith("${"):
            name = re.match(r"\$?\{([^}]*)\}?", self._rest)
            return (
                Mark(here.line, here.column - before.endswith("$")),
                f'inside {opened}{closed} a variable is in quotes, as in "${{{name[1] if name else "NAME"}}}"',
            )
        if self._gave_up > began.line:
            quotes = _odd_quote(self._lines[began.line - 1 : self._gave_up - 1])
            if quotes is not None:
                return Mark(began.line + quotes[0], quotes[1] + 1), "this quote has no end in its line; close it"
            return began, f"this {opened} has no {closed}; close it before line {self._gave_up}"
        if self._rest.startswith(":") or re.search(r":\s\S*$", before):
            return here, "a value can't have a colon and a blank; put it in quotes, as in 'a: b'"
        if self._rest[:1] in {"{", "["}:
            return here, f"a value can't have a {self._rest[0]} in it; put the whole value in quotes, as in 'a {{n}}'"
        return here, f"{self._problem}; put a value with {{ }} [ ] or a comma in quotes, as in '{{n}}'"

    def _quoted(self) -> tuple[Mark, str]:
        """Explain a mistake in a text in quotes."""
        if "escape" in self._problem:
            return self._mark, r"\ begins an escape in double quotes; write single quotes, or \\ for the character"
        return self._began, "this quote has no end; close it"


def _content(line: str) -> str:
    """Return a line without its indentation, empty for a comment."""
    text = line.strip()
    return "" if text.startswith("#") else text


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _odd_quote(lines: list[str]) -> tuple[int, int] | None:
    """Return line and column, from 0, of the last double quote of the first line that has an odd number of them."""
    for number, line in enumerate(lines):
        if line.count('"') % 2:
            return number, line.rindex('"')
    return None
