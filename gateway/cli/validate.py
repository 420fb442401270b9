"""`lineside validate`: all that is wrong with a configuration, for people, editors and CI."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from gateway.cli.common import CONFIG, size_of
from gateway.common.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.settings.factory import Factory
    from gateway.settings.problems import Problem


@click.command()
@CONFIG
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--strict", is_flag=True, help="Exit 1 on warnings too.")
def validate(config: Path, style: str, *, strict: bool) -> None:
    """Say whether CONFIG is right; every mistake with file, line, column and what would be right.

    Exits 1 where there are mistakes. Warnings name what is allowed and seldom meant.
    """
    from gateway.acquisition.link_load import load_warnings  # noqa: PLC0415 - see gateway.cli
    from gateway.mqtt.topics import topic_warnings  # noqa: PLC0415 - see gateway.cli
    from gateway.settings.load import load_factory  # noqa: PLC0415 - see gateway.cli
    from gateway.settings.problems import ConfigurationError, in_order  # noqa: PLC0415 - see gateway.cli

    factory: Factory | None = None
    try:
        factory = load_factory(config)
        problems = in_order([*factory.warnings, *load_warnings(factory), *topic_warnings(factory)])
    except ConfigurationError as error:
        problems = error.problems
    if style == "json":
        click.echo(as_json(config, factory, problems))
    else:
        _tell(config, factory, problems)
    sys.exit(1 if factory is None or (problems and strict) else 0)


def _tell(config: Path, factory: Factory | None, problems: Sequence[Problem]) -> None:
    for problem in problems:
        click.echo(str(problem), err=True)
    count = counted(len(problems), "problem")
    if factory is None:
        click.echo(f"{config}: {count}", err=True)
        return
    warned = f", {counted(len(problems), 'warning')}" if problems else ""
    click.echo(f"{config}: right: {size_of(factory)}{warned}; configuration {factory.digest}")


def as_json(config: Path, factory: Factory | None, problems: Sequence[Problem]) -> str:
    """Return what was found, for other programs; docs/configuration.md says what each key means."""
    import orjson  # noqa: PLC0415 - see gateway.cli

    machines = () if factory is None else factory.machines
    told = {
        "file": str(config),
        "right": factory is not None,
        "config": None if factory is None else factory.digest,
        "machines": len(machines),
        "points": sum(len(machine.points) for machine in machines),
        "problems": [problem._asdict() | {"file": str(problem.file)} for problem in problems],
    }
    return orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()
