"""`lineside validate`: all that is wrong with a configuration, for people, editors and CI."""

from __future__ import annotations

import sys
from itertools import chain
from typing import TYPE_CHECKING

import click
import orjson

from gateway.acquisition.link_load import load_warnings
from gateway.cli.common import CONFIG, print_problems, size_of
from gateway.common.text import counted
from gateway.metrics.endpoint_warnings import metrics_warnings
from gateway.mqtt.topics import topic_warnings
from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError, in_order

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
    """Check CONFIG; print each problem with file, line, column and a correction.

    Exits 1 if there are problems. Warnings name allowed values that are rarely intended.
    """
    factory: Factory | None = None
    try:
        factory = load_factory(config)
        found = (load_warnings(factory), topic_warnings(factory), metrics_warnings(factory))
        problems = in_order([*factory.warnings, *chain.from_iterable(found)])
    except ConfigurationError as error:
        problems = error.problems
    if style == "json":
        click.echo(as_json(config, factory, problems))
    else:
        _print(config, factory, problems)
    sys.exit(1 if factory is None or (problems and strict) else 0)


def _print(config: Path, factory: Factory | None, problems: Sequence[Problem]) -> None:
    print_problems(problems)
    count = counted(len(problems), "problem")
    if factory is None:
        click.echo(f"{config}: {count}", err=True)
        return
    warned = f", {counted(len(problems), 'warning')}" if problems else ""
    click.echo(f"{config}: valid: {size_of(factory)}{warned}; configuration {factory.digest}")


def as_json(config: Path, factory: Factory | None, problems: Sequence[Problem]) -> str:
    """Return the result for other programs; docs/configuration.md says what each key means."""
    machines = () if factory is None else factory.machines
    result = {
        "file": str(config),
        "right": factory is not None,
        "config": None if factory is None else factory.digest,
        "machines": len(machines),
        "points": sum(len(machine.points) for machine in machines),
        "problems": [problem._asdict() | {"file": str(problem.file)} for problem in problems],
    }
    return orjson.dumps(result, option=orjson.OPT_INDENT_2).decode()
