"""`lineside show`: a configuration with every range, parameter, default and template applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gateway.cli.common import CONFIG, MACHINE, load, machines_of, print_json
from gateway.settings.serialize import dump, written_factory, written_machine, written_point

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.settings.factory import Machine

_MEANING = ("type", "unit", "every", "description")
"""Keys of a point that have a column of their own, or no place in a line."""


@click.command()
@CONFIG
@MACHINE
@click.option("--format", "style", type=click.Choice(["text", "yaml", "json"]), default="text", show_default=True,
              help="For people, as a file, or for other programs.")  # fmt: skip
def show(config: Path, pattern: str, style: str) -> None:
    """Show all machines and points of CONFIG, as the gateway understands them. Secrets are shown by name alone."""
    factory = load(config)
    machines = machines_of(factory, pattern)
    if style == "text":
        _print(machines)
        return
    content = written_factory(factory) | {"machines": [written_machine(machine) for machine in machines]}
    if style == "json":
        print_json(content)
    else:
        click.echo(dump(content), nl=False)


def _print(machines: Sequence[Machine]) -> None:
    for machine in machines:
        connection = _short(machine.written["connection"])
        click.echo(f"{machine.path}   {machine.template}, {len(machine.all_points)} points over {connection}")
        for point in (*machine.all_points, *machine.searches):
            keys = written_point(point)
            rest = ", ".join(f"{key}: {_short(value)}" for key, value in keys.items() if key not in _MEANING)
            click.echo(f"  {point.name:<28} {keys['type']:<6} {point.unit:<8} {keys['every']:>6}   {rest}")


def _short(value: Any) -> str:  # noqa: ANN401 - any key's value
    return value if isinstance(value, str) else dump(value, flow=True)
