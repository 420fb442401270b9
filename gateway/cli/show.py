"""`lineside show`: a configuration with every range, parameter, default and template applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import orjson

from gateway.cli.common import CONFIG, load, machines_of
from gateway.settings.serialize import dump, written_factory, written_machine, written_point

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.settings.factory import Machine

_MEANING = ("type", "unit", "every", "description")
"""Keys of a point that have a column of their own, or no place in a line."""


@click.command()
@CONFIG
@click.option(
    "--machine", "pattern", default="*", help="Only machines that match, such as 'press-0*' or '*/curing-1/*'."
)
@click.option("--format", "style", type=click.Choice(["text", "yaml", "json"]), default="text", show_default=True)
def show(config: Path, pattern: str, style: str) -> None:
    """Show all machines and points of CONFIG, as the gateway understands them. Secrets are shown by name alone."""
    factory = load(config)
    machines = machines_of(factory, pattern)
    if style == "text":
        _print(machines)
        return
    content = written_factory(factory) | {"machines": [written_machine(machine) for machine in machines]}
    if style == "json":
        click.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode())
    else:
        click.echo(dump(content), nl=False)


def _print(machines: Sequence[Machine]) -> None:
    for machine in machines:
        connection = _short(machine.written["connection"])
        click.echo(f"{machine.path}   {machine.template}, {len(machine.points)} points over {connection}")
        for point in (*machine.points, *machine.searches):
            keys = written_point(point)
            rest = ", ".join(f"{key}: {_short(value)}" for key, value in keys.items() if key not in _MEANING)
            click.echo(f"  {point.name:<28} {keys['type']:<6} {point.unit:<8} {keys['every']:>6}   {rest}")


def _short(value: Any) -> str:  # noqa: ANN401 - any key's value
    return value if isinstance(value, str) else dump(value, flow=True)
