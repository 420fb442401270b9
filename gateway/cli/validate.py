"""`lineside validate`: all that is wrong with the files of a configuration, for people, editors and CI."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.common import SET, overrides, size_of
from gateway.cli.validation_formats import FORMATS, Validated
from gateway.common.text import counted
from gateway.settings.load import load_factory
from gateway.settings.locked_keys import key_problems
from gateway.settings.problems import ConfigurationError, Severity, in_order
from gateway.settings.shared_key import shared_key_problems
from gateway.settings.standalone import Kind, check_lines, check_template, kind_of
from gateway.settings.unauthenticated import unauthenticated
from gateway.status.configuration_warnings import configuration_warnings

if TYPE_CHECKING:
    from gateway.settings.standalone import Checked


@click.command()
@click.argument(
    "files", metavar="CONFIG...", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path)
)
@SET
@click.option(
    "--format", "style", type=click.Choice(list(FORMATS)), default="text", show_default=True,
    help="For people; for programs; for code scanning (SARIF 2.1.0); as annotations of GitHub Actions.",
)  # fmt: skip
@click.option("--strict", is_flag=True, help="Exit 1 on warnings too.")
def validate(files: tuple[Path, ...], style: str, *, strict: bool) -> None:
    """Check factories, files with lines and templates; print each problem with file, line, column and a correction.

    Exits 1 if there are problems. Warnings name allowed values that are rarely intended.
    """
    results = _checked(list(dict.fromkeys(files)))
    FORMATS[style](results, strict=strict)
    sys.exit(0 if all(one.passes(strict=strict) for one in results) else 1)


def _checked(files: list[Path]) -> list[Validated]:
    """Check each file by its kind: files that a valid factory includes are checked with it."""
    kinds = {file: kind_of(file) for file in files}
    of_factories: dict[Path, Path] = {}
    results: dict[Path, Validated] = {}
    for file in (file for file in files if kinds[file] is Kind.FACTORY):
        results[file] = _factory(file, of_factories)
    for file in (file for file in files if kinds[file] is Kind.TEMPLATE):
        results[file] = _template(file, check_template(file))
    for file in (file for file in files if kinds[file] is Kind.LINES):
        owner = of_factories.get(file.resolve())
        results[file] = _lines(file, check_lines(file)) if owner is None else _included(file, owner)
    return [results[file] for file in files]


def _factory(file: Path, of_factories: dict[Path, Path]) -> Validated:
    """Check a factory, and add its files to those that are checked."""
    try:
        factory = load_factory(file, overrides())
    except ConfigurationError as error:
        return Validated(file, Kind.FACTORY, valid=False, problems=error.problems)
    of_factories |= dict.fromkeys((one.resolve() for one in factory.files), file)
    problems = in_order([*configuration_warnings(factory), *key_problems(factory), *shared_key_problems(factory)])
    if any(problem.severity is Severity.ERROR for problem in problems):
        return Validated(file, Kind.FACTORY, valid=False, problems=problems)
    points = sum(len(machine.quantities) for machine in factory.machines)
    return Validated(
        file, Kind.FACTORY, valid=True, problems=problems, text=size_of(factory), digest=factory.digest,
        machines=len(factory.machines), points=points,
        notes=[one.text for one in unauthenticated(factory.machines)],
    )  # fmt: skip


def _template(file: Path, checked: Checked) -> Validated:
    unread = f", {checked.unread} of them with parameters that each machine sets" if checked.unread else ""
    points = checked.points + checked.unread
    text = f"{counted(points, 'point')}{unread}"
    return Validated(file, Kind.TEMPLATE, valid=checked.valid, problems=checked.problems, text=text, points=points)


def _lines(file: Path, checked: Checked) -> Validated:
    text = f"{counted(checked.machines, 'machine')}, {counted(checked.points, 'point')}"
    return Validated(
        file, Kind.LINES, valid=checked.valid, problems=checked.problems, text=text, machines=checked.machines,
        points=checked.points,
    )  # fmt: skip


def _included(file: Path, owner: Path) -> Validated:
    return Validated(file, Kind.LINES, valid=True, problems=[], text=f"included by {owner}")
