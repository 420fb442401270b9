"""The results of `lineside validate`: as text, JSON, SARIF, or annotations of GitHub Actions."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import orjson

from gateway import __version__
from gateway.cli.output import echo, echo_json
from gateway.cli.problem_text import print_problems
from gateway.common.text import counted, printable
from gateway.settings.problems import Severity, in_order
from gateway.settings.standalone import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.settings.problems import Problem

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


@dataclass(frozen=True, slots=True)
class Validated:
    """One file: its kind, its problems, and the content of a valid file, as text and as numbers.

    `notes` are facts for the person who assesses the plant, and not warnings.
    """

    file: Path
    kind: Kind
    valid: bool
    problems: Sequence[Problem]
    text: str = ""
    digest: str | None = None
    machines: int = 0
    points: int = 0
    notes: Sequence[str] = ()

    def passes(self, *, strict: bool) -> bool:
        """Return whether the file is valid, with `strict` also without a warning."""
        return self.valid and not (strict and self.problems)


class Format(Protocol):
    """Prints the results."""

    def __call__(self, results: Sequence[Validated], *, strict: bool) -> None: ...


def _all_problems(results: Sequence[Validated]) -> list[Problem]:
    """Return the problems of each place once: a template has them in every factory that uses it."""
    found: list[Problem] = []
    places: set[tuple[Path, int, int, str]] = set()
    for result in sorted(results, key=lambda one: one.kind is not Kind.FACTORY):
        new = [problem for problem in result.problems if (problem.file.absolute(), *problem[1:4]) not in places]
        places |= {(problem.file.absolute(), *problem[1:4]) for problem in new}
        found += new
    return in_order(found)


def _text(results: Sequence[Validated], *, strict: bool) -> None:
    """Print problems to standard error, and a line for each file."""
    print_problems(_all_problems(results))
    for one in results:
        kind = "" if one.kind is Kind.FACTORY else f"{one.kind}: "
        if not one.valid:
            echo(f"{one.file}: {kind}{counted(len(one.problems), 'problem')}", err=True)
            continue
        warnings = f", {counted(len(one.problems), 'warning')}" if one.problems else ""
        digest = f"; configuration {one.digest}" if one.digest else ""
        echo(f"{one.file}: {kind}valid: {one.text}{warnings}{digest}")
        if not one.passes(strict=strict):
            echo(f"{one.file}: {kind}refused: --strict allows no warnings", err=True)
    for one in results:
        for note in one.notes:
            echo(f"{one.file}: note: {printable(note)}")


def _json(results: Sequence[Validated], *, strict: bool) -> None:
    """Print an object for one file, a list of them for several; docs/configuration.md explains each key."""
    del strict
    found = [_as_data(one) for one in results]
    echo_json(orjson.dumps(found[0] if len(found) == 1 else found, option=orjson.OPT_INDENT_2))


def _as_data(one: Validated) -> dict[str, Any]:
    return {
        "file": str(one.file),
        "kind": one.kind,
        "right": one.valid,
        "config": one.digest,
        "machines": one.machines,
        "points": one.points,
        "notes": list(one.notes),
        "problems": [problem._asdict() | {"file": str(problem.file)} for problem in one.problems],
    }


_RULES = {
    Severity.ERROR: ("invalid-configuration", "A key or a value of the configuration is wrong."),
    Severity.WARNING: ("doubtful-configuration", "A value of the configuration is allowed and rarely intended."),
}


def _sarif(results: Sequence[Validated], *, strict: bool) -> None:
    """Print the problems in the Static Analysis Results Interchange Format (OASIS SARIF 2.1.0)."""
    del strict
    echo_json(orjson.dumps(as_sarif(_all_problems(results)), option=orjson.OPT_INDENT_2))


def as_sarif(problems: Sequence[Problem]) -> dict[str, Any]:
    """Return problems as a SARIF log with one run; files below the working folder have relative URIs."""
    rules = [
        {
            "id": rule,
            "shortDescription": {"text": text},
            "defaultConfiguration": {"level": severity.value},
        }
        for severity, (rule, text) in _RULES.items()
    ]
    driver = {"name": "lineside", "version": __version__, "rules": rules}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_sarif_result(problem) for problem in problems],
    }
    return {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}


def _sarif_result(problem: Problem) -> dict[str, Any]:
    place = {
        "artifactLocation": {"uri": _uri(problem.file)},
        "region": {"startLine": problem.line, "startColumn": problem.column},
    }
    return {
        "ruleId": _RULES[problem.severity][0],
        "ruleIndex": list(_RULES).index(problem.severity),
        "level": problem.severity.value,
        "message": {"text": problem.text},
        "locations": [{"physicalLocation": place}],
    }


def _uri(file: Path) -> str:
    """Return a URI reference (RFC 3986): relative below the working folder, else absolute."""
    absolute, here = Path(os.path.normpath(file.absolute())), Path.cwd()
    if absolute.is_relative_to(here):
        return quote(absolute.relative_to(here).as_posix())
    return absolute.as_uri()


def _github(results: Sequence[Validated], *, strict: bool) -> None:
    """Print the problems as workflow commands of GitHub Actions, which shows them beside the lines."""
    for problem in _all_problems(results):
        level = "error" if strict else problem.severity.value
        place = f"file={_property(str(problem.file))},line={problem.line},col={problem.column}"
        echo(f"::{level} {place},title=lineside validate::{_data(problem.text)}")
    for one in results:
        if not one.problems:
            echo(f"{one.file}: {one.kind}: valid: {one.text}")


def _data(text: str) -> str:
    """Escape the data of a workflow command, as the toolkit of GitHub Actions does."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


FORMATS: dict[str, Format] = {"text": _text, "json": _json, "sarif": _sarif, "github": _github}
"""Format -> the function that prints the results in it."""
